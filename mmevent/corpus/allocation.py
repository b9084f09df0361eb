"""How a sample is shared out: the strata, and the posts to draw in each.

The best design has the narrowest interval of the figure that is asked for. Its expected
width is compared with that of a simple random sample, in each case that is likely: a
design may not be wider even where scores say nothing about events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import betaincinv
from scipy.stats import binom

from mmevent.corpus.shares import LEVEL, StratumCounts, Sums, exact_interval, figures
from mmevent.corpus.strata import Strata, expected_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

FIGURE_OF = {"events": "n_events", "precision": "precision", "recall": "recall"}
FIGURE_OF["f1"] = "f1"
_LEAST = 10  # posts of a stratum, where more than the number of events is asked for
_WIDEST = 1.03  # width relative to a simple random sample that is not penalised
_PENALTY = 10.0
_TIE = 0.01  # weight of the number of events beside the figure that is asked for
_QUANTILES = (np.arange(100) + 0.5) / 100
_FINEST_BLOCK = 200  # posts are moved in blocks of more than one in so many
_TRIED = 3  # ways to merge strata that are looked into
_GRID = 40  # numbers of posts for which the uncertainty of a stratum is computed
_RUNS = 900  # simulated samples; their mean width has an error of about 1%


class Design(NamedTuple):
    """Strata, and the number of posts of each in the sample."""

    strata: Strata
    n_coded: IntArray


class Held(NamedTuple):
    """What was drawn before: posts of each finest stratum, and the strata then."""

    n_coded: IntArray
    first: IntArray


class Planner:
    """Designs for samples of a corpus.

    Parameters
    ----------
    finest : Strata
        The finest strata.
    target : {"events", "precision", "recall", "f1"}
        Figure whose interval is made narrow.
    held : Held or None
        An earlier sample, which the new one joins. Strata are then cut, never merged,
        and labels are not looked at: in each stratum, the posts of both draws together
        are a simple random sample.
    """

    def __init__(self, finest: Strata, target: str, held: Held | None = None) -> None:
        nothing = Held(np.zeros(len(finest.size), dtype=np.intp), np.array([0]))
        self.finest, self.target, self.held = finest, target, held or nothing
        shares = expected_shares(finest)
        total = (shares * finest.size).sum(1).mean() / finest.size.sum()
        same = np.full((1, len(finest.size)), total)
        self._events = np.concatenate([shares, same]) * finest.size
        self._tables: dict[tuple[int, int], tuple[FloatArray, ...]] = {}

    @property
    def most(self) -> int:
        """Number of posts that a sample can have, those held included."""
        return int(self.finest.size.sum())

    def choose(self, n: int) -> Design:
        """Return the best design for n posts in all."""
        at_random = self._widths_at_random(n)
        starts = []
        for first in self.finest.partitions(self.held.first):
            strata = self.finest.merged(first)
            least = self._least(strata, n)
            if least.sum() <= n and (least <= strata.size).all():
                count = _fill(least, strata.size, self._neyman(strata), n)
                value = float(self._value(strata, count[None], at_random)[0])
                starts.append((value, Design(strata, count)))
        starts.sort(key=lambda start: start[0])
        found = [self._improved(*start, at_random) for start in starts[:_TRIED]]
        return min(found, key=lambda end: end[0])[1]

    def _neyman(self, strata: Strata) -> FloatArray:
        """Return weights by Neyman's rule."""
        events = np.add.reduceat(self._events, strata.first, axis=1).mean(0)
        share = events / strata.size
        spread = np.sqrt(np.maximum(share * (1 - share), 1e-6))
        weight: FloatArray = strata.size * spread
        return weight

    def _improved(
        self, value: float, design: Design, at_random: FloatArray
    ) -> tuple[float, Design]:
        """Move ever smaller blocks of posts between strata while that is better."""
        strata, count = design
        n = int(count.sum())
        least, block = self._least(strata, n), max(n // 4, 1)
        while block > n // _FINEST_BLOCK:
            moved = _moves(count, block, least, strata.size)
            values = self._value(strata, moved, at_random)
            if len(moved) and values.min() < value * (1 - 1e-6):
                value, count = float(values.min()), moved[values.argmin()]
            else:
                block //= 2
        return value, Design(strata, count)

    def _least(self, strata: Strata, n: int) -> IntArray:
        few = 1 if self.target == "events" else max(min(_LEAST, n // 4), 1)
        held: IntArray = np.add.reduceat(self.held.n_coded, strata.first)
        # A stratum is known from a post that is drawn in it: see `strata.py`.
        new = ~np.isin(strata.first, self.held.first)
        if not self.held.n_coded.any():
            return np.minimum(strata.size, few)
        least: IntArray = np.maximum(held + new, 1)
        return least

    def _value(
        self, strata: Strata, count: IntArray, at_random: FloatArray
    ) -> FloatArray:
        """Return the mean width relative to a random sample, penalised if above 1."""
        if not len(count):
            return np.empty(0)
        relative = self._widths(strata.first, count) / at_random[:, :, None]
        wanted = relative[0] + _TIE * relative[1]
        over = np.maximum(relative[0].max(0) - _WIDEST, 0)
        value: FloatArray = wanted[:-1].mean(0) + _PENALTY * over
        return value

    def _widths(self, first: IntArray, count: NDArray[np.number[Any]]) -> FloatArray:
        """Return the widths for the figure asked for, and for the number of events.

        The axes after the first are those of the cases and of the rows of `count`.
        """
        flagged, cases = self.finest.flagged, len(self._events)
        down, up = (np.zeros((cases, len(count), 2)) for _ in range(2))
        ends = [*first[1:], len(flagged)]
        for h, (start, end) in enumerate(zip(first, ends, strict=True)):
            side = 0 if flagged[start] else 1
            squares = self._squares(int(start), int(end), count[:, h])
            down[..., side] += squares[0]
            up[..., side] += squares[1]
        sides = (flagged, ~flagged)
        events = np.stack([self._events[:, side].sum(1) for side in sides], axis=-1)
        size = np.array([self.finest.size[side].sum() for side in sides], dtype=float)
        found = Sums(events[:, None], down, up, size).intervals()
        names = (FIGURE_OF[self.target], "n_events")
        return np.stack([np.subtract(*found[name][::-1]) for name in names])

    def _widths_at_random(self, n: int) -> FloatArray:
        """Return the widths of a simple random sample: figures, then cases."""
        first = np.array(sorted(self.finest.sides()))
        size = np.add.reduceat(self.finest.size, first)
        widths = self._widths(first, np.maximum(n * size / self.most, 1)[None])[..., 0]
        down, up = self._squares(0, len(self.finest.size), np.array([n]))
        total = self._events.sum(1)
        widths[1] = np.minimum(np.sqrt(down[:, 0]), total) + np.sqrt(up[:, 0])
        if self.target == "events":
            widths[0] = widths[1]
        return np.maximum(widths, 1e-9)

    def _squares(
        self, start: int, end: int, count: NDArray[np.number[Any]]
    ) -> tuple[FloatArray, FloatArray]:
        """Return mean squares of how far the events of a stratum lie below and above.

        Rows are cases, columns the numbers of posts coded. They are interpolated, and
        are those of samples with replacement, times the finite population correction.
        """
        size = int(self.finest.size[start:end].sum())
        if (start, end) not in self._tables:
            events = self._events[:, start:end].sum(1)
            self._tables[start, end] = _tabulate(events / size, size)
        grid, *squares = self._tables[start, end]
        at = np.log(np.minimum(count, size))
        place = np.clip(np.searchsorted(grid, at), 1, max(len(grid) - 1, 1))
        if len(grid) == 1:
            place = np.zeros_like(place)
        before = np.maximum(place - 1, 0)
        gap = np.where(place > before, grid[place] - grid[before], 1.0)
        share = np.clip((at - grid[before]) / gap, 0, 1)
        left = (size - np.minimum(count, size)) / max(size - 1, 1)
        down, up = (
            np.exp((1 - share) * table[:, before] + share * table[:, place])
            * np.square(size)
            * np.minimum(left, 1)
            for table in squares
        )
        return down, up


def _tabulate(share: FloatArray, size: int) -> tuple[FloatArray, ...]:
    """Return logarithms: of numbers of posts, and of mean squares, a row for a case."""
    n = np.unique(np.round(np.geomspace(1, size, _GRID)))
    k = binom.ppf(_QUANTILES[:, None, None], n, np.clip(share, 0, 1)[:, None])
    tail = (1 - LEVEL) / 2
    p = k / n
    low = np.where(k > 0, betaincinv(np.maximum(k, 0.5), n - k + 1, tail), 0)
    high = np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 0.5), 1 - tail), 1)
    down, up = np.square(p - low).mean(0), np.square(high - p).mean(0)
    return np.log(n), np.log(down + 1e-18), np.log(up + 1e-18)


