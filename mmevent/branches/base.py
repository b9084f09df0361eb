"""What all classifiers of items share: an encoder, a head, and a way to train them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from mmevent._settings import with_own_settings
from mmevent.branches.head import check_head, fit_head, seeded
from mmevent.branches.rows import (
    checked_classes,
    checked_labels,
    checked_weights,
    joined_groups,
    per_row,
    spread_rows,
    usable_items,
)
from mmevent.encoders.base import Encoder, warn_unusable
from mmevent.encoders.cache import shared_memo
from mmevent.encoders.model import Encoded, finite_rows, select
from mmevent.encoders.runtime import FLOAT32
from mmevent.exceptions import InputError
from mmevent.posts.alignment import aligned

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

HEAD = "head"  # value of `train` that leaves the encoder as it is


class Examples(NamedTuple):
    """What a classifier learns from: usable items, with their keys, and a row for each.

    `groups` joins the caller's groups with identical items.
    """

    items: Sequence[Any]
    keys: list[str]
    embeddings: NDArray[Any]
    labels: NDArray[Any]
    weights: NDArray[np.float64] | None
    groups: NDArray[np.intp]


class EncodedClassifier(ClassifierMixin, BaseEstimator, ABC):
    """Base of the classifiers of items: an encoder and a head on its features.

    A subclass says how `X` is read, and which kind of encoder a name stands for.
    """

    # Requested by default, so that a meta-estimator with metadata routing passes both.
    __metadata_request__fit = {"groups": True, "sample_weight": True}

    item: str
    encoder: Any
    verbose: bool
    head: Any = None
    class_weight: Mapping[Any, float] | str | None = None
    train: str | int = HEAD
    random_state: int | np.random.RandomState | None = None

    _encoder_class: type[Any]  # that a name stands for
    _encoder_base: type[Encoder]  # that an encoder of this package must be of

    @abstractmethod
    def _read(self, X: Any) -> tuple[Sequence[Any], list[str]]:
        """Return the items of `X` and their keys; that of an unreadable one is ""."""

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Encode the items and fit the head, and train the encoder if asked to.

        Parameters
        ----------
        X : sequence of str, or of PIL.Image.Image, or Images
            Texts, or images, which are treated as RGB.
        y : array-like of shape (n_items,)
            Labels, of two or more classes.
        groups : array-like of shape (n_items,) or None, default=None
            Rows that the head's folds must not split, such as the images of a post;
            equal items never are.
        sample_weight : array-like of shape (n_items,) or None, default=None
            Weight of each row, at least 0.

        Returns
        -------
        EncodedClassifier
            The same object, fitted.

        Raises
        ------
        InputError
            If ``X``, ``y``, ``groups``, ``sample_weight`` or a parameter is not as
            described.
        ModelUnavailableError
            If the model cannot be found, reached or loaded.
        StorageError
            If there is no room for the checkpoints of a training.
        DeviceMemoryError
            If the device's memory is too small for one item at a time.

        Warns
        -----
        MmeventWarning
            If a training's loss is not finite, if its rows cannot be split or its
            checkpoints not be used, or if a batch is halved for lack of memory.
        UnusableInputWarning
            If some items cannot be read or encoded; they are left out.
        """
        self._fit(X, y, groups, sample_weight)
        return self

    @with_own_settings
    def _fit(
        self, X: Any, y: ArrayLike, groups: ArrayLike | None, weight: ArrayLike | None
    ) -> None:
        encoder = self._checked_encoder()
        items, keys = self._read(X)
        labels = checked_labels(aligned(y, X, "y"), len(items))
        group = per_row("groups", aligned(groups, X, "groups"), len(items))
        weight = aligned(weight, X, "sample_weight")
        weights = checked_weights(weight, len(items))
        counts = np.ones(len(items), bool) if weights is None else weights > 0
        self._forget()
        with shared_memo():
            if isinstance(encoder, Encoder):
                self._pin(encoder)
                rows = encoder.encode(items, verbose=self.verbose).rows
                tried = np.ones(len(items), dtype=bool)
            else:
                rows, tried = self._fit_custom(encoder, items, labels, counts)
            finite = finite_rows(rows)
            n_lost = int((tried & ~finite).sum())
            if n_lost:
                warn_unusable(self.item, n_lost, "left out of the fit")
            kept = np.flatnonzero(finite & counts)
            kept_keys = [keys[i] for i in kept]
            examples = Examples(
                select(items, kept),
                kept_keys,
                rows[kept],
                checked_classes(labels[kept], len(items)),
                None if weights is None else weights[kept],
                joined_groups(kept_keys, group, kept),
            )
            head = self._learn(encoder, examples)
            self._keep(encoder, head)

    def _checked_encoder(self) -> Any:
        """Validate the parameters; return a copy of the encoder that they name."""
        encoder = self.encoder
        if isinstance(encoder, (str, os.PathLike)) and os.fspath(encoder):
            encoder = self.named_encoder(encoder)
        usable = isinstance(encoder, self._encoder_base) or (
            not isinstance(encoder, (Encoder, type))
            and hasattr(encoder, "fit")
            and hasattr(encoder, "transform")
        )
        if not usable:
            raise InputError(
                f"`encoder` must be the name or the folder of a model, an encoder of "
                f"{self.item}s, or a scikit-learn transformer of {self.item}s; got "
                f"{self.encoder!r}. Pass for example "
                f"encoder={self._encoder_class.__name__}()."
            )
        if isinstance(encoder, Encoder):
            encoder.check()
        self._check_learning(encoder)
        return clone(encoder)

    def _check_learning(self, encoder: Any) -> None:
        """Validate the parameters of head and training."""
        check_head(self.head, self.class_weight)
        if self.train != HEAD:
            from mmevent.branches.fine_tuning import check_training

            check_training(self, encoder)

    def _pin(self, encoder: Encoder) -> Any:
        """Load an encoder's model, and check it before anything is encoded."""
        if self.train == HEAD:
            return encoder.pin()
        from mmevent.branches.fine_tuning import check_model

        model = encoder.pin(dtype=FLOAT32)
        check_model(model, self.train, encoder.dtype)
        return model

    def _fit_custom(
        self,
        encoder: Any,
        items: Sequence[Any],
        labels: NDArray[Any],
        counts: NDArray[np.bool_],
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Fit a transformer on the usable rows; return all rows, and which count."""
        usable = usable_items(items)
        chosen = np.flatnonzero(usable & counts)
        checked_classes(labels[chosen], len(items))
        some = select(items, chosen)
        seed = self.random_state
        if isinstance(seed, np.random.RandomState):
            seed = seed.randint(2**31 - 1)
        if seed is not None:
            seeded(encoder, int(seed))
        if hasattr(encoder, "fit_transform"):
            found = encoder.fit_transform(some, labels[chosen])
        else:
            found = encoder.fit(some, labels[chosen]).transform(some)
        return spread_rows(found, chosen, len(items), encoder), counts

    def _learn(self, encoder: Any, examples: Examples) -> Any:
        """Return a classifier of embeddings; train the encoder first if asked to."""
        if self.train != HEAD:
            from mmevent.branches.fine_tuning import fit_both

            head, self.n_epochs_ = fit_both(self, encoder, examples)
            return head
        return fit_head(
            examples.embeddings,
            examples.labels,
            head=self.head,
            class_weight=self.class_weight,
            sample_weight=examples.weights,
            groups=examples.groups,
            random_state=self.random_state,
        )

    def _forget(self) -> None:
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)

    def _keep(self, encoder: Any, head: Any) -> None:
        self.head_ = head
        self.classes_ = head.classes_
        self.encoder_ = encoder
        if isinstance(self.encoder, (str, os.PathLike)):
            encoder.verbose = False  # from here on, this object's own parameter counts

    def named_encoder(self, name: str | os.PathLike[str]) -> Encoder:
        """Return the encoder that a name or a folder stands for.

        Parameters
        ----------
        name : str or path
            As the parameter ``encoder``.

        Returns
        -------
        Encoder
            With its defaults.
        """
        encoder: Encoder = self._encoder_class(name, verbose=self.verbose)
        return encoder

    def find_model(self) -> None:
        """Validate the parameters, and fetch the encoder's files; load nothing.

        Raises
        ------
        InputError
            If a parameter is not as described.
        ModelUnavailableError
            If the model cannot be found or reached.
        """
        encoder = self._checked_encoder()
        if isinstance(encoder, Encoder):
            encoder.find()

    def encode_ahead(self, X: Any) -> Encoded | None:
        """Encode items under the open memo, before `fit` or `predict` asks for them.

        Parameters
        ----------
        X : sequence
            As in `fit`.

        Returns
        -------
        Encoded or None
            A row and a status of each item; None where the encoder is not ours.
        """
        encoder = getattr(self, "encoder_", None)
        if encoder is None:
            encoder = self._checked_encoder()
            if isinstance(encoder, Encoder):
                self._pin(encoder)
        if not isinstance(encoder, Encoder):
            return None
        return encoder.encode(X, verbose=self.verbose)

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

    @with_own_settings
    def _proba(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        items, _ = self._read(X)
        out = np.full((len(items), len(self.classes_)), np.nan)
        kept = np.zeros(len(items), dtype=bool)
        if len(items):
            rows = self._embeddings(items)
            kept = finite_rows(rows)
        if kept.any():
            out[kept] = self.head_.predict_proba(rows[kept])
        if not kept.all():
            n_lost = len(kept) - int(kept.sum())
            outcome = "given NaN as their probabilities"
            warn_unusable(self.item, n_lost, outcome)
        return out

    def _embeddings(self, items: Sequence[Any]) -> NDArray[Any]:
        if isinstance(self.encoder_, Encoder):
            return self.encoder_.encode(items, verbose=self.verbose).rows
        chosen = np.flatnonzero(usable_items(items))
        found = self.encoder_.transform(select(items, chosen)) if len(chosen) else []
        return spread_rows(found, chosen, len(items), self.encoder_)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return each item's most probable class; errors are those of `predict_proba`.

        Parameters
        ----------
        X : sequence
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_items,)
            Labels as `fit` was given them; the first of ``classes_`` for an item that
            cannot be used.
        """
        proba = np.nan_to_num(self._proba(X))
        labels: NDArray[Any] = self.classes_[proba.argmax(axis=1)]
        return labels

    def __sklearn_tags__(self) -> Any:
        """Say that `X` is no numeric table."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags
