"""The parameters `text` and `image` of a detector: checked, and made branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator

from mmevent._branches import SECOND, SECOND_IMAGE, TEXT, is_frozen_whole
from mmevent._objects import walk
from mmevent.exceptions import InputError
from mmevent.image import ImageClassifier
from mmevent.text import FrozenTextClassifier, TextClassifier

AUTO = "auto"


def check_branches(text: Any, image: Any) -> None:
    """Refuse what are no branches with an InputError."""
    names = [name for name, _ in named_images(image)]
    taken = {TEXT, SECOND, SECOND_IMAGE} & set(names)
    if not names or taken or len(set(names)) < len(names):
        raise InputError(
            f"image={image!r} names no image branches: expected a list of "
            f"(name, classifier) with distinct names other than {TEXT!r}, {SECOND!r} "
            f"and {SECOND_IMAGE!r}, got the names {names}. Rename them, or pass "
            f"image=None for no images."
        )
    for name, branch in ((TEXT, text), *named_images(image)):
        usable = (
            hasattr(branch, "fit")
            and hasattr(branch, "predict_proba")
            and not isinstance(branch, type)
        )
        if branch is None or usable or (name in (TEXT, "image") and branch == AUTO):
            continue
        raise InputError(
            f"the {name} branch {branch!r} is no classifier: expected one with fit "
            f"and predict_proba, 'auto' or None, got {type(branch).__name__}. For "
            f"a model by its name pass TextClassifier(model=...) or "
            f"ImageClassifier(model=...)."
        )
    if text is None and image is None:
        raise InputError(
            "text=None and image=None leave nothing to learn from: expected at "
            "least one branch, got none. Leave one of them at 'auto'."
        )


def unfitted_branches(
    text: Any, image: Any, *, seed: int | None, verbose: bool
) -> dict[str, Any]:
    """Return the branches that are asked for, by name."""
    settings: dict[str, Any] = {"random_state": seed, "verbose": verbose}
    branches: dict[str, Any] = {}
    if text is not None:
        branches[TEXT] = TextClassifier(**settings) if isinstance(text, str) else text
    if isinstance(image, str):
        branches["image"] = ImageClassifier(**settings)
    elif image is not None:
        branches |= dict(named_images(image))
    return branches


def named_images(image: Any) -> list[tuple[str, Any]]:
    if not isinstance(image, list):
        return [("image", image)]
    pairs = [pair for pair in image if isinstance(pair, tuple) and len(pair) == 2]
    return pairs if len(pairs) == len(image) else []


def is_frozen(branch: Any) -> bool:
    """Whether a branch, or a part of it, was fitted elsewhere."""
    return bool(_frozen_parts(branch))


def _frozen_parts(branch: Any) -> list[FrozenEstimator]:
    if isinstance(branch, FrozenEstimator):
        return [branch]
    parts = branch.get_params().values() if hasattr(branch, "get_params") else ()
    return [part for part in parts if isinstance(part, FrozenEstimator)]


def check_frozen_parts(branch: Any, coding: Sequence[Any]) -> None:
    """Refuse frozen parts of an ensemble whose classes its vote would mix up.

    An ensemble learns 0 for no event and 1 for an event, and so must its parts have.
    A branch that is frozen as a whole may know the caller's labels, which `coding`
    gives: that of no event, and that of an event.
    """
    if is_frozen_whole(branch):
        return
    for part in _frozen_parts(branch):
        if not hasattr(part, "classes_"):
            continue  # a transformer
        known = np.asarray(part.classes_).tolist()
        if known != [0, 1] or list(coding) == [1, 0]:
            raise InputError(
                f"a frozen part of {type(branch).__name__} learnt other classes than "
                f"the whole will: expected 0 for no event and 1 for an event, got "
                f"{known} where the labels are {list(coding)}. Fit it on 0 and 1, or "
                f"pass it as a branch of its own."
            )


def text_classifiers(branch: Any) -> list[FrozenTextClassifier]:
    """Return the fitted text classifiers within a branch, itself included."""
    return [
        part
        for part in walk(branch)
        if isinstance(part, FrozenTextClassifier) and hasattr(part, "classes_")
    ]
