"""Intervals that have width wherever the sample is finite.

Precision, recall and false-positive rates are shares of posts, and so is F1 on another
scale. Their limits are exact ones of a share, at the effective sample size of posts in
groups. Unlike percentiles of a bootstrap they have width where all posts agree, and
they never leave [0, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv, ndtri, stdtrit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

LEVEL = 0.95
# Weight of what is assumed, that posts of one group all agree, in groups.
_ASSUMED = 0.5
_MANY = 1e9  # degrees of freedom, of a normal distribution


class Interval(NamedTuple):
    """A figure with the ends of its 95% interval; NaN where undefined."""

    value: float
    low: float
    high: float

    def cells(self, name: str) -> dict[str, float]:
        """Return the value and both ends as columns of a table."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def with_interval(
    value: float, low: float, high: float, *, digits: int = 3, sign: str = ""
) -> str:
    """Return a figure with its interval, for people to read.

    The ends are rounded outwards: what is shown has width, and contains the figure.
    """
    scale = 10.0**digits
    least = np.floor(low * scale + 1e-6) / scale + 0.0  # no -0.0
    most = np.ceil(high * scale - 1e-6) / scale + 0.0
    ends = f"[{least:{sign}.{digits}f}, {most:{sign}.{digits}f}]"
    return f"{value:{sign}.3f} {ends}"


UNDEFINED = Interval(np.nan, np.nan, np.nan)


class Basis(NamedTuple):
    """What a figure rests on.

    Parameters
    ----------
    n_posts : float
        Posts in its denominator; infinite where the figure is no share of posts.
    n_groups : float
        Groups of equal size that say as much, if posts of a group all agree.
    n_mixed : float or None, default=None
        Groups with the rarer outcome: the more, the better is the variance known.
        None if the figure has no two outcomes.
    """

    n_posts: float
    n_groups: float
    n_mixed: float | None = None

    @classmethod
    def of(cls, trials: FloatArray, hits: FloatArray | None = None) -> Basis:
        """Return the basis of a share from the posts and the hits of each group.

        The effective number of groups is that of Kish (1965), (Σm)² / Σm².
        """
        n_posts = float(trials.sum())
        if n_posts == 0:
            return cls(0.0, 0.0, 0.0)
        n_groups = n_posts**2 / float(np.square(trials).sum())
        if hits is None:
            return cls(np.inf, n_groups)
        mixed = min(int((hits > 0).sum()), int((hits < trials).sum()))
        return cls(n_posts, n_groups, mixed)


class Scale(NamedTuple):
    """How a figure becomes a share of posts, and back.

    Parameters
    ----------
    odds : float, default=1.0
        At another prevalence: the odds of the figure, over those without weights.
    f1 : bool, default=False
        F1 is no share, but F1 / (2 - F1) is one: that of the true positives among all
        posts that are flagged or events (Hand, Christen and Kirielle 2021, "F*").
    """

    odds: float = 1.0
    f1: bool = False

    def to_share(self, figure: FloatArray) -> FloatArray:
        """Return the share of posts that a figure stands for."""
        share = figure / (2.0 - figure) if self.f1 else figure
        return share / (share + self.odds * (1.0 - share))

    def from_share(self, share: float) -> float:
        """Return the figure of a share of posts."""
        share = self.odds * share / (self.odds * share + 1.0 - share)
        return 2.0 * share / (1.0 + share) if self.f1 else share

    def slope(self, figure: float) -> float:
        """Return by how much the share rises with the figure."""
        share = figure / (2.0 - figure) if self.f1 else figure
        slope = self.odds / (share + self.odds * (1.0 - share)) ** 2
        return slope * 2.0 / (2.0 - figure) ** 2 if self.f1 else slope


SHARE, F1 = Scale(), Scale(f1=True)


