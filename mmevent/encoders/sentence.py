"""The files of sentence-transformers in a model's folder: read, and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmevent._common import write_json
from mmevent.encoders.hub import ModelSource, unloadable

_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
}


def read_settings(source: ModelSource) -> dict[str, Any]:
    """Return how texts are pooled and cut, as the files say where there are some."""
    settings: dict[str, Any] = {
        "mode": "mean",
        "normalize": True,
        "lower_case": False,
        "prompt": "",
        "max_length": None,
    }
    modules = _read_json(source, "modules.json")
    if modules is None:
        return settings
    kinds = [str(module.get("type", "")) for module in modules]
    names = [kind.rsplit(".", 1)[-1] for kind in kinds]
    known = [["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]]
    ours = all(kind.startswith("sentence_transformers.") for kind in kinds)
    if not ours or names not in known or modules[0].get("path"):
        problem = (
            f"its modules.json lists {', '.join(kinds)} where mmevent knows a "
            f"Transformer in the folder itself, a Pooling and at most a Normalize"
        )
        raise unloadable(source, ValueError(problem))
    own = _read_json(source, "sentence_bert_config.json") or {}
    prompts = _read_json(source, "config_sentence_transformers.json") or {}
    prompt = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name"))
    settings["mode"] = _pooling_mode(source, str(modules[1]["path"]), bool(prompt))
    settings["normalize"] = len(names) == 3
    settings["lower_case"] = bool(own.get("do_lower_case"))
    settings["prompt"] = prompt or ""
    settings["max_length"] = own.get("max_seq_length")
    return settings


def _pooling_mode(source: ModelSource, path: str, has_prompt: bool) -> str:
    pooling = _read_json(source, f"{path}/config.json") or {}
    flags = [name for name, on in pooling.items() if "pooling_mode_" in name and on]
    if isinstance(pooling.get("pooling_mode"), str):
        modes = [pooling["pooling_mode"]]
    else:
        modes = [_POOLING_FLAGS.get(flag, flag) for flag in flags]
    without_prompt = has_prompt and not pooling.get("include_prompt", True)
    if len(modes) != 1 or modes[0] not in _POOLING_FLAGS.values() or without_prompt:
        problem = (
            f"its {path}/config.json asks for pooling "
            f"{' and '.join(modes) or 'of no kind'}"
            f"{' that leaves out the prompt' if without_prompt else ''} where mmevent "
            f"knows cls, max and mean"
        )
        raise unloadable(source, ValueError(problem))
    return str(modes[0])


def _read_json(source: ModelSource, name: str) -> Any:
    path = source.folder / name
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise unloadable(source, ValueError(f"{name} is not JSON")) from error


def write_settings(folder: Path, spec: dict[str, Any], width: int) -> None:
    """Write the files that say how texts are pooled and cut."""
    pooling, preprocessing = spec["pooling"], spec["preprocessing"]
    modules = ["Transformer", "Pooling"] + ["Normalize"] * pooling["normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    write_json(
        folder / "modules.json",
        [
            {
                "idx": i,
                "name": str(i),
                "path": path,
                "type": f"sentence_transformers.models.{name}",
            }
            for i, (name, path) in enumerate(zip(modules, paths, strict=False))
        ],
    )
    modes = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens"}
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": width}
        | {f"pooling_mode_{v}": k == pooling["mode"] for k, v in modes.items()},
    )
    write_json(
        folder / "sentence_bert_config.json",
        {
            "max_seq_length": spec["max_length"],
            "do_lower_case": preprocessing["lower_case"],
        },
    )
    if preprocessing["prompt"]:
        write_json(
            folder / "config_sentence_transformers.json",
            {
                "prompts": {"default": preprocessing["prompt"]},
                "default_prompt_name": "default",
            },
        )
