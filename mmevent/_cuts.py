"""The best threshold for a score, and the best (beta, threshold) for two sides.

For a given weight and pool, beta and the threshold t are two cuts: t for posts without
images and u = t / beta for posts with. F1 over the two cuts is a ratio of separable
sums, which Dinkelbach's iteration maximises: for a given ratio r, maximise the sum over
flagged posts of (2 y - r). The bounds on beta couple the cuts, so that each t allows a
window of u, over which a maximum is taken.

Source: Dinkelbach (1967), "On Nonlinear Fractional Programming", Management Science 13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

FLAG_ALL = float(np.nextafter(0.0, 1.0))
TIE = 1e-12
GAIN_TIE = 1e-9


def best_threshold(score: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Find the threshold with the highest F1, exactly.

    Parameters
    ----------
    score : array-like of shape (n_posts,)
        A score of 0 is never flagged.
    y : array-like of shape (n_posts,)
        1 or True for an event.

    Returns
    -------
    threshold : float
        Midway between two distinct scores, never between ties; of several that do
        equally well the greatest. The smallest positive float flags every post
        with a score above 0.
    f1 : float
        F1 = 2 TP / (flagged + positives) at that threshold.

    Raises
    ------
    InputError
        If there is not one score for each label.

    Examples
    --------
    >>> from mmevent.tuning import best_threshold
    >>> threshold, f1 = best_threshold([0.9, 0.6, 0.4, 0.1], [1, 0, 1, 0])
    >>> round(threshold, 3), round(f1, 3)
    (0.25, 0.8)
    """
    s, event = scores_and_events(score, y)
    ascending, positive = np.sort(s), np.sort(s[event])
    found = positive[positive > 0]
    if len(found) == 0:
        return FLAG_ALL, 0.0
    cut = np.searchsorted(ascending, found, side="left")
    tp = len(positive) - np.searchsorted(positive, found, side="left")
    f1 = 2.0 * tp / (len(ascending) - cut + len(positive))
    best = int(np.flatnonzero(f1 >= f1.max() - TIE)[-1])
    if cut[best] == 0:
        return FLAG_ALL, float(f1[best])
    lower = float(ascending[cut[best] - 1])
    return midway(lower, float(found[best])), float(f1[best])


