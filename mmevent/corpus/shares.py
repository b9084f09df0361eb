"""Figures of a corpus from the shares of events in strata, with intervals.

Every figure is a ratio of sums over strata. A weighted sum of shares has an interval
that combines the exact intervals of the strata (Zou and Donner 2008), and the interval
of a ratio follows from it by inversion. Both hold where a stratum has few events or
none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import hypergeom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

LEVEL = 0.95


class Figure(NamedTuple):
    """A figure of the corpus, with its 95% interval."""

    figure: str
    value: float
    low: float
    high: float


class StratumCounts(NamedTuple):
    """Counts of a group of posts in each stratum."""

    size: FloatArray  # posts of the group
    flagged: NDArray[np.bool_]
    coded: FloatArray
    events: FloatArray  # events among the coded posts
    guess: FloatArray  # share of events where no post of the group is coded


class Shares(NamedTuple):
    """Shares of events in strata, with their intervals."""

    size: FloatArray
    p: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, counts: StratumCounts) -> Shares:
        """Return shares with their exact intervals; [0, 1] where no post is coded."""
        size, n, k = counts.size, counts.coded, counts.events
        p = np.where(n > 0, k / np.maximum(n, 1), counts.guess)
        ends = [exact_interval(*row) for row in zip(k, n, size, strict=True)]
        low, high = np.array(ends).T
        return cls(size, p, low, high)

    def interval(self, weight: FloatArray) -> tuple[float, float]:
        """Interval of a weighted sum of the shares."""
        centre = float((weight * self.p).sum())
        down = np.where(weight >= 0, self.p - self.low, self.high - self.p)
        up = np.where(weight >= 0, self.high - self.p, self.p - self.low)
        return (
            centre - float(np.sqrt(np.square(weight * down).sum())),
            centre + float(np.sqrt(np.square(weight * up).sum())),
        )

    def ratio(
        self, weight: Callable[[float], FloatArray], least: Callable[[float], float]
    ) -> tuple[float, float]:
        """Interval of the r in [0, 1] where a sum that falls with r equals `least`."""

        def end(side: int) -> float:
            def above(r: float) -> float:
                return self.interval(weight(r))[side] - least(r)

            if above(0.0) <= 0:
                return 0.0
            return 1.0 if above(1.0) >= 0 else float(brentq(above, 0.0, 1.0))

        return end(0), end(1)


def figures(counts: StratumCounts) -> list[Figure]:
    """Return the figures of a group; NaN where no post that they depend on is coded."""
    shares, flagged = Shares.of(counts), counts.flagged
    size = shares.size
    n_flagged = float(size[flagged].sum())
    found = float((size * shares.p)[flagged].sum())
    total = float((size * shares.p).sum())
    low, high = shares.interval(size)
    events = Figure("n_events", total, max(low, 0.0), min(high, float(size.sum())))
    precision = Figure("precision", np.nan, np.nan, np.nan)
    seen = counts.coded[flagged].sum() > 0
    if n_flagged:
        low, high = shares.interval(np.where(flagged, size / n_flagged, 0.0))
        value = found / n_flagged if seen else np.nan
        precision = Figure("precision", value, max(low, 0.0), min(high, 1.0))
    recall = shares.ratio(lambda r: np.where(flagged, 1 - r, -r) * size, lambda r: 0.0)
    f1 = shares.ratio(
        lambda f: np.where(flagged, 2 - f, -f) * size, lambda f: f * n_flagged
    )
    some = counts.events.sum() > 0
    return [
        events,
        precision,
        Figure("recall", found / total if some else np.nan, *recall),
        Figure("f1", 2 * found / (n_flagged + total) if some else np.nan, *f1),
    ]


def effective_size(counts: StratumCounts) -> float:
    """Size of a simple random sample with an equally narrow interval of the events.

    NaN where none or all of the coded posts are events.
    """
    shares = Shares.of(counts)
    n_posts = float(shares.size.sum())
    share = float((shares.size * shares.p).sum() / n_posts)
    low, high = shares.interval(shares.size / n_posts)
    if not 0 < share < 1:
        return np.nan
    if high <= low:
        return n_posts

    def width(n: float) -> float:
        ends = exact_interval(share * n, n, n_posts)
        return ends[1] - ends[0] - (high - low)

    return float(_first(lambda n: width(float(n)) <= 0, 2, int(n_posts)))


def exact_interval(k: float, n: float, size: float) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of a share in a finite stratum.

    It has the numbers of events for which each of the two, k or more events and k or
    fewer events among n posts, has a chance above 2.5%. Where k is not a whole number,
    since it is a mean of codings, the interval is interpolated between whole numbers.
    """
    below, above = np.floor(k), np.ceil(k)
    if below != above:
        share = k - below
        pairs = exact_interval(below, n, size), exact_interval(above, n, size)
        low, high = (
            float((1 - share) * a + share * b) for a, b in zip(*pairs, strict=True)
        )
        return low, high
    if n == 0 or size == 0:
        return 0.0, 1.0
    tail = (1 - LEVEL) / 2
    least, most = int(k), int(size - n + k)
    low = _first(lambda K: hypergeom.sf(k - 1, size, K, n) > tail, least, most)
    high = _first(lambda K: hypergeom.cdf(k, size, K, n) <= tail, least, most + 1) - 1
    return low / size, high / size


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the smallest number from low on for which a condition holds.

    Where it holds for a number, it holds for all larger ones.
    """
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
