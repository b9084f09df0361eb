"""Precision, recall, F1 and average precision, with intervals over groups of posts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

N_RESAMPLES = 2000
LEVEL = 0.95
SMALL = 30


class Interval(NamedTuple):
    """A figure with the ends of its 95% interval; NaN where undefined."""

    value: float
    low: float
    high: float


class Resampling:
    """Resamples of whole groups, the same for every figure.

    With 30 groups or more, a bootstrap over groups with percentile intervals. With
    fewer, leaving each group out in turn (the jackknife) and a t-interval over groups.

    Parameters
    ----------
    group : ndarray of int of shape (n_posts,)
        Group of each post.
    """

    def __init__(self, group: IntArray) -> None:
        self.group = np.unique(group, return_inverse=True)[1]
        self.n_groups = int(self.group.max()) + 1
        self.small = self.n_groups < SMALL
        if self.small:
            counts = 1.0 - np.eye(self.n_groups)
        else:
            shares = np.full(self.n_groups, 1 / self.n_groups)
            rng = np.random.default_rng(0)
            counts = rng.multinomial(self.n_groups, shares, N_RESAMPLES).astype(float)
        # The first row is the sample itself.
        ones = np.ones((1, self.n_groups))
        self.counts = np.vstack([ones, counts]).astype(np.float32)

    def sums(self, values: FloatArray | NDArray[np.bool_]) -> FloatArray:
        """Sum of a count over the posts of each resample, exact below 2**24."""
        by_group = np.bincount(self.group, values, minlength=self.n_groups)
        total = self.counts @ by_group.astype(np.float32)
        return total.astype(np.float64)

    def interval(self, figures: FloatArray) -> Interval:
        """Interval of a figure, given for the sample and each resample."""
        value, others = float(figures[0]), figures[1:][~np.isnan(figures[1:])]
        if np.isnan(value) or len(others) < 2:
            return Interval(value, np.nan, np.nan)
        if not self.small:
            low, high = np.quantile(others, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            return Interval(value, float(low), float(high))
        n = len(others)
        error = np.sqrt((n - 1) / n * np.square(others - others.mean()).sum())
        reach = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * error)
        return Interval(value, value - reach, value + reach)

    def standard_error(self, figures: FloatArray) -> float:
        """Return the standard error of a figure, given as for `interval`."""
        others = figures[1:][~np.isnan(figures[1:])]
        spread = float(others.std())
        return spread * np.sqrt(len(others) - 1) if self.small else spread

    def ratios(
        self, flagged: NDArray[np.bool_], event: NDArray[np.bool_]
    ) -> dict[str, FloatArray]:
        """Precision, recall and F1 of the sample and each resample."""
        true = self.sums(flagged & event)
        n_flagged, n_events = self.sums(flagged), self.sums(event)
        return {
            "precision": _divide(true, n_flagged),
            "recall": _divide(true, n_events),
            "f1": _divide(2.0 * true, n_flagged + n_events),
        }

    def average_precision(
        self, score: FloatArray, event: NDArray[np.bool_], fold: IntArray
    ) -> FloatArray:
        """Average precision within each fold, averaged over folds with an event."""
        folds = [np.flatnonzero(fold == k) for k in np.unique(fold)]
        per_fold = [self._average_precision(score, event, rows) for rows in folds]
        figures = np.vstack(per_fold)
        defined = ~np.isnan(figures)
        return _divide(np.where(defined, figures, 0.0).sum(axis=0), defined.sum(axis=0))

    def _average_precision(
        self, score: FloatArray, event: NDArray[np.bool_], rows: IntArray
    ) -> FloatArray:
        order = rows[np.argsort(-score[rows], kind="stable")]
        last = np.flatnonzero(np.diff(score[order], append=-np.inf))
        result = np.empty(len(self.counts))
        step = max(1, 4_000_000 // len(order))
        for start in range(0, len(self.counts), step):
            weight = self.counts[start : start + step][:, self.group[order]]
            flagged = np.cumsum(weight, axis=1, dtype=np.float64)[:, last]
            true = np.cumsum(weight * event[order], axis=1, dtype=np.float64)[:, last]
            gained = np.diff(true, axis=1, prepend=0.0)
            area = (gained * _divide(true, flagged, empty=0.0)).sum(axis=1)
            result[start : start + step] = _divide(area, true[:, -1])
        return result


def _divide(a: FloatArray, b: FloatArray, *, empty: float = np.nan) -> FloatArray:
    ratio: FloatArray = np.divide(a, b, out=np.full(a.shape, empty), where=b > 0)
    return ratio
