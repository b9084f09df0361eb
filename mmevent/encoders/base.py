"""What all encoders share: scikit-learn transformers that load a model when needed."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from mmevent._common import as_whole, warn_user
from mmevent._settings import with_own_settings
from mmevent._walk import LOADED, TRAINED
from mmevent.encoders.cache import EmbeddingStore, active_store, kept_soon
from mmevent.encoders.disk_cache import disk_store
from mmevent.encoders.hub import locate_model
from mmevent.encoders.loading import load_model, trained_copy
from mmevent.encoders.model import Encoded, Model, Spec, finite_rows, select
from mmevent.encoders.runtime import (
    TORCH,
    check_backend,
    check_dtype,
    resolve_device,
)
from mmevent.exceptions import InputError, UnusableInputWarning

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

# Batches at a time; texts are sorted by length within them.
_BATCHES = 64


class Encoder(TransformerMixin, BaseEstimator, ABC):
    """Base of the encoders: parameters that name a model, and what runs it.

    An encoder that a classifier has fitted is pinned: its ``spec_`` names the weights
    that were used, it loads these and no others, and a copy by `sklearn.base.clone` is
    free again. Weights are no part of a copy, a pickle or a saved object, but for those
    that were fine-tuned.
    """

    model_class: type[Model]

    model: str | os.PathLike[str]
    revision: str | None
    device: str
    dtype: str
    backend: str
    batch_size: int
    local_files_only: bool
    cache: str | os.PathLike[str] | None
    verbose: bool

    spec_: Spec
    pretrained_spec_: Spec

    @abstractmethod
    def encode(self, X: Any, *, verbose: bool = False) -> Encoded:
        """Return a row and a status of each item."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the parameters of this kind of encoder that shape its features."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Do nothing: the model is pretrained.

        Parameters
        ----------
        X : sequence
            Ignored.
        y : array-like or None, default=None
            Ignored.

        Returns
        -------
        Encoder
            The same object.
        """
        return self

    def transform(self, X: Any) -> Vectors:
        """Return the features of each item.

        Parameters
        ----------
        X : sequence
            Texts, or images, as the class says.

        Returns
        -------
        ndarray of shape (n_items, width), float32
            Rows of NaN where an item cannot be used.

        Raises
        ------
        InputError
            If ``X`` or a parameter is not as described.
        ModelUnavailableError
            If the model cannot be found, reached or loaded.

        Warns
        -----
        UnusableInputWarning
            If some items cannot be used.
        """
        rows = self.encode(X).rows
        n_lost = len(rows) - int(finite_rows(rows).sum())
        if n_lost:
            warn_unusable(self.model_class.item, n_lost, "given NaN")
        return rows

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of the columns that `transform` gives.

        Parameters
        ----------
        input_features : array-like or None, default=None
            Ignored.

        Returns
        -------
        ndarray of shape (width,)
            The name of the class in lower case, and a number from 0.
        """
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}{i}" for i in range(self.load().width)], object)

    def save(self, folder: str | Path) -> None:
        """Write the model to a new folder, from which an encoder loads the same.

        Parameters
        ----------
        folder : str or Path
            Folder to create. It will hold safetensors weights and all settings.

        Raises
        ------
        InputError
            If the folder exists and is not empty.
        ModelUnavailableError
            If the model cannot be loaded, or is not the one that was pinned.
        """
        path = Path(folder)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            msg = (
                f"`folder` must be new or empty; {str(path)!r} is not. Choose another "
                f"folder, or empty this one."
            )
            raise InputError(msg)
        self.load().save(path)

    # What classifiers and saved detectors need of an encoder.

    @property
    def kind(self) -> str:
        """Which kind of model it loads: "text", "image" or "clip-image"."""
        return self.model_class.kind

    @property
    def trainable(self) -> bool:
        """Whether its weights can be fine-tuned."""
        return self.model_class.trainable

    def check(self) -> None:
        """Validate the parameters, before anything is loaded."""
        if (as_whole(self.batch_size) or 0) < 1:
            msg = (
                f"`batch_size` must be a whole number of at least 1; got "
                f"{self.batch_size!r}. Use batch_size=32."
            )
            raise InputError(msg)
        check_dtype(self.dtype)
        check_backend(self.backend)
        disk_store(self.cache)
        _ = self.settings  # which validates what it is made of

    @property
    def reference(self) -> str | os.PathLike[str]:
        """Return the folder or the hub name of the model."""
        return self.model

    def find(self) -> None:
        """Fetch the model's files if they are not here; load nothing."""
        self.check()
        locate_model(
            self.reference,
            revision=self.revision,
            files=self.model_class.files,
            local_files_only=self.local_files_only,
            verbose=self.verbose,
        )

    def load(self) -> Any:
        """Return the model, from memory if this process still has it.

        Returns
        -------
        Model
            What encodes.
        """
        self.check()
        if not hasattr(self, "spec_"):
            return self._hold(self._load_named(self.dtype))
        held = getattr(self, LOADED, None)
        compiled = self.backend != TORCH
        same = (
            held is not None
            and held.spec == self.spec_
            and held.device == ("cpu" if compiled else resolve_device(self.device))
            and bool(held.compiled) == compiled
        )
        if not same:
            held = self._hold(self.load_spec(self.spec_))
        return held

    def pin(self, *, dtype: str | None = None) -> Any:
        """Load the model that the parameters name, and keep to its weights.

        Parameters
        ----------
        dtype : str or None, default=None
            Number format to use in place of the parameter's.

        Returns
        -------
        Model
            What was loaded; ``spec_`` describes it.
        """
        self.check()
        model = self._hold(self._load_named(self.dtype if dtype is None else dtype))
        self.spec_ = dict(model.spec)
        return model

    def keep_trained(self, weights: dict[str, NDArray[np.float32]]) -> None:
        """Use fine-tuned weights from here on, which are part of this object.

        Parameters
        ----------
        weights : dict of str to ndarray
            Those that were trained, by name.
        """
        pretrained = self.load()
        setattr(self, TRAINED, weights)
        self.pretrained_spec_ = self.spec_
        model = trained_copy(pretrained, weights, self.dtype, self.backend)
        self.spec_ = dict(self._hold(model).spec)

    def load_spec(self, spec: Spec) -> Any:
        """Load the model that one of this encoder's specs describes, and no other.

        Parameters
        ----------
        spec : dict
            ``spec_`` or ``pretrained_spec_``.

        Returns
        -------
        Model
            The model.
        """
        weights = getattr(self, TRAINED, None)
        if weights is None or spec is not self.spec_:
            return self._load_expected(spec, self.backend)
        pretrained = self._load_expected(self.pretrained_spec_, TORCH)
        return trained_copy(pretrained, weights, spec["dtype"], self.backend)

    def _load_named(self, dtype: str) -> Any:
        return load_model(
            self.model_class,
            self.reference,
            revision=self.revision,
            device=self.device,
            dtype=dtype,
            backend=self.backend,
            local_files_only=self.local_files_only,
            verbose=self.verbose,
            **self.settings,
        )

    def _load_expected(self, spec: Spec, backend: str) -> Any:
        return load_model(
            self.model_class,
            spec["model"],
            revision=spec["revision"],
            device=self.device,
            backend=backend,
            local_files_only=self.local_files_only,
            verbose=self.verbose,
            expected=spec,
        )

    def _hold(self, model: Any) -> Any:
        setattr(self, LOADED, model)
        return model

    def _embed(self, items: Any, keys: Sequence[str], *, verbose: bool) -> Encoded:
        return embed(
            self.load(),
            items,
            keys,
            batch_size=int(self.batch_size),
            verbose=verbose or self.verbose,
            cache=disk_store(self.cache),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the model, which is never copied or stored."""
        state = dict(super().__getstate__())
        state.pop(LOADED, None)
        return state

    def __sklearn_is_fitted__(self) -> bool:
        """Say that no fit is needed."""
        return True

    def __sklearn_tags__(self) -> Any:
        """Say that `X` is no numeric table, and that no fit is needed."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        return tags


@with_own_settings
def embed(
    model: Model,
    items: Sequence[Any],
    keys: Sequence[str],
    *,
    batch_size: int = 32,
    verbose: bool = False,
    cache: EmbeddingStore | None = None,
) -> Encoded:
    """Return one embedding per item, encoding each distinct key once.

    Embeddings that the open memo or the cache has are taken from it; new ones are added
    within seconds, so that an interruption loses little. The status of an item whose
    row was found is "ok" if that is finite, and empty else.
    """
    from tqdm.auto import tqdm

    first: dict[str, int] = {}
    for i, key in enumerate(keys):
        first.setdefault(key, i)
    memo, identity = active_store(), model.identity
    stores = [store for store in (memo, cache) if store is not None]
    known: dict[str, np.ndarray] = {}
    statuses: dict[str, str] = {}
    with model.lock:
        for store in stores:
            missing = [key for key in first if key not in known]
            known |= store.get_many(identity, missing)
        if memo is not None:
            memo.put_many(identity, known)
        new = [key for key in first if key not in known]
        with (
            tqdm(
                total=len(new),
                desc=f"Encoding {model.item}s",
                unit=model.item,
                file=sys.stderr,
                disable=not verbose or not new,
            ) as bar,
            kept_soon(stores, identity) as keep,
        ):
            for start in range(0, len(new), _BATCHES * batch_size):
                chunk = new[start : start + _BATCHES * batch_size]

                def found(batch: list[int], encoded: Encoded, of: Any = chunk) -> None:
                    keys = [of[place] for place in batch]
                    keep(dict(zip(keys, encoded.rows, strict=True)))
                    bar.update(len(batch))

                rows, seen = model.examine(
                    select(items, [first[key] for key in chunk]),
                    batch_size=batch_size,
                    found=found,
                )
                known |= zip(chunk, rows, strict=True)
                statuses |= zip(chunk, seen.tolist(), strict=True)
    out = np.empty((len(keys), model.width), dtype=np.float32)
    for i, key in enumerate(keys):
        out[i] = known[key]
    guessed = np.where(finite_rows(out), "ok", "").tolist()
    said = [statuses.get(key, guess) for key, guess in zip(keys, guessed, strict=True)]
    return Encoded(out, np.array(said, dtype=np.str_))


def warn_unusable(item: str, n: int, outcome: str) -> None:
    """Warn of items that cannot be used, once for all of them."""
    warn_user(
        f"{n} {item}s cannot be used and are {outcome}: they do not decode, or the "
        f"encoder's output for them is not finite.",
        UnusableInputWarning,
    )
