"""The encoders that fitted branches refer to, in a model folder or outside it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmevent._encoding import spec_identity
from mmevent._folder import ENCODERS
from mmevent._frozen import FrozenClassifier
from mmevent._hub import resolve_device
from mmevent._loading import load_encoder
from mmevent._objects import walk
from mmevent.exceptions import InputError, MmeventWarning, ModelUnavailableError


def encoders_of(branches: Any, *, standalone: bool) -> list[dict[str, Any]]:
    """Describe each distinct encoder of fitted branches, for people and for `load`."""
    described: dict[str, dict[str, Any]] = {}
    for branch in fitted_parts(branches):
        spec, identity = branch.encoder_spec_, _identity(branch)
        kind = branch._encoder_class.kind
        described.setdefault(
            identity,
            {
                "kind": kind,
                "model": spec["model"],
                "revision": spec["revision"],
                "weights_sha256": spec["weights_sha256"],
                "max_length": spec["max_length"],
                "identity": identity,
                "folder": (
                    f"{ENCODERS}/{kind}-{identity[:12]}" if standalone else None
                ),
            },
        )
    return list(described.values())


def copy_encoders(branches: Any, encoders: list[dict[str, Any]], root: Path) -> None:
    """Write each encoder to its folder under `root`, and load it back from there."""
    (root / ENCODERS).mkdir()
    holder = {_identity(branch): branch for branch in fitted_parts(branches)}
    for encoder in encoders:
        branch = holder[encoder["identity"]]
        folder = root / encoder["folder"]
        branch.save_encoder(folder)
        moved = {"model": str(folder), "revision": None}
        load_encoder(
            branch._encoder_class,
            str(folder),
            device=branch.device,
            expected=branch.encoder_spec_ | moved,
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
    """
    copies = {e["identity"]: str(root / e["folder"]) for e in encoders if e["folder"]}
    place = {}
    for part in fitted_parts([branches, parameters]):
        spec = part.encoder_spec_
        copy = copies.get(_identity(part))
        if copy is not None:
            part.encoder_spec_ = spec | {"model": copy, "revision": None}
        if part.encoder_spec_["revision"] is None:
            place[_settings(part)] = part.encoder_spec_["model"]
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


def _identity(branch: FrozenClassifier) -> str:
    return spec_identity(branch._encoder_class.kind, branch.encoder_spec_)


def _settings(branch: FrozenClassifier) -> tuple[Any, ...]:
    """Return what names a branch's encoder before it is fitted."""
    kind = branch._encoder_class.kind
    tag = getattr(branch, "pretrained", None)
    return kind, branch.model, tag, branch.revision, repr(branch._settings())
