"""The encoders that fitted branches refer to, in a model folder or outside it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmevent._encoding import Spec, spec_identity
from mmevent._folder import ENCODERS
from mmevent._frozen import FrozenClassifier
from mmevent._hub import resolve_device
from mmevent._loading import load_encoder
from mmevent._objects import walk
from mmevent.exceptions import InputError, MmeventWarning, ModelUnavailableError

# Of a fitted branch: what encodes, and, where that was trained, what it began as.
_SPECS = ("encoder_spec_", "pretrained_spec_")


def encoders_of(branches: Any, *, standalone: bool) -> list[dict[str, Any]]:
    """Describe each distinct encoder of fitted branches, for people and for `load`.

    One that was fine-tuned is nowhere else, and is always copied; what it began with
    is needed for another fit, and is an encoder of its own.
    """
    described: dict[str, dict[str, Any]] = {}
    for branch in fitted_parts(branches):
        kind = branch._encoder_class.kind
        for spec in _specs(branch):
            identity = spec_identity(kind, spec)
            copied = standalone or spec is not _origin(branch)
            described.setdefault(
                identity,
                {
                    "kind": kind,
                    "model": spec["model"],
                    "revision": spec["revision"],
                    "weights_sha256": spec["weights_sha256"],
                    "max_length": spec["max_length"],
                    "identity": identity,
                    "folder": f"{ENCODERS}/{kind}-{identity[:12]}" if copied else None,
                },
            )
    return list(described.values())


def copy_encoders(branches: Any, encoders: list[dict[str, Any]], root: Path) -> None:
    """Write each encoder to its folder under `root`, and load it back from there."""
    (root / ENCODERS).mkdir()
    holder = {
        spec_identity(branch._encoder_class.kind, spec): (branch, spec)
        for branch in fitted_parts(branches)
        for spec in _specs(branch)
    }
    for encoder in encoders:
        if encoder["folder"] is None:
            continue
        branch, spec = holder[encoder["identity"]]
        folder = root / encoder["folder"]
        branch._load(spec).save(folder)
        moved = {"model": str(folder), "revision": None}
        load_encoder(
            branch._encoder_class,
            str(folder),
            device=branch.device,
            expected=spec | moved,
        )


def fitted_parts(value: Any) -> Iterator[FrozenClassifier]:
    """Our fitted branches within a value, however deep in ensembles."""
    return (part for part in _parts(value) if hasattr(part, "encoder_spec_"))


def _parts(value: Any) -> Iterator[FrozenClassifier]:
    return (part for part in walk(value) if isinstance(part, FrozenClassifier))


def point_to_folders(
    branches: Any, parameters: Any, encoders: list[dict[str, Any]], root: Path
) -> None:
    """Make branches, fitted or not, find encoders where they are now.

    That is the copy in the model folder, or the absolute path of a referenced folder.
    What was fine-tuned is fitted again from where it began.
    """
    copies = {e["identity"]: str(root / e["folder"]) for e in encoders if e["folder"]}
    place = {}
    for part in fitted_parts([branches, parameters]):
        for name in _SPECS:
            spec: Spec = getattr(part, name, {})
            copy = copies.get(spec_identity(part._encoder_class.kind, spec))
            if copy is not None:
                setattr(part, name, spec | {"model": copy, "revision": None})
        origin = _origin(part)
        if origin["revision"] is None:
            place[_settings(part)] = origin["model"]
    for part in _parts([branches, parameters]):
        found = place.get(_settings(part))
        if found is not None:
            part.model, part.revision = found, None


def check_folders(branches: Any) -> None:
    """Refuse fitted branches that refer to the folder of an encoder that is gone."""
    for part in fitted_parts(branches):
        spec = part.encoder_spec_
        if spec["revision"] is None and not Path(spec["model"]).is_dir():
            raise ModelUnavailableError(
                f"the {part._encoder_class.kind} encoder of this detector is not "
                f"here: expected the folder {spec['model']!r}, with weights of "
                f"SHA-256 {spec['weights_sha256'][:16]}…, which the model folder "
                f"refers to. Copy it to that place, or, where it still is, save the "
                f"detector with standalone=True, which puts the encoders into the "
                f"model folder."
            )


def use_this_machine(*values: Any) -> None:
    """Let branches choose a device that is here, and keep embeddings in our file."""
    absent = set()
    for part in _parts(list(values)):
        part.cache = "auto"
        if part.device in ("auto", "cpu"):
            continue
        try:
            resolve_device(part.device)
        except InputError:
            absent.add(part.device)
            part.device = "auto"
    if absent:
        warnings.warn(
            f"the detector was to run on {', '.join(map(repr, sorted(absent)))}, which "
            f"this machine lacks: device='auto' is used. Predictions differ by "
            f"rounding only.",
            MmeventWarning,
            stacklevel=3,
        )


def _specs(branch: FrozenClassifier) -> list[Spec]:
    return [getattr(branch, name) for name in _SPECS if hasattr(branch, name)]


def _origin(branch: FrozenClassifier) -> Spec:
    """Return the spec of the encoder that another fit begins with."""
    return _specs(branch)[-1]


def _settings(branch: FrozenClassifier) -> tuple[Any, ...]:
    """Return what names a branch's encoder before it is fitted."""
    kind = branch._encoder_class.kind
    tag = getattr(branch, "pretrained", None)
    return kind, branch.model, tag, branch.revision, repr(branch._settings())
