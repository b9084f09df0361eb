"""Distinct texts and images to embeddings, in batches, by frozen encoders."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from copy import copy, deepcopy
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._backends import OPENVINO, Compiled
from mmevent._cache import EmbeddingStore, active_store
from mmevent._hub import TRANSFORMERS, ModelFiles, quiet_loading
from mmevent._memory import halved
from mmevent._precision import dtype_of, runnable
from mmevent.exceptions import InputError
from mmevent.image_io import Images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

Spec = dict[str, Any]

# Attributes of a branch that hold weights: its encoder, and what training changed.
ENCODER, TRAINED = "_encoder", "_trained"

# Batches after which new embeddings are kept; texts are sorted by length within them.
_BATCHES_KEPT = 64


class Encoder(ABC):
    """A frozen model on one device; `spec` says all that determines its output."""

    kind: str
    item: str  # what it encodes
    trial: Any  # an item that every encoder of this kind has to take
    has_one_size: bool = True  # of inputs, so that a batch can be trained on
    varying: tuple[int, ...] = (0,)  # which sizes of the model's inputs do
    n_views: int = 1  # of an item, whose features stand side by side
    files: ModelFiles = TRANSFORMERS

    def __init__(
        self,
        model: Any,
        spec: Spec,
        *,
        device: str,
        width: int,
        missing: frozenset[str],
    ) -> None:
        self.model = runnable(model, device).to(device).eval().requires_grad_(False)
        self.dtype = dtype_of(self.model)
        self.spec = spec
        self.missing = missing  # parameters that the checkpoint does not have
        self.device = device
        self.width = width
        self.n_encoded = 0
        # One caller at a time: it also keeps two from encoding the same item.
        self.lock = threading.RLock()
        self.compiled: Compiled | None = None  # what runs in place of the model
        self._twins: list[Encoder] = []  # of the threads that encode side by side
        # A processor computes in all its threads; other devices get batches in turn.
        self.turn: Any = nullcontext() if device == "cpu" else threading.Lock()

    @property
    def identity(self) -> str:
        """SHA-256 over weights, preprocessing, pooling, length and dtype."""
        return spec_identity(self.kind, self.spec | self._manner())

    def _manner(self) -> Spec:
        """Return what this machine or version does to items, beside the spec."""
        if self.compiled is None:
            return {"dtype": self.dtype}
        return {"dtype": self.dtype, "backend": OPENVINO}

    def encode(
        self,
        items: Sequence[Any],
        *,
        batch_size: int = 32,
        progress: Callable[[int], object] = lambda n: None,
    ) -> Vectors:
        """Return one row an item; a row that cannot be computed is all NaN.

        As many threads as torch has work on a batch each, from reading to the result.
        No layer waits for all of them, as it would if they shared a batch.
        """
        rows = np.full((len(items), self.width), np.nan, dtype=np.float32)
        with self.lock, full_precision():
            batches = self._batches(items, batch_size)
            found = self._rows(items, batches, [batch_size])
            for batch, values in zip(batches, found, strict=True):
                rows[batch] = values
                self.n_encoded += len(batch)
                progress(len(batch))
        rows[~finite_rows(rows)] = np.nan
        return rows

    def _batches(self, items: Sequence[Any], batch_size: int) -> list[list[int]]:
        """Return the positions of the items of each batch."""
        return cut(range(len(items)), batch_size)

    def _rows(
        self, items: Sequence[Any], batches: list[list[int]], limit: list[int]
    ) -> Iterator[Vectors]:
        """Yield the rows of each batch; `limit` is what the device has room for."""
        import torch

        before = torch.get_num_threads()
        n_threads = max(1, min(before, len(batches)))
        free = self._workers(n_threads)
        if n_threads == 1:
            yield from (free[0]._attempt(items, batch, limit) for batch in batches)
            return
        own, met = threading.local(), threading.Barrier(n_threads + 1)

        def begin() -> None:
            torch.get_num_threads()  # a thread takes torch's number when it first asks
            torch.set_num_threads(1)
            own.encoder = free.pop()

        with ThreadPoolExecutor(n_threads, initializer=begin) as pool:
            for _ in range(n_threads):
                pool.submit(met.wait)
            met.wait()
            # The threads keep their one; all others, new ones too, have what they had.
            torch.set_num_threads(before)
            yield from pool.map(
                lambda batch: own.encoder._attempt(items, batch, limit), batches
            )

    def _workers(self, number: int) -> list[Encoder]:
        """Return an encoder for each of some threads, with the same weights."""
        if not self._twins:
            self._twins = [self._lean()]
        new = number - len(self._twins)
        self._twins += [self._twins[0]._twin() for _ in range(new)]
        return self._twins[:number]

    def _lean(self) -> Encoder:
        """Return the copy that encodes, of which those of other threads are copies."""
        return self._twin()

    def _twin(self) -> Encoder:
        """Return an encoder for another thread, with the same weights."""
        tensors = chain(self.model.parameters(), self.model.buffers())
        twin = copy(self)
        twin._twins = []
        twin.model = deepcopy(self.model, {id(tensor): tensor for tensor in tensors})
        if self.compiled is not None:
            twin.compiled = self.compiled.twin()
        return twin

    def compile(self) -> None:
        """Let OpenVINO run the model from here on, if it gives the same.

        Raises
        ------
        InputError
            If it cannot run this model.
        """
        example = self._example()
        wide = copy(self)
        wide.model = deepcopy(self.model).float()
        problem = "it sees pictures of many shapes"
        if self.has_one_size:
            try:
                compiled = Compiled(
                    wide._compute,
                    wide.model,
                    example,
                    varying=self.varying,
                    dtype=self.dtype,
                )
                if compiled.agrees(wide._compute, example):
                    self.compiled, self._twins = compiled, []
                    return
                problem = "it gives other features there"
            except Exception as error:  # whatever torch or OpenVINO cannot do
                lines = str(error).strip().splitlines()
                problem = lines[0] if lines else type(error).__name__
        raise InputError(
            f"backend='openvino' cannot run the model {self.spec['model']!r}: expected "
            f"one that torch can export and OpenVINO computes alike, got: {problem}. "
            f"Use backend='torch'."
        )

    def _run(self, *inputs: Any) -> Any:
        """Return features as float32, on the processor."""
        compute = self._compute if self.compiled is None else self.compiled
        return compute(*inputs).float().cpu()

    @abstractmethod
    def _compute(self, *inputs: Any) -> Any:
        """Return a tensor of one row an item."""

    @abstractmethod
    def _example(self) -> tuple[Any, ...]:
        """Return inputs of `_compute`, of two items, as float32 and integers."""

    def _attempt(
        self, items: Sequence[Any], batch: list[int], limit: list[int]
    ) -> Vectors:
        """Encode a batch, in parts where the device's memory is too small for it."""
        import torch

        found: list[Vectors] = []
        left = [self._fetch(items, i) for i in batch]
        with torch.inference_mode():
            while left:
                some = left[: limit[0]]
                try:
                    found.append(self._forward(some))
                except RuntimeError as error:
                    half = halved(len(some), error, "encoding", "batch_size={}")
                    limit[0] = min(limit[0], half)
                    continue
                left = left[len(some) :]
        return np.vstack(found)

    def _fetch(self, items: Sequence[Any], i: int) -> Any:
        return items[i]

    @abstractmethod
    def _forward(self, items: list[Any]) -> Vectors:
        """Encode one batch."""

    def save(self, folder: Path) -> None:
        """Write the model so that it loads again from `folder` with the same spec."""
        state = {
            name: tensor.contiguous()
            for name, tensor in self.model.state_dict().items()
            if name not in self.missing
        }
        with quiet_loading():
            self.model.save_pretrained(folder, state_dict=state)
            self._save_preprocessing(folder)

    @abstractmethod
    def _save_preprocessing(self, folder: Path) -> None:
        """Write the files beside the weights."""


