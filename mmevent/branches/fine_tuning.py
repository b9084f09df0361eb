"""Fine-tuning of a model under a linear layer, from a head that was fitted first."""

from __future__ import annotations

import random
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sklearn.utils import check_random_state
from torch.utils.data import Subset
from transformers import Trainer
from transformers.utils import SAFE_WEIGHTS_NAME

from mmevent._common import as_whole, json_hash, warn_user
from mmevent.branches.checkpoints import workspace
from mmevent.branches.head import balanced_weight, fit_head, grouped_folds
from mmevent.branches.network import (
    Linear,
    Network,
    TrainableModel,
    choose_trained,
    last_blocks,
    layer_of,
    with_layer,
)
from mmevent.branches.trainer import (
    SETTINGS,
    Parts,
    Recipe,
    Rows,
    best_epoch,
    last_checkpoint,
    make_trainer,
)
from mmevent.encoders.base import Encoder
from mmevent.encoders.disk_cache import disk_store
from mmevent.encoders.hub import quiet_loading
from mmevent.encoders.loading import with_weights
from mmevent.encoders.runtime import FLOAT32, check_device, halved, has_bf16
from mmevent.exceptions import InputError, MmeventError, MmeventWarning, StorageError
from mmevent.posts.labels import check_seed

if TYPE_CHECKING:
    from mmevent.branches.base import EncodedClassifier, Examples

ALL = "all"  # value of `train`
_VALIDATION_FOLDS = 7  # one of them is the validation part
_WEIGHTS = "weights.safetensors"
_LAYER = "linear."
_EPOCHS = "n_epochs"
_TORCH_WRITER = re.compile("PytorchStreamWriter|inline_container")
_LIBRARIES = ("accelerate", "mmevent", "torch", "transformers")

# Training sets the random states of the process, so there is one at a time.
_lock = threading.Lock()


class Trained(NamedTuple):
    """The encoder's weights that were trained, by name, the layer, and the epochs.

    The epochs are 0 where the loss was not finite, whatever weights are kept.
    """

    weights: dict[str, NDArray[np.float32]]
    linear: Linear
    n_epochs: int


def check_training(classifier: EncodedClassifier, encoder: Any) -> None:
    """Validate the parameters of a classifier that trains its encoder."""
    train = classifier.train
    if not (train == ALL or _is_count(train)):
        raise InputError(
            f"train={train!r} is not known: expected 'head', 'all', or the number of "
            f"last blocks of the encoder that are trained. Use train='head' to leave "
            f"the encoder as it is."
        )
    if not (isinstance(encoder, Encoder) and encoder.trainable):
        raise InputError(
            f"train={train!r} cannot train the encoder {encoder!r}: expected a "
            f"TextEncoder or an ImageEncoder, got {type(encoder).__name__}. Use "
            f"train='head'."
        )
    if classifier.head is not None:
        raise InputError(
            f"head={classifier.head!r} cannot be trained with the encoder: expected "
            f"head=None with train={train!r}. Leave one of them out."
        )
    rate: Any = getattr(classifier, "learning_rate", None)
    if not isinstance(rate, (int, float, np.number)) or not 0 < rate < np.inf:
        raise InputError(
            f"learning_rate={rate!r} is not a number above 0. Use learning_rate=5e-5."
        )
    for name in ("n_epochs", "train_batch_size", "gradient_accumulation_steps"):
        value = getattr(classifier, name)
        if not _is_count(value):
            raise InputError(
                f"{name}={value!r} is not a whole number of at least 1. Use "
                f"{name}=1 or more."
            )


def _is_count(value: object) -> bool:
    return (as_whole(value) or 0) >= 1


def check_model(model: Any, train: str | int, dtype: str) -> None:
    """Refuse what only a frozen model can do, before anything is encoded."""
    if not model.trainable:
        raise InputError(
            f"train={train!r} cannot be used with the model {model.spec['model']!r}: "
            f"expected a network to train, got a static one, which has a vector a "
            f"token and nothing above them. Use train='head', or another model."
        )
    if not isinstance(train, str):
        last_blocks(model, int(train))
    check_device(dtype, model.device)
    if model.device.startswith("cuda:") and model.device != "cuda:0":
        raise InputError(
            f"device={model.device!r} cannot train: expected the first GPU that is "
            f"visible, which transformers takes. Set the environment variable "
            f"CUDA_VISIBLE_DEVICES={model.device.removeprefix('cuda:')} and use "
            f"device='cuda'."
        )
    if not model.has_one_size:
        raise InputError(
            f"the model {model.spec['model']!r} sees pictures of many shapes, which "
            f"cannot be trained on together: expected one that crops or squeezes them "
            f"to one shape. Use train='head', or another model."
        )


