"""The encoders of fitted branches, copied to a model folder or referred to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmevent._common import as_whole, warn_user
from mmevent._walk import LOADED, walk
from mmevent.branches.base import EncodedClassifier
from mmevent.branches.image import ImageClassifier
from mmevent.branches.text import TextClassifier
from mmevent.encoders.base import Encoder
from mmevent.encoders.loading import load_model
from mmevent.encoders.model import Spec, spec_identity
from mmevent.encoders.runtime import resolve_device
from mmevent.exceptions import (
    InputError,
    MmeventWarning,
    ModelFolderError,
    ModelUnavailableError,
)
from mmevent.persistence.folder import ENCODERS
from mmevent.posts.sources import REMOTE

if TYPE_CHECKING:
    from mmevent.detector.detector import EventDetector

# Of a pinned encoder: the model in use and, if that was fine-tuned, its origin.
_SPECS = ("spec_", "pretrained_spec_")


def encoders_of(branches: Any, *, standalone: bool) -> list[dict[str, Any]]:
    """Describe each distinct encoder of fitted branches, for people and for `load`.

    A fine-tuned encoder is always copied. Its origin, which another fit begins with, is
    described as a further encoder. An encoder in a pipeline is pinned to the model that
    it has used, as a classifier pins its own.
    """
    _pin_used(branches)
    described: dict[str, dict[str, Any]] = {}
    for encoder in fitted_parts(branches):
        kind = encoder.kind
        for spec in _specs(encoder):
            identity = spec_identity(kind, spec)
            copied = standalone or spec is not _origin(encoder)
            described.setdefault(
                identity,
                {
                    "kind": kind,
                    "model": spec["model"],
                    "revision": spec["revision"],
                    "weights_sha256": spec["weights_sha256"],
                    "max_length": spec["max_length"],
                    "identity": identity,
                    **_prompt_of(spec),
                    "folder": f"{ENCODERS}/{kind}-{identity[:12]}" if copied else None,
                },
            )
    return list(described.values())


def _prompt_of(spec: Spec) -> dict[str, str]:
    """Return what stands before each text, where something does."""
    prompt = spec["preprocessing"].get("prompt")
    return {"prompt": prompt} if isinstance(prompt, str) and prompt else {}


def copy_encoders(branches: Any, encoders: list[dict[str, Any]], root: Path) -> None:
    """Write each encoder to its folder under `root`, and check that it loads."""
    (root / ENCODERS).mkdir()
    holder = {
        spec_identity(encoder.kind, spec): (encoder, spec)
        for encoder in fitted_parts(branches)
        for spec in _specs(encoder)
    }
    for described in encoders:
        if described["folder"] is None:
            continue
        encoder, spec = holder[described["identity"]]
        folder = root / described["folder"]
        encoder.load_spec(spec).save(folder)
        moved = {"model": str(folder), "revision": None}
        load_model(
            encoder.model_class,
            str(folder),
            device=encoder.device,
            expected=spec | moved,
        )


def fitted_parts(value: Any) -> Iterator[Encoder]:
    """Return the pinned encoders within a value, at any depth."""
    return (part for part in _parts(value) if hasattr(part, "spec_"))


def _parts(value: Any) -> Iterator[Encoder]:
    return (part for part in walk(value) if isinstance(part, Encoder))


def _pin_used(branches: Any) -> None:
    parts = list(walk(branches))
    parameters = {id(p.encoder) for p in parts if isinstance(p, EncodedClassifier)}
    for part in parts:
        used = isinstance(part, Encoder) and hasattr(part, LOADED)
        if used and not hasattr(part, "spec_") and id(part) not in parameters:
            part.spec_ = dict(getattr(part, LOADED).spec)


def point_to_folders(
    branches: Any, parameters: Any, encoders: list[dict[str, Any]], root: Path
) -> None:
    """Make encoders, pinned or not, refer to where their models are now.

    That is the copy in the model folder, or the absolute path of a referenced folder. A
    fine-tuned encoder is fitted again from its origin.
    """
    copies = {e["identity"]: str(root / e["folder"]) for e in encoders if e["folder"]}
    place = {}
    for encoder in fitted_parts([branches, parameters]):
        for name in _SPECS:
            spec: Spec = getattr(encoder, name, {})
            copy = copies.get(spec_identity(encoder.kind, spec))
            if copy is not None:
                setattr(encoder, name, spec | {"model": copy, "revision": None})
        origin = _origin(encoder)
        if origin["revision"] is None:
            place[_settings(encoder)] = origin["model"]
    for part in list(walk([branches, parameters])):
        if isinstance(part, EncodedClassifier):
            part.encoder = _placed(part.encoder, part, place)
        elif isinstance(part, Encoder) and _settings(part) in place:
            part.model, part.revision = place[_settings(part)], None


def _placed(encoder: Any, classifier: EncodedClassifier, place: dict[Any, str]) -> Any:
    """Return a classifier's encoder, a name replaced by the folder that it meant."""
    if not isinstance(encoder, (str, os.PathLike)):
        return encoder
    return place.get(_settings(classifier.named_encoder(encoder)), encoder)


