"""Branches whose encoder stays as it is, or is fine-tuned with its head."""

from __future__ import annotations

from abc import ABC
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state

from mmevent._backends import OPENVINO, TORCH
from mmevent._disk_cache import disk_store
from mmevent._encoding import TRAINED, Spec
from mmevent._frozen import Examples, FrozenClassifier
from mmevent._head import balanced_weight, fit_head
from mmevent._loading import with_weights
from mmevent._precision import AUTO, FLOAT32, check_device
from mmevent._workspace import workspace
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmevent._network import Linear
    from mmevent._trainer import Parts, Recipe, Rows
    from mmevent._training import Trained

HEAD, ALL = "head", "all"


class TrainableClassifier(FrozenClassifier, ABC):
    """Base of the branches that can also train the encoder itself."""

    train: str | int
    n_epochs: int
    learning_rate: float
    train_batch_size: int
    gradient_accumulation_steps: int
    augment: bool = False

    _trained: dict[str, NDArray[np.float32]]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.train == HEAD:
            return
        known = self.train == ALL or _is_whole(self.train)
        if not known or isinstance(self.train, bool):
            raise InputError(
                f"train={self.train!r} is not known: expected 'head', 'all', or the "
                f"number of last blocks of the encoder that are trained. Use "
                f"train='head' to leave the encoder as it is."
            )
        if self.head is not None:
            raise InputError(
                f"head={self.head!r} cannot be trained with the encoder: expected "
                f"head=None with train={self.train!r}. Leave one of them out."
            )
        rate: object = self.learning_rate
        number = isinstance(rate, (int, float, np.number))
        if not number or not 0 < self.learning_rate < np.inf:
            raise InputError(
                f"learning_rate={rate!r} is not a number above 0. Use "
                f"learning_rate=5e-5."
            )
        for name in ("n_epochs", "train_batch_size", "gradient_accumulation_steps"):
            value = getattr(self, name)
            if not _is_whole(value):
                raise InputError(
                    f"{name}={value!r} is not a whole number of at least 1. Use "
                    f"{name}=1 or more."
                )

    def _starting_dtype(self) -> str:
        return super()._starting_dtype() if self.train == HEAD else FLOAT32

    def _load_unfitted(self) -> Any:
        encoder = super()._load_unfitted()
        if not isinstance(self.train, str):
            from mmevent._network import last_blocks

            last_blocks(encoder, int(self.train))
        if self.train != HEAD:
            check_device(self.dtype, encoder.device)
            _check_trainable(encoder)
        return encoder

    def _learn(self, encoder: Any, examples: Examples) -> tuple[Any, Any]:
        if self.train == HEAD:
            return super()._learn(encoder, examples)
        from mmevent._trainer import Rows
        from mmevent._training import split

        _, codes = np.unique(examples.labels, return_inverse=True)
        weight = balanced_weight(examples.labels, self.class_weight, examples.weights)
        own = np.ones(len(codes)) if examples.weights is None else examples.weights
        rows = Rows(examples.items, codes, weight / weight.mean(), own, examples.groups)
        recipe = self._recipe()
        parts = split(rows, recipe.seed)
        trained, head = self._tune(encoder, examples, rows, parts, recipe)
        if len(parts[1]) and trained.n_epochs:
            recipe = replace(recipe, n_epochs=trained.n_epochs)
            parts = np.arange(len(codes)), parts[1][:0]
            trained, head = self._tune(encoder, examples, rows, parts, recipe)
        self._trained, self.pretrained_spec_ = trained.weights, encoder.spec
        self.n_epochs_ = trained.n_epochs
        return self._with_trained(encoder, self.dtype), head

    def _with_trained(self, encoder: Any, dtype: str) -> Any:
        trained = with_weights(encoder, self._trained, dtype)
        if dtype == AUTO:
            try:
                trained.encode([trained.trial])
            except RuntimeError:  # some of its code may know no other format
                trained = with_weights(encoder, self._trained, FLOAT32)
            trained.n_encoded = 0
        if self.backend == OPENVINO:
            trained.compile()
        return trained

    def _tune(
        self, encoder: Any, examples: Examples, rows: Rows, parts: Parts, recipe: Recipe
    ) -> tuple[Trained, Any]:
        """Train from the head of one part of the rows; stop by the other, if any."""
        from mmevent._training import fine_tune, training_key

        head = self._starting_head(encoder.n_views, examples, parts[0])
        linear = _linear(head)
        key = training_key(encoder, examples.keys, rows, parts, linear, recipe)
        store = disk_store(self.cache)
        with workspace(None if store is None else store.training, key) as folder:
            trained = fine_tune(
                encoder,
                rows,
                parts,
                linear,
                recipe,
                folder=folder,
                verbose=self.verbose,
            )
        return trained, _with_layer(head, trained.linear, encoder.n_views)

    def _starting_head(
        self, n_views: int, examples: Examples, learning: NDArray[np.intp]
    ) -> Any:
        """Fit the default head on single views, each a row of its own."""
        single = np.repeat(learning, n_views)
        weights = examples.weights
        return fit_head(
            examples.embeddings[learning].reshape(len(single), -1),
            examples.labels[single],
            class_weight=self.class_weight,
            sample_weight=None if weights is None else weights[single],
            groups=examples.groups[single],
            random_state=self.random_state,
        )

    def _recipe(self) -> Recipe:
        from mmevent._trainer import Recipe

        seed = 0
        if self.random_state is not None:
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        return Recipe(
            n_blocks=None if self.train == ALL else int(self.train),
            n_epochs=int(self.n_epochs),
            learning_rate=float(self.learning_rate),
            batch_size=int(self.train_batch_size),
            n_accumulated=int(self.gradient_accumulation_steps),
            augment=bool(self.augment),
            seed=seed,
        )

    def _load(self, spec: Spec, backend: str | None = None) -> Any:
        if spec is not self.encoder_spec_ or not hasattr(self, TRAINED):
            return super()._load(spec, backend)
        encoder = super()._load(self.pretrained_spec_, TORCH)
        return self._with_trained(encoder, spec["dtype"])


