"""A guard for thresholds from a smoothed ROC curve.

Smoothing steadies the threshold where the ROC curve is smooth. Where it has a corner,
for example because a third of the events look like nothing, the smoothed curve cuts
the corner off, and its best threshold lies beside the best one. The guard chooses a
threshold in both ways, with and without smoothing, on resamples of the posts, and asks
which one does better on the posts that were not drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mmevent.exceptions import InputError
from mmevent.posts.duplicates import connected_groups
from mmevent.rule.cuts import TIE, Ranking
from mmevent.rule.smoothing import smoothed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

N_RESAMPLES = 30


class Counts(NamedTuple):
    """Numbers of posts for each cut, the first of which flags nothing.

    `flagged` may be smoothed. `n_events` and `n_posts` include what no cut flags.
    """

    flagged: IntArray | FloatArray
    true: IntArray
    n_events: int
    n_posts: int


Value: TypeAlias = "Callable[[Counts], FloatArray]"


def f1_at(counts: Counts) -> FloatArray:
    """F1 = 2 TP / (flagged + events) for each cut."""
    value: FloatArray = 2.0 * counts.true / (counts.flagged + counts.n_events)
    return value


def better_unsmoothed(
    event: NDArray[np.bool_],
    score: FloatArray,
    *,
    side: NDArray[Any] | None = None,
    groups: IntArray | None = None,
    value: Value = f1_at,
) -> tuple[float, float] | None:
    """Return the threshold without smoothing where it does better on other posts.

    Parameters
    ----------
    event : ndarray of bool of shape (n_posts,)
        Which posts are events.
    score : ndarray of shape (n_posts,)
        A score of 0 is never flagged.
    side : ndarray of shape (n_posts,) or None, default=None
        Kinds of posts whose ROC curves are smoothed apart; None for one kind.
    groups : ndarray of int of shape (n_posts,) or None, default=None
        Groups of posts, which are drawn as a whole; None if each post is its own.
    value : callable, default=f1_at
        What is maximised, from `Counts`.

    Returns
    -------
    tuple of float or None
        The best threshold without smoothing, and its value. None where smoothing leads
        to the same posts, or does as well.

    Notes
    -----
    Both ways choose a cut on each of 30 bootstrap resamples, and both cuts are valued
    on the posts that the resample left out. The mean difference decides. The resamples
    are the same in each call.

    References
    ----------
    Efron and Tibshirani (1997), "Improvements on Cross-Validation: The 632+ Bootstrap
    Method", Journal of the American Statistical Association 92, section 2: the
    leave-one-out bootstrap.
    """
    if not event.any():
        return None
    if groups is None:
        # In an order of its own, so that the order of posts changes no resample.
        order = np.lexsort((event, score))
        groups = np.empty(len(event), dtype=np.intp)
        groups[order] = np.arange(len(event))
    posts = _Cuts.of(score, event, groups, side)
    everyone = np.ones(int(groups.max()) + 1, dtype=np.intp)
    smooth, raw = posts.best(everyone, value)
    if smooth == raw:
        return None
    gain = 0.0
    for drawn in _resamples(len(everyone)):
        left_out = (drawn == 0).astype(np.intp)
        if (drawn[groups] * event).any() and (left_out[groups] * event).any():
            values = value(posts.counts(left_out))
            smooth, other = posts.best(drawn, value)
            gain += float(values[other] - values[smooth])
    if gain <= 0.0:
        return None
    return posts.threshold_at(raw), float(value(posts.counts(everyone))[raw])


def groups_of(groups: ArrayLike | None, n_posts: int) -> NDArray[np.intp]:
    """Return the number of each post's group, validated."""
    group = np.arange(n_posts) if groups is None else np.asarray(groups)
    if group.shape != (n_posts,):
        raise InputError(
            f"groups do not fit the scores: expected one for each of {n_posts} "
            f"posts, got shape {group.shape}. Pass those of the same posts."
        )
    return connected_groups(group)  # a missing group links to no other post


def _resamples(n: int) -> Iterator[IntArray]:
    """Yield how often each of n groups is drawn."""
    rng = np.random.default_rng(0)
    for _ in range(N_RESAMPLES):
        yield np.bincount(rng.integers(n, size=n), minlength=n)


class _Sorted(NamedTuple):
    """One side by falling score: labels, groups, and how many posts each cut flags."""

    event: NDArray[np.bool_]
    group: IntArray
    flagged: IntArray


@dataclass(frozen=True)
class _Cuts:
    """The cuts at all distinct `values` of a score above 0, in falling order."""

    values: FloatArray
    has_rest: bool
    sides: list[_Sorted]

    @classmethod
    def of(
        cls,
        score: FloatArray,
        event: NDArray[np.bool_],
        group: IntArray,
        side: NDArray[Any] | None = None,
    ) -> _Cuts:
        """Sort the posts of each side."""
        values = np.unique(score[score > 0])[::-1]
        side = np.zeros(len(score)) if side is None else side
        sides = []
        for name in np.unique(side):
            rows = np.flatnonzero(side == name)
            rows = rows[np.argsort(-score[rows])]
            flagged = np.searchsorted(-score[rows], -values, side="right")
            sides.append(_Sorted(event[rows], group[rows], np.append(0, flagged)))
        return cls(values, bool((score <= 0).any()), sides)

    def best(self, drawn: IntArray, value: Value) -> tuple[int, int]:
        """Return the best cuts with and without smoothing for groups drawn so often."""
        counts = self.counts(drawn)

        def cut(counted: Counts) -> int:
            values = value(counted)
            first = int(np.flatnonzero(values >= values.max() - TIE)[0])
            # Cuts between two neighbouring posts that are drawn flag the same: midway.
            flagged = counts.flagged
            last = int(np.searchsorted(flagged, flagged[first], side="right")) - 1
            return (first + last) // 2

        return cut(self.counts(drawn, smoothing=True)), cut(counts)

    def threshold_at(self, cut: int) -> float:
        """Return the threshold of a cut."""
        none = np.zeros(len(self.values) + 1, dtype=np.intp)
        return Ranking(self.values, none, none, self.has_rest).threshold(cut)

    def counts(self, drawn: IntArray, *, smoothing: bool = False) -> Counts:
        """Return the counts of each cut for groups that are drawn so often."""
        flagged: Any = 0
        true: Any = 0
        n_events = n_posts = 0
        for event, group, cut in self.sides:
            times = drawn[group]
            total = np.append(0, np.cumsum(times))[cut]
            found = np.append(0, np.cumsum(times * event))[cut]
            ranking = Ranking(self.values, total, found, self.has_rest)
            flagged = flagged + (smoothed(ranking) if smoothing else ranking).flagged
            true = true + found
            n_events += int(times[event].sum())
            n_posts += int(times.sum())
        return Counts(flagged, true, n_events, n_posts)
