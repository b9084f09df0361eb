"""Models from their folders, one for all who ask for the same."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy, deepcopy
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mmevent._common import json_hash
from mmevent._settings import undisturbed, with_own_settings
from mmevent.encoders.cache import find_model, remember_model
from mmevent.encoders.hub import (
    ModelSource,
    find_folder,
    locate_model,
    quiet_loading,
    unloadable,
)
from mmevent.encoders.identity import Config, check_config, restored
from mmevent.encoders.model import Model, Spec
from mmevent.encoders.runtime import (
    AUTO,
    FLOAT32,
    OPENVINO,
    TORCH,
    cast,
    check_device,
    check_processor,
    dtype_of,
    full_precision,
    has_bf16,
    resolve_device,
    runnable,
)
from mmevent.exceptions import ModelUnavailableError

ModelT = TypeVar("ModelT", bound=Model)

_log = logging.getLogger(__name__)

# One load at a time: threads that ask for the same model get the same one, and
# what is silenced while loading is put back.
_lock = threading.RLock()


@with_own_settings
def load_model(
    kind: type[ModelT],
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = AUTO,
    backend: str = TORCH,
    local_files_only: bool = False,
    verbose: bool = False,
    expected: Spec | None = None,
    **settings: Any,
) -> ModelT:
    """Load a model, or return the same one if this process still has it.

    `settings` are `max_length` of a text model and `views` of image models. With
    `expected`, the spec of an earlier load, its preprocessing, pooling, length and
    dtype are used instead, and other weights than its own are refused.
    """
    if backend == OPENVINO:
        device = check_processor(device)
    place = resolve_device(device)
    if expected is None:
        check_device(dtype, place)
    else:
        if "config" not in expected:
            raise ModelUnavailableError(
                f"The settings of the model {name!r} are not known: expected the "
                f"configuration that it was fitted with, which an earlier version of "
                f"mmevent did not save. Fit again."
            )
        dtype = expected["dtype"]
    folder = find_folder(name, kind.files)
    where: Hashable = os.fspath(name)
    if folder is not None:
        where = str(folder), _signature(folder)
    wanted = json_hash(expected) if expected is not None else None
    given = tuple((name, repr(v)) for name, v in settings.items() if v is not None)
    key = (kind.kind, where, revision, given, place, dtype, backend, wanted)
    with _lock, full_precision(), undisturbed():
        found = find_model(key)
        if found is not None:
            # The key names its kind.
            return found  # type: ignore[return-value]
        source = locate_model(
            name,
            revision=revision,
            files=kind.files,
            local_files_only=local_files_only,
            verbose=verbose,
        )
        load = partial(kind.from_source, source, place, expected, **settings)
        try:
            model = load(dtype=dtype)
        except ModelUnavailableError as error:
            if dtype != AUTO or not has_bf16(place):
                raise
            model = load(dtype=FLOAT32)  # some of its code may know no other
            _log.info("%s runs in float32, not in bfloat16: %s", source.name, error)
        if backend == OPENVINO:
            model.compile()
        spec, spec_hash = model.spec, json_hash(model.spec)
        at = (place, spec["dtype"], backend, spec_hash)
        spec_key = (kind.kind, where, spec["revision"], (), *at)
        remember_model(model, key, spec_key)
    return model


def _signature(folder: Path) -> Hashable:
    """Return what changes when a folder's files are replaced."""
    paths = sorted([*folder.glob("*.*"), *folder.glob("*/*.*")])
    stats = ((path, path.stat()) for path in paths)
    return tuple((str(path), s.st_size, s.st_mtime_ns) for path, s in stats)


# What a tokenizer makes of these identifies it better than its files, whose form
# changes between versions of the tokenizers library.
TOKENIZER_PROBES = [
    "Thousands marched through the city today! #protest @someone https://t.co/x1Y",
    "今天成千上万的人走上街头抗议。",
    "Тысячи людей вышли на улицы; la Constitución, ¿qué pasó? Straße, naïve İ",
    "خرج الآلاف إلى الشوارع 🙂 हज़ारों लोग",
]


def tried(source: ModelSource, model: ModelT) -> ModelT:
    """Return a model if it can encode at all: some need more than one input."""
    try:
        model.encode([model.trial])
    except Exception as error:
        raise unloadable(source, error) from error
    model.n_encoded = 0
    return model


