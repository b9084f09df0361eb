"""Fine-tuning of an encoder under a linear layer."""

from __future__ import annotations

import random
import shutil
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import Trainer
from transformers.utils import SAFE_WEIGHTS_NAME

from mmevent._head import grouped_folds
from mmevent._loading import with_weights
from mmevent._memory import halved
from mmevent._network import Linear, Network, TrainableEncoder, choose_trained
from mmevent._trainer import Parts, Recipe, Rows, last_checkpoint, make_trainer
from mmevent.exceptions import MmeventWarning

_VALIDATION_FOLDS = 7  # one of them is the validation part
_WEIGHTS = "weights.safetensors"
_LAYER = "linear."

# Training sets the random states of the process, so there is one at a time.
_lock = threading.Lock()


class Trained(NamedTuple):
    """The encoder's weights that were trained, by name, and the layer."""

    weights: dict[str, NDArray[np.float32]]
    linear: Linear


def fine_tune(
    encoder: TrainableEncoder,
    rows: Rows,
    parts: Parts,
    linear: Linear,
    recipe: Recipe,
    *,
    folder: Path,
    verbose: bool = False,
) -> Trained:
    """Train a copy of an encoder, which starts from its weights, and the layer.

    A layer that starts from a fitted head keeps the encoder's features from being
    distorted by the first steps (Kumar et al. 2022). The loss is cross-entropy under
    the rows' weights; the weights of the epoch with the least loss on the second of
    the `parts` are kept, and the head has not seen these rows. Batch norms keep their
    statistics.

    `folder` holds a checkpoint of each epoch, from which an interrupted training goes
    on, and the result; the caller removes it.
    """
    with _lock, _kept_random_states():
        torch.manual_seed(recipe.seed)
        own = with_weights(encoder, {})
        network = Network(own, linear)
        names = choose_trained(own, recipe.n_blocks)
        finished = folder / _WEIGHTS
        if not finished.is_file():
            _train(network, rows, parts, recipe, folder, verbose)
            _write(network, names, finished)
            for checkpoint in folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
        weights, coef, intercept = _read(finished)
    return Trained(weights, linear._replace(coef=coef, intercept=intercept))


def _train(
    network: Network,
    rows: Rows,
    parts: Parts,
    recipe: Recipe,
    folder: Path,
    verbose: bool,
) -> None:
    """Train in place, with half the batch wherever the device's memory is too small."""
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    while True:
        trainer = make_trainer(network, rows, parts, recipe, folder, verbose=verbose)
        try:
            trainer.train(resume_from_checkpoint=last_checkpoint(folder))
        except RuntimeError as error:
            size = recipe.batch_size
            half = halved(size, error, "training on", "train_batch_size={}")
            n_accumulated = 2 * recipe.n_accumulated
            recipe = replace(recipe, batch_size=half, n_accumulated=n_accumulated)
            network.load_state_dict(start)
        else:
            break
    if network.diverged:
        _put_back(network, start, trainer, folder)


def split(rows: Rows, seed: int) -> Parts:
    """Return the rows to learn from, and those that say when to stop.

    The latter are a seventh, with all classes and with groups left whole; there are
    none where a class has too few groups for both.
    """
    everything = np.arange(len(rows.codes))
    folds = grouped_folds(rows.codes, rows.group, seed, n_folds=_VALIDATION_FOLDS)
    n_classes = len(np.unique(rows.codes))
    for learning, validation in folds:
        if len(np.unique(rows.codes[validation])) == n_classes:
            return learning, validation
    warnings.warn(
        "there is no validation part with every class, so that training runs for all "
        "its epochs: expected two groups or more of each class, to leave some out. "
        "Label more posts of the rarer class, or use train='head'.",
        MmeventWarning,
        stacklevel=5,
    )
    return everything, everything[:0]


def _put_back(
    network: Network, start: dict[str, Any], trainer: Trainer, folder: Path
) -> None:
    """Give a network whose loss was not finite the last good weights."""
    good = trainer.state.best_model_checkpoint or last_checkpoint(folder)
    state = load_file(Path(good) / SAFE_WEIGHTS_NAME) if good else start
    network.load_state_dict(state)
    kept = "those of its best epoch" if good else "those it began with"
    warnings.warn(
        f"the loss of training is not finite: the encoder's weights are {kept}. Lower "
        f"learning_rate, which is {trainer.args.learning_rate:g}.",
        MmeventWarning,
        stacklevel=2,
    )


def _write(network: Network, names: list[str], path: Path) -> None:
    """Keep what was trained, whole or not at all."""
    state = network.state_dict()
    kept = {name: state[f"model.{name}"] for name in names}
    kept |= {_LAYER + part: state[_LAYER + part] for part in ("weight", "bias")}
    draft = path.with_suffix(".part")
    save_file({name: tensor.cpu() for name, tensor in kept.items()}, draft)
    draft.replace(path)


def _read(path: Path) -> tuple[dict[str, NDArray[np.float32]], Any, Any]:
    """Return the encoder's weights, and the layer's."""
    arrays = {name: tensor.numpy() for name, tensor in load_file(path).items()}
    coef, intercept = (arrays.pop(_LAYER + part) for part in ("weight", "bias"))
    return arrays, coef.astype(np.float64), intercept.astype(np.float64)


@contextmanager
def _kept_random_states() -> Iterator[None]:
    """Put the random states of the process back, which transformers sets."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002