def share_interval(
    p: float,
    variance: float,
    basis: Basis,
    *,
    added: float = 0.0,
    df: float | None = None,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Return the ends of the interval of a share.

    Parameters
    ----------
    p : float
        The share, in [0, 1].
    variance : float
        Its variance over groups; 0 or NaN if unknown.
    basis : Basis
        What it rests on.
    added : float, default=0.0
        Variance from other sources.
    df : float or None, default=None
        Degrees of freedom of the variance; None for one less than the effective number
        of groups.
    level : float, default=0.95
        Its probability to hold the true share.

    Returns
    -------
    low, high : float
        Within [0, 1], on both sides of `p`, and never equal.

    Notes
    -----
    The effective sample size n is p (1 - p) / variance, corrected for the degrees of
    freedom of the variance (Korn and Graubard 1998, "Confidence intervals for
    proportions with small expected number of positive counts estimated from survey
    data", Survey Methodology 24). The fewer groups have the rarer outcome, the less
    does the variance say about how alike the posts of a group are: it is averaged with
    that of groups whose posts all agree, which has the weight of half a group. The
    limits are those of the exact test of n posts with the mid-P value (Lancaster 1961),
    whose coverage is near the level, not above it as that of Clopper and Pearson is.
    """
    tail = (1.0 - level) / 2.0
    unit = p * (1.0 - p)
    spread = _inflation(basis, df, tail)
    mixed = basis.n_groups if basis.n_mixed is None else basis.n_mixed
    per_unit = 1.0 / max(basis.n_groups, 1.0)
    if variance > 0 and unit > 0:
        known = spread * variance / unit
        per_unit = (mixed * known + _ASSUMED * per_unit) / (mixed + _ASSUMED)
        if basis.n_posts > 0:
            per_unit = max(per_unit, 1.0 / basis.n_posts)
    inner = (p * basis.n_groups + 0.5) / (basis.n_groups + 1.0)
    per_unit += spread * added / (inner * (1.0 - inner))
    n = 1.0 / per_unit
    low, high = _lower(p * n, n, tail), 1.0 - _lower((1.0 - p) * n, n, tail)
    return min(low, p), max(high, p)


def difference_interval(
    difference: float,
    variance: float,
    basis: Basis,
    *,
    per_share: float = 1.0,
    added: float = 0.0,
    df: float | None = None,
) -> tuple[float, float]:
    """Return the ends of the interval of a paired difference of two figures.

    Parameters are those of `share_interval`. `basis` has the posts that one of the two
    figures rests on, and the groups with posts in which they differ; `per_share` is the
    difference that these posts make as a share of all: 1 / `Scale.slope`.

    Returns
    -------
    low, high : float
        Within [-1, 1], on both sides of the difference, and never equal.

    Notes
    -----
    A t-interval. Where the two differ in no post, posts in which they do may still have
    a share of z² / n, as in the score interval of Tango (1998, "Equivalence test and
    confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17). Where they differ in m groups, this is averaged with the
    variance that was found, with the weight (½ / (m + ½))². It is squared, since z² / n
    is far more than groups that differ in few of their posts show.
    """
    tail = (1.0 - LEVEL) / 2.0
    z = -float(ndtri(tail))
    mixed = basis.n_groups if basis.n_mixed is None else basis.n_mixed
    squared = (z * per_share / max(basis.n_groups, 1.0)) ** 2
    spread = _inflation(basis, df, tail)
    if variance > 0:
        weight = (_ASSUMED / (mixed + _ASSUMED)) ** 2
        squared = weight * squared + (1.0 - weight) * spread * variance
    reach = z * float(np.sqrt(squared + spread * added))
    return max(difference - reach, -1.0), min(difference + reach, 1.0)


def _inflation(basis: Basis, df: float | None, tail: float) -> float:
    """Return how much larger a variance counts, since it is estimated from groups."""
    degrees = min(max(basis.n_groups - 1.0 if df is None else df, 1.0), _MANY)
    posts = max(basis.n_posts - 1.0, degrees)
    ratio = stdtrit(degrees, 1.0 - tail) / stdtrit(min(posts, _MANY), 1.0 - tail)
    return float(ratio) ** 2


def _lower(k: float, n: float, tail: float) -> float:
    """Return the lower mid-P limit of a share of k in n, neither of them whole."""
    rest = n - k
    if k < 1e-9:
        return 0.0
    if rest < 1e-9:  # all of them: half of the chance of n in n
        return float((2.0 * tail) ** (1.0 / n))

    def above(p: float) -> float:
        """Half of the chances of k or more and of more than k, minus the tail."""
        return float(betainc(k, rest + 1.0, p) + betainc(k + 1.0, rest, p)) / 2 - tail

    # The roots of the two chances alone lie on both sides.
    ends = betaincinv(k, rest + 1.0, tail), betaincinv(k + 1.0, rest, tail)
    if (
        above(ends[0]) >= 0.0 or above(ends[1]) <= 0.0
    ):  # they are equal but for rounding
        return float(ends[0])
    return float(brentq(above, *ends, xtol=1e-12))
