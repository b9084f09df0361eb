"""Figures of a corpus from the shares of events in strata, with intervals.

Every figure is a ratio of sums over strata, and its interval is found by inverting that
of a weighted sum of shares, which combines exact intervals of the strata (Zou and
Donner 2008). It holds where a stratum has few events, or none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmevent._strata import Strata

    FloatArray = NDArray[np.float64]

LEVEL = 0.95


class Figure(NamedTuple):
    """A figure of the corpus, with the ends of its 95% interval."""

    figure: str
    value: float
    low: float
    high: float


class Shares(NamedTuple):
    """Shares of events in strata, of which n posts each are coded, with intervals."""

    size: FloatArray
    p: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, strata: Strata, n: FloatArray, k: FloatArray) -> Shares:
        """Take the exact intervals of k events among n posts of each stratum."""
        size = strata.size.astype(np.float64)
        return cls(size, k / n, *_exact(k, n, size))

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
        """Interval of the r in [0, 1] at which a sum, falling with r, meets `least`."""

        def end(side: int) -> float:
            def above(r: float) -> float:
                return self.interval(weight(r))[side] - least(r)

            if above(0.0) <= 0:
                return 0.0
            return 1.0 if above(1.0) >= 0 else float(brentq(above, 0.0, 1.0))

        return end(0), end(1)


def figures(
    strata: Strata, n: FloatArray, k: FloatArray, n_flagged: float
) -> list[Figure]:
    """Give the figures of the events of a domain, and of the posts flagged in it.

    `n` posts of each stratum are coded; `k` of them are events of the domain.
    """
    shares, flagged = Shares.of(strata, n, k), strata.flagged
    size = shares.size
    found = float((size * shares.p)[flagged].sum())
    total = float((size * shares.p).sum())
    low, high = shares.interval(size)
    events = Figure("n_events", total, max(low, 0.0), min(high, float(size.sum())))
    precision = Figure("precision", np.nan, np.nan, np.nan)
    if n_flagged:
        low, high = shares.interval(np.where(flagged, size / n_flagged, 0.0))
        precision = Figure(
            "precision", found / n_flagged, max(low, 0.0), min(high, 1.0)
        )
    recall = shares.ratio(lambda r: np.where(flagged, 1 - r, -r) * size, lambda r: 0.0)
    f1 = shares.ratio(
        lambda f: np.where(flagged, 2 - f, -f) * size, lambda f: f * n_flagged
    )
    return [
        events,
        precision,
        Figure("recall", found / total if total else np.nan, *recall),
        Figure("f1", 2 * found / (n_flagged + total) if total else np.nan, *f1),
    ]


def effective_size(strata: Strata, n: FloatArray, k: FloatArray) -> float:
    """Size of a simple random sample with as narrow an interval of the events."""
    shares = Shares.of(strata, n, k)
    size = shares.size
    share = float((size * shares.p).sum() / size.sum())
    low, high = shares.interval(size / size.sum())
    reach = (high - low) / 2
    worth = share * (1 - share) * 1.96**2 / reach**2 if reach else size.sum()
    return float(min(worth, size.sum()))


def _exact(
    k: FloatArray, n: FloatArray, size: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Clopper-Pearson intervals; a finite stratum makes its posts count for more."""
    tail, p = (1 - LEVEL) / 2, k / n
    whole = n >= size
    worth = n * (size - 1) / np.where(whole, 1.0, size - n)
    events = p * worth
    with np.errstate(invalid="ignore"):
        low = np.where(p > 0, beta.ppf(tail, events, worth - events + 1), 0.0)
        high = np.where(p < 1, beta.ppf(1 - tail, events + 1, worth - events), 1.0)
    return np.where(whole, p, low), np.where(whole, p, high)