def fit_both(
    classifier: EncodedClassifier, encoder: Encoder, examples: Examples
) -> tuple[Any, int]:
    """Train an encoder and a head; return the head, and the passes over the rows.

    The rows are split first, to learn for how many epochs to train; then all of them
    are trained on for as many.
    """
    _, codes = np.unique(examples.labels, return_inverse=True)
    own = np.ones(len(codes)) if examples.weights is None else examples.weights
    weight = balanced_weight(examples.labels, classifier.class_weight, examples.weights)
    rows = Rows(examples.items, codes, weight / weight.mean(), own, examples.groups)
    recipe = _recipe(classifier)
    parts = split(rows, recipe.seed)
    trained, head = _tune(classifier, encoder, examples, rows, parts, recipe)
    if len(parts[1]) and trained.n_epochs:
        recipe = replace(recipe, n_epochs=trained.n_epochs)
        parts = np.arange(len(codes)), parts[1][:0]
        trained, head = _tune(classifier, encoder, examples, rows, parts, recipe)
    encoder.keep_trained(trained.weights)
    return head, trained.n_epochs


def _recipe(classifier: Any) -> Recipe:
    seed = 0
    if classifier.random_state is not None:
        state = check_seed(classifier.random_state)
        seed = int(check_random_state(state).randint(2**31 - 1))
    return Recipe(
        n_blocks=None if classifier.train == ALL else int(classifier.train),
        n_epochs=int(classifier.n_epochs),
        learning_rate=float(classifier.learning_rate),
        batch_size=int(classifier.train_batch_size),
        n_accumulated=int(classifier.gradient_accumulation_steps),
        augment=bool(getattr(classifier, "augment", False)),
        seed=seed,
    )


def _tune(
    classifier: EncodedClassifier,
    encoder: Encoder,
    examples: Examples,
    rows: Rows,
    parts: Parts,
    recipe: Recipe,
) -> tuple[Trained, Any]:
    """Train from the head of one part of the rows; stop by the other, if any."""
    model = encoder.load()
    head = _starting_head(classifier, model.n_views, examples, parts[0])
    linear = layer_of(head)
    key = training_key(model, examples.keys, rows, parts, linear, recipe)
    store = disk_store(encoder.cache)
    verbose = classifier.verbose or encoder.verbose
    with workspace(None if store is None else store.training, key) as folder:
        trained = fine_tune(
            model, rows, parts, linear, recipe, folder=folder, verbose=verbose
        )
    return trained, with_layer(head, trained.linear, model.n_views)


def _starting_head(
    classifier: EncodedClassifier,
    n_views: int,
    examples: Examples,
    learning: NDArray[np.intp],
) -> Any:
    """Fit the default head on single views, each a row of its own."""
    single = np.repeat(learning, n_views)
    weights = examples.weights
    return fit_head(
        examples.embeddings[learning].reshape(len(single), -1),
        examples.labels[single],
        class_weight=classifier.class_weight,
        sample_weight=None if weights is None else weights[single],
        groups=examples.groups[single],
        random_state=classifier.random_state,
    )


def fine_tune(
    model: TrainableModel,
    rows: Rows,
    parts: Parts,
    linear: Linear,
    recipe: Recipe,
    *,
    folder: Path,
    verbose: bool = False,
) -> Trained:
    """Train a copy of a model, which starts from its weights, and the layer.

    A layer that starts from a fitted head keeps the encoder's features from being
    distorted by the first steps (Kumar et al. 2022). The loss is cross-entropy under
    the rows' weights. Batch norms keep their statistics.

    With a second of the `parts`, whose rows the head has not seen, the number of epochs
    is wanted that orders these best, and no weights but those that were good before a
    loss was not finite. Without it the weights after all epochs are returned.

    `folder` holds a checkpoint of each epoch, from which an interrupted training goes
    on, and the result; the caller removes it.
    """
    with _lock, _kept_random_states(model.device), quiet_loading():
        found = _read(folder / _WEIGHTS)
        if found is None:
            torch.manual_seed(recipe.seed)
            network = Network(with_weights(model, {}, FLOAT32), linear)
            names = choose_trained(network.model, recipe.n_blocks)
            n_epochs = _train(network, rows, parts, recipe, folder, verbose)
            wanted = [] if len(parts[1]) and n_epochs else names
            _write(network, wanted, n_epochs, folder)
            found = _read(folder / _WEIGHTS)
            assert found is not None
    weights, coef, intercept, n_epochs = found
    linear = linear._replace(coef=coef, intercept=intercept)
    return Trained(weights, linear, n_epochs)


def training_key(
    model: TrainableModel,
    keys: Sequence[str],
    rows: Rows,
    parts: Parts,
    linear: Linear,
    recipe: Recipe,
) -> str:
    """Hash all that the result of a training depends on."""
    arrays = [*rows[1:], *parts, *linear]
    return json_hash(
        {
            "model": model.identity,
            "config": model.network.config.to_json_string(),
            "keys": list(keys),
            "arrays": [array.tolist() for array in arrays],
            "settings": {**asdict(recipe), **SETTINGS},
            "device": [model.device, has_bf16(model.device)],
            "versions": [version(name) for name in _LIBRARIES],
        }
    )


