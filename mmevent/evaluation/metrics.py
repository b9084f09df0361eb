"""Precision, recall, F1 and average precision, with intervals over groups of posts."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from mmevent.evaluation.intervals import (
    F1,
    LEVEL,
    SHARE,
    UNDEFINED,
    Basis,
    Interval,
    Scale,
    difference_interval,
    share_interval,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]
    Factors = tuple[FloatArray | float, FloatArray | float]

N_RESAMPLES = 2000
N_RANKED = 400  # of them, for average precision, which sorts in each
SMALL = 30


class Weights(NamedTuple):
    """Weights of an event and of another post, for a corpus of another prevalence."""

    event: float
    other: float

    @classmethod
    def at(cls, prevalence: float, event: NDArray[np.bool_]) -> Weights:
        """Return the weights that give events this share of the posts."""
        share = float(event.mean())
        return cls(prevalence / share, (1.0 - prevalence) / (1.0 - share))


def scales(
    flagged: NDArray[np.bool_], event: NDArray[np.bool_], weights: Weights | None
) -> dict[str, Scale]:
    """Return the scale of each figure; posts have the shape (n_runs, n_posts).

    Only recall is the same at every prevalence. The errors of F1 are weighted
    differently: another post where there is none, since that is the worst case.
    """
    found = {"precision": SHARE, "recall": SHARE, "f1": F1, "average_precision": SHARE}
    if weights is None:
        return found
    odds = weights.event / weights.other
    false = float((flagged & ~event).sum()) / len(flagged)
    missed = float((~flagged & event).sum()) / len(flagged)
    errors = false / odds + missed + max(1.0 / odds, 1.0)
    return found | {
        "precision": Scale(odds),
        "average_precision": Scale(odds),
        "f1": Scale((false + missed + 1.0) / errors, f1=True),
    }


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
            "precision": divide(self.true, flagged),
            "recall": divide(self.true, self.events),
            "f1": divide(2.0 * self.true, flagged + self.events),
        }


class Resampling:
    """Resamples of whole groups, the same for every figure.

    They give the variance of a figure: with 30 groups or more by a bootstrap over
    groups, with fewer by leaving each group out in turn (the jackknife).

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
            counts: NDArray[Any] = 1.0 - np.eye(self.n_groups)
        else:
            counts = _resampled(self.n_groups)
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

    def basis(
        self,
        trials: FloatArray | NDArray[np.bool_],
        hits: FloatArray | NDArray[np.bool_] | None = None,
    ) -> Basis:
        """Return what a figure rests on: the posts that count in it, as hits or not.

        Without hits the figure is a mean, not a share. Both have shape (n_posts,), and
        are means over runs.
        """
        m = np.bincount(self.group, trials, self.n_groups).astype(np.float64)
        if hits is None:
            return Basis.of(m)
        k = np.bincount(self.group, hits, self.n_groups).astype(np.float64)
        return Basis.of(m, k)

    def bases(
        self, flagged: NDArray[np.bool_], event: NDArray[np.bool_]
    ) -> dict[str, Basis]:
        """Return what each figure rests on; both of shape (n_runs, n_posts)."""
        true = (flagged & event).mean(axis=0)
        trials = {
            "f1": (flagged | event).mean(axis=0),
            "precision": flagged.mean(axis=0),
            "recall": event.mean(axis=0),
        }
        found = {name: self.basis(posts, true) for name, posts in trials.items()}
        return found | {"average_precision": self.basis(trials["recall"])}

    def interval(
        self,
        figures: FloatArray,
        basis: Basis,
        scale: Scale = SHARE,
        *,
        added: float = 0.0,
        df: float | None = None,
        level: float = LEVEL,
    ) -> Interval:
        """Return the interval of a figure of the sample and then each resample.

        `added` is variance, on the scale of the figure, from other sources than the
        sample of groups. The other parameters are those of `share_interval`.
        """
        value = float(figures[0])
        if np.isnan(value):
            return UNDEFINED
        shares = scale.to_share(figures)
        ends = share_interval(
            *(float(shares[0]), self.variance(shares), basis),
            added=added * scale.slope(value) ** 2,
            df=df,
            level=level,
        )
        low, high = map(scale.from_share, ends)
        return Interval(value, min(low, value), max(high, value))

    def difference(
        self,
        figures: FloatArray,
        basis: Basis,
        *,
        per_share: float = 1.0,
        added: float = 0.0,
        df: float | None = None,
    ) -> Interval:
        """Return the interval of a paired difference; see `difference_interval`."""
        value = float(figures[0])
        if np.isnan(value):
            return UNDEFINED
        ends = difference_interval(
            *(value, self.variance(figures), basis),
            per_share=per_share,
            added=added,
            df=df,
        )
        return Interval(value, *ends)

    def joint_level(self, figures: FloatArray) -> float:
        """Return the level at which the intervals of k figures hold all at once.

        Figures have the shape (n_resamples + 1, k). The level is that of the 95%
        quantile, over resamples, of the largest deviation of any figure in standard
        errors (max-t, Westfall and Young 1993), and at most that of Šidák (1967).
        """
        values, others = figures[0], figures[1:]
        varies = [len(np.unique(one[~np.isnan(one)])) > 1 for one in others.T]
        usable = np.flatnonzero(~np.isnan(values) & varies)
        if not len(usable):
            return LEVEL
        error = np.nanstd(others[:, usable], axis=0)
        off = np.abs(np.nan_to_num((others[:, usable] - values[usable]) / error))
        largest = np.quantile(off.max(axis=1), LEVEL)
        joint = 1.0 - 2.0 * float(stats.norm.sf(largest))
        return float(min(max(joint, LEVEL), LEVEL ** (1.0 / len(usable))))

    def variance(self, figures: FloatArray) -> float:
        """Return the variance of a figure of the sample and then each resample.

        0 where fewer than two resamples have the figure.
        """
        others = figures[1:][~np.isnan(figures[1:])]
        if len(others) < 2:
            return 0.0
        spread = float(others.var())
        return spread * (len(others) - 1) if self.small else spread

    def standard_error(self, figures: FloatArray) -> float:
        """Return the standard error of a figure, given as for `interval`."""
        return float(np.sqrt(self.variance(figures)))

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
            weights.event * n_events[0] * divide(np.ones(1), n_events, empty=0.0),
            weights.other * n_others[0] * divide(np.ones(1), n_others, empty=0.0),
        )

    def average_precision(
        self,
        score: FloatArray,
        event: NDArray[np.bool_],
        factors: Factors = (1.0, 1.0),
    ) -> FloatArray:
        """Return average precision of the sample, then of up to 400 resamples.

        Scores must be comparable, see `mmevent.evaluation.spread.comparable`.
        """
        order = np.argsort(-score, kind="stable")
        last = np.flatnonzero(np.diff(score[order], append=-np.inf))
        counts = self.counts[: N_RANKED + 1]
        one, other = (np.broadcast_to(f, len(self.counts)) for f in factors)
        one, other = one[: len(counts)], other[: len(counts)]
        result = np.empty(len(counts))
        step = max(1, 4_000_000 // len(order))
        for start in range(0, len(counts), step):
            chosen = slice(start, start + step)
            of_event, of_other = one[chosen][:, None], other[chosen][:, None]
            weight = counts[chosen][:, self.group[order]]
            flagged = np.cumsum(weight, axis=1, dtype=np.float64)[:, last]
            true = np.cumsum(weight * event[order], axis=1, dtype=np.float64)[:, last]
            flagged = true * of_event + (flagged - true) * of_other
            true *= of_event
            gained = np.diff(true, axis=1, prepend=0.0)
            area = (gained * divide(true, flagged, empty=0.0)).sum(axis=1)
            result[chosen] = divide(area, true[:, -1])
        return result


@lru_cache(maxsize=4)  # drawing takes longer than all that is done with them
def _resampled(n_groups: int) -> NDArray[np.uint8]:
    """Return how often each resample has each group."""
    rng, shares = np.random.default_rng(0), np.full(n_groups, 1 / n_groups)
    counts = rng.multinomial(n_groups, shares, N_RESAMPLES).astype(np.uint8)
    counts.setflags(write=False)
    return counts


def divide(a: FloatArray, b: FloatArray, *, empty: float = np.nan) -> FloatArray:
    """Return a / b, with a value of its own where b is 0."""
    ratio: FloatArray = np.divide(a, b, out=np.full(b.shape, empty), where=b > 0)
    return ratio
