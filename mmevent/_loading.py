"""Encoders from a model's folder, one for all who ask for the same."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy, deepcopy
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mmevent._backends import OPENVINO, TORCH, check_processor
from mmevent._cache import find_encoder, remember_encoder
from mmevent._encoding import Encoder, Spec, json_hash
from mmevent._hub import (
    ModelSource,
    find_folder,
    locate_model,
    quiet_loading,
    resolve_device,
    unloadable,
)
from mmevent._precision import (
    AUTO,
    FLOAT32,
    cast,
    check_device,
    dtype_of,
    has_bf16,
    runnable,
)
from mmevent.exceptions import ModelUnavailableError

EncoderT = TypeVar("EncoderT", bound=Encoder)

# One load at a time: threads that ask for the same encoder get the same one, and
# what is silenced while loading is put back.
_lock = threading.RLock()


def load_encoder(
    kind: type[EncoderT],
    model: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = AUTO,
    backend: str = TORCH,
    local_files_only: bool = False,
    verbose: bool = False,
    expected: Spec | None = None,
    **settings: Any,
) -> EncoderT:
    """Load an encoder, or return the same one if this process still has it.

    `settings` are `max_length` of a text encoder and `views` of image encoders. With
    `expected`, the spec of an earlier load, its preprocessing, pooling, length and
    dtype are used instead, and other weights than its own are refused.
    """
    if backend == OPENVINO:
        device = check_processor(device)
    place = resolve_device(device)
    if expected is None:
        check_device(dtype, place)
    else:
        dtype = expected["dtype"]
    folder = find_folder(model, kind.files)
    where: Hashable = model if folder is None else (str(folder), _signature(folder))
    wanted = json_hash(expected) if expected is not None else None
    given = tuple((name, repr(v)) for name, v in settings.items() if v is not None)
    key = (kind.kind, where, revision, given, place, dtype, backend, wanted)
    with _lock:
        found = find_encoder(key)
        if isinstance(found, kind):
            return found
        source = locate_model(
            model,
            revision=revision,
            files=kind.files,
            local_files_only=local_files_only,
            verbose=verbose,
        )
        load = partial(LOADERS[kind], source, place, expected, **settings)
        try:
            encoder: EncoderT = load(dtype=dtype)
        except ModelUnavailableError:
            if dtype != AUTO or not has_bf16(place):
                raise
            encoder = load(dtype=FLOAT32)  # some of its code may know no other
        if backend == OPENVINO:
            encoder.compile()
        spec, spec_hash = encoder.spec, json_hash(encoder.spec)
        at = (place, spec["dtype"], backend, spec_hash)
        spec_key = (kind.kind, where, spec["revision"], (), *at)
        remember_encoder(encoder, key, spec_key)
    return encoder


def _signature(folder: Path) -> Hashable:
    """Return what changes when a folder's files are replaced."""
    paths = sorted([*folder.glob("*.*"), *folder.glob("*/config.json")])
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

# The module that defines a kind of encoder adds its loader.
LOADERS: dict[type[Encoder], Callable[..., Any]] = {}


def tried(source: ModelSource, encoder: EncoderT, item: object) -> EncoderT:
    """Return the encoder if it can encode at all: some need more than one input."""
    try:
        encoder.encode([item])
    except Exception as error:
        raise unloadable(source, error) from error
    encoder.n_encoded = 0
    return encoder


def from_pretrained(
    source: ModelSource, auto: Any, dtype: str = FLOAT32, device: str = "cpu"
) -> tuple[Any, frozenset[str]]:
    """Return a model and the names of weights its checkpoint lacks."""
    import torch

    try:
        with quiet_loading(), kept_generator():
            model, info = auto.from_pretrained(
                source.folder,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # whatever the library finds wrong with the files
        raise unloadable(source, error) from error
    return cast(model, dtype, device), frozenset(info["missing_keys"])


@contextmanager
def kept_generator() -> Iterator[None]:
    """Put torch's random state back: loading may initialise missing weights."""
    import torch

    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


def encoder_spec(
    source: ModelSource,
    model: Any,
    missing: frozenset[str],
    preprocessing: Spec,
    pooling: Spec,
    max_length: int | None,
    expected: Spec | None,
) -> Spec:
    weights = _weights_hash(model, missing)
    if expected is not None:
        check_same(source, "weights are", expected["weights_sha256"], weights)
    return {
        "model": source.name,
        "revision": source.revision,
        "weights_sha256": weights,
        "preprocessing": preprocessing,
        "pooling": pooling,
        "max_length": max_length,
        "dtype": dtype_of(model),
    }


def check_same(source: ModelSource, what: str, expected: str, found: str) -> None:
    if found == expected:
        return
    msg = (
        f"The {what} not the ones the model was fitted with: expected SHA-256 "
        f"{expected[:16]}… of {source.name!r}, found {found[:16]}… in "
        f"{source.folder}. Point to the original model (its revision too), or fit "
        f"again."
    )
    raise ModelUnavailableError(msg)


def with_weights(encoder: EncoderT, weights: Mapping[str, Any], dtype: str) -> EncoderT:
    """Return an encoder of its own in another format, some of its weights others."""
    import torch

    other = copy(encoder)
    other.lock, other._twins, other.compiled = threading.RLock(), [], None
    vars(other).pop("_is_foldable", None)  # it is tried anew
    with encoder.lock:
        for part in {"model", "tokenizer"} & vars(encoder).keys():
            setattr(other, part, deepcopy(getattr(encoder, part)))
    tensors = {name: torch.as_tensor(array) for name, array in weights.items()}
    other.model.load_state_dict(tensors, strict=False)
    model = cast(other.model, dtype, other.device)
    other.spec = encoder.spec | {
        "weights_sha256": _weights_hash(model, encoder.missing),
        "dtype": dtype_of(model),
    }
    other.model = runnable(model, other.device)
    other.dtype = dtype_of(other.model)
    other.n_encoded = 0
    return other


def _weights_hash(model: Any, missing: frozenset[str]) -> str:
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
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
    some = ", ".join(sorted(names)[:3])
    problem = f"its checkpoint lacks {len(names)} weights of the encoder ({some}, …)"
    return unloadable(source, ValueError(problem))
