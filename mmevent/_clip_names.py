"""What open_clip calls a model, to a folder or to a name on the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from mmevent._hub import OPEN_CLIP, find_folder
from mmevent.exceptions import InputError, ModelUnavailableError

DEFAULT_CLIP_MODEL = "ViT-B-32"
"""Name of the CLIP model that is used where none is named."""
DEFAULT_CLIP_PRETRAINED = "laion2b_s34b_b79k"
"""Tag of the weights that go with it."""

_FOLDER, _HUB = "local-dir:", "hf-hub:"
_FEW = 5  # names that a message lists


def clip_reference(model: object, pretrained: object) -> str:
    """Return the folder or the hub name that a model and the tag of its weights mean.

    `pretrained` is looked at for a built-in name alone, as in open_clip.
    """
    text = os.fspath(model) if isinstance(model, (str, os.PathLike)) else ""
    if not text.removeprefix(_FOLDER).removeprefix(_HUB):
        msg = (
            f"`model` must be a folder, 'hf-hub:ORGANISATION/NAME' or a name that "
            f"open_clip knows; got {model!r}. Pass for example "
            f"model={DEFAULT_CLIP_MODEL!r} with pretrained={DEFAULT_CLIP_PRETRAINED!r}."
        )
        raise InputError(msg)
    if text.startswith(_HUB):
        return text.removeprefix(_HUB)
    is_path = text.startswith(_FOLDER) or not isinstance(model, str)
    folder = find_folder(
        Path(text.removeprefix(_FOLDER)) if is_path else text, OPEN_CLIP
    )
    return str(folder) if folder is not None else _built_in(text, pretrained)


def _built_in(model: str, pretrained: object) -> str:
    """Return the hub name of a model of open_clip's own list."""
    from open_clip import pretrained as lists

    name = model.replace("/", "-")  # open_clip takes ViT-B/32 for ViT-B-32
    known = list(dict.fromkeys(known for known, _ in lists.list_pretrained()))
    if name not in known:
        msg = (
            f"model={model!r} is neither a folder here nor a model that open_clip has "
            f"pretrained weights for; expected one of its {len(known)} names, "
            f"{near(name, known)}. Correct `model`, or write "
            f"'hf-hub:ORGANISATION/NAME' for a model of the Hugging Face hub."
        )
        raise ModelUnavailableError(msg)
    tags = lists.list_pretrained_tags_by_model(name)
    config: dict[str, str] = {}
    if isinstance(pretrained, str):
        config = lists.get_pretrained_cfg(name, pretrained)
    if not config:
        msg = (
            f"pretrained={pretrained!r} names no weights of {name!r}; expected one of "
            f"its {len(tags)} tags, {near(str(pretrained), tags)}. Correct "
            f"`pretrained`."
        )
        raise ModelUnavailableError(msg)
    repository, file = os.path.split(config.get("hf_hub", ""))
    if not repository or (file and not file.endswith(".safetensors")):
        msg = (
            f"The weights {pretrained!r} of {name!r} are published as a pickle only "
            f"({file or config.get('url')}); expected safetensors, since loading a "
            f"pickle can run code. On a machine where you trust that file, load it "
            f"with model = open_clip.create_model({name!r}, {pretrained!r}), "
            f"{OPEN_CLIP.saved_by}; then pass that folder as `model`."
        )
        raise ModelUnavailableError(msg)
    return repository


def near(name: str, known: Iterable[str]) -> str:
    """Say which of the known names look like one that is not known."""
    by_lower = {one.lower(): one for one in known}
    some = get_close_matches(name.lower(), by_lower, n=_FEW, cutoff=0.5)
    if some:
        return f"such as {', '.join(repr(by_lower[one]) for one in some)}"
    names = [repr(one) for one in by_lower.values()]
    return f"from {', '.join(names[:_FEW])}{', …' * (len(names) > _FEW)}"
