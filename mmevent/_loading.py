"""Encoders from a model's folder, and what their settings files say."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmevent._cache import find_encoder, remember_encoder
from mmevent._encoding import (
    CENTRE,
    Encoder,
    ImageEncoder,
    Spec,
    TextEncoder,
    json_hash,
)
from mmevent._hub import (
    ModelSource,
    find_folder,
    locate_model,
    quiet_loading,
    resolve_device,
    unloadable,
)
from mmevent._sentence import sentence_settings
from mmevent.exceptions import InputError, ModelUnavailableError

EncoderT = TypeVar("EncoderT", bound=Encoder)

# One load at a time: threads that ask for the same encoder get the same one, and
# what is silenced while loading is put back.
_lock = threading.RLock()

# What a tokenizer makes of these identifies it better than its files, whose form
# changes between versions of the tokenizers library.
_PROBES = [
    "Thousands marched through the city today! #protest @someone https://t.co/x1Y",
    "今天成千上万的人走上街头抗议。",
    "Тысячи людей вышли на улицы; la Constitución, ¿qué pasó? Straße, naïve İ",
    "خرج الآلاف إلى الشوارع 🙂 हज़ारों लोग",
]


def load_encoder(
    kind: type[EncoderT],
    model: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    local_files_only: bool = False,
    verbose: bool = False,
    expected: Spec | None = None,
    **settings: Any,
) -> EncoderT:
    """Load an encoder, or return the same one if this process still has it.

    `settings` are `max_length` of a text encoder and `views` of image encoders. With
    `expected`, the spec of an earlier load, its preprocessing, pooling and length are
    used instead, and other weights than its own are refused.
    """
    place = resolve_device(device)
    folder = find_folder(model, kind.files)
    where: Hashable = model if folder is None else (str(folder), _signature(folder))
    wanted = json_hash(expected) if expected is not None else None
    given = tuple((name, repr(v)) for name, v in settings.items() if v is not None)
    key = (kind.kind, where, revision, given, place, wanted)
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
        encoder: EncoderT = LOADERS[kind](source, place, expected, **settings)
        spec, spec_hash = encoder.spec, json_hash(encoder.spec)
        spec_key = (kind.kind, where, spec["revision"], (), place, spec_hash)
        remember_encoder(encoder, key, spec_key)
    return encoder


def _signature(folder: Path) -> Hashable:
    """Return what changes when a folder's files are replaced."""
    paths = sorted([*folder.glob("*.*"), *folder.glob("*/config.json")])
    stats = ((path, path.stat()) for path in paths)
    return tuple((str(path), s.st_size, s.st_mtime_ns) for path, s in stats)


def _load_text(
    source: ModelSource,
    device: str,
    expected: Spec | None,
    *,
    max_length: int | None = None,
) -> TextEncoder:
    from transformers import AutoModel, AutoTokenizer

    settings = sentence_settings(source)
    model, missing = from_pretrained(source, AutoModel)
    surplus = {name for name in missing if not name.startswith("pooler.")}
    if surplus:
        raise incomplete(source, surplus)
    tokenizer = _tokenizer(source, AutoTokenizer)
    preprocessing = {
        "lower_case": settings["lower_case"],
        "prompt": settings["prompt"],
        "tokenizer_sha256": _tokenizer_hash(tokenizer),
    }
    pooling = {"mode": settings["mode"], "normalize": settings["normalize"]}
    if expected is None:
        limit = _longest_input(model, tokenizer)
        length = _max_length(max_length, settings["max_length"], limit)
    else:
        found = preprocessing["tokenizer_sha256"]
        check_same(
            source,
            "tokenizer is",
            expected["preprocessing"]["tokenizer_sha256"],
            found,
        )
        preprocessing, pooling = expected["preprocessing"], expected["pooling"]
        length = expected["max_length"]
    spec = encoder_spec(
        source, model, missing, preprocessing, pooling, length, expected
    )
    encoder = TextEncoder(model, tokenizer, spec, device=device, missing=missing)
    return tried(source, encoder, "a text")


def _load_image(
    source: ModelSource,
    device: str,
    expected: Spec | None,
    *,
    views: Sequence[str] = (CENTRE,),
) -> ImageEncoder:
    from PIL import Image
    from transformers import AutoModelForImageClassification

    model, missing = from_pretrained(source, AutoModelForImageClassification)
    if expected is None:
        pooling = {"input_of": _last_linear(source, model), "views": list(views)}
    else:
        pooling = expected["pooling"]
    layer = pooling["input_of"]
    surplus = {name for name in missing if not name.startswith(f"{layer}.")}
    if surplus:
        raise incomplete(source, surplus)
    preprocessing = expected["preprocessing"] if expected is not None else None
    processor = image_processor(source, preprocessing)
    if preprocessing is None:
        preprocessing = {"class": type(processor).__name__, **_plain(processor)}
    spec = encoder_spec(source, model, missing, preprocessing, pooling, None, expected)
    encoder = ImageEncoder(model, processor, spec, device=device, missing=missing)
    return tried(source, encoder, Image.new("RGB", (32, 32)))


