"""What a detector asks of any branch: to look at images, to fit, and to predict."""

from __future__ import annotations

from contextlib import nullcontext
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

from mmevent.branches.base import HEAD, EncodedClassifier
from mmevent.branches.image import PictureClassifier
from mmevent.encoders.model import select
from mmevent.exceptions import InputError
from mmevent.posts.labels import Labels
from mmevent.posts.prepared import Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from mmevent.posts.images import Images

    IntArray = NDArray[np.intp]


def examine(
    images: Images, branches: Iterable[Any], *, verbose: bool = False
) -> Images:
    """Return images with their statuses known, each decoded once for each encoder.

    An image classifier of ours, fitted or not, frozen or not, encodes all images here;
    under an open memo it finds their features again when it is fitted or predicts.
    Without such a branch the images are decoded for their statuses alone.
    """
    for branch in branches:
        seeing = branch.estimator if isinstance(branch, FrozenEstimator) else branch
        if isinstance(seeing, PictureClassifier) and (images.digests != "").any():
            found = seeing.encode_ahead(images)
            if found is not None:
                images = images.with_statuses(found.statuses)
    return images.scan(verbose=verbose)


def fit_branch(branch: Any, side: Side, rows: IntArray, labels: Labels) -> Any | None:
    """Fit a clone of a branch on some posts; None where it cannot learn from them.

    It cannot where all items have the same label, or there are none.
    """
    chosen = side.of(rows[labels.known[rows]], len(labels.event))
    post = side.post[chosen]
    event = labels.first.event[post]
    if event.all() or not event.any():
        return None
    weight = side.weight[chosen]
    arguments: dict[str, NDArray[Any]] = {"groups": labels.group[post]}
    if (weight != 1.0).any():
        arguments["sample_weight"] = weight
    items = select(side.items, chosen)
    asking = clone(branch)
    if "sample_weight" in arguments and _request_weights(asking):
        try:
            return _fit(asking, items, event, arguments)
        except UnsetMetadataPassedError:
            pass  # some part cannot say whether it takes weights: none gets them
    try:
        return _fit(clone(branch), items, event, arguments)
    except UnsetMetadataPassedError as error:
        raise InputError(
            f"the branch {type(branch).__name__} does not say which of its parts take "
            f"groups and sample_weight: expected a request of each, got: {error}. Call "
            f"set_fit_request, or set_score_request, on that part."
        ) from error


def _fit(
    branch: Any, items: Sequence[Any], event: NDArray[np.bool_], arguments: Any
) -> Any:
    context, taken = _accepted(branch, arguments)
    with context:
        return branch.fit(items, event.astype(int), **taken)


def _request_weights(branch: Any) -> bool:
    """Let each step of pipelines and voters that can take weights have them.

    Say whether any can. A step that says by `set_fit_request` whether it wants them is
    left alone, and so is what lies within other meta-estimators or was fitted before.
    """
    if isinstance(branch, (Pipeline, VotingClassifier)):
        parts = getattr(branch, "steps", None) or branch.estimators
        asked_for = [_request_weights(part) for _, part in parts]
        return any(asked_for)
    request = _routing(None if isinstance(branch, FrozenEstimator) else branch)
    asked = request.fit.requests if isinstance(request, MetadataRequest) else {}
    if asked.get("sample_weight", False) is not None:
        return False
    with config_context(enable_metadata_routing=True):
        branch.set_fit_request(sample_weight=True)
    return True


def predict_branch(
    fitted: Any | None,
    side: Side,
    chosen: IntArray,
    *,
    classes: Sequence[Any] = (0, 1),
) -> NDArray[np.float64]:
    """Probability of an event for some items; NaN where the branch gives none."""
    if fitted is None or len(chosen) == 0:
        return np.full(len(chosen), np.nan)
    proba = np.asarray(fitted.predict_proba(select(side.items, chosen)), dtype=float)
    return proba[:, _positive_column(fitted, classes)]


def _accepted(branch: Any, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Which of groups and sample_weight the branch takes, and the context for it.

    A meta-estimator (a pipeline, a voting ensemble) takes what its parts request by
    scikit-learn's metadata routing.
    """
    named = signature(branch.fit).parameters
    direct = {name: value for name, value in arguments.items() if name in named}
    if "groups" in direct or not hasattr(branch, "get_metadata_routing"):
        return nullcontext(), direct
    with config_context(enable_metadata_routing=True):
        routed = _routing(branch).consumes("fit", arguments)
    if not routed:
        return nullcontext(), direct
    taken = {name: value for name, value in arguments.items() if name in routed}
    return config_context(enable_metadata_routing=True), taken


def _routing(branch: Any) -> Any:
    """Return what a branch routes; nothing where scikit-learn has not built it yet."""
    try:
        return get_routing_for_object(branch)
    except NotImplementedError:
        return get_routing_for_object(None)


def gives_probabilities(branch: Any) -> bool:
    """Whether a branch, once fitted, has `predict_proba`, as far as it can be told.

    A stacking ensemble has none before the fit: it does not know yet that its default
    final estimator will have one.
    """
    if not hasattr(branch, "fit"):
        return False
    if isinstance(branch, StackingClassifier):
        last = branch.final_estimator
        return last is None or gives_probabilities(last)
    if isinstance(branch, Pipeline):
        return gives_probabilities(branch.steps[-1][1])
    if isinstance(branch, (GridSearchCV, RandomizedSearchCV)):
        return gives_probabilities(branch.estimator)
    return hasattr(branch, "predict_proba")


def is_frozen_whole(branch: Any) -> bool:
    """Whether a branch, or the last step of a pipeline, was fitted elsewhere."""
    last = branch.steps[-1][1] if isinstance(branch, Pipeline) else branch
    return isinstance(last, FrozenEstimator)


def is_fine_tuned(branch: Any) -> bool:
    """Whether the fit of a branch, or of a part of it, trains an encoder."""
    if isinstance(branch, FrozenEstimator) or not hasattr(branch, "get_params"):
        return False
    if isinstance(branch, EncodedClassifier) and branch.train != HEAD:
        return True
    parts = [
        item[1] if isinstance(item, tuple) and len(item) == 2 else item
        for value in branch.get_params(deep=False).values()
        for item in (value if isinstance(value, (list, tuple)) else [value])
    ]
    return any(map(is_fine_tuned, parts))


def _positive_column(fitted: Any, classes: Sequence[Any]) -> int:
    """Column of an event, of a branch that was fitted here or elsewhere."""
    known = list(fitted.classes_)
    if is_frozen_whole(fitted) and set(known) == set(classes):
        return known.index(classes[1])
    if set(known) == {0, 1}:
        return known.index(1)
    raise InputError(
        f"the branch {type(fitted).__name__} knows other classes: expected "
        f"{list(classes)} or [0, 1], got {known}. Fit it with the same labels."
    )
