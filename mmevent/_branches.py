"""What the branches see of posts, and their probabilities on rows they never saw."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object
from sklearn.utils.parallel import Parallel, delayed

from mmevent._head import one_blas_thread
from mmevent.exceptions import InputError
from mmevent.tuning import Evidence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from mmevent.image_io import Images

    IntArray = NDArray[np.intp]

TEXT, SECOND, SECOND_IMAGE = "text", "second stage", "second stage, images"


@dataclass(frozen=True)
class Side:
    """Items that one kind of branch sees, with the post of each.

    The text side has one item for each post that has text; the image side one for
    each usable image, which weighs 1 / (usable images of its post).
    """

    items: Sequence[Any]
    post: IntArray
    weight: NDArray[np.float64]

    def of(self, rows: IntArray, n_posts: int) -> IntArray:
        """Positions of the items of some posts."""
        wanted = np.zeros(n_posts, dtype=bool)
        wanted[rows] = True
        return np.flatnonzero(wanted[self.post])


@dataclass(frozen=True)
class Material:
    """All that branches can see of a table of posts."""

    n_posts: int
    text: Side
    image: Side

    @classmethod
    def of(cls, posts: pd.DataFrame, images: Images, post: IntArray) -> Material:
        """Take the texts and the usable images of posts from `to_posts`."""
        texts = posts["text"].to_numpy(dtype=object)
        has_text = np.array([text is not None for text in texts], dtype=bool)
        usable = images.usable
        count = np.bincount(post[usable], minlength=len(posts))
        return cls(
            len(posts),
            Side(
                texts[has_text], np.flatnonzero(has_text), np.ones(int(has_text.sum()))
            ),
            Side(images[usable], post[usable], 1.0 / count[post[usable]]),
        )

    def side(self, name: str) -> Side:
        """Return the side that the branch of this name sees."""
        return self.text if name in (TEXT, SECOND) else self.image


class Task(NamedTuple):
    """Fit on some posts, predict others."""

    train: IntArray
    test: IntArray


class Labels(NamedTuple):
    """What branches learn from: events, and which posts belong together.

    `stage1`, where it is given, is what the first of two stages learns instead: 1, 0,
    or NaN where a post is unknown to it.
    """

    event: NDArray[np.bool_]
    group: IntArray
    stage1: NDArray[np.float64] | None = None

    def take(self, rows: IntArray) -> Labels:
        """Keep some posts."""
        stage1 = None if self.stage1 is None else self.stage1[rows]
        return Labels(self.event[rows], self.group[rows], stage1)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which posts the first stage learns from."""
        if self.stage1 is None:
            return np.ones(len(self.event), dtype=bool)
        return ~np.isnan(self.stage1)

    @property
    def first(self) -> Labels:
        """What the first stage learns, of the posts that it knows."""
        if self.stage1 is None:
            return self
        return Labels(self.stage1 == 1, self.group)

    @property
    def second(self) -> Labels:
        """What the second stage learns."""
        return Labels(self.event, self.group)


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
    items = _select(side.items, chosen)
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
    proba = np.asarray(fitted.predict_proba(_select(side.items, chosen)), dtype=float)
    return proba[:, _positive_column(fitted, classes)]


def run_tasks(
    branches: Mapping[str, Any],
    material: Material,
    labels: Labels,
    tasks: Sequence[Task],
    *,
    classes: Sequence[Any] = (0, 1),
    n_jobs: int | None = None,
    verbose: bool = False,
) -> list[dict[str, NDArray[np.float64]]]:
    """Run each task with each branch: one probability per item of the tested posts.

    `classes` are the caller's labels of no event and of an event, which a frozen
    branch may have been fitted with; a branch that is fitted here learns 0 and 1.

    Returns
    -------
    list of dict of str to ndarray
        For each task and branch, an array over all items of the branch's side, NaN
        outside the tested posts.
    """
    from tqdm import tqdm

    def run(task: Task) -> dict[str, NDArray[np.float64]]:
        return {name: probabilities(name, branch, task) for name, branch in named}

    def probabilities(name: str, branch: Any, task: Task) -> NDArray[np.float64]:
        side = material.side(name)
        fitted = fit_branch(branch, side, task.train, labels)
        tested = side.of(task.test, material.n_posts)
        p = np.full(len(side.post), np.nan)
        p[tested] = predict_branch(fitted, side, tested, classes=classes)
        return p

    named = list(branches.items())
    bar = tqdm(tasks, desc="Fitting folds", unit="fold", disable=not verbose)
    with one_blas_thread():
        results: list[dict[str, NDArray[np.float64]]] = Parallel(
            n_jobs=n_jobs, prefer="threads"
        )(delayed(run)(task) for task in bar)
    return results


def merge(
    results: Sequence[dict[str, NDArray[np.float64]]],
) -> dict[str, NDArray[np.float64]]:
    """Put the tested parts of several tasks together; no post is tested twice."""
    merged = {name: p.copy() for name, p in results[0].items()}
    for result in results[1:]:
        for name, p in result.items():
            merged[name] = np.where(np.isnan(p), merged[name], p)
    return merged


def to_evidence(
    probabilities: Mapping[str, NDArray[np.float64]],
    material: Material,
    *,
    pool: str = "auto",
) -> Evidence:
    """Turn one probability per item into one row per post."""
    p_text = np.full(material.n_posts, np.nan)
    if TEXT in probabilities:
        p_text[material.text.post] = probabilities[TEXT]
    images = {name: p for name, p in probabilities.items() if name != TEXT}
    none = np.full(len(material.image.post), np.nan)
    if not images and pool == "auto":
        pool = "max"
    return Evidence.from_images(
        p_text, images or {"image": none}, material.image.post, pool=pool
    )


def _select(items: Sequence[Any], chosen: IntArray) -> Sequence[Any]:
    from mmevent.image_io import Images

    if isinstance(items, Images):
        return items[chosen]
    return [items[i] for i in chosen]


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


def is_frozen_whole(branch: Any) -> bool:
    """Whether a branch, or the last step of a pipeline, was fitted elsewhere."""
    last = branch.steps[-1][1] if isinstance(branch, Pipeline) else branch
    return isinstance(last, FrozenEstimator)


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
