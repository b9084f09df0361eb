"""How a detector's figures grow with the number of labelled posts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from mmevent._branches import Labels, Task
from mmevent._cache import shared_memo
from mmevent._cuts import has_both
from mmevent._estimation import NESTED, Job, estimate
from mmevent._metrics import Resampling
from mmevent._prediction import coding_of, encode_posts
from mmevent._setup import Setup
from mmevent._systems import whole
from mmevent.decision import check_corpus_size
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from mmevent._folds import Folds
    from mmevent._sample import Sample
    from mmevent.detector import EventDetector

    IntArray = NDArray[np.intp]

SHARES = (0.125, 0.25, 0.5, 1.0)


@dataclass
class _Cut:
    """Folds whose training parts keep a share of their groups, of both classes."""

    folds: Folds
    share: float

    def __getattr__(self, name: str) -> Any:
        return getattr(self.folds, name)

    def outer(self) -> list[Task]:
        return [Task(self._kept(task.train), task.test) for task in self.folds.outer()]

    def check(self, *, inner: bool) -> None:
        """Refuse training parts of one class, or that inner folds cannot be made of."""
        for task in self.outer():
            if not has_both(self.folds.labels.event[task.train]):
                raise InputError("a training part has one class.")
            if inner:
                self.folds.inner(task.train)

    def _kept(self, rows: IntArray) -> IntArray:
        """Return the first groups of each class, in an order that no share changes."""
        labels, rng = self.folds.labels, np.random.default_rng(self.folds.seed)
        place = rng.permutation(labels.group.max() + 1)
        group = labels.group[rows]
        with_event = np.isin(group, group[labels.event[rows]])
        kept = np.zeros(len(rows), dtype=bool)
        for inside in (with_event, ~with_event):
            found = np.unique(group[inside])
            first = found[np.argsort(place[found])]
            kept |= np.isin(group, first[: int(np.ceil(self.share * len(found)))])
        return rows[kept]


def learning_curve(
    detector: EventDetector,
    posts: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    y_stage1: ArrayLike | None = None,
    shares: Sequence[float] = SHARES,
    corpus_size: int | None = None,
) -> pd.DataFrame:
    """Repeat the estimate of a detector with shares of the training parts.

    The test parts stay whole, so that the figures can be compared. Where the estimate
    is cross-fitted, the rule for a fold still comes from all posts of the others.

    Parameters
    ----------
    detector : EventDetector
        A fitted detector.
    posts : DataFrame, sequence of mappings or datasets.Dataset, n_posts rows
        The training posts.
    y : array-like of shape (n_posts,)
        Labels.
    groups, y_stage1 : array-like of shape (n_posts,) or None, default=None
        As given to `fit`.
    shares : sequence of float, default=(0.125, 0.25, 0.5, 1.0)
        Above 0, up to 1. One that leaves too few posts for inner folds is left out.
    corpus_size : int or None, default=None
        As for :func:`mmevent.evaluate`.

    Returns
    -------
    DataFrame
        One row a share: ``share``, ``n_posts`` and ``n_events`` that a fold learns
        from, and ``f1`` and ``average_precision`` with the ends of their intervals
        (``_low``, ``_high``).

    Raises
    ------
    InputError
        If the posts are not those of the fit, a share is none, or all of them leave too
        few posts.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.report import learning_curve
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> posts, y, _ = make_posts(300, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image, estimate=None, cv=2,
    ...                          inner_cv=2, n_trials=20, random_state=0).fit(posts, y)
    >>> learning_curve(detector, posts, y, shares=[0.5, 1])["share"].tolist()
    [0.5, 1.0]
    """
    check_is_fitted(detector)
    check_corpus_size(detector.policy_, corpus_size)
    wanted = _checked_shares(shares)
    setup = Setup(detector, 0)
    prepared = setup.read(posts)
    with shared_memo():
        sample = setup.sample(prepared, y, groups, y_stage1, of_fit=True)
        setup.check_groups(sample)
        encode_posts(detector, prepared)
        return _curve(detector, setup, sample, wanted, corpus_size)


def _curve(
    detector: EventDetector,
    setup: Setup,
    sample: Sample,
    shares: list[float],
    corpus_size: int | None,
) -> pd.DataFrame:
    kind = setup.kind() or setup.usual_kind()
    folds = setup.folds(sample, kind)
    job = replace(
        setup.job(sample, list(detector.branches_), coding_of(detector)),
        calibration=None,
        policy=detector.policy_,
        corpus_size=corpus_size,
    )
    rows, refused = [], ""
    for share in shares:
        cut = _Cut(folds, share)
        try:
            cut.check(inner=kind == NESTED)
        except InputError as error:
            refused = str(error)
            continue
        rows.append(_figures(job, cut, kind, sample.labels))
    if not rows:
        raise InputError(f"no share leaves posts enough to learn from: {refused}")
    return pd.DataFrame(rows)


def _checked_shares(shares: object) -> list[float]:
    try:
        wanted = [float(share) for share in shares]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        wanted = []
    if not wanted or not all(0 < share <= 1 for share in wanted):
        raise InputError(
            f"shares={shares!r} are no shares of the training posts: expected numbers "
            f"above 0, up to 1, such as {SHARES}. Correct them."
        )
    return wanted


def _figures(job: Job, cut: _Cut, kind: str, labels: Labels) -> dict[str, Any]:
    tasks = cut.outer()
    run = estimate(job, cast("Folds", cut), kind)[2]
    assert run is not None
    system, tested = whole(run.scores), run.fold >= 0
    resampling = Resampling(labels.group[tested])
    event, score = labels.event[tested], run.scores[system][tested]
    figures = {
        "f1": resampling.ratios(run.flagged(system)[tested], event)["f1"],
        "average_precision": resampling.average_precision(
            score, event, run.fold[tested]
        ),
    }
    row: dict[str, Any] = {
        "share": float(cut.share),
        "n_posts": float(np.mean([len(task.train) for task in tasks])),
        "n_events": float(np.mean([labels.event[t.train].sum() for t in tasks])),
    }
    for name, values in figures.items():
        row |= resampling.interval(values).cells(name)
    return row
