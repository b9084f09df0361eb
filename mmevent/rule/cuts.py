"""The best threshold for a score, and the best beta and threshold for two sides.

The two sides are the posts without images and the posts with images. For a given weight
and pooling, choosing beta and the threshold t means choosing two cuts: t for the posts
without images and u = t / beta for those with images. F1 over the two cuts is a ratio
of sums with one part from each side, which Dinkelbach's iteration maximises: for a
given ratio r, maximise the sum over flagged posts of (2 y - r). The bounds on beta
restrict u to a window that depends on t.

Source: Dinkelbach (1967), "On Nonlinear Fractional Programming", Management Science 13.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

FLAG_ALL = math.ulp(0.0)
TIE = 1e-12
GAIN_TIE = 1e-9


def best_threshold(score: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Find the threshold with the highest F1, exactly.

    Parameters
    ----------
    score : array-like of shape (n_posts,)
        A score of 0 is never flagged.
    y : array-like of shape (n_posts,)
        True or 1 for an event, False or 0 for another post.

    Returns
    -------
    threshold : float
        Midway between two distinct scores. Of several equally good thresholds, the
        greatest. The smallest positive float flags every post with a score above 0.
    f1 : float
        F1 = 2 TP / (flagged + positives) at that threshold.

    Raises
    ------
    InputError
        If the lengths differ, a score is not finite, or a label is not 0 or 1.

    Examples
    --------
    >>> from mmevent.rule import best_threshold
    >>> threshold, f1 = best_threshold([0.9, 0.6, 0.4, 0.1], [1, 0, 1, 0])
    >>> round(threshold, 3), round(f1, 3)
    (0.25, 0.8)
    """
    return best_of(*scores_and_events(score, y))


def best_of(s: FloatArray, event: NDArray[np.bool_]) -> tuple[float, float]:
    """Find what `best_threshold` does, for scores and labels that are known to fit."""
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
    """Return scores and labels as arrays of the same length, validated."""
    s, event = as_scores(score), as_events(y)
    if s.ndim != 1 or s.shape != event.shape:
        raise InputError(
            f"score and y do not fit: expected one of each for each post, got shapes "
            f"{s.shape} and {event.shape}. Pass both of the same posts."
        )
    return s, event


def as_scores(score: ArrayLike) -> FloatArray:
    """Return scores as an array of finite numbers, or raise InputError."""
    try:
        s = np.asarray(score, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"score holds no numbers: expected a finite number for each post, got what "
            f"cannot be converted ({error}). Pass the scores that fuse returns."
        ) from error
    if not np.isfinite(s).all():
        raise InputError(
            f"score holds values that are not finite: expected a finite number for "
            f"each post, got NaN or infinity for {int((~np.isfinite(s)).sum())} of "
            f"{s.size} posts. Leave these posts out, or give them the score 0, as fuse "
            f"does for posts without text and images."
        )
    return s


def as_events(y: ArrayLike) -> NDArray[np.bool_]:
    """Return labels as booleans, or raise InputError if one is not 0, 1 or bool."""
    labels = np.asarray(y)
    if labels.dtype == bool:
        return labels
    numbers = labels
    if labels.dtype == object:
        number = (bool, int, float, np.bool_, np.number)
        if all(isinstance(label, number) for label in labels.ravel()):
            numbers = labels.astype(np.float64)
    if numbers.dtype.kind in "iuf":
        event: NDArray[np.bool_] = numbers == 1
        if (event | (numbers == 0)).all():
            return event
    values = sorted({repr(value) for value in labels.ravel().tolist()})
    raise InputError(
        f"y does not say which posts are events: expected True or 1 for an event and "
        f"False or 0 for another post, got the values {', '.join(values[:5])}"
        f"{' and others' if len(values) > 5 else ''}. Compare the labels with that of "
        f"an event, for example y == 'yes', and leave out posts without a label."
    )


def recalling(score: FloatArray, recall: float) -> float:
    """Return the largest threshold that reaches this recall, from scores of events."""
    enough = max(int(np.ceil(recall * len(score) - GAIN_TIE)), 1)
    return float(np.sort(score)[len(score) - enough])


def has_both(event: NDArray[np.bool_]) -> bool:
    """Whether there are events and other posts."""
    return bool(event.any() and not event.all())


def midway(lower: float, upper: float) -> float:
    """Return a threshold that flags `upper` and not `lower`."""
    middle = 0.5 * (lower + upper)
    return middle if lower < middle <= upper else upper