def scores_and_events(
    score: ArrayLike, y: ArrayLike
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return scores and labels as arrays of the same length."""
    s, event = np.asarray(score, dtype=np.float64), np.asarray(y, dtype=bool)
    if s.ndim != 1 or s.shape != event.shape:
        raise InputError(
            f"score and y do not fit: expected one of each for each post, got shapes "
            f"{s.shape} and {event.shape}. Pass both of the same posts."
        )
    return s, event


def recalling(score: FloatArray, recall: float) -> float:
    """Return the highest of the events' scores down to which this share of them lie."""
    enough = int(np.ceil(recall * len(score) - GAIN_TIE))
    return float(np.sort(score)[len(score) - enough])


def has_both(event: NDArray[np.bool_]) -> bool:
    """Whether there are events and others."""
    return bool(event.any() and not event.all())


def midway(lower: float, upper: float) -> float:
    """Return a threshold that flags `upper` and not `lower`."""
    middle = 0.5 * (lower + upper)
    return middle if lower < middle <= upper else upper


@dataclass(frozen=True)
class Side:
    """Distinct scores above 0, descending, with what a cut below each of them flags.

    A cut k flags the k greatest distinct scores. `has_rest` says whether there are
    scores of 0, which no cut flags. Numbers of flagged posts may be estimates.
    """

    values: FloatArray
    flagged: IntArray | FloatArray
    true: IntArray
    has_rest: bool

    @classmethod
    def of(cls, score: FloatArray, event: NDArray[np.bool_]) -> Side:
        """Sort the scores of one side, with their labels."""
        order = np.argsort(-score)
        has_rest = bool((score <= 0).any())
        order = order[score[order] > 0]
        values = score[order]
        last = np.flatnonzero(np.diff(values, append=-1.0))
        true = np.append(0, np.cumsum(event[order])[last])
        return cls(values[last], np.append(0, last + 1), true, has_rest)

    def edge(self, cut: int | IntArray) -> FloatArray:
        """Least flagged score at `cut`; infinite where nothing is flagged."""
        return np.append(np.inf, self.values)[cut]

    def below(self, cut: int | IntArray) -> FloatArray:
        """Greatest score that is not flagged at `cut`; 0 where all are."""
        return np.append(self.values, 0.0)[cut]


def best_cuts(
    text: Side, image: Side, positives: int, bounds: tuple[float, float]
) -> tuple[float, float, float]:
    """Beta, threshold and F1 of the best pair of cuts.

    Parameters
    ----------
    text, image : Side
        Scores at beta = 1 of the posts without and with images.
    positives : int
        Events in all, those that can never be flagged included; at least 1.
    bounds : tuple of float
        Least and greatest beta.
    """

    def gains(ratio: float) -> tuple[FloatArray, FloatArray]:
        return (
            2.0 * text.true - ratio * text.flagged,
            2.0 * image.true - ratio * image.flagged,
        )

    gain_text, gain_image = gains(0.5)
    best = _best_for(text, image, gain_image, int(np.argmax(gain_text)), bounds)
    ratio, gain = 0.0, np.inf
    while gain > TIE * max(positives, 1):
        flagged = float(text.flagged[best[0]] + image.flagged[best[1]])
        true = int(text.true[best[0]] + image.true[best[1]])
        ratio = 2.0 * true / (flagged + positives)
        gain_text, gain_image = gains(ratio)
        best = _best_pair(text, image, gain_text, gain_image, bounds, best)
        gain = gain_text[best[0]] + gain_image[best[1]] - ratio * positives
    if ratio == 0.0:
        return float(np.clip(1.0, *bounds)), FLAG_ALL, 0.0
    ties = _ties(text, image, gain_text, gain_image, bounds, best)
    return *_beta_nearest_one(text, image, ties, bounds), ratio


def _best_for(
    text: Side,
    image: Side,
    gain_image: FloatArray,
    cut: int,
    bounds: tuple[float, float],
) -> tuple[int, int]:
    """Pair a cut of the text side with the best of the image side that it allows."""
    first, last = _window(text, image, np.array([cut]), bounds)
    return cut, int(first[0] + np.argmax(gain_image[first[0] : last[0] + 1]))


def _best_pair(
    text: Side,
    image: Side,
    gain_text: FloatArray,
    gain_image: FloatArray,
    bounds: tuple[float, float],
    known: tuple[int, int],
) -> tuple[int, int]:
    """Find the pair of cuts of the greatest gain that a beta within bounds makes.

    The gain of a `known` pair spares looking at cuts that cannot reach it.
    """
    pair = _best_for(text, image, gain_image, int(np.argmax(gain_text)), bounds)
    if gain_image[pair[1]] == gain_image.max():
        return pair
    enough = max(gain_text[cut] + gain_image[other] for cut, other in (pair, known))
    enough -= _tolerance(gain_text, gain_image)
    found = _candidates(text, image, gain_text, gain_image, enough, bounds)
    best = int(np.argmax(found.gain))
    partners = found.kept[found.first[best] : found.last[best] + 1]
    return int(found.cuts[best]), int(partners[np.argmax(gain_image[partners])])


def _tolerance(gain_text: FloatArray, gain_image: FloatArray) -> float:
    """Difference below which two gains are equal: a tie, or rounding of large ones."""
    scale = max(np.abs(gain_text).max(), np.abs(gain_image).max())
    return float(GAIN_TIE + 8.0 * np.spacing(scale))


class _Candidates(NamedTuple):
    """Cuts of the text side, each with its window of `kept` cuts of the image side.

    `gain` is that of the best pair in the window.
    """

    cuts: IntArray
    kept: IntArray
    first: IntArray
    last: IntArray
    gain: FloatArray


def _candidates(
    text: Side,
    image: Side,
    gain_text: FloatArray,
    gain_image: FloatArray,
    enough: float,
    bounds: tuple[float, float],
) -> _Candidates:
    """Cuts that may be part of a pair whose gain is enough."""
    cuts = np.flatnonzero(gain_text >= enough - gain_image.max())
    kept = np.flatnonzero(gain_image >= enough - gain_text.max())
    first, last = _window(text, image, cuts, bounds)
    first = np.searchsorted(kept, first, side="left")
    last = np.searchsorted(kept, last, side="right") - 1
    some = first <= last
    cuts, first, last = cuts[some], first[some], last[some]
    gain = gain_text[cuts] + _window_max(gain_image[kept], first, last)
    return _Candidates(cuts, kept, first, last, gain)


def _window(
    text: Side, image: Side, cuts: IntArray, bounds: tuple[float, float]
) -> tuple[IntArray, IntArray]:
    """First and last cut of the image side that each cut of the text side allows."""
    ascending = -image.values
    first = np.searchsorted(ascending, -text.edge(cuts) / bounds[0], side="right")
    last = np.searchsorted(ascending, -text.below(cuts) / bounds[1], side="left")
    # An interval of u is never empty, but for rounding where the bounds are equal.
    return first, np.maximum(first, last)


def _window_max(values: FloatArray, first: IntArray, last: IntArray) -> FloatArray:
    """Maximum of values[first:last + 1], for each pair of ends.

    A sparse table: the maximum over any window is that of the two overlapping
    windows, of a power of two long, which cover it.
    """
    level = np.frexp(last - first + 1)[1] - 1
    result = np.empty(len(first))
    table = values
    for size in range(level.max(initial=-1) + 1):
        rows, width = np.flatnonzero(level == size), 2**size
        result[rows] = np.maximum(table[first[rows]], table[last[rows] + 1 - width])
        table = np.maximum(table[:-width], table[width:])
    return result


def _ties(
    text: Side,
    image: Side,
    gain_text: FloatArray,
    gain_image: FloatArray,
    bounds: tuple[float, float],
    best: tuple[int, int],
) -> tuple[IntArray, IntArray]:
    """All feasible pairs of cuts that gain as much as the best.

    Gains of counts are whole multiples of 1 / (flagged + positives): any two that
    differ, differ by more than the tolerance here.
    """
    enough = gain_text[best[0]] + gain_image[best[1]]
    enough -= _tolerance(gain_text, gain_image)
    found = _candidates(text, image, gain_text, gain_image, enough, bounds)
    reached = found.gain >= enough
    cuts = found.cuts[reached]
    image_cuts = []
    for cut, i, j in zip(cuts, found.first[reached], found.last[reached], strict=True):
        kept = found.kept[i : j + 1]
        image_cuts.append(kept[gain_image[kept] >= enough - gain_text[cut]])
    return np.repeat(cuts, [len(row) for row in image_cuts]), np.concatenate(image_cuts)


def _beta_nearest_one(
    text: Side,
    image: Side,
    cuts: tuple[IntArray, IntArray],
    bounds: tuple[float, float],
) -> tuple[float, float]:
    """Beta nearest 1 that lets one threshold make both of some cuts, and the threshold.

    The ends of the interval of beta are not attained: it is kept a thousandth of
    the interval's length away from them.
    """
    text_edge, text_below = text.edge(cuts[0]), text.below(cuts[0])
    image_edge, image_below = image.edge(cuts[1]), image.below(cuts[1])
    with np.errstate(divide="ignore"):
        low = np.maximum(bounds[0], text_below / image_edge)
        high = np.minimum(bounds[1], text_edge / image_below)
    inside = 1e-3 * (high - low)
    betas = np.clip(1.0, low + inside, high - inside)
    best = int(np.argmin(np.abs(np.log(betas))))
    beta = float(betas[best])
    lower = float(max(text_below[best], beta * image_below[best]))
    upper = float(min(text_edge[best], beta * image_edge[best]))
    if lower == 0.0 and not (text.has_rest or image.has_rest):
        return beta, FLAG_ALL
    return beta, midway(lower, upper if np.isfinite(upper) else 2.0 * lower)