def _check_trainable(encoder: Any) -> None:
    """Refuse what only a frozen encoder can do, before anything is encoded."""
    if encoder.device.startswith("cuda:") and encoder.device != "cuda:0":
        raise InputError(
            f"device={encoder.device!r} cannot train: expected the first GPU that is "
            f"visible, which transformers takes. Set the environment variable "
            f"CUDA_VISIBLE_DEVICES={encoder.device.removeprefix('cuda:')} and use "
            f"device='cuda'."
        )
    if not encoder.has_one_size:
        raise InputError(
            f"the model {encoder.spec['model']!r} sees pictures of many shapes, which "
            f"cannot be trained on together: expected one that crops or squeezes them "
            f"to one shape. Use train='head', or another model."
        )


def is_fine_tuned(branch: Any) -> bool:
    """Whether the fit of a branch, or of a part of it, trains an encoder."""
    if isinstance(branch, FrozenEstimator) or not hasattr(branch, "get_params"):
        return False
    if isinstance(branch, TrainableClassifier) and branch.train != HEAD:
        return True
    parts = [
        item[1] if isinstance(item, tuple) and len(item) == 2 else item
        for value in branch.get_params(deep=False).values()
        for item in (value if isinstance(value, (list, tuple)) else [value])
    ]
    return any(map(is_fine_tuned, parts))


def _is_whole(value: object) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and value >= 1  # type: ignore[operator]


def _linear(head: Any) -> Linear:
    from mmevent._network import Linear

    scaler, logistic = head[0], head[-1]
    return Linear(scaler.mean_, scaler.scale_, logistic.coef_, logistic.intercept_)


def _with_layer(head: Any, linear: Linear, n_views: int) -> Any:
    """Return a head for the features of all views that gives their mean logits."""
    wide = deepcopy(head)
    scaler, logistic = wide[0], wide[-1]
    for name in ("mean_", "scale_", "var_"):
        setattr(scaler, name, np.tile(getattr(scaler, name), n_views))
    logistic.coef_ = np.tile(linear.coef, n_views) / n_views
    logistic.intercept_ = linear.intercept
    scaler.n_features_in_ = logistic.n_features_in_ = logistic.coef_.shape[1]
    return wide