def _fill(least: IntArray, size: IntArray, weight: FloatArray, n: int) -> IntArray:
    """Share n posts out in proportion to `weight`, within bounds."""
    count = least.copy()
    while (left := n - int(count.sum())) > 0:
        share = np.where(count < size, weight, 0.0)
        more = np.floor(left * share / share.sum()).astype(np.intp)
        if not more.any():
            more[share.argmax()] = 1
        count = np.minimum(count + more, size)
    return count


def _moves(count: IntArray, block: int, least: IntArray, most: IntArray) -> IntArray:
    """Return counts with `block` posts moved from one stratum to another."""
    step = np.eye(len(count), dtype=np.intp) * block
    moved = count - step[:, None] + step[None]
    moved = moved[~np.eye(len(count), dtype=bool)]
    return moved[((moved >= least) & (moved <= most)).all(axis=1)]


def mean_widths(strata: Strata, count: IntArray) -> dict[str, float]:
    """Return the mean width of each figure's interval, over simulated samples."""
    rng = np.random.default_rng(0)
    cases = expected_shares(strata)
    widths = []
    for share in cases:
        runs = _RUNS // len(cases)
        events = _whole(rng, share * strata.size, runs)
        found = rng.hypergeometric(events, strata.size - events, count)
        widths.append(_widths_of(strata, count, found))
    return {name: float(np.mean([w[name] for w in widths])) for name in widths[0]}


