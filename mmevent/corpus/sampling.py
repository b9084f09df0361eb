"""A random sample of predicted posts, to be coded by hand.

The number of flagged posts is no estimate of the number of events: some flagged posts
are no events, and some events are not flagged. A random sample with known inclusion
probabilities shows how many there are of each. Posts are sampled within strata of the
score: good predictions make the estimate precise, and bad ones do not make it wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mmevent._common import as_whole
from mmevent._settings import with_own_settings
from mmevent.corpus.columns import (
    PREDICTIONS,
    flag_column,
    need_columns,
    number_column,
)
from mmevent.corpus.shares import StratumCounts, figures
from mmevent.exceptions import InputError
from mmevent.posts.keys import as_keys
from mmevent.posts.labels import check_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

__all__ = ["draw_sample", "expected_widths"]

MIN_A_STRATUM = 10
STRATUM, PROBABILITY = "stratum", "inclusion_probability"
_SEEN = "seen_in_training"
_WIDTHS = (1, 3, 10)  # strata below the threshold, in numbers of flagged posts
# Assumed shares of events without calibrated probabilities: of flagged posts, of the
# strata below them in turn, and of all the rest.
_GUESS = (0.6, 0.15, 0.04, 0.01, 0.002)


@with_own_settings
def draw_sample(audit: pd.DataFrame, n: int, *, random_state: int = 0) -> pd.DataFrame:
    """Draw a stratified random sample of predicted posts, for coding by hand.

    Parameters
    ----------
    audit : DataFrame, n_posts rows
        From `EventDetector.audit`, or `mmevent predict`, for the whole corpus. Posts
        that were seen in training are left out. With a column ``probability``, more
        posts are drawn where events and other posts are mixed.
    n : int
        Number of posts to draw.
    random_state : int, default=0
        Seed.

    Returns
    -------
    DataFrame of n rows
        ``id``, ``stratum``, and ``inclusion_probability``, in random order, so that
        the order does not show the score to coders.

    Raises
    ------
    InputError
        If `n` is too small for the strata, or greater than the corpus.

    See Also
    --------
    estimate_corpus : Estimate the corpus from the coded sample.
    expected_widths : Expected widths of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import draw_sample
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> draw_sample(audit, 100)["stratum"].nunique()
    4
    """
    strata = stratify(checked_predictions(audit))
    count = allocate(strata, _checked_size(n, strata))
    rng = np.random.default_rng(check_seed(random_state))
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(strata.stratum == h), k, replace=False)
            for h, k in enumerate(count)
        ]
    )
    rows = rng.permutation(rows)
    stratum = strata.stratum[rows]
    return pd.DataFrame(
        {
            "id": audit["id"].to_numpy()[rows],
            STRATUM: stratum,
            PROBABILITY: (count / strata.size)[stratum],
        }
    )


@with_own_settings
def expected_widths(audit: pd.DataFrame, n: int) -> dict[str, float]:
    """Return the expected width of each interval.

    The share of events in each stratum is not known before coding. Calibrated
    probabilities are used where the audit has them, else typical shares.

    Parameters
    ----------
    audit : DataFrame, n_posts rows
        As for `draw_sample`.
    n : int
        Number of posts to draw.

    Returns
    -------
    dict
        Width of the 95% interval of ``n_events``, ``precision``, ``recall`` and ``f1``.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import expected_widths
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> widths = [expected_widths(audit, n)["precision"] for n in (100, 400)]
    >>> widths[0] > widths[1]
    True
    """
    strata = stratify(checked_predictions(audit))
    count = allocate(strata, _checked_size(n, strata)).astype(float)
    size, events = strata.size.astype(float), strata.guess * count
    rows = figures(StratumCounts(size, strata.flagged, count, events, strata.guess))
    return {row.figure: row.high - row.low for row in rows}


class Strata(NamedTuple):
    """Strata of a corpus, from the highest scores to the lowest."""

    stratum: IntArray  # stratum of each post; -1 for posts that are left out
    size: IntArray  # number of posts in each stratum
    flagged: NDArray[np.bool_]  # whether the posts of the stratum are flagged
    guess: FloatArray  # assumed share of events in each stratum


def stratify(audit: pd.DataFrame) -> Strata:
    """Divide a corpus by score: flagged posts, then larger and larger strata."""
    score, flagged = audit["score"].to_numpy(float), audit["margin"].to_numpy() >= 0
    kept = ~audit[_SEEN].to_numpy(bool) if _SEEN in audit else np.full(len(audit), True)
    n_flagged, n_posts = int((flagged & kept).sum()), int(kept.sum())
    sizes = [n_flagged, *(w * max(n_flagged, n_posts // 200, 1) for w in _WIDTHS)]
    # The order of equal scores depends on the ids only.
    ids = pd.util.hash_array(as_keys(audit["id"], "ids"))
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


def allocate(strata: Strata, n: int) -> IntArray:
    """Allocate a sample to strata by Neyman's rule, with at least ten posts in each.

    A stratum with fewer than ten posts is drawn whole.
    """
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


def checked_predictions(audit: pd.DataFrame) -> pd.DataFrame:
    """Validate a table of predictions; return it with numbers and flags as such."""
    optional = [name for name in ("probability", _SEEN) if name in audit]
    need_columns(audit, ["id", "score", "margin", *optional], *PREDICTIONS)
    keys = pd.Series(as_keys(audit["id"], "the ids of the predictions"), dtype=object)
    again = int(keys.dropna().duplicated().sum())
    if len(keys) == 0 or again or keys.isna().any():
        raise InputError(
            f"the predictions have {len(audit):,} posts, of which {again:,} have the "
            f"id of another and {int(keys.isna().sum()):,} have none: expected one row "
            f"or more, each with its own id. Predict the corpus again."
        )
    what = PREDICTIONS[0]
    columns: dict[str, NDArray[Any]] = {
        "score": number_column(audit, "score", what),
        "margin": number_column(audit, "margin", what),
    }
    if "probability" in audit:
        columns["probability"] = number_column(
            audit, "probability", what, least=0, most=1
        )
    if _SEEN in audit:
        columns[_SEEN] = flag_column(audit, _SEEN, what, "Predict the corpus again.")
    return audit.assign(**columns)


def _checked_size(n: int, strata: Strata) -> int:
    """Validate the number of posts to draw, and return it."""
    least, most = (
        int(np.minimum(strata.size, MIN_A_STRATUM).sum()),
        int(strata.size.sum()),
    )
    size = as_whole(n)
    if size is None or not least <= size <= most:
        raise InputError(
            f"n={n!r} posts cannot be drawn: expected a whole number from {least}, ten "
            f"for each stratum of the score, to {most:,}, the posts that were not seen "
            f"in training. Choose another n."
        )
    return size
