"""Counts of flagged posts from a smoothed ROC curve.

The empirical F1 is a ragged function of the threshold: its maximum is often at a chance
run of events. The ROC curve (the share of other posts above an event against the share
of events) is nearly straight if both axes are normal deviates. A line is fitted there,
the deviations from it are smoothed by a kernel, and counts are read off the smoothed
curve. Only the order of the scores matters. The sources are in the docstring of
`smooth_threshold`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import ndtr, ndtri

from mmevent.rule.cuts import (
    FLAG_ALL,
    Ranking,
    best_cuts,
    best_of,
    scores_and_events,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

MIN_COUNT = 5  # with fewer events, or fewer other posts, nothing is smoothed
STEPS_PER_WIDTH = 16
REACH = 4


def smooth_threshold(score: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Find the threshold with the highest smoothed F1.

    Parameters
    ----------
    score : array-like of shape (n_posts,)
        A score of 0 is never flagged.
    y : array-like of shape (n_posts,)
        True or 1 for an event, False or 0 for another post.

    Returns
    -------
    threshold : float
        Midway between two distinct scores; the smallest positive float flags all.
    f1 : float
        Smoothed F1 at that threshold.

    Raises
    ------
    InputError
        If the lengths differ, a score is not finite, or a label is not 0 or 1.

    See Also
    --------
    best_threshold : The same without smoothing.
    choose_threshold : Compares both, and takes the better one.

    Notes
    -----
    Of P events, the i-th from the top has N_i of the M other posts above it. With
    z_i = probit((i - 1/2) / P), the smoothed values are probit((N_i + 1/2) / (M + 1)):
    the least squares line on z, plus the average of the deviations from it by a
    Gaussian kernel of width 0.9 P^(-1/5) (Silverman's rule for a standard normal z). F1
    is 2 i / (i + N_i + P) with the smoothed N_i. The kernel is computed on bins (linear
    binning, Fan and Marron 1994), which move N_i by less than a tenth of a post.

    Where the ROC curve has a corner, this threshold lies beside the best one.
    :func:`choose_threshold` and :func:`tune_rule` guard against that.

    References
    ----------
    Line: Swets (1986), "Form of Empirical ROCs in Discrimination and Diagnostic Tasks",
    Psychological Bulletin 99. Width of the kernel: Silverman (1986), "Density
    Estimation for Statistics and Data Analysis", page 48, equation 3.31. Bins: Fan and
    Marron (1994), "Fast Implementations of Nonparametric Curve Estimators", Journal of
    Computational and Graphical Statistics 3.

    Examples
    --------
    >>> from mmevent.rule import smooth_threshold
    >>> threshold, f1 = smooth_threshold([0.9, 0.6, 0.4, 0.1], [1, 0, 1, 0])
    >>> round(threshold, 3), round(f1, 3)  # too few posts to smooth
    (0.25, 0.8)
    """
    return best_smoothed(*scores_and_events(score, y))


def best_smoothed(s: FloatArray, event: NDArray[np.bool_]) -> tuple[float, float]:
    """Find what `smooth_threshold` does, for scores and labels that fit."""
    side, none = Ranking.of(s, event), Ranking.of(s[:0], event[:0])
    if side.true[-1] == 0:
        return FLAG_ALL, 0.0
    return best_cuts(smoothed(side), none, int(event.sum()), (1.0, 1.0))[1:]


def smoothed(side: Ranking) -> Ranking:
    """Return a side with its numbers of flagged posts from the smoothed ROC curve."""
    events = int(side.true[-1])
    others = int(side.flagged[-1]) - events
    if min(events, others) < MIN_COUNT:
        return side
    at_event = np.flatnonzero(np.diff(side.true)) + 1
    rank = side.true[at_event]
    weight = np.diff(rank, prepend=0).astype(np.float64)
    above = (side.flagged[at_event] - rank).astype(np.float64)
    z = ndtri((rank - 0.5 * weight) / events)
    curve = _smooth(z, ndtri((above + 0.5) / (others + 1.0)), weight)
    moved = np.zeros(events + 1)
    moved[rank] = (others + 1.0) * ndtr(curve) - 0.5 - above
    return replace(side, flagged=side.flagged + moved[side.true])


def _smooth(z: FloatArray, y: FloatArray, weight: FloatArray) -> FloatArray:
    """Return y smoothed on z: a line plus a binned kernel average of the deviations.

    Each value is shared by the two bins beside it, and read off between them ("linear
    binning"): the bins move a count by less than a tenth of a post.
    """
    centred = z - np.average(z, weights=weight)
    spread = float((weight * centred**2).sum())
    slope = float((weight * centred * y).sum()) / spread if spread > 0 else 0.0
    line = np.average(y, weights=weight) + slope * centred
    step = 0.9 * weight.sum() ** -0.2 / STEPS_PER_WIDTH
    place = (z - z.min()) / step
    left = place.astype(np.intp)
    right_share = place - left
    n_bins = int(left.max()) + 2
    sums, counts = (
        gaussian_filter1d(
            np.bincount(left, values * (1.0 - right_share), n_bins)
            + np.bincount(left + 1, values * right_share, n_bins),
            STEPS_PER_WIDTH,
            mode="constant",
            truncate=REACH,
        )
        for values in (weight * (y - line), weight)
    )
    mean = sums / np.where(counts > 0.0, counts, 1.0)
    smooth: FloatArray = (
        line + (1.0 - right_share) * mean[left] + right_share * mean[left + 1]
    )
    return smooth


BEST_THRESHOLD = {"f1": best_of, "smooth": best_smoothed}