def check_folders(branches: Any) -> None:
    """Validate that the folders that fitted branches refer to exist."""
    for encoder in fitted_parts(branches):
        spec = encoder.spec_
        if spec["revision"] is None and not Path(spec["model"]).is_dir():
            raise ModelUnavailableError(
                f"the {encoder.kind} encoder of this detector is not here: expected "
                f"the folder {spec['model']!r}, with weights of SHA-256 "
                f"{spec['weights_sha256'][:16]}…, which the model folder refers to. "
                f"Copy it to that place, or, where it still is, save the detector with "
                f"standalone=True, which puts the encoders into the model folder."
            )


def check_places(*values: Any) -> None:
    """Validate that no encoder is on another machine, before a file is looked for."""
    for part in walk(list(values)):
        if isinstance(part, Encoder):
            named = [part.model, *(spec["model"] for spec in _specs(part))]
        elif isinstance(part, EncodedClassifier):
            named = [part.encoder]
        else:
            continue
        for place in named:
            if isinstance(place, (str, os.PathLike)):
                _check_place(os.fspath(place))


def _check_place(place: str) -> None:
    if REMOTE.match(place.removeprefix("local-dir:")):
        raise ModelFolderError(
            f"the model folder refers to an encoder on another machine, {place!r}: "
            f"expected the name of a model on the Hugging Face hub, or a folder here. "
            f"Nothing was opened. Do not use this folder unless you know who made it."
        )


def only_local(detector: EventDetector) -> None:
    """Let no part of a detector look for its encoder on the hub."""
    spell_out(detector)
    held = [detector.text, detector.image, detector.second_stage]
    for part in list(walk([detector.fitted_.branches, held])):
        if isinstance(part, EncodedClassifier):
            if isinstance(part.encoder, (str, os.PathLike)):
                part.encoder = part.named_encoder(part.encoder)
                part.encoder.local_files_only = True
        elif isinstance(part, Encoder):
            part.local_files_only = True


def spell_out(detector: EventDetector) -> None:
    """Put the classifier that "auto" stands for in its place."""
    settings: dict[str, Any] = {"verbose": detector.verbose}
    if (seed := as_whole(detector.random_state)) is not None:
        settings["random_state"] = seed
    if isinstance(detector.text, str):
        detector.text = TextClassifier(**settings)
    if isinstance(detector.image, str):
        detector.image = ImageClassifier(**settings)


def use_this_machine(*values: Any) -> None:
    """Set devices that this machine has, and this machine's cache."""
    absent = set()
    for encoder in _parts(list(values)):
        encoder.cache = "auto"
        if encoder.device in ("auto", "cpu"):
            continue
        try:
            resolve_device(encoder.device)
        except InputError:
            absent.add(encoder.device)
            encoder.device = "auto"
    if absent:
        warn_user(
            f"the detector was to run on {', '.join(map(repr, sorted(absent)))}, which "
            f"this machine lacks: device='auto' is used. Predictions differ by "
            f"rounding only.",
            MmeventWarning,
        )


def _specs(encoder: Encoder) -> list[Spec]:
    return [getattr(encoder, name) for name in _SPECS if hasattr(encoder, name)]


def _origin(encoder: Encoder) -> Spec:
    """Return the spec of the model with which another fit begins."""
    return _specs(encoder)[-1]


def _settings(encoder: Encoder) -> tuple[Any, ...]:
    """Return what names an encoder's model before it is pinned."""
    tag = getattr(encoder, "pretrained", None)
    name = os.fspath(encoder.model)
    return encoder.kind, name, tag, encoder.revision, repr(encoder.settings)
