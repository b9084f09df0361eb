"""What decides a model's vectors beside its weights: configuration, rules, versions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mmevent._common import warn_user
from mmevent.encoders.hub import ModelSource
from mmevent.exceptions import MmeventWarning, ModelUnavailableError

Config = dict[str, Any]

# Libraries whose code turns an item into a vector.
OF_TEXTS = ("torch", "transformers", "tokenizers")
OF_PICTURES = (
    *("torch", "torchvision", "transformers", "timm", "open_clip_torch", "tokenizers"),
    "pillow",
)
# Settings that no vector depends on: names, labels, and what only training reads.
_IDLE = {
    *("_name_or_path", "architectures", "transformers_version", "tokenizer_class"),
    *("dtype", "torch_dtype", "id2label", "label2id", "label_names", "problem_type"),
    *("initializer_range", "initializer_factor", "pretrained_cfg", "use_cache"),
    *("gradient_checkpointing", "output_attentions", "output_hidden_states"),
}
_ATTENTIONS = ("eager", "sdpa")
_RULES = "rules_sha256"
# Arguments of a tokenizer that say where it lies or how it was loaded, those that are
# written by saving, and special tokens, which have another form once they were saved.
_PLACE = re.compile(
    r"^_|_(?:file|path|dir|token|class)$|^(?:backend|is_local|local_files_only|"
    r"model_max_length|clean_up_tokenization_spaces|revision|subfolder|token)$"
)
_FEW = 3  # differences that a message names


@cache
def versions(names: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def text_config(source: ModelSource, network: Any, tokenizer: Any) -> Config:
    """Return the settings that decide the vectors of a text model."""
    return {
        "network": _network_config(network.config),
        "attention": network.config._attn_implementation,
        "tokenizer": _tokenizer_config(source, tokenizer),
        "versions": versions(OF_TEXTS),
    }


def picture_config(network: Any) -> Config:
    """Return the settings that decide the vectors of an image model of transformers."""
    return {
        "network": _network_config(network.config),
        "attention": network.config._attn_implementation,
        "versions": versions(OF_PICTURES),
    }


def clip_config(
    source: ModelSource, model: Config, network: Any, tokenizer: Any
) -> Config:
    """Return the settings that decide vectors of pictures and prompts in open_clip."""
    from open_clip import CLIPTextCfg, CLIPVisionCfg

    towers = {
        "vision_cfg": asdict(CLIPVisionCfg(**model["vision_cfg"])),
        "text_cfg": asdict(CLIPTextCfg(**model["text_cfg"])),
    }
    whole = {"quick_gelu": False} | model | towers
    config = {"network": json.loads(json.dumps(whole, default=str))}
    of_text = getattr(getattr(network, "text", None), "config", None)
    if of_text is not None:
        config["text"] = _network_config(of_text)
    if hasattr(tokenizer, "tokenizer"):
        config["tokenizer"] = _tokenizer_config(source, tokenizer.tokenizer)
    return config | {"versions": versions(OF_PICTURES)}


def _network_config(config: Any) -> Config:
    """Return those settings of a transformers configuration that decide vectors.

    Defaults that the model's file does not name are among them.
    """
    return _decisive(json.loads(json.dumps(config.to_dict(), default=str)))


def _decisive(settings: Config) -> Config:
    return {
        name: _decisive(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if name not in _IDLE and "drop" not in name
    }


def _tokenizer_config(source: ModelSource, tokenizer: Any) -> Config:
    """Return all that decides what a tokenizer of transformers makes of a text."""
    return {
        "inputs": list(tokenizer.model_input_names),
        "padding": [
            tokenizer.padding_side,
            tokenizer.pad_token_id,
            tokenizer.pad_token_type_id,
        ],
        "truncation_side": tokenizer.truncation_side,
        "split_special_tokens": bool(getattr(tokenizer, "split_special_tokens", False)),
        _RULES: _rules_hash(source, tokenizer),
    }


def _rules_hash(source: ModelSource, tokenizer: Any) -> str:
    """Hash vocabulary, merges, normalisation and special tokens."""
    digest = hashlib.sha256()
    rules = getattr(tokenizer, "backend_tokenizer", None)
    if rules is not None:
        # These are states of the last call, and set anew by each.
        rules.no_padding()
        rules.no_truncation()
        digest.update(rules.to_str().encode())
        return digest.hexdigest()
    for name in sorted(set(tokenizer.vocab_files_names.values())):
        path = source.folder / name
        if path.is_file():
            digest.update(f"{name}\n".encode() + path.read_bytes())
    added = tokenizer.get_added_vocab()
    arguments = {
        name: value
        for name, value in tokenizer.init_kwargs.items()
        if isinstance(value, (bool, int, float, str)) and not _PLACE.search(name)
    }
    digest.update(json.dumps([added, arguments], sort_keys=True).encode())
    return digest.hexdigest()


def restored(source: ModelSource, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return what loads a network with the settings that it was fitted with.

    Only single values are put back, and only ways to compute attention that torch has:
    another may be fetched from a network.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        source.folder, local_files_only=True, trust_remote_code=False
    )
    now, changes = _network_config(config), {}
    for name, value in expected["network"].items():
        single = isinstance(value, (bool, int, float, str)) or value is None
        if single and name in now and now[name] != value:
            changes[name] = (now[name], value)
            setattr(config, name, value)
    _warn_of(source, changes)
    attention = expected["attention"]
    known = attention if attention in _ATTENTIONS else None
    return {"config": config, "attn_implementation": known}


def restore_tokenizer(
    source: ModelSource, tokenizer: Any, expected: Mapping[str, Any]
) -> None:
    """Give a tokenizer the sides that it cut and padded when the model was fitted."""
    sides = expected["padding"][0], expected["truncation_side"]
    changes = {}
    for name, side in zip(("padding_side", "truncation_side"), sides, strict=True):
        found = getattr(tokenizer, name)
        if found != side and side in ("left", "right"):
            changes[name] = (found, side)
            setattr(tokenizer, name, side)
    _warn_of(source, changes)


def _warn_of(source: ModelSource, changes: Mapping[str, tuple[Any, Any]]) -> None:
    if changes:
        warn_user(
            f"the files in {source.folder} say other settings than when the model "
            f"{source.name!r} was fitted: {_differences(changes)}. Its own settings, "
            f"which were saved, are used. Put the original files back, or fit again.",
            MmeventWarning,
        )


def _differences(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """Say what some settings are, and what they were."""
    said = [f"{k} is {now!r} and was {was!r}" for k, (now, was) in changes.items()]
    more = f", and {len(said) - _FEW} more" * (len(said) > _FEW)
    return f"{'; '.join(said[:_FEW])}{more}"


def check_config(
    source: ModelSource, expected: Mapping[str, Any], found: Mapping[str, Any]
) -> None:
    """Refuse a model whose settings are not those that it was fitted with.

    Another version of a library may know more settings or fewer, and write the rules of
    a tokenizer in another form: then only settings that both know are compared.
    """
    before, now = dict(_flat(expected)), dict(_flat(found))
    names = before.keys() | now.keys()
    if expected["versions"] != found["versions"]:
        names = {name for name in before.keys() & now.keys() if _RULES not in name}
    changes = {
        name: (now.get(name), before.get(name))
        for name in sorted(names)
        if before.get(name) != now.get(name) and not name.startswith("versions.")
    }
    if changes:
        raise ModelUnavailableError(
            f"The settings are not the ones the model was fitted with: expected those "
            f"of {source.name!r} as they were, found in {source.folder} that "
            f"{_differences(changes)}. Point to the original model (its revision "
            f"too), or fit again."
        )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
