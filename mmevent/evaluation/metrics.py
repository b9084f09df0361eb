"""Precision, recall, F1 and average precision, with intervals over groups of posts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]
    Factors = tuple[FloatArray | float, FloatArray | float]

N_RESAMPLES = 2000
LEVEL = 0.95
SMALL = 30


class Interval(NamedTuple):
    """A figure with the ends of its 95% interval; NaN where undefined."""

    value: float
    low: float
    high: float

    def of_share(self, n: int) -> Interval:
        """Return the interval of a share that rests on n groups, within 0 and 1.

        A share of 0 or 1 is the same in all resamples, so its other end is the exact
        one (Clopper-Pearson). Any other figure that never varies has no interval.
        """
        edge = ((1 - LEVEL) / 2) ** (1 / max(n, 1))
        if self.value == 1:
            return Interval(self.value, edge, 1.0)
        if self.value == 0:
            return Interval(self.value, 0.0, 1.0 - edge)
        if n < 2 or self.low == self.high:
            return Interval(self.value, np.nan, np.nan)
        return Interval(self.value, *np.clip(self[1:], 0.0, 1.0).tolist())

    def cells(self, name: str) -> dict[str, float]:
        """Return the value and both ends as columns of a table."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


class Weights(NamedTuple):
    """Weights of an event and of another post, for a corpus of another prevalence."""

    event: float
    other: float

    @classmethod
    def at(cls, prevalence: float, event: NDArray[np.bool_]) -> Weights:
        """Return the weights that give events this share of the posts."""
        share = float(event.mean())
        return cls(prevalence / share, (1.0 - prevalence) / (1.0 - share))


class Counts(NamedTuple):
    """Posts of each kind, in the sample and then in each resample."""

    true: FloatArray
    false: FloatArray
    events: FloatArray
    others: FloatArray

    def weighted(self, factors: Factors) -> Counts:
        """Weight the events and the other posts."""
        event, other = factors
        return Counts(
            self.true * event,
            self.false * other,
            self.events * event,
            self.others * other,
        )

    def ratios(self) -> dict[str, FloatArray]:
        """Precision, recall and F1."""
        flagged = self.true + self.false
        return {
            "precision": _divide(self.true, flagged),
            "recall": _divide(self.true, self.events),
            "f1": _divide(2.0 * self.true, flagged + self.events),
        }


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
        """Sum values of shape (n_posts,) or (n_posts, k) over each resample.

        Sums of counts are exact below 2**24.
        """
        columns = values.reshape(len(values), -1).T
        by_group = np.column_stack(
            [np.bincount(self.group, column, self.n_groups) for column in columns]
        )
        total = self.counts @ by_group.astype(np.float32)
        return total.astype(np.float64).reshape(len(total), *values.shape[1:])

    def interval(self, figures: FloatArray) -> Interval:
        """Return the interval of a figure of the sample and then each resample."""
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

    def simultaneous(self, figures: FloatArray) -> list[Interval]:
        """Return simultaneous intervals of k figures, of shape (n_resamples + 1, k).

        All are equally wide in standard errors. The width is the 95% quantile, over
        resamples, of the largest deviation of any figure (max-t, Westfall and Young
        1993). With fewer than 30 groups the ends are NaN.
        """
        values, others = figures[0], figures[1:]
        varies = [len(np.unique(one[~np.isnan(one)])) > 1 for one in others.T]
        usable = np.flatnonzero(~np.isnan(values) & varies)
        reach = np.full(len(values), np.nan)
        if len(usable) and not self.small:
            error = np.nanstd(others[:, usable], axis=0)
            off = np.abs(np.nan_to_num((others[:, usable] - values[usable]) / error))
            reach[usable] = np.quantile(off.max(axis=1), LEVEL) * error
        ends = zip(values, values - reach, values + reach, strict=True)
        return [Interval(*map(float, row)) for row in ends]

    def standard_error(self, figures: FloatArray) -> float:
        """Return the standard error of a figure, given as for `interval`."""
        others = figures[1:][~np.isnan(figures[1:])]
        spread = float(others.std())
        return spread * np.sqrt(len(others) - 1) if self.small else spread

    def count(
        self,
        flagged: NDArray[np.bool_],
        event: NDArray[np.bool_],
        inside: NDArray[np.bool_],
    ) -> Counts:
        """Count the posts inside one slice, or inside each of k slices."""
        kinds = (flagged & event, flagged & ~event, event, ~event)
        inside = inside.T
        return Counts(*(self.sums((kind & inside).T) for kind in kinds))

    def ratios(
        self,
        flagged: NDArray[np.bool_],
        event: NDArray[np.bool_],
        factors: Factors = (1.0, 1.0),
    ) -> dict[str, FloatArray]:
        """Return precision, recall and F1 of the sample and each resample."""
        everything = np.ones(len(event), dtype=bool)
        return self.count(flagged, event, everything).weighted(factors).ratios()

    def factors(self, event: NDArray[np.bool_], weights: Weights | None) -> Factors:
        """Return the weights of an event and of another post in each resample.

        They keep both totals at those of the sample, because the prevalence is taken as
        known.
        """
        if weights is None:
            return 1.0, 1.0
        n_events, n_others = self.sums(event), self.sums(~event)
        return (
            weights.event * n_events[0] * _divide(np.ones(1), n_events, empty=0.0),
            weights.other * n_others[0] * _divide(np.ones(1), n_others, empty=0.0),
        )

    def average_precision(
        self,
        score: FloatArray,
        event: NDArray[np.bool_],
        fold: IntArray,
        factors: Factors = (1.0, 1.0),
    ) -> FloatArray:
        """Return average precision within folds, averaged over folds with an event."""
        folds = [np.flatnonzero(fold == k) for k in np.unique(fold)]
        one, other = (np.broadcast_to(f, len(self.counts)) for f in factors)
        per_fold = [
            self._average_precision(score, event, rows, (one, other)) for rows in folds
        ]
        figures = np.vstack(per_fold)
        defined = ~np.isnan(figures)
        return _divide(np.where(defined, figures, 0.0).sum(axis=0), defined.sum(axis=0))

    def _average_precision(
        self,
        score: FloatArray,
        event: NDArray[np.bool_],
        rows: IntArray,
        factors: tuple[FloatArray, FloatArray],
    ) -> FloatArray:
        order = rows[np.argsort(-score[rows], kind="stable")]
        last = np.flatnonzero(np.diff(score[order], append=-np.inf))
        result = np.empty(len(self.counts))
        step = max(1, 4_000_000 // len(order))
        for start in range(0, len(self.counts), step):
            chosen = slice(start, start + step)
            of_event, of_other = (factor[chosen, None] for factor in factors)
            weight = self.counts[chosen][:, self.group[order]]
            flagged = np.cumsum(weight, axis=1, dtype=np.float64)[:, last]
            true = np.cumsum(weight * event[order], axis=1, dtype=np.float64)[:, last]
            flagged = true * of_event + (flagged - true) * of_other
            true *= of_event
            gained = np.diff(true, axis=1, prepend=0.0)
            area = (gained * _divide(true, flagged, empty=0.0)).sum(axis=1)
            result[chosen] = _divide(area, true[:, -1])
        return result


def _divide(a: FloatArray, b: FloatArray, *, empty: float = np.nan) -> FloatArray:
    ratio: FloatArray = np.divide(a, b, out=np.full(b.shape, empty), where=b > 0)
    return ratio
