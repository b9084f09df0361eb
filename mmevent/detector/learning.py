"""How a detector's figures grow with the number of labelled posts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from mmevent._settings import with_own_settings
from mmevent.detector.settings import Settings
from mmevent.encoders.cache import shared_memo
from mmevent.evaluation.baselines import whole
from mmevent.evaluation.intervals import F1, SHARE
from mmevent.evaluation.metrics import Resampling
from mmevent.evaluation.nested import estimate
from mmevent.evaluation.spread import Spread
from mmevent.exceptions import InputError
from mmevent.posts.alignment import aligned
from mmevent.rule.policies import check_corpus_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from mmevent.detector.detector import EventDetector
    from mmevent.evaluation.folds import Folds
    from mmevent.evaluation.nested import Job

SHARES = (0.125, 0.25, 0.5, 1.0)


@with_own_settings
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

    The test parts stay whole, so that the figures can be compared. In a cross-fitted
    estimate the rule for a fold still comes from all posts of the other folds.

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
        Above 0, up to 1. A share that is too small for inner folds is left out.
    corpus_size : int or None, default=None
        As for :func:`mmevent.evaluate`.

    Returns
    -------
    DataFrame
        One row per share: ``share``, the mean ``n_posts`` and ``n_events`` that a fold
        learns from, and ``f1`` and ``average_precision`` with the ends of their
        intervals (``_low``, ``_high``).

    Raises
    ------
    InputError
        If the posts are not those of the fit, a share is not above 0 and up to 1, or
        all shares leave too few posts.

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
    fitted = detector.fitted_
    check_corpus_size(fitted.policy, corpus_size)
    wanted = _checked_shares(shares)
    settings = Settings.of(detector, seed=0).with_labels(fitted.coding)
    y, groups = aligned(y, posts, "y"), aligned(groups, posts, "groups")
    y_stage1 = aligned(y_stage1, posts, "y_stage1")
    prepared = settings.reading.read(posts, fitted.needed())
    with shared_memo():
        sample = settings.sample(prepared, y, groups, y_stage1, fitted=fitted)
        fitted.encode(sample.prepared)
        kind = settings.usual_kind()
        maker = settings.fold_maker(sample, kind)
        folds = maker.make()
        job = replace(
            settings.job(sample, list(fitted.branches), fitted.coding),
            calibration=None,
            policy=fitted.policy,
            corpus_size=corpus_size,
        )
        rows, refused = [], ""
        for share in wanted:
            try:
                reduced = maker.reduce(folds, share)
            except InputError as error:
                refused = str(error)
                continue
            rows.append({"share": share, **_figures(job, reduced, kind)})
    if not rows:
        raise InputError(f"no share leaves enough posts to learn from: {refused}")
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


def _figures(job: Job, folds: Folds, kind: str) -> dict[str, Any]:
    """Return the row of one share, from folds with reduced training parts."""
    labels, run = job.labels, estimate(job, folds, kind)[2]
    assert run is not None
    system, tested = whole(run.scores), run.fold >= 0
    resampling = Resampling(labels.group[tested])
    event, score = labels.event[tested], run.ranks(system)[tested]
    flagged = run.flagged(system)[tested]
    bases = resampling.bases(flagged[None], event[None])
    f1 = resampling.ratios(flagged, event)["f1"]
    area = resampling.average_precision(score, event)
    parts = [task.train for task in folds.outer]
    row: dict[str, Any] = {
        "n_posts": float(np.mean([len(part) for part in parts])),
        "n_events": float(np.mean([labels.event[part].sum() for part in parts])),
    }
    spread = Spread([run], tested, event)
    for name, values, scale in (("f1", f1, F1), ("average_precision", area, SHARE)):
        added, basis = spread.of_figure(system, name), bases[name]
        df = added.degrees(resampling.variance(values), basis.n_groups)
        row |= resampling.interval(
            values, basis, scale, added=added.variance, df=df
        ).cells(name)
    return row
