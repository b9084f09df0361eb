"""The best threshold, and the best (beta, threshold), by a smoothed F1.

An empirical F1 is a ragged function of the threshold: its maximum sits on a chance run
of events as often as at the true one. Here the shares of posts and of events above a
cut are kernel estimates on the logarithm of the score, where beta is a shift, and F1
is maximised on a grid of cuts.

Source: Silverman (1986), "Density Estimation for Statistics and Data Analysis", page
48, equation 3.31, for the kernel's width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter1d

from mmevent._cuts import (
    FLAG_ALL,
    TIE,
    Side,
    best_cuts,
    best_threshold,
    midway,
    scores_and_events,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

MIN_WIDTH = 1e-3
REACH = 4.0
STEPS_PER_WIDTH = 4
MAX_STEPS = 4096


def smooth_threshold(score: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Find the threshold with the highest smoothed F1.

    Parameters
    ----------
    score : array-like of shape (n_posts,)
        A score of 0 is never flagged.
    y : array-like of shape (n_posts,)
        1 or True for an event.

    Returns
    -------
    threshold : float
        Above 0; the smallest positive float where flagging every post is best.
    f1 : float
        Smoothed F1 at that threshold.

    Raises
    ------
    InputError
        If there is not one score for each label.

    See Also
    --------
    best_threshold : The same without smoothing, exactly.

    Notes
    -----
    TP and the number of flagged posts at a cut are sums of normal tails on the
    logarithm of the score, of width 0.9 min(s, IQR / 1.34) / n^0.2, where s and IQR
    are the standard deviation and the interquartile range of the n events' log
    scores: Silverman's rule of thumb. The cuts are a quarter of a width apart.

    References
    ----------
    Silverman (1986), "Density Estimation for Statistics and Data Analysis", page 48,
    equation 3.31.

    Examples
    --------
    >>> from mmevent.tuning import smooth_threshold
    >>> threshold, f1 = smooth_threshold([0.9, 0.8, 0.6, 0.5, 0.1], [1, 1, 0, 1, 0])
    >>> round(threshold, 2), round(f1, 2)
    (0.28, 0.86)
    """
    s, event = scores_and_events(score, y)
    side, none = Side.of(s, event), Side.of(s[:0], event[:0])
    return smooth_cuts(side, none, int(event.sum()), (1.0, 1.0))[1:]


def smooth_cuts(
    text: Side, image: Side, positives: int, bounds: tuple[float, float]
) -> tuple[float, float, float]:
    """Beta, threshold and smoothed F1 of the best pair of cuts.

    Parameters
    ----------
    text, image : Side
        Scores at beta = 1 of the posts without and with images.
    positives : int
        Events in all, those that can never be flagged included.
    bounds : tuple of float
        Least and greatest beta.
    """
    found = [np.repeat(side.values, np.diff(side.true)) for side in (text, image)]
    if not sum(map(len, found)):
        return float(np.clip(1.0, *bounds)), FLAG_ALL, 0.0
    low, high = (float(bound) for bound in np.log(bounds))
    grid = _Grid.of(np.log(found[0]), np.log(found[1]), low, high)
    true = grid.pairs(text, text.true, image, image.true)
    flagged = grid.pairs(text, text.flagged, image, image.flagged)
    f1 = 2.0 * true / (flagged + positives)
    enough = f1.max() - TIE
    rows = np.flatnonzero(f1.max(axis=1) >= enough)
    row = rows[np.argmin(np.abs(grid.log_betas[rows]))]
    cut = int(np.flatnonzero(f1[row] >= enough)[-1])
    beta, threshold = np.exp(grid.log_betas[row]), np.exp(grid.cuts[cut])
    if cut == 0:
        lowest = min([*text.values[-1:], *(beta * image.values[-1:])])
        rest = text.has_rest or image.has_rest
        threshold = midway(0.0, lowest) if rest else FLAG_ALL
    return float(beta), max(float(threshold), FLAG_ALL), float(f1[row, cut])


class _Grid(NamedTuple):
    """Cuts of the log score, evenly spaced, and betas that are whole steps apart.

    The first cut flags all.
    """

    cuts: FloatArray
    log_betas: FloatArray
    width: float

    @classmethod
    def of(cls, text: FloatArray, image: FloatArray, low: float, high: float) -> _Grid:
        """Lay a grid over the log scores of events, for log beta from low to high."""
        found = np.concatenate([text, image])
        width = _width(found)
        start = np.quantile(found, 0.01) + min(low, 0.0) - REACH * width
        stop = max(text.max(initial=start), image.max(initial=start) + high)
        stop += REACH * width
        step = max(width / STEPS_PER_WIDTH, (stop - start) / MAX_STEPS)
        n_betas = 1 + 2 * int(np.ceil((high - low) / (2.0 * step)))
        if n_betas > 1:
            step = (high - low) / (n_betas - 1)
        log_betas = low + step * np.arange(n_betas)
        log_betas[np.abs(log_betas) < TIE] = 0.0
        return cls(np.arange(start, stop + step, step), log_betas, width)

    def pairs(
        self, text: Side, of_text: IntArray, image: Side, of_image: IntArray
    ) -> FloatArray:
        """Smoothed counts of both sides together, for each beta (rows) and cut."""
        at_text = self._smoothed(text, of_text, 0.0)
        at_image = self._smoothed(image, of_image, self.log_betas[0])
        n = len(self.log_betas)
        # A greater beta moves the image side up: its cut is as many steps below.
        below = np.concatenate([np.full(n - 1, at_image[0]), at_image])
        total: FloatArray = at_text + sliding_window_view(below, len(self.cuts))[::-1]
        return total

    def _smoothed(self, side: Side, counts: IntArray, log_beta: float) -> FloatArray:
        """Smooth what each cut flags, of a side's scores times beta."""
        ascending = -(np.log(side.values) + log_beta)
        above = counts[np.searchsorted(ascending, -self.cuts, side="right")]
        sigma = self.width / (self.cuts[1] - self.cuts[0])
        smooth = gaussian_filter1d(
            above.astype(np.float64), sigma, mode="nearest", truncate=REACH
        )
        smooth[0] = counts[-1]
        return np.asarray(smooth, dtype=np.float64)


def _width(found: FloatArray) -> float:
    """Width of the kernel, from the log scores of events."""
    low, high = np.quantile(found, [0.25, 0.75])
    deviation = float(found.std())
    spread = min(deviation, float(high - low) / 1.34) or deviation
    return float(max(0.9 * spread * len(found) ** -0.2, MIN_WIDTH))


BEST_THRESHOLD = {"f1": best_threshold, "smooth": smooth_threshold}
BEST_CUTS = {"f1": best_cuts, "smooth": smooth_cuts}