def from_pretrained(
    source: ModelSource,
    auto: Any,
    dtype: str = FLOAT32,
    device: str = "cpu",
    expected: Spec | None = None,
) -> tuple[Any, frozenset[str]]:
    """Return a network and the names of weights its checkpoint lacks.

    With `expected`, an earlier load's spec, its settings replace those of the folder.
    """
    import torch

    try:
        before = {} if expected is None else restored(source, expected["config"])
        with quiet_loading(), kept_generator():
            network, info = auto.from_pretrained(
                source.folder,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **before,
            )
    except Exception as error:  # whatever the library finds wrong with the files
        raise unloadable(source, error) from error
    return cast(network, dtype, device), frozenset(info["missing_keys"])


@contextmanager
def kept_generator() -> Iterator[None]:
    """Put torch's random state back: loading may initialise missing weights."""
    import torch

    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


def model_spec(
    source: ModelSource,
    network: Any,
    missing: frozenset[str],
    config: Config,
    preprocessing: Spec,
    pooling: Spec,
    max_length: int | None,
    expected: Spec | None,
) -> Spec:
    """Return all that determines what a model gives; refuse an unexpected one."""
    weights = _weights_hash(network, missing)
    if expected is not None:
        check_same(source, "weights are", expected["weights_sha256"], weights)
        check_config(source, expected["config"], config)
        config = expected["config"]
    return {
        "model": source.name,
        "revision": source.revision,
        "weights_sha256": weights,
        "config": config,
        "preprocessing": preprocessing,
        "pooling": pooling,
        "max_length": max_length,
        "dtype": dtype_of(network),
    }


def check_same(source: ModelSource, what: str, expected: str, found: str) -> None:
    """Refuse what is not the same as when the model was fitted."""
    if found == expected:
        return
    msg = (
        f"The {what} not the ones the model was fitted with: expected SHA-256 "
        f"{expected[:16]}… of {source.name!r}, found {found[:16]}… in "
        f"{source.folder}. Point to the original model (its revision too), or fit "
        f"again."
    )
    raise ModelUnavailableError(msg)


def trained_copy(
    model: ModelT, weights: Mapping[str, Any], dtype: str, backend: str
) -> ModelT:
    """Return a model with fine-tuned weights that can encode, as `backend` runs it."""
    with full_precision(), undisturbed():
        trained = with_weights(model, weights, dtype)
        if dtype == AUTO:
            try:
                trained.encode([trained.trial])
            except RuntimeError as error:  # some of its code may know no other format
                trained = with_weights(model, weights, FLOAT32)
                name = model.spec["model"]
                _log.info("%s runs in float32, not in bfloat16: %s", name, error)
            trained.n_encoded = 0
        if backend == OPENVINO:
            trained.compile()
    return trained


def with_weights(model: ModelT, weights: Mapping[str, Any], dtype: str) -> ModelT:
    """Return a model of its own in another format, some of its weights others."""
    import torch

    other = copy(model)
    other.lock, other._twins, other.compiled = threading.RLock(), [], None
    vars(other).pop("_is_foldable", None)  # it is tried anew
    with model.lock:
        for part in {"network", "tokenizer"} & vars(model).keys():
            setattr(other, part, deepcopy(getattr(model, part)))
    tensors = {name: torch.as_tensor(array) for name, array in weights.items()}
    other.network.load_state_dict(tensors, strict=False)
    network = cast(other.network, dtype, other.device)
    other.spec = model.spec | {
        "weights_sha256": _weights_hash(network, model.missing),
        "dtype": dtype_of(network),
    }
    other.network = runnable(network, other.device)
    other.dtype = dtype_of(other.network)
    other.n_encoded = 0
    return other


def _weights_hash(network: Any, missing: frozenset[str]) -> str:
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if name in missing:
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(content.numpy().data)
    return digest.hexdigest()


def check_tokenizer_files(source: ModelSource, tokenizer: Any) -> None:
    """Refuse a tokenizer that has no file in the model's folder."""
    # Without any file transformers makes up a tokenizer that knows no word.
    names = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    if not any((source.folder / name).is_file() for name in names):
        problem = f"its tokenizer's file is missing ({' or '.join(sorted(names))})"
        raise unloadable(source, ValueError(problem))


def incomplete(source: ModelSource, names: set[str]) -> ModelUnavailableError:
    """Return the error of a checkpoint that lacks weights."""
    some = ", ".join(sorted(names)[:3])
    problem = f"its checkpoint lacks {len(names)} weights of the encoder ({some}, …)"
    return unloadable(source, ValueError(problem))
