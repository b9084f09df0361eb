"""The memo of one `fit`: models and embeddings that all clones of a branch share."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from mmevent.encoders.model import Model

# What a process that is killed may lose.
_SECONDS_UNKEPT = 2.0


class EmbeddingStore(Protocol):
    """Where embeddings are kept, by identity of the model and key of the item."""

    def get_many(self, identity: str, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the vectors of those `keys` that are kept."""

    def put_many(self, identity: str, vectors: Mapping[str, np.ndarray]) -> None:
        """Keep `vectors`, given by item key."""


class MemoryStore:
    """Embeddings in memory."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, np.ndarray]] = {}

    def get_many(self, identity: str, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the vectors of those `keys` that are kept."""
        table = self._tables.get(identity, {})
        return {key: table[key] for key in keys if key in table}

    def put_many(self, identity: str, vectors: Mapping[str, np.ndarray]) -> None:
        """Keep `vectors`, given by item key."""
        self._tables.setdefault(identity, {}).update(vectors)


@contextmanager
def kept_soon(
    stores: Sequence[EmbeddingStore], identity: str
) -> Iterator[Callable[[Mapping[str, np.ndarray]], None]]:
    """Give a function that keeps vectors, by item key, within seconds.

    However the context ends, what the function was given is kept.
    """
    waiting: dict[str, np.ndarray] = {}
    last = time.monotonic()

    def write() -> None:
        nonlocal last
        for store in stores:
            store.put_many(identity, waiting)
        waiting.clear()
        last = time.monotonic()

    def keep(vectors: Mapping[str, np.ndarray]) -> None:
        waiting.update(vectors)
        if time.monotonic() - last >= _SECONDS_UNKEPT:
            write()

    try:
        yield keep
    finally:
        write()


# The memo belongs to the process, not to a thread: joblib's worker threads must see
# the memo of the thread that opened it. Sharing it more widely is harmless, since
# every entry is keyed by what determines it.
_lock = threading.RLock()
_uses: set[object] = set()  # of `shared_memo`, that are open now
_store: MemoryStore | None = None
_kept: set[Model] = set()
_live: weakref.WeakValueDictionary[Hashable, Model] = weakref.WeakValueDictionary()
# Functions to call, each with the uses that it still waits for.
_at_end: list[tuple[set[object], Callable[[], object]]] = []


@contextmanager
def shared_memo() -> Iterator[None]:
    """Keep and reuse every model and every embedding while the context is open.

    All threads of the process share one memo. An inner use joins the outer one; what
    was kept is forgotten when the last one closes.
    """
    global _store
    use = object()
    with _lock:
        _uses.add(use)
        if _store is None:
            _store = MemoryStore()
    done = False
    try:
        yield
        done = True
    finally:
        with _lock:
            _uses.discard(use)
            ready = _close(use, done=done)
            if not _uses:
                _store = None
                _kept.clear()
        for function in ready:
            function()


def _close(use: object, *, done: bool) -> list[Callable[[], object]]:
    """Return the functions that waited for one use alone; forget them if it failed."""
    ready = []
    for entry in list(_at_end):
        waits_for, function = entry
        if use not in waits_for:
            continue
        waits_for.discard(use)
        if not done or not waits_for:
            _at_end.remove(entry)
            ready += [function] if done else []
    return ready


def call_at_end(function: Callable[[], object]) -> None:
    """Call something once all uses of the memo that are open now have succeeded.

    If one of them fails it is never called. A thread cannot tell which fit it works
    for, so a function may wait for another fit that runs beside its own; but no other
    fit's success is taken for that of its own.
    """
    with _lock:
        if _uses:
            _at_end.append((set(_uses), function))
            return
    function()


def active_store() -> EmbeddingStore | None:
    """Return the open memo's store, or None where no memo is open."""
    return _store


def find_model(key: Hashable) -> Model | None:
    """Return the model remembered under `key`, if it is still in memory."""
    with _lock:
        model = _live.get(key)
        if model is not None and _uses:
            _kept.add(model)
        return model


def remember_model(model: Model, *keys: Hashable) -> None:
    """Make a model findable by `keys` for as long as anyone holds it."""
    with _lock:
        for key in keys:
            _live[key] = model
        if _uses:
            _kept.add(model)
