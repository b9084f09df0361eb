"""Strata of a corpus by score, their merging, and the shares of events to expect.

The finest strata follow from the predictions alone. Where a sample is small, neighbours
among them are merged. A merged stratum has the number of the first of its parts: so the
strata of a sample are known from the numbers that stand in it.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import ndtr

from mmevent.posts.keys import as_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

STRATUM, PROBABILITY = "stratum", "inclusion_probability"
SEEN = "seen_in_training"
_WIDTHS = (1, 3, 10)  # strata below the threshold, in numbers of flagged posts
# Detectors that are expected without calibrated probabilities: how many standard
# deviations lie between scores of events and of others. AUC 0.92, 0.96 and 0.98.
SEPARATIONS = (2.0, 2.5, 3.0)
_MOST_EVENTS = 0.95


class Strata(NamedTuple):
    """Strata of a corpus, from the highest scores to the lowest."""

    stratum: IntArray  # index of each post's stratum; -1 for posts that are left out
    size: IntArray  # number of posts in each stratum
    flagged: NDArray[np.bool_]  # whether the posts of the stratum are flagged
    first: IntArray  # number of each stratum: that of the first of its finest strata
    probability: FloatArray | None  # mean probability of an event, where there is one

    @property
    def rate(self) -> float:
        """Share of the posts that are flagged."""
        return float(self.size[self.flagged].sum() / self.size.sum())

    def merged(self, first: Iterable[int]) -> Strata:
        """Merge these finest strata to those that begin at `first`."""
        starts = np.unique(np.asarray([*first], dtype=np.intp))
        of = np.searchsorted(starts, np.arange(len(self.size)), side="right") - 1
        # The index -1 takes the last value: posts that are left out stay so.
        stratum = np.append(of, -1)[self.stratum]
        size = np.add.reduceat(self.size, starts)
        mean = self.probability
        if mean is not None:
            mean = np.add.reduceat(mean * self.size, starts) / size
        return Strata(stratum, size, self.flagged[starts], starts, mean)

    def sides(self) -> set[int]:
        """Return where strata of flagged posts, and those of others, begin."""
        return {0, *map(int, np.flatnonzero(np.diff(self.flagged)) + 1)}

    def partitions(self, needed: Iterable[int]) -> Iterator[tuple[int, ...]]:
        """Give each way to merge neighbours: the numbers that strata begin at.

        Flagged posts stay apart from others, and strata begin at each of `needed`.
        """
        fixed = self.sides().union(map(int, needed))
        free = [h for h in range(len(self.size)) if h not in fixed]
        for n_free in range(len(free) + 1):
            for chosen in combinations(free, n_free):
                yield tuple(sorted(fixed.union(chosen)))


def stratify(audit: pd.DataFrame) -> Strata:
    """Divide a corpus by score: flagged posts, then larger and larger strata."""
    score, flagged = audit["score"].to_numpy(float), audit["margin"].to_numpy() >= 0
    kept = ~audit[SEEN].to_numpy(bool) if SEEN in audit else np.full(len(audit), True)
    n_flagged, n_posts = int((flagged & kept).sum()), int(kept.sum())
    sizes = [n_flagged, *(w * max(n_flagged, n_posts // 200, 1) for w in _WIDTHS)]
    ends = np.minimum(np.cumsum(sizes), n_posts)
    order = _order(audit, score, flagged, kept)[:n_posts]
    place = np.searchsorted(ends, np.arange(n_posts), side="right")
    there, number = np.unique(place, return_inverse=True)
    stratum = np.full(len(audit), -1, dtype=np.intp)
    stratum[order] = number
    size = np.bincount(number, minlength=len(there))
    mean = None
    if "probability" in audit:
        p = audit["probability"].to_numpy(float)[order]
        mean = np.bincount(number, p, minlength=len(there)) / size
    first_rows = order[np.searchsorted(number, np.arange(len(there)))]
    return Strata(stratum, size, flagged[first_rows], np.arange(len(there)), mean)


def _order(
    audit: pd.DataFrame,
    score: FloatArray,
    flagged: NDArray[np.bool_],
    kept: NDArray[np.bool_],
) -> IntArray:
    """Return rows by falling score; that of equal scores depends on the ids only."""
    order = np.lexsort((-score, ~flagged, ~kept))
    same = np.diff(score[order]) == 0
    tied = np.append(same, False) | np.append(False, same)
    if tied.any():
        rows = order[tied]
        keys = as_keys(audit["id"].iloc[rows], "ids")
        ids = pd.util.hash_array(keys, categorize=False)
        again = np.lexsort((ids, -score[rows], ~flagged[rows], ~kept[rows]))
        order[tied] = rows[again]
    return order


def expected_shares(strata: Strata) -> FloatArray:
    """Return shares of events in strata: a row for each case that is as likely.

    One case where the strata have probabilities, else those of a few typical detectors.
    """
    if strata.probability is not None:
        return np.atleast_2d(strata.probability)
    return np.stack([typical_shares(strata, apart) for apart in SEPARATIONS])


def typical_shares(strata: Strata, apart: float) -> FloatArray:
    """Return shares of events of a detector whose scores have two normal distributions.

    There are as many events as flagged posts: a threshold with the best F1 flags about
    as many posts as there are events, if scores tell events from others at all. Only
    ranks of scores matter.

    Parameters
    ----------
    strata : Strata
    apart : float
        Standard deviations between the mean of the events and that of the others. 0 for
        a detector that knows nothing.
    """
    n_posts = float(strata.size.sum())
    share = min(max(strata.rate, 0.5 / n_posts), _MOST_EVENTS)

    def above(cut: float) -> tuple[float, float]:
        events = share * float(ndtr(apart - cut))
        return events, events + (1 - share) * float(ndtr(-cut))

    events = [0.0]
    for rank in np.cumsum(strata.size)[:-1] / n_posts:
        cut = brentq(lambda c, rank=rank: above(c)[1] - rank, -40.0, 40.0)
        events.append(above(cut)[0])
    return np.diff([*events, share]) * n_posts / strata.size
