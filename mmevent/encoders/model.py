"""A pretrained model in memory: items to vectors, in batches, on all threads."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from copy import copy, deepcopy
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmevent._common import json_hash
from mmevent._settings import undisturbed
from mmevent.encoders.hub import TRANSFORMERS, ModelFiles, quiet_loading
from mmevent.encoders.identity import versions
from mmevent.encoders.runtime import (
    MODULES,
    OPENVINO,
    Compiled,
    dtype_of,
    full_precision,
    halved,
    runnable,
)
from mmevent.exceptions import InputError
from mmevent.posts.images import Images

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

Spec = dict[str, Any]

# Version of the code that makes a vector of an item. Embeddings on the disk are found
# by it, among others. Raise it with every change that moves vectors and that does not
# show in a model's spec: another pooling of tokens, another way to cut a picture.
POOLING_VERSION = 1

_START = 60.0  # seconds within which the threads that encode must have begun

_log = logging.getLogger(__name__)


class Encoded(NamedTuple):
    """A row per item, and a status of each.

    Parameters
    ----------
    rows : ndarray of shape (n, width)
        Features; NaN where an item cannot be used.
    statuses : ndarray of shape (n,)
        "ok", or why a picture cannot be used, see ``mmevent.posts.STATUSES``; empty
        where it was not looked at, because its row was known.
    """

    rows: Vectors
    statuses: NDArray[np.str_]


class Model(ABC):
    """A frozen network on one device; `spec` says all that determines its output."""

    kind: str
    item: str  # what it encodes
    trial: Any  # an item that every model of this kind has to take
    trainable: bool = False
    has_one_size: bool = True  # of inputs, so that a batch can be trained on
    varying: tuple[int, ...] = (0,)  # the axes of the inputs whose length varies
    n_views: int = 1  # of an item, whose features stand side by side
    files: ModelFiles = TRANSFORMERS
    libraries: tuple[str, ...]  # whose code makes its vectors

    def __init__(
        self,
        network: Any,
        spec: Spec,
        *,
        device: str,
        width: int,
        missing: frozenset[str],
    ) -> None:
        network = runnable(network, device)
        self.network = network.to(device).eval().requires_grad_(False)
        self.dtype = dtype_of(self.network)
        self.spec = spec
        self.missing = missing  # parameters that the checkpoint does not have
        self.device = device
        self.width = width
        self.n_encoded = 0
        # One caller at a time: it also keeps two from encoding the same item.
        self.lock = threading.RLock()
        self.compiled: Compiled | None = None  # what runs in place of the network
        self._twins: list[Self] = []  # of the threads that encode side by side
        # A processor computes in all its threads; other devices get batches in turn.
        self.turn: Any = nullcontext() if device == "cpu" else threading.Lock()

    @classmethod
    @abstractmethod
    def from_source(cls, *arguments: Any, **settings: Any) -> Self:
        """Load the model: source, device, expected spec, and by name the dtype.

        Other settings are those of this kind of model.
        """

    @property
    def identity(self) -> str:
        """SHA-256 over all that decides a vector: weights, settings, versions."""
        return spec_identity(self.kind, self.spec | self._manner())

    def _manner(self) -> Spec:
        """Return how this machine computes features, in so far as it moves them."""
        manner: Spec = {"dtype": self.dtype, "versions": versions(self.libraries)}
        if self.compiled is None:
            return manner
        return manner | {"backend": {OPENVINO: versions((OPENVINO,))}}

    def encode(self, items: Sequence[Any], **options: Any) -> Vectors:
        """Return the rows alone, see `examine`."""
        return self.examine(items, **options).rows

    def examine(
        self,
        items: Sequence[Any],
        *,
        batch_size: int = 32,
        found: Callable[[list[int], Encoded], object] = lambda batch, encoded: None,
    ) -> Encoded:
        """Return a row and a status of each item, which is fetched once.

        As many threads as torch has work on a batch each, from reading to the result.
        No layer waits for all of them, as it would if they shared a batch. `found` is
        called with the positions and the result of each batch.
        """
        rows = np.full((len(items), self.width), np.nan, dtype=np.float32)
        statuses = np.full(len(items), "ok", dtype=object)
        with self.lock, full_precision():
            batches = self._batches(items, batch_size)
            # Closed at once where this is interrupted: its threads begin nothing more.
            with closing(self._rows(items, batches, [batch_size])) as results:
                for batch, encoded in zip(batches, results, strict=True):
                    encoded.rows[~finite_rows(encoded.rows)] = np.nan
                    rows[batch], statuses[batch] = encoded
                    self.n_encoded += len(batch)
                    found(batch, encoded)
        return Encoded(rows, statuses.astype(np.str_))

    def _batches(self, items: Sequence[Any], batch_size: int) -> list[list[int]]:
        """Return the positions of the items of each batch."""
        return cut(range(len(items)), batch_size)

    def _rows(
        self, items: Sequence[Any], batches: list[list[int]], limit: list[int]
    ) -> Generator[Encoded, None, None]:
        """Yield the rows of each batch; `limit` is what the device has room for."""
        import torch

        before = torch.get_num_threads()
        n_threads = max(1, min(before, len(batches)))
        free = self._workers(n_threads)
        if n_threads == 1:
            yield from (free[0]._attempt(items, batch, limit) for batch in batches)
            return
        own, met = threading.local(), threading.Barrier(n_threads + 1, timeout=_START)

        def begin() -> None:
            try:
                torch.get_num_threads()  # when first asked, a thread takes torch's
                torch.set_num_threads(1)
                own.model = free.pop()
            except BaseException:
                met.abort()
                raise

        with ThreadPoolExecutor(n_threads, initializer=begin) as pool:
            try:
                for _ in range(n_threads):
                    pool.submit(met.wait)
                met.wait()
            except BaseException:
                met.abort()  # the threads that have begun wait for the others
                raise
            finally:
                # The threads keep their one; all others have what they had before.
                torch.set_num_threads(before)
            yield from pool.map(
                lambda batch: own.model._attempt(items, batch, limit), batches
            )

    def _workers(self, number: int) -> list[Self]:
        """Return a model for each of some threads, with the same weights."""
        if not self._twins:
            self._twins = [self._lean()]
        new = number - len(self._twins)
        self._twins += [self._twins[0]._twin() for _ in range(new)]
        return self._twins[:number]

    def _lean(self) -> Self:
        """Return the copy that encodes, of which those of other threads are copies."""
        return self._twin()

    def _twin(self) -> Self:
        """Return a model for another thread, with the same weights."""
        tensors = chain(self.network.parameters(), self.network.buffers())
        shared = {id(tensor): tensor for tensor in tensors}
        twin = copy(self)
        twin._twins = []
        twin.network = deepcopy(self.network, shared)
        if self.compiled is not None:
            twin.compiled = self.compiled.twin()
        return twin

    def compile(self) -> None:
        """Let OpenVINO run the network from here on, if it gives the same.

        Raises
        ------
        InputError
            If it cannot run this network.
        """
        example = self._example()
        wide = copy(self)
        wide.network = deepcopy(self.network).float()
        problem = "it sees pictures of many shapes"
        if self.has_one_size:
            try:
                compiled = Compiled(
                    wide._compute,
                    wide.network,
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
                _log.info("OpenVINO does not run the model", exc_info=True)
        _log.info("OpenVINO is not used for %s: %s", self.spec["model"], problem)
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
        """Return a tensor of one row per item."""

    @abstractmethod
    def _example(self) -> tuple[Any, ...]:
        """Return inputs of `_compute`, of two items, as float32 and integers."""

    def _attempt(
        self, items: Sequence[Any], batch: list[int], limit: list[int]
    ) -> Encoded:
        """Encode a batch, in parts where the device's memory is too small for it."""
        import torch

        found: list[Vectors] = []
        with torch.inference_mode(), undisturbed():
            left, statuses = zip(*(self._fetch(items, i) for i in batch), strict=True)
            while left:
                some = left[: limit[0]]
                try:
                    found.append(self._forward(list(some)))
                except RuntimeError as error:
                    half = halved(len(some), error, "encoding", "batch_size={}")
                    limit[0] = min(limit[0], half)
                    continue
                left = left[len(some) :]
        return Encoded(np.vstack(found), np.array(statuses))

    def _fetch(self, items: Sequence[Any], i: int) -> tuple[Any, str]:
        """Return what `_forward` takes of an item, and its status."""
        return items[i], "ok"

    @abstractmethod
    def _forward(self, items: list[Any]) -> Vectors:
        """Encode one batch."""

    def save(self, folder: Path) -> None:
        """Write the model so that it loads again from `folder` with the same spec."""
        state = {
            name: tensor.contiguous()
            for name, tensor in self.network.state_dict().items()
            if name not in self.missing and not name.startswith(f"{MODULES}.")
        }
        with quiet_loading():
            self.network.save_pretrained(folder, state_dict=state)
            self._save_preprocessing(folder)

    @abstractmethod
    def _save_preprocessing(self, folder: Path) -> None:
        """Write the files beside the weights."""


def cut(order: Sequence[int], size: int) -> list[list[int]]:
    """Return a sequence in parts of one size, the last one maybe smaller."""
    return [list(order[i : i + size]) for i in range(0, len(order), size)]


def finite_rows(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which rows are numbers throughout."""
    return np.asarray(np.isfinite(rows).all(axis=1))


def select(items: Sequence[Any], rows: Sequence[int] | NDArray[np.intp]) -> Any:
    """Return some of a sequence's items; pictures are decoded when asked for."""
    if isinstance(items, Images):
        return items[np.asarray(rows, dtype=np.intp)]
    return [items[i] for i in rows]


def spec_identity(kind: str, spec: Spec) -> str:
    """Hash all that determines a model's output: not its name or its place.

    Embeddings on the disk stand under it: a change of what is done to an item before
    the network sees it must show in the spec, or in `POOLING_VERSION`.
    """
    facts = {k: v for k, v in spec.items() if k not in ("model", "revision")}
    return json_hash({"kind": kind, "version": POOLING_VERSION, **facts})