def embed(
    encoder: Encoder,
    items: Sequence[Any],
    keys: Sequence[str],
    *,
    batch_size: int = 32,
    verbose: bool = False,
    cache: EmbeddingStore | None = None,
) -> Vectors:
    """Return one embedding an item, encoding each distinct key once.

    Embeddings that the open memo or the cache has are taken from it; new ones are added
    as they come, so that an interruption loses little.
    """
    from tqdm.auto import tqdm

    first: dict[str, int] = {}
    for i, key in enumerate(keys):
        first.setdefault(key, i)
    memo, identity = active_store(), encoder.identity
    stores = [store for store in (memo, cache) if store is not None]
    known: dict[str, np.ndarray] = {}
    with encoder.lock:
        for store in stores:
            missing = [key for key in first if key not in known]
            known |= store.get_many(identity, missing)
        if memo is not None:
            memo.put_many(identity, known)
        new = [key for key in first if key not in known]
        with tqdm(
            total=len(new),
            desc=f"Encoding {encoder.item}s",
            unit=encoder.item,
            file=sys.stderr,
            disable=not verbose or not new,
        ) as bar:
            for start in range(0, len(new), _BATCHES_KEPT * batch_size):
                chunk = new[start : start + _BATCHES_KEPT * batch_size]
                rows = encoder.encode(
                    selected(items, [first[key] for key in chunk]),
                    batch_size=batch_size,
                    progress=bar.update,
                )
                computed = dict(zip(chunk, rows, strict=True))
                for store in stores:
                    store.put_many(identity, computed)
                known |= computed
    out = np.empty((len(keys), encoder.width), dtype=np.float32)
    for i, key in enumerate(keys):
        out[i] = known[key]
    return out


def cut(order: Sequence[int], size: int) -> list[list[int]]:
    """Return a sequence in parts of one size, the last one maybe smaller."""
    return [list(order[i : i + size]) for i in range(0, len(order), size)]


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep cuDNN from rounding to TF32, which would make rows depend on their batch."""
    from torch.backends import cudnn

    allowed = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = allowed


def finite_rows(rows: Vectors) -> NDArray[np.bool_]:
    """Tell which rows are numbers throughout."""
    return np.asarray(np.isfinite(rows).all(axis=1))


def selected(items: Sequence[Any], rows: list[int]) -> Sequence[Any]:
    """Return some of a sequence's items, each fetched when asked for."""
    if isinstance(items, Images):
        return items[np.array(rows, dtype=np.intp)]
    return Selected(items, rows)


class Selected(Sequence[Any]):
    """Some of a sequence's items, each fetched when asked for."""

    def __init__(self, items: Sequence[Any], rows: list[int]) -> None:
        self.items = items
        self.rows = rows

    def __len__(self) -> int:
        """Return the number of selected items."""
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        """Return the `i`-th selected item."""
        return self.items[self.rows[i]]


def spec_identity(kind: str, spec: Spec) -> str:
    """Hash all that determines an encoder's output: not its name or its place.

    Embeddings on the disk stand under it: a change of what is done to an item before
    the model sees it must show in the spec.
    """
    facts = {k: v for k, v in spec.items() if k not in ("model", "revision")}
    return json_hash({"kind": kind, **facts})


def json_hash(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