def mean_widths_at_random(strata: Strata, n: int) -> dict[str, float]:
    """Return the mean widths that a simple random sample has.

    Precision, recall and F1 are those of a sample that is stratified after the draw
    into flagged posts and others.
    """
    rng = np.random.default_rng(0)
    cases = expected_shares(strata)
    sides = strata.merged(strata.sides())
    n_posts, widths = int(strata.size.sum()), []
    for share in cases:
        runs = _RUNS // len(cases)
        expected = np.add.reduceat(share * strata.size, sides.first)
        events = _whole(rng, expected, runs)
        coded = rng.multivariate_hypergeometric(
            sides.size, n, size=runs, method="marginals"
        )
        found = rng.hypergeometric(events, sides.size - events, coded)
        width = _widths_of(sides, coded, found)
        low, high = exact_interval(found.sum(1), n, n_posts)
        width["n_events"] = float(np.mean(high - low) * n_posts)
        widths.append(width)
    return {name: float(np.mean([w[name] for w in widths])) for name in widths[0]}


def _whole(rng: np.random.Generator, expected: FloatArray, runs: int) -> IntArray:
    """Return whole numbers of events with these means, one row for each run."""
    whole = np.floor(expected + rng.random((runs, len(expected))))
    return whole.astype(np.intp)


def _widths_of(strata: Strata, coded: IntArray, found: IntArray) -> dict[str, float]:
    counts = StratumCounts(
        strata.size.astype(float),
        strata.flagged,
        np.broadcast_to(coded, found.shape).astype(float),
        found.astype(float),
        np.zeros(len(strata.size)),
    )
    return {row.figure: float(np.mean(row.high - row.low)) for row in figures(counts)}