def _train(
    network: Network,
    rows: Rows,
    parts: Parts,
    recipe: Recipe,
    folder: Path,
    verbose: bool,
) -> int:
    """Train in place, with half the batch wherever the device's memory is too small.

    Return the number of epochs, 0 if it diverged.
    """
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    while True:
        trainer = make_trainer(network, rows, parts, recipe, folder, verbose=verbose)
        checkpoint, network.n_calls = last_checkpoint(folder), 0
        try:
            trainer.train(resume_from_checkpoint=checkpoint)
        except Exception as error:
            too_small = should_reduce_batch_size(error)
            if checkpoint and not network.n_calls and not too_small:
                _discard(checkpoint, error)
            elif isinstance(error, (OSError, SafetensorError)) or (
                _TORCH_WRITER.search(str(error))
            ):
                raise _no_room(folder, error) from error
            elif isinstance(error, RuntimeError):
                size = recipe.batch_size
                half = halved(size, error, "training on", "train_batch_size={}")
                twice = 2 * recipe.n_accumulated
                recipe = replace(recipe, batch_size=half, n_accumulated=twice)
            else:
                raise
            network.load_state_dict(start)
        else:
            break
    n_epochs = recipe.n_epochs
    if not len(parts[1]):  # nothing else would notice what the last step broke
        trainer.evaluate(Subset(trainer.train_dataset, [0]))
        weights = network.parameters()
        network.diverged |= not all(bool(w.isfinite().all()) for w in weights)
    else:
        n_epochs = best_epoch(trainer.state)
    if network.diverged:
        _put_back(network, start, trainer)
    return 0 if network.diverged else n_epochs


def _discard(checkpoint: str, error: Exception) -> None:
    """Remove a checkpoint that does not load."""
    shutil.rmtree(checkpoint)
    warn_user(
        f"a checkpoint of a training that was interrupted cannot be read "
        f"({type(error).__name__}: {error}), and is removed: training goes on from an "
        f"earlier one, or begins anew.",
        MmeventWarning,
    )


def _no_room(folder: Path, error: Exception) -> MmeventError:
    return StorageError(
        f"the training cannot keep its checkpoints: expected room in "
        f"{str(folder)!r}, got {type(error).__name__}: {error}. Free some, or name "
        f"another place by cache= or the environment variable MMEVENT_CACHE, and by "
        f"TMPDIR where there is no cache."
    )


def split(rows: Rows, seed: int) -> Parts:
    """Return rows to learn from, and those that say after how many epochs to stop.

    The latter are a seventh, with all classes and with groups left whole; there are
    none where a class has too few groups for both.
    """
    everything = np.arange(len(rows.codes))
    folds = grouped_folds(rows.codes, rows.group, seed, n_folds=_VALIDATION_FOLDS)
    n_classes = len(np.unique(rows.codes))
    for learning, validation in folds:
        if len(np.unique(rows.codes[validation])) == n_classes:
            return learning, validation
    warn_user(
        "there is no validation part with every class, so that training runs for all "
        "its epochs: expected two groups or more of each class, to leave some out. "
        "Label more posts of the rarer class, or use train='head'.",
        MmeventWarning,
    )
    return everything, everything[:0]


def _put_back(network: Network, start: dict[str, Any], trainer: Trainer) -> None:
    """Give a network that is no longer finite the last good weights."""
    best = trainer.state.best_model_checkpoint
    state = load_file(Path(best) / SAFE_WEIGHTS_NAME) if best else start
    network.load_state_dict(state)
    kept = "those of its best epoch" if best else "those it began with"
    warn_user(
        f"the loss of training is not finite: the encoder's weights are {kept}. Lower "
        f"learning_rate, which is {trainer.args.learning_rate:g}.",
        MmeventWarning,
    )


def _write(network: Network, names: list[str], n_epochs: int, folder: Path) -> None:
    """Keep what was trained, whole or not at all, and no checkpoint any more."""
    state = network.state_dict()
    kept = {name: state[f"network.{name}"] for name in names}
    kept |= {_LAYER + part: state[_LAYER + part] for part in ("weight", "bias")}
    kept[_EPOCHS] = torch.tensor(n_epochs)
    path = folder / _WEIGHTS
    draft = path.with_suffix(".part")
    try:
        save_file({name: tensor.cpu() for name, tensor in kept.items()}, draft)
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        raise _no_room(folder, error) from error
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)


def _read(path: Path) -> tuple[dict[str, NDArray[np.float32]], Any, Any, int] | None:
    """Return the encoder's weights, the layer's, and the epochs, if they are there."""
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        # Copies: what safetensors gives is the file itself, which will be removed.
        arrays = {name: tensor.numpy().copy() for name, tensor in tensors.items()}
        coef, intercept = (arrays.pop(_LAYER + part) for part in ("weight", "bias"))
        n_epochs = int(arrays.pop(_EPOCHS))
    except (KeyError, OSError, SafetensorError):  # the disk was full, or the power cut
        path.unlink()
        return None
    return arrays, coef.astype(np.float64), intercept.astype(np.float64), n_epochs


@contextmanager
def _kept_random_states(device: str) -> Iterator[None]:
    """Put the random states of the process back, which transformers sets."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    mps_state = torch.mps.get_rng_state() if device == "mps" else None
    try:
        with torch.random.fork_rng(devices=[0] if device.startswith("cuda") else []):
            yield
    finally:
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002
