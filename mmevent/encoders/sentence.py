"""Folders of sentence-transformers: what they say, their modules, and writing one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmevent._common import json_hash, write_json
from mmevent.encoders.hub import (
    STATIC,
    TRANSFORMER,
    ModelSource,
    quiet_loading,
    unloadable,
)
from mmevent.encoders.identity import OF_TEXTS, versions
from mmevent.encoders.loading import check_same
from mmevent.encoders.runtime import MODULES
from mmevent.exceptions import InputError

LIBRARY = "sentence-transformers"

Pooling = dict[str, Any]

# What may follow the first module, and whether it has weights.
_MODULES = {
    "Pooling": False,
    "Dense": True,
    "LayerNorm": True,
    "Normalize": False,
    "Dropout": False,
}
# Poolings that are done without the library, whose import takes seconds.
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
}
# Settings of the first module that move no vector, and the others as they must be.
_IDLE = {
    *("max_seq_length", "do_lower_case", "unpad_inputs", "query_length"),
    *("document_length", "query_expansion"),
}
_USUAL = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "modality_config": {"method": "forward", "method_output_name": "last_hidden_state"},
}
_OF_FIRST = "sentence_*_config.json"
_PREFIX, _ACTIVATIONS = "sentence_transformers.models.", "torch.nn.modules."
WEIGHTS = "model.safetensors"
_OUTPUT = "sentence_embedding"


class Sentence(NamedTuple):
    """What a folder says of its modules and prompts."""

    first: str
    path: str  # of the first module
    modules: tuple[tuple[str, str], ...]  # kinds and paths of those after it
    pooling: Pooling
    lower_case: bool = False
    max_length: int | None = None
    prompts: Mapping[str, str] = {}
    default: str | None = None  # name of a prompt


def read_sentence(source: ModelSource) -> Sentence:
    """Return what the files say; without them, a normalised mean of the tokens."""
    listed = _read_json(source, "modules.json")
    if listed is None:
        return _without_files(source)
    try:
        kinds = [str(module["type"]) for module in listed]
        paths = [str(module.get("path", "")) for module in listed]
    except (AttributeError, KeyError, TypeError) as error:
        problem = ValueError("its modules.json is no list of modules")
        raise unloadable(source, problem) from error
    names = [kind.rsplit(".", 1)[-1] for kind in kinds]
    first, others = names[0] if names else "", names[1:]
    ours = all(kind.startswith("sentence_transformers.") for kind in kinds)
    known = first in (TRANSFORMER, STATIC) and set(others) <= _MODULES.keys()
    pooled = first == STATIC or "Pooling" in others
    if not (ours and known and pooled and all(_is_within(path) for path in paths)):
        problem = ValueError(
            f"its modules.json lists {', '.join(kinds)}, where a {TRANSFORMER} with a "
            f"Pooling, or a {STATIC}, may be followed by {', '.join(_MODULES)}"
        )
        raise unloadable(source, problem)
    modules = tuple(zip(others, paths[1:], strict=True))
    own = _settings_of_first(source, paths[0])
    given = _read_json(source, "config_sentence_transformers.json") or {}
    return Sentence(
        first,
        paths[0],
        modules,
        _simple(source, first, modules) or {"modules": names},
        bool(own.get("do_lower_case")),
        own.get("max_seq_length"),
        given.get("prompts") or {},
        given.get("default_prompt_name"),
    )


def _without_files(source: ModelSource) -> Sentence:
    config = _read_json(source, "config.json") or {}
    if config.get("model_type") == "model2vec":
        modules = (("Normalize", ""),) * bool(config.get("normalize"))
        names = [STATIC, *(name for name, _ in modules)]
        return Sentence(STATIC, "", modules, {"modules": names})
    return Sentence(TRANSFORMER, "", (), {"mode": "mean", "normalize": True})


def _is_within(path: str) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _settings_of_first(source: ModelSource, path: str) -> dict[str, Any]:
    """Return the settings of a transformer; refuse those that are not followed."""
    names = sorted(file.name for file in (source.folder / path).glob(_OF_FIRST))
    own: dict[str, Any] = {}
    for name in names:
        own = own or _read_json(source, str(Path(path) / name)) or {}
    for name, value in own.items():
        if name == "modality_config" and isinstance(value, dict):
            value = value.get("text")
        if name not in _IDLE and value and value != _USUAL.get(name):
            problem = ValueError(f"its {names[0]} asks for {name}={value!r}")
            raise unloadable(source, problem)
    return own


def _simple(
    source: ModelSource, first: str, modules: Sequence[tuple[str, str]]
) -> Pooling | None:
    """Return the pooling where the library is not needed for it."""
    names = [name for name, _ in modules]
    if first == STATIC or names not in (["Pooling"], ["Pooling", "Normalize"]):
        return None
    given = _read_json(source, str(Path(modules[0][1]) / "config.json")) or {}
    modes = [_MODES.get(k, k) for k, on in given.items() if "pooling_mode_" in k and on]
    modes = [given["pooling_mode"]] if "pooling_mode" in given else modes
    if len(modes) != 1 or modes[0] not in _MODES.values():
        return None
    for _, path in modules[1:]:
        of_norm = _read_json(source, str(Path(path) / "config.json")) or {}
        if not set(of_norm.values()) <= {_OUTPUT, None}:
            return None
    if not given.get("include_prompt", True):
        return None
    return {"mode": modes[0], "normalize": len(names) == 2}


def choose_prompt(source: ModelSource, sentence: Sentence, wanted: str | None) -> str:
    """Return the text to put before each text: a named one, a given one, or none.

    Raises
    ------
    InputError
        If the model has no prompt of that name.
    """
    name = sentence.default if wanted is None else wanted
    if name is None:
        return ""
    if name in sentence.prompts:
        return sentence.prompts[name] or ""
    if wanted is None:
        problem = ValueError(f"its default prompt {name!r} is none of its prompts")
        raise unloadable(source, problem)
    if not wanted or any(sign.isspace() or sign == ":" for sign in wanted):
        return wanted
    known = ", ".join(map(repr, sorted(sentence.prompts))) or "none"
    raise InputError(
        f"prompt={wanted!r} is not the name of a prompt of the model {source.name!r}: "
        f"expected one of those that it has ({known}), or the words themselves, which "
        f"hold a space or a colon, such as 'query: '. Use prompt=None for the model's "
        f"own default, or prompt='' for none."
    )


def attach_modules(
    source: ModelSource, sentence: Sentence, network: Any, pooling: Pooling
) -> dict[str, Any]:
    """Let a network hold the modules after it; return what of them decides vectors.

    So their weights are hashed, copied, trained and moved with its own.
    """
    from torch.nn import ModuleList

    check_modules(source, sentence, pooling)
    modules = ModuleList(load_modules(source, sentence))
    setattr(network, MODULES, modules.eval())
    return config_of(modules)


def check_modules(source: ModelSource, sentence: Sentence, pooling: Pooling) -> None:
    """Refuse other modules than a model was fitted with."""
    names = [sentence.first, *(name for name, _ in sentence.modules)]
    expected, found = json_hash(pooling["modules"]), json_hash(names)
    check_same(source, "modules are", expected, found)


def load_modules(source: ModelSource, sentence: Sentence) -> list[Any]:
    """Return the modules of the library that follow the first."""
    from sentence_transformers.sentence_transformer import modules as library

    found = []
    for name, path in sentence.modules:
        if _MODULES[name]:
            require_safetensors(source, path)
        if name == "Dense":
            _check_activation(source, path)
        try:
            with quiet_loading():
                module = getattr(library, name).load(
                    str(source.folder), subfolder=path, local_files_only=True
                )
        except Exception as error:  # whatever the library finds wrong with the files
            raise unloadable(source, error) from error
        found.append(module)
    return found


def require_safetensors(source: ModelSource, path: str) -> None:
    """Refuse a module whose weights are missing, or pickled."""
    if not (source.folder / path / WEIGHTS).is_file():
        problem = ValueError(
            f"{Path(path) / WEIGHTS} is missing, and pickled weights (.bin, .pt) are "
            f"refused because loading them can run code"
        )
        raise unloadable(source, problem)


def _check_activation(source: ModelSource, path: str) -> None:
    """Refuse a function that the library would import, or leave out with a word."""
    config = _read_json(source, str(Path(path) / "config.json")) or {}
    name = str(config.get("activation_function", _ACTIVATIONS))
    if not name.startswith(_ACTIVATIONS):
        problem = f"its {path} has the activation {name}, which is none of torch.nn"
        raise unloadable(source, ValueError(problem))


def width_after(modules: Sequence[Any], width: int) -> int:
    """Return how many features some modules give."""
    for module in modules:
        width = getattr(module, "get_embedding_dimension", lambda width=width: width)()
    return width


def config_of(modules: Iterable[Any]) -> dict[str, Any]:
    """Return all settings of modules, defaults too, and the versions of libraries."""
    settings = {
        f"{i} {type(module).__name__}": json.loads(
            json.dumps(module.get_config_dict(), default=str)
        )
        for i, module in enumerate(modules, 1)
    }
    return {"modules": settings, "versions": versions((*OF_TEXTS, LIBRARY))}


def run_modules(modules: Sequence[Any], features: dict[str, Any]) -> Any:
    """Return a tensor of one row a text."""
    for module in modules:
        features = module(features)
    return features[_OUTPUT]


def _read_json(source: ModelSource, name: str) -> Any:
    path = source.folder / name
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise unloadable(source, ValueError(f"{name} is not JSON")) from error


def write_sentence(
    folder: Path, spec: dict[str, Any], width: int, modules: Sequence[Any]
) -> None:
    """Write the files that say how texts are pooled and cut."""
    pooling, preprocessing = spec["pooling"], spec["preprocessing"]
    usual = [TRANSFORMER, "Pooling", *["Normalize"] * pooling.get("normalize", 0)]
    names = pooling.get("modules", usual)
    paths = ["", *(f"{i}_{name}" for i, name in enumerate(names[1:], 1))]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"{_PREFIX}{name}"}
        for i, (name, path) in enumerate(zip(names, paths, strict=True))
    ]
    write_json(folder / "modules.json", listed)
    for path, module in zip(paths[1:], modules, strict=False):
        (folder / path).mkdir()
        module.save(str(folder / path))
    if not modules and names[0] == TRANSFORMER:
        write_json(
            folder / paths[1] / "config.json",
            {"word_embedding_dimension": width}
            | {flag: mode == pooling["mode"] for flag, mode in _MODES.items()},
        )
    own = {"do_lower_case": preprocessing["lower_case"]}
    own |= {"max_seq_length": spec["max_length"]}
    write_json(folder / "sentence_bert_config.json", own)
    if preprocessing["prompt"]:
        prompts = {"default": preprocessing["prompt"]}
        write_json(
            folder / "config_sentence_transformers.json",
            {"prompts": prompts, "default_prompt_name": "default"},
        )
