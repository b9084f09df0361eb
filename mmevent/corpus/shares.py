"""Figures of a corpus from the shares of events in strata, with intervals.

Every figure is a ratio of sums over strata. A weighted sum of shares has an interval
that combines the exact intervals of the strata (Zou and Donner 2008), and the interval
of a ratio follows from it by inversion. Both hold where a stratum has few events or
none. All of it is done for many samples at once, since the expected width of an
interval is its mean over simulated samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import hypergeom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

LEVEL = 0.95
_ROUNDING = 1e-9


class Figure(NamedTuple):
    """A figure of the corpus, with its 95% interval.

    A number each, or an array, one for each sample, where the counts are those of
    several samples.
    """

    figure: str
    value: Any
    low: Any
    high: Any


class StratumCounts(NamedTuple):
    """Counts of a group of posts in each stratum.

    The last axis is that of the strata. `coded` and `events` may have another one
    before it, for several samples.
    """

    size: FloatArray  # posts of the group
    flagged: NDArray[np.bool_]
    coded: FloatArray
    events: FloatArray  # events among the coded posts
    guess: FloatArray  # share of events where no post of the group is coded


class Sums(NamedTuple):
    """Events among flagged posts and among the others, each with its uncertainty.

    Two columns: flagged, others. `down` and `up` are squares of how far the sum may lie
    below and above.
    """

    events: FloatArray
    down: FloatArray
    up: FloatArray
    size: FloatArray  # number of posts

    @classmethod
    def of(cls, counts: StratumCounts) -> Sums:
        """Return sums over strata; a share is in [0, 1] where no post is coded."""
        size, n, k = counts.size, counts.coded, counts.events
        p = np.where(n > 0, k / np.maximum(n, 1), counts.guess)
        low, high = exact_interval(k, n, size)
        sides = (counts.flagged, ~counts.flagged)
        parts = (size * p, np.square(size * (p - low)), np.square(size * (high - p)))
        events, down, up = (
            np.stack([part[..., side].sum(-1) for side in sides], axis=-1)
            for part in parts
        )
        return cls(events, down, up, np.array([size[side].sum() for side in sides]))

    def intervals(self) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Return the interval of each figure (Zou and Donner 2008, equation 2)."""
        found, total = self.events[..., 0], self.events.sum(-1)
        n_flagged, n_posts = self.size[0], self.size.sum()
        down, up = np.sqrt(self.down), np.sqrt(self.up)
        all_down, all_up = np.sqrt(self.down.sum(-1)), np.sqrt(self.up.sum(-1))
        low, high = np.maximum(found - down[..., 0], 0), found + up[..., 0]
        share = 1 / n_flagged if n_flagged else np.nan
        return {
            "n_events": (
                np.maximum(total - all_down, 0),
                np.minimum(total + all_up, n_posts),
            ),
            "precision": (low * share, np.minimum(high, n_flagged) * share),
            "recall": self._ratio(1.0, found, total),
            "f1": self._ratio(2.0, 2 * found, n_flagged + total),
        }

    def _ratio(
        self, most: float, part: FloatArray, whole: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the interval of part / whole.

        It has each r for which the interval of part - r whole contains 0. This is a sum
        of events with the weights most - r for those flagged and -r for the others, and
        its ends are roots of a quadratic equation in r, as in Fieller's theorem.
        """

        def quadratic(flagged: FloatArray, others: FloatArray) -> Any:
            a = np.square(whole) - flagged - others
            b = part * whole - most * flagged
            c = np.square(part) - most**2 * flagged
            return a, b, c, b * b - a * c

        _, b, c, square = quadratic(self.down[..., 0], self.up[..., 1])
        inside = c > 0  # else 0 is in the interval
        low = _over(c, b + np.sqrt(np.maximum(square, 0)), inside, 0.0)
        a, b, c, square = quadratic(self.up[..., 0], self.down[..., 1])
        root = np.sqrt(np.maximum(square, 0))
        # Of two ways to write a root, the one without a difference of near numbers.
        turned = b < 0
        over = np.where(turned, b - root, a)
        real = (square >= 0) & (over != 0)
        high = _over(np.where(turned, c, b + root), over, real, 1.0)
        # A root below the value is none of the interval, which then reaches 1.
        high = np.where(high * whole < part * (1 - _ROUNDING), 1.0, high)
        return np.minimum(low, 1), np.minimum(high, 1)


def figures(counts: StratumCounts) -> list[Figure]:
    """Return the figures of a group; NaN where no post that they depend on is coded."""
    sums = Sums.of(counts)
    found, total, n_flagged = sums.events[..., 0], sums.events.sum(-1), sums.size[0]
    seen = counts.coded[..., counts.flagged].sum(-1) > 0
    some = counts.events.sum(-1) > 0
    values = {
        "n_events": total,
        "precision": _over(found, n_flagged, seen),
        "recall": _over(found, total, some),
        "f1": _over(2 * found, n_flagged + total, some),
    }
    ends = sums.intervals()
    # An array without axes is a number.
    return [
        Figure(name, value[()], *(end[()] for end in ends[name]))
        for name, value in values.items()
    ]


def _over(
    part: FloatArray, whole: Any, defined: Any, other: float = np.nan
) -> FloatArray:
    """Return a ratio, and another number where it is not defined."""
    return np.where(defined, part / np.where(defined, whole, 1.0), other)


def effective_size(counts: StratumCounts) -> float:
    """Size of a simple random sample with an equally narrow interval of the events.

    NaN where none or all of the coded posts are events.
    """
    sums = Sums.of(counts)
    n_posts = float(sums.size.sum())
    share = float(sums.events.sum() / n_posts)
    low, high = (float(end) / n_posts for end in sums.intervals()["n_events"])
    if not 0 < share < 1:
        return np.nan
    if high <= low:
        return n_posts
    least, most = 2, int(n_posts)
    while least < most:
        n = (least + most) // 2
        ends = exact_interval(share * n, n, n_posts)
        if ends[1] - ends[0] <= high - low:
            most = n
        else:
            least = n + 1
    return float(least)


def exact_interval(
    k: FloatArray | float, n: FloatArray | float, size: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """Return the Clopper-Pearson intervals of shares in finite strata.

    An interval has the numbers of events for which each of the two, k or more events
    and k or fewer events among n posts, has a chance above 2.5%. Where k is not a whole
    number, since it is a mean of codings, it is interpolated between whole numbers.
    """
    rows = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (k, n, size)))
    # Samples of a corpus have few different counts: each is computed once.
    each, place = np.unique(
        np.stack([row.ravel() for row in rows], axis=1), axis=0, return_inverse=True
    )
    count, n_coded, n_posts = each.T
    below, above = np.floor(count), np.ceil(count)
    ends = _whole_interval(below, n_coded, n_posts)
    between = below != above
    if between.any():
        share = (count - below)[between]
        others = _whole_interval(above[between], n_coded[between], n_posts[between])
        for end, other in zip(ends, others, strict=True):
            end[between] = (1 - share) * end[between] + share * other
    low, high = (end[place.ravel()].reshape(rows[0].shape) for end in ends)
    return low, high


def _whole_interval(
    k: FloatArray, n: FloatArray, size: FloatArray
) -> tuple[FloatArray, FloatArray]:
    tail = (1 - LEVEL) / 2
    least, most = k, size - n + k
    low = _first(lambda K: hypergeom.sf(k - 1, size, K, n) > tail, least, most)
    high = _first(lambda K: hypergeom.cdf(k, size, K, n) <= tail, least, most + 1) - 1
    known, posts = (n > 0) & (size > 0), np.maximum(size, 1)
    return np.where(known, low / posts, 0.0), np.where(known, high / posts, 1.0)


def _first(
    holds: Callable[[FloatArray], NDArray[np.bool_]], low: FloatArray, high: FloatArray
) -> FloatArray:
    """Return the smallest whole numbers from `low` on for which a condition holds.

    Where it holds for a number, it holds for all larger ones.
    """
    while (open_ := low < high).any():
        middle = np.floor((low + high) / 2)
        found = holds(middle)
        high = np.where(open_ & found, middle, high)
        low = np.where(open_ & ~found, middle + 1, low)
    return low
