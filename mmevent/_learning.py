"""How a detector's figures grow with the number of labelled posts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._branches import Task
from mmevent._cache import shared_memo
from mmevent._estimation import estimate
from mmevent._metrics import Resampling
from mmevent._prediction import encode_posts
from mmevent._setup import Setup
from mmevent._systems import whole
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from mmevent._folds import Folds
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
) -> pd.DataFrame:
    """Repeat the estimate of a detector with shares of the training parts.

    The test parts stay whole, so that the figures can be compared.

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

    Returns
    -------
    DataFrame
        One row a share: ``share``, ``n_posts`` and ``n_events`` that a fold learns
        from, and ``f1`` and ``average_precision`` with the ends of their intervals
        (``_low``, ``_high``).

    Raises
    ------
    InputError
        If a share is none, or all of them leave too few posts.

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
    if not len(shares) or not all(0 < share <= 1 for share in shares):
        raise InputError(
            f"shares={shares!r} are no shares of the training posts: expected numbers "
            f"above 0, up to 1, such as {SHARES}. Correct them."
        )
    setup = Setup(detector, 0)
    prepared = setup.read(posts)
    sample = setup.sample(prepared, y, groups, y_stage1)
    kind = setup.usual_kind()
    folds = setup.folds(sample, kind)
    names, classes = list(detector.branches_), detector._coding().tolist()
    job = replace(setup.job(sample, names, classes), calibration=None, policy="f1")
    rows, refused = [], ""
    with shared_memo():
        encode_posts(detector, prepared)
        for share in shares:
            try:
                rows.append(_figures(job, _Cut(folds, share), kind, sample.labels))
            except InputError as error:
                refused = str(error)
    if not rows:
        raise InputError(f"no share leaves posts enough to learn from: {refused}")
    return pd.DataFrame(rows)


def _figures(job: Any, cut: Any, kind: str, labels: Any) -> dict[str, Any]:
    tasks = cut.outer()
    run = estimate(job, cut, kind)[2]
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
        interval = resampling.interval(values)
        row |= {
            name: interval.value,
            f"{name}_low": interval.low,
            f"{name}_high": interval.high,
        }
    return row
