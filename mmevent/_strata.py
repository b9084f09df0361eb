"""Strata of a corpus by its scores, and how a sample is shared among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

MIN_A_STRATUM = 10
SEEN = "seen_in_training"
_WIDTHS = (1, 3, 10)  # strata below the threshold, in numbers of flagged posts
# Shares of events that are guessed where nothing better is known: of flagged posts, of
# the strata below them in turn, and of all the rest.
_GUESS = (0.6, 0.15, 0.04, 0.01, 0.002)


class Strata(NamedTuple):
    """Posts of a corpus in strata, from the highest scores to the lowest."""

    stratum: IntArray  # of each post; -1 for posts that are left out
    size: IntArray
    flagged: NDArray[np.bool_]
    guess: FloatArray  # share of events


def stratify(audit: pd.DataFrame) -> Strata:
    """Cut a corpus by its scores: what is flagged, and below it ever larger strata."""
    score, flagged = audit["score"].to_numpy(float), audit["margin"].to_numpy() >= 0
    kept = ~_seen(audit)
    n_flagged, n_posts = int((flagged & kept).sum()), int(kept.sum())
    sizes = [n_flagged, *(w * max(n_flagged, n_posts // 200, 1) for w in _WIDTHS)]
    # Ties in an order that depends on the ids alone.
    ids = pd.util.hash_array(audit["id"].astype(str).to_numpy(dtype=object))
    order = np.lexsort((ids, -score, ~flagged, ~kept))[:n_posts]
    ends = np.minimum(np.cumsum(sizes), n_posts)
    place = np.searchsorted(ends, np.arange(n_posts), side="right")
    stratum = np.full(len(audit), -1, dtype=np.intp)
    stratum[order] = np.unique(place, return_inverse=True)[1]
    size = np.bincount(stratum[stratum >= 0])
    of = [np.flatnonzero(stratum == h) for h in range(len(size))]
    guess = np.array([_GUESS[place_of] for place_of in np.unique(place)])
    if "probability" in audit:
        p = audit["probability"].to_numpy(float)
        guess = np.array([p[rows].mean() for rows in of])
        guess = np.clip(guess, _GUESS[-1], 1 - _GUESS[-1])
    return Strata(stratum, size, np.array([flagged[rows[0]] for rows in of]), guess)


def _seen(audit: pd.DataFrame) -> NDArray[np.bool_]:
    if SEEN not in audit:
        return np.zeros(len(audit), dtype=bool)
    seen: NDArray[np.bool_] = audit[SEEN].to_numpy(dtype=bool)
    return seen


def allocate(strata: Strata, n: int) -> IntArray:
    """Share a sample among strata by Neyman's rule, with ten posts in each, or all."""
    spread = strata.size * np.sqrt(strata.guess * (1 - strata.guess))
    least = np.minimum(strata.size, MIN_A_STRATUM)
    found = least.astype(float)
    while (left := n - found.sum()) >= 1:
        open_ = found < strata.size
        if not open_.any():
            break
        share = np.where(open_, spread, 0.0)
        share = share if share.sum() else open_.astype(float)
        found = np.minimum(found + left * share / share.sum(), strata.size)
    floor = np.floor(found + 1e-9).astype(np.intp)
    rest = np.argsort(-(found - floor), kind="stable")[: max(n - floor.sum(), 0)]
    floor[rest] += (floor < strata.size)[rest]
    return floor