# A module that defines another kind of encoder adds its own loader.
LOADERS: dict[type[Encoder], Callable[..., Any]] = {
    TextEncoder: _load_text,
    ImageEncoder: _load_image,
}


def tried(source: ModelSource, encoder: EncoderT, item: object) -> EncoderT:
    """Return the encoder if it can encode at all: some need more than one input."""
    try:
        encoder.encode([item])
    except Exception as error:
        raise unloadable(source, error) from error
    encoder.n_encoded = 0
    return encoder


def from_pretrained(source: ModelSource, auto: Any) -> tuple[Any, frozenset[str]]:
    """Return a model in float32 and the names of weights its checkpoint lacks."""
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
    return model, frozenset(info["missing_keys"])


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
        "dtype": "float32",
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


def _weights_hash(model: Any, missing: frozenset[str]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name in missing:
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _tokenizer(source: ModelSource, auto: Any) -> Any:
    try:
        with quiet_loading():
            tokenizer = auto.from_pretrained(
                source.folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise unloadable(source, error) from error
    check_tokenizer_files(source, tokenizer)
    if tokenizer.pad_token is None:
        raise unloadable(source, ValueError("its tokenizer has no padding token"))
    return tokenizer


def check_tokenizer_files(source: ModelSource, tokenizer: Any) -> None:
    """Refuse a tokenizer that has no file in the model's folder."""
    # Without any file transformers makes up a tokenizer that knows no word.
    names = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    if not any((source.folder / name).is_file() for name in names):
        problem = f"its tokenizer's file is missing ({' or '.join(sorted(names))})"
        raise unloadable(source, ValueError(problem))


def _tokenizer_hash(tokenizer: Any) -> str:
    return json_hash(
        [tokenizer.get_vocab(), tokenizer(_PROBES, verbose=False)["input_ids"]]
    )


def _longest_input(model: Any, tokenizer: Any) -> int:
    """Return the most tokens that model and tokenizer can take."""
    limits = [tokenizer.model_max_length]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions:
        table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
        # RoBERTa and its relatives number positions from padding_idx + 1.
        padding = getattr(table, "padding_idx", None)
        limits.append(positions - (0 if padding is None else padding + 1))
    return int(min(limits))


def _max_length(wanted: object, of_folder: int | None, limit: int) -> int:
    if wanted is None:
        return min(of_folder or limit, limit)
    if (
        isinstance(wanted, bool)
        or not isinstance(wanted, (int, np.integer))
        or not 3 <= wanted <= limit
    ):
        msg = (
            f"`max_length` must be None or a number of tokens from 3 to {limit}, the "
            f"most this model can read; got {wanted!r}. Use max_length=None for the "
            f"model's own length."
        )
        raise InputError(msg)
    return int(wanted)


def _last_linear(source: ModelSource, model: Any) -> str:
    """Return the name of the classifying layer, whose input is the embedding."""
    from torch.nn import Linear

    n_labels = model.config.num_labels
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, Linear) and module.out_features == n_labels
    ]
    if not names:
        problem = (
            f"it has no linear layer with {n_labels} outputs (its labels), whose "
            f"input would be the embedding"
        )
        raise unloadable(source, ValueError(problem))
    return str(names[-1])


def image_processor(source: ModelSource, preprocessing: Spec | None) -> Any:
    """Load an image processor, or rebuild the one that `preprocessing` describes."""
    import transformers
    from transformers.image_processing_utils import BaseImageProcessor

    try:
        with quiet_loading():
            if preprocessing is None:
                # Pillow's results do not depend on whether torchvision is installed.
                return transformers.AutoImageProcessor.from_pretrained(
                    source.folder,
                    backend="pil",
                    local_files_only=True,
                    trust_remote_code=False,
                )
            made = getattr(transformers, str(preprocessing["class"]))
            if not issubclass(made, BaseImageProcessor):
                raise TypeError(f"{preprocessing['class']} is no image processor")
            config = {k: v for k, v in preprocessing.items() if k != "class"}
            if "data_config" in config:  # timm's, which takes it under another name
                config["pretrained_cfg"] = config.pop("data_config")
            return made(**config)
    except Exception as error:
        raise unloadable(source, error) from error


def _plain(processor: Any) -> Spec:
    """Return a processor's settings as plain JSON."""
    settings: Spec = json.loads(processor.to_json_string())
    return settings


def incomplete(source: ModelSource, names: set[str]) -> ModelUnavailableError:
    some = ", ".join(sorted(names)[:3])
    problem = f"its checkpoint lacks {len(names)} weights of the encoder ({some}, …)"
    return unloadable(source, ValueError(problem))