@dataclass(frozen=True)
class Ranking:
    """The posts of one side, counted for each cut.

    Cut k flags the k greatest distinct scores. `values` are the distinct scores above
    0, descending; `flagged` and `true` are the numbers of flagged posts and of events
    among them for each cut, the first of which may be smoothed. `has_rest` says whether
    there are scores of 0, which no cut flags.
    """

    values: FloatArray
    flagged: IntArray | FloatArray
    true: IntArray
    has_rest: bool

    @classmethod
    def of(cls, score: FloatArray, event: NDArray[np.bool_]) -> Ranking:
        """Sort and count the posts of one side."""
        order = np.argsort(-score)
        has_rest = bool((score <= 0).any())
        order = order[score[order] > 0]
        values = score[order]
        last = np.flatnonzero(np.diff(values, append=-1.0))
        true = np.append(0, np.cumsum(event[order])[last])
        return cls(values[last], np.append(0, last + 1), true, has_rest)

    def edge(self, cut: int | IntArray) -> FloatArray:
        """Smallest flagged score at `cut`; infinite if no post is flagged."""
        return np.append(np.inf, self.values)[cut]

    def below(self, cut: int | IntArray) -> FloatArray:
        """Greatest score that is not flagged at `cut`; 0 if all are flagged."""
        return np.append(self.values, 0.0)[cut]


def threshold_at(side: Ranking, cut: int) -> float:
    """Return a threshold that flags the same posts as a cut."""
    edge, below = float(side.edge(cut)), float(side.below(cut))
    if np.isinf(edge):
        return math.nextafter(below, math.inf)
    return FLAG_ALL if below == 0 and not side.has_rest else midway(below, edge)


def best_cuts(
    text: Ranking, image: Ranking, positives: int, bounds: tuple[float, float]
) -> tuple[float, float, float]:
    """Return beta, threshold and F1 of the best pair of cuts.

    Parameters
    ----------
    text, image : Ranking
        Scores at beta = 1 of the posts without and with images.
    positives : int
        Number of events, including those that cannot be flagged; at least 1.
    bounds : tuple of float
        Smallest and greatest beta.
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
    text: Ranking,
    image: Ranking,
    gain_image: FloatArray,
    cut: int,
    bounds: tuple[float, float],
) -> tuple[int, int]:
    """Return a cut of the text side and the best cut of the image side for it."""
    first, last = _window(text, image, np.array([cut]), bounds)
    return cut, int(first[0] + np.argmax(gain_image[first[0] : last[0] + 1]))


def _best_pair(
    text: Ranking,
    image: Ranking,
    gain_text: FloatArray,
    gain_image: FloatArray,
    bounds: tuple[float, float],
    known: tuple[int, int],
) -> tuple[int, int]:
    """Return the pair of cuts with the greatest gain, for beta within the bounds.

    Cuts that cannot reach the gain of a `known` pair are skipped.
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
    """Difference below which two gains count as equal, because of rounding."""
    scale = max(np.abs(gain_text).max(), np.abs(gain_image).max())
    return float(GAIN_TIE + 8.0 * np.spacing(scale))


class _Candidates(NamedTuple):
    """Cuts of the text side, each with its window of `kept` cuts of the image side.

    `first` and `last` are the ends of the window, `gain` is the gain of its best pair.
    """

    cuts: IntArray
    kept: IntArray
    first: IntArray
    last: IntArray
    gain: FloatArray


def _candidates(
    text: Ranking,
    image: Ranking,
    gain_text: FloatArray,
    gain_image: FloatArray,
    enough: float,
    bounds: tuple[float, float],
) -> _Candidates:
    """Return the cuts that may be part of a pair with enough gain."""
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
    text: Ranking, image: Ranking, cuts: IntArray, bounds: tuple[float, float]
) -> tuple[IntArray, IntArray]:
    """Return the first and last cut of the image side for each cut of the text side."""
    ascending = -image.values
    first = np.searchsorted(ascending, -text.edge(cuts) / bounds[0], side="right")
    last = np.searchsorted(ascending, -text.below(cuts) / bounds[1], side="left")
    # An interval of u is never empty, but for rounding where the bounds are equal.
    return first, np.maximum(first, last)


def _window_max(values: FloatArray, first: IntArray, last: IntArray) -> FloatArray:
    """Return the maximum of values[first:last + 1] for each pair of ends.

    This is a sparse table: any window is covered by two overlapping windows whose
    length is a power of two.
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
    text: Ranking,
    image: Ranking,
    gain_text: FloatArray,
    gain_image: FloatArray,
    bounds: tuple[float, float],
    best: tuple[int, int],
) -> tuple[IntArray, IntArray]:
    """Return all feasible pairs of cuts with the same gain as the best pair.

    Without smoothing, gains are whole multiples of 1 / (flagged + positives), so that
    two different gains differ by more than the tolerance.
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
    text: Ranking,
    image: Ranking,
    cuts: tuple[IntArray, IntArray],
    bounds: tuple[float, float],
) -> tuple[float, float]:
    """Return the beta nearest 1 that makes one of the pairs of cuts, and the threshold.

    Each pair of cuts allows an open interval of beta. Beta keeps a distance of a
    thousandth of its length from the ends.
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
