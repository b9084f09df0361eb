"""What the text and the image branch share: a head on a frozen encoder."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from mmevent._backends import TORCH, check_backend
from mmevent._cache import shared_memo
from mmevent._disk_cache import disk_store
from mmevent._encoding import (
    ENCODER,
    TRAINED,
    Encoder,
    Spec,
    embed,
    finite_rows,
    selected,
)
from mmevent._head import check_head, fit_head
from mmevent._loading import load_encoder
from mmevent._precision import AUTO, check_dtype
from mmevent.exceptions import InputError, UnusableInputWarning

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

    Items = tuple[Sequence[Any], list[str], NDArray[np.bool_]]


class Examples(NamedTuple):
    """What a branch learns from: usable items, with their keys, and a row for each.

    `groups` joins the caller's groups with identical items.
    """

    items: Sequence[Any]
    keys: list[str]
    embeddings: NDArray[np.float32]
    labels: NDArray[Any]
    weights: NDArray[np.float64] | None
    groups: NDArray[np.intp]


class FrozenClassifier(ClassifierMixin, BaseEstimator, ABC):
    """Base of the branches that put a head on a frozen encoder.

    A subclass names its encoder's class and turns `X` into items with their keys.
    """

    # Requested by default, so that a meta-estimator with metadata routing passes both.
    __metadata_request__fit = {"groups": True, "sample_weight": True}

    _encoder_class: type[Encoder]

    model: str
    revision: str | None
    head: Any
    class_weight: Mapping[Any, float] | str | None
    batch_size: int
    device: str
    dtype: str = AUTO
    backend: str = TORCH
    local_files_only: bool
    cache: str | os.PathLike[str] | None
    random_state: int | np.random.RandomState | None
    verbose: bool

    @abstractmethod
    def _items(self, X: Any) -> Items:
        """Return the usable items of `X`, their keys, and which rows they are."""

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """Return the parameters of this kind of branch that shape the encoder."""

    def _model(self) -> str:
        """Return the folder or the hub name of the encoder."""
        return self.model

    def _check_parameters(self) -> None:
        """Refuse parameters that are not as described, before anything is loaded."""
        self._batch_size()
        check_dtype(self.dtype)
        check_backend(self.backend)
        disk_store(self.cache)
        self._settings()
        self._check_head()

    def _check_head(self) -> None:
        check_head(self.head, self.class_weight)

    def _learn(self, encoder: Any, examples: Examples) -> tuple[Any, Any]:
        """Return the encoder to use, and a classifier of its embeddings."""
        head = fit_head(
            examples.embeddings,
            examples.labels,
            head=self.head,
            class_weight=self.class_weight,
            sample_weight=examples.weights,
            groups=examples.groups,
            random_state=self.random_state,
        )
        return encoder, head

    def _load_unfitted(self) -> Any:
        """Forget what was fitted, and load the encoder that the parameters name."""
        for name in list(vars(self)):
            if name.endswith("_") or name in (ENCODER, TRAINED):
                delattr(self, name)
        return load_encoder(
            self._encoder_class,
            self._model(),
            revision=self.revision,
            device=self.device,
            dtype=self._starting_dtype(),
            backend=self.backend,
            local_files_only=self.local_files_only,
            verbose=self.verbose,
            **self._settings(),
        )

    def _starting_dtype(self) -> str:
        return self.dtype

    def _keep(self, encoder: Any, head: Any) -> None:
        self.head_ = head
        self.classes_ = head.classes_
        self.encoder_spec_ = encoder.spec
        self._encoder = encoder

    def _fit(
        self, X: Any, y: ArrayLike, groups: ArrayLike | None, weight: ArrayLike | None
    ) -> None:
        self._check_parameters()
        items, keys, usable = self._items(X)
        labels = _labels(y, len(usable))
        group = _per_row("groups", groups, len(usable))
        weights = _weights(weight, len(usable))
        with shared_memo():
            encoder = self._load_unfitted()
            rows = self._embed(encoder, items, keys)
            finite = finite_rows(rows)
            kept = np.flatnonzero(usable)[finite]
            if len(kept) < len(usable):
                n_lost = len(usable) - len(kept)
                _warn_unusable(encoder.item, n_lost, "left out of the fit")
            if weights is not None:
                positive = weights[kept] > 0
                kept = kept[positive]
                finite[finite] = positive
            chosen = np.flatnonzero(finite).tolist()
            chosen_keys = [keys[i] for i in chosen]
            examples = Examples(
                selected(items, chosen),
                chosen_keys,
                rows[finite],
                _checked_classes(labels[kept], len(usable)),
                None if weights is None else weights[kept],
                _joined(chosen_keys, group, kept),
            )
            self._keep(*self._learn(encoder, examples))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return each item's probability of each class.

        Parameters
        ----------
        X : sequence
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_items, n_classes)
            Columns in the order of ``classes_``; NaN in the rows of items that cannot
            be used.

        Raises
        ------
        InputError
            If ``X`` is not what `fit` takes.
        ModelUnavailableError
            If the encoder cannot be loaded, or is not the one of `fit`.

        Warns
        -----
        UnusableInputWarning
            If some items cannot be used.
        """
        return self._proba(X)

    def _proba(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        self._batch_size()
        items, keys, usable = self._items(X)
        out = np.full((len(usable), len(self.classes_)), np.nan)
        kept = np.flatnonzero(usable)
        if len(kept):
            encoder = self._fitted_encoder()
            rows = self._embed(encoder, items, keys)
            finite = finite_rows(rows)
            kept = kept[finite]
        if len(kept):
            out[kept] = self.head_.predict_proba(rows[finite])
        if len(kept) < len(usable):
            _warn_unusable(
                self._encoder_class.item,
                len(usable) - len(kept),
                "given NaN as their probabilities",
            )
        return out

    def predict(self, X: Any) -> NDArray[Any]:
        """Return each item's most probable class.

        Parameters
        ----------
        X : sequence
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_items,)
            Labels as `fit` was given them; the first of ``classes_`` for an item that
            cannot be used.

        Raises
        ------
        InputError
            If ``X`` is not what `fit` takes.
        ModelUnavailableError
            If the encoder cannot be loaded, or is not the one of `fit`.

        Warns
        -----
        UnusableInputWarning
            If some items cannot be used.
        """
        proba = np.nan_to_num(self._proba(X))
        labels: NDArray[Any] = self.classes_[proba.argmax(axis=1)]
        return labels

    def save_encoder(self, folder: str | Path) -> None:
        """Write the encoder of this fitted branch to a new folder.

        The folder holds safetensors weights and all settings; a branch whose
        ``encoder_spec_["model"]`` is set to it predicts the same.

        Parameters
        ----------
        folder : str or Path
            Folder to create.

        Raises
        ------
        InputError
            If the folder exists and is not empty.
        ModelUnavailableError
            If the encoder cannot be loaded, or is not the one of `fit`.
        """
        check_is_fitted(self)
        path = Path(folder)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            msg = (
                f"`folder` must be new or empty; {str(path)!r} is not. Choose another "
                f"folder, or empty this one."
            )
            raise InputError(msg)
        self._fitted_encoder().save(path)

    def _embed(
        self, encoder: Any, items: Sequence[Any], keys: list[str]
    ) -> NDArray[np.float32]:
        return embed(
            encoder,
            items,
            keys,
            batch_size=self._batch_size(),
            verbose=self.verbose,
            cache=disk_store(self.cache),
        )

    def _fitted_encoder(self) -> Any:
        """Return the encoder of `fit`, loaded again where this object lost it."""
        encoder = getattr(self, ENCODER, None)
        if (
            encoder is None
            or encoder.spec != self.encoder_spec_
            or (encoder.compiled is None) != (self.backend == TORCH)
        ):
            encoder = self._load(self.encoder_spec_)
            self._encoder = encoder
        return encoder

    def _load(self, spec: Spec, backend: str | None = None) -> Any:
        """Load the encoder that a spec describes, and no other."""
        return load_encoder(
            self._encoder_class,
            spec["model"],
            revision=spec["revision"],
            device=self.device,
            backend=backend or self.backend,
            local_files_only=self.local_files_only,
            verbose=self.verbose,
            expected=spec,
        )

    def _batch_size(self) -> int:
        size: object = self.batch_size
        whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
        if not whole or self.batch_size < 1:
            msg = (
                f"`batch_size` must be a whole number of at least 1; got {size!r}. Use "
                f"batch_size=32."
            )
            raise InputError(msg)
        return int(self.batch_size)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the encoder, which is never copied or stored."""
        state = dict(super().__getstate__())
        state.pop(ENCODER, None)
        return state

    def __sklearn_tags__(self) -> Any:
        """Say that `X` is no numeric table."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def _per_row(name: str, values: Any, n: int) -> NDArray[Any] | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != (n,):
        msg = (
            f"`{name}` must have one value a row, shape ({n},); got shape "
            f"{array.shape}. Pass `{name}` of the same rows as X."
        )
        raise InputError(msg)
    return array


def _labels(y: Any, n: int) -> NDArray[Any]:
    import pandas as pd

    labels = _per_row("y", y if y is not None else [], n)
    assert labels is not None
    missing = np.flatnonzero(pd.isna(labels))
    if len(missing):
        msg = (
            f"`y` must have a label in every row; {len(missing)} are missing, first in "
            f"rows {missing[:5].tolist()}. Leave these rows out."
        )
        raise InputError(msg)
    if labels.dtype == object and len({type(label) for label in labels}) == 1:
        return np.array(labels.tolist())
    return labels


def _weights(weight: Any, n: int) -> NDArray[np.float64] | None:
    values = _per_row("sample_weight", weight, n)
    if values is None:
        return None
    weights = values.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if len(bad):
        msg = (
            f"`sample_weight` must be finite and not negative; got "
            f"{weights[bad[0]]} in row {bad[0]}, and {len(bad)} such in all. Use 0 for "
            f"a row that should not count."
        )
        raise InputError(msg)
    return weights


def _checked_classes(y: NDArray[Any], n: int) -> NDArray[Any]:
    from sklearn.utils.multiclass import type_of_target

    kind = type_of_target(y) if len(y) else "empty"
    classes = list(dict.fromkeys(y.tolist()))
    if kind not in ("binary", "multiclass") or len(classes) < 2:
        msg = (
            f"`y` must hold at least 2 classes among the rows that can be used; got "
            f"{len(y)} of {n} rows with {len(classes)} "
            f"({', '.join(map(repr, classes[:5]))}). Add rows of another class, and "
            f"check that `y` holds labels, not measurements."
        )
        raise InputError(msg)
    return y


def _joined(
    keys: list[str], groups: NDArray[Any] | None, kept: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Join the caller's groups with identical items."""
    from mmevent.posts import connected_groups

    labels = [np.array(keys, dtype=object)]
    if groups is not None:
        labels.append(groups[kept])
    return connected_groups(*labels)


def _warn_unusable(item: str, n: int, outcome: str) -> None:
    warnings.warn(
        f"{n} {item}s cannot be used and are {outcome}: they do not decode, or the "
        f"encoder's output for them is not finite.",
        UnusableInputWarning,
        stacklevel=4,
    )
