"""Embeddings and encoders that one `fit` shares among all clones of a branch."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from mmevent._encoding import Encoder

    EncoderT = TypeVar("EncoderT", bound=Encoder)


class EmbeddingStore(Protocol):
    """Where embeddings are kept, by encoder identity and item key."""

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


# The memo belongs to the process, not to a thread: joblib's worker threads must see
# the memo of the thread that opened it. Sharing it more widely is harmless, since
# every entry is keyed by what determines it.
_lock = threading.RLock()
_depth = 0
_store: MemoryStore | None = None
_kept: set[Encoder] = set()
_live: weakref.WeakValueDictionary[Hashable, Encoder] = weakref.WeakValueDictionary()


_at_end: list[Callable[[], object]] = []


@contextmanager
def shared_memo() -> Iterator[None]:
    """Keep and reuse every encoder and every embedding while the context is open.

    All threads of the process share one memo. An inner use joins the outer one; what
    was kept is forgotten when the last one closes.
    """
    global _depth, _store
    with _lock:
        _depth += 1
        if _store is None:
            _store = MemoryStore()
    done = False
    try:
        yield
        done = True
    finally:
        calls: list[Callable[[], object]] = []
        with _lock:
            _depth -= 1
            if _depth == 0:
                _store = None
                _kept.clear()
                calls = list(_at_end) if done else []
                _at_end.clear()
        for call in calls:
            call()


def call_at_end(function: Callable[[], object]) -> None:
    """Call something when the last memo closes, unless an exception closes it."""
    with _lock:
        _at_end.append(function)


def active_store() -> EmbeddingStore | None:
    """Return the open memo's store, or None where no memo is open."""
    return _store


def find_encoder(key: Hashable) -> Encoder | None:
    """Return the encoder remembered under `key`, if it is still in memory."""
    with _lock:
        encoder = _live.get(key)
        if encoder is not None and _depth:
            _kept.add(encoder)
        return encoder


def remember_encoder(encoder: Encoder, *keys: Hashable) -> None:
    """Make `encoder` findable by `keys` for as long as anyone holds it."""
    with _lock:
        for key in keys:
            _live[key] = encoder
        if _depth:
            _kept.add(encoder)
