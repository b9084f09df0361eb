"""A random sample of predicted posts, to be coded by hand.

The number of flagged posts is no estimate of the number of events: some flagged posts
are no events, and some events are not flagged. A random sample with known inclusion
probabilities shows how many there are of each. Posts are sampled within strata of the
score: good predictions make the estimate precise, and bad ones do not make it wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._common import as_whole
from mmevent._settings import with_own_settings
from mmevent.corpus.allocation import (
    FIGURE_OF,
    Design,
    Held,
    Planner,
    mean_widths,
    mean_widths_at_random,
)
from mmevent.corpus.columns import (
    PREDICTIONS,
    flag_column,
    need_columns,
    number_column,
)
from mmevent.corpus.draws import DRAW, check_whole, checked_draws, one_table
from mmevent.corpus.strata import PROBABILITY, SEEN, STRATUM, stratify
from mmevent.exceptions import InputError
from mmevent.posts.keys import as_keys
from mmevent.posts.labels import check_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.intp]

__all__ = ["draw_sample", "expected_widths", "sample_size"]

_EARLIER = "sample that is added to"
_FIRST = 64  # number of posts that is tried first
_FINE = 100  # a number of posts is found to one part in so many


@with_own_settings
def draw_sample(
    audit: pd.DataFrame,
    n: int,
    *,
    target: str = "events",
    add_to: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    random_state: int = 0,
) -> pd.DataFrame:
    """Draw a stratified random sample of predicted posts, for coding by hand.

    Parameters
    ----------
    audit : DataFrame, n_posts rows
        From `EventDetector.audit`, or `mmevent predict`, for the whole corpus. Posts
        that were seen in training are left out. With a column ``probability``, more
        posts are drawn where events and other posts are mixed.
    n : int
        Number of posts to draw, without those of `add_to`.
    target : {"events", "precision", "recall", "f1"}, default="events"
        Figure whose interval is to be narrow. "events" is the number of events.
    add_to : DataFrame, sequence of DataFrame or None, default=None
        An earlier sample of the same predictions, which this one joins: what
        `draw_sample` returned, coded or not. Its labels are not looked at. With several
        tables, all the draws so far.
    random_state : int, default=0
        Seed.

    Returns
    -------
    DataFrame of n rows
        ``id``, ``stratum``, and ``inclusion_probability``, in random order, so that
        the order does not show the score to coders. With `add_to`,
        ``inclusion_probability`` is that of both draws together, given how many posts
        of each stratum the earlier one has; and ``draw_number`` is 2, or more.

    Raises
    ------
    InputError
        If `n` is too small for the strata, or greater than the corpus, or `add_to` is
        no sample of these predictions.

    See Also
    --------
    estimate_corpus : Estimate the corpus from the coded sample.
    expected_widths : Expected widths of the intervals.
    sample_size : Number of posts for an interval of a given width.

    Notes
    -----
    Posts are divided by score into up to five strata, of which neighbours are merged.
    Among all ways to merge and to share out n posts, the one is chosen for which the
    exact interval of the figure is expected to be narrowest, in relation to that of a
    simple random sample, over detectors of several qualities. It may be at most 3%
    wider than that of a simple random sample where scores say nothing about events, as
    far as strata of flagged posts and others allow.

    The posts of `add_to` are a simple random sample of each stratum, and of each part
    of one. Posts are drawn from the rest of the stratum, and all of them together are a
    simple random sample again, since their number depends on no label.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import draw_sample
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> first = draw_sample(audit, 100)
    >>> more = draw_sample(audit, 50, add_to=first)
    >>> bool(more["id"].isin(first["id"]).any()), more["draw_number"].unique().tolist()
    (False, [2])
    """
    return SamplePlan(audit, target, add_to).draw(n, random_state)


@with_own_settings
def expected_widths(
    audit: pd.DataFrame,
    n: int,
    *,
    target: str = "events",
    add_to: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    at_random: bool = False,
) -> dict[str, float]:
    """Return the expected width of each interval.

    It is the mean over simulated samples. The share of events in each stratum is not
    known before coding. Calibrated probabilities are used where the audit has them,
    else typical detectors: with scores whose distributions for events and for other
    posts are normal, 2, 2.5 or 3 standard deviations apart, and with as many events
    as flagged posts.

    Parameters
    ----------
    audit : DataFrame, n_posts rows
        As for `draw_sample`.
    n : int
        Number of posts to draw, without those of `add_to`.
    target : {"events", "precision", "recall", "f1"}, default="events"
        As for `draw_sample`.
    add_to : DataFrame, sequence of DataFrame or None, default=None
        As for `draw_sample`. The widths are those of both draws together.
    at_random : bool, default=False
        Return the widths of a simple random sample with as many posts instead, in
        which precision, recall and F1 are estimated from flagged posts and others.

    Returns
    -------
    dict
        Width of the 95% interval of ``n_events``, ``precision``, ``recall`` and ``f1``.

    Raises
    ------
    InputError
        As for `draw_sample`.

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
    return SamplePlan(audit, target, add_to).widths(n, at_random=at_random)


@with_own_settings
def sample_size(
    audit: pd.DataFrame,
    width: float,
    *,
    target: str = "events",
    add_to: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
) -> int:
    """Return how many posts to draw for an interval of a given expected width.

    Parameters
    ----------
    audit : DataFrame, n_posts rows
        As for `draw_sample`.
    width : float
        Width of the 95% interval from its lower to its upper end: for "events" in
        numbers of events, else between 0 and 1.
    target : {"events", "precision", "recall", "f1"}, default="events"
        Figure whose interval is to have this width.
    add_to : DataFrame, sequence of DataFrame or None, default=None
        As for `draw_sample`; its posts are not counted.

    Returns
    -------
    int
        Number of posts to draw, exact to about 1%. The width is an expectation, as that
        of `expected_widths`.

    Raises
    ------
    InputError
        If no number of posts has so narrow an interval, or `width` is none.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import sample_size
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> 40 < sample_size(audit, 0.2, target="precision") < 90
    True
    """
    return SamplePlan(audit, target, add_to).size_for(width)


class SamplePlan:
    """Predictions, the figure asked for, and earlier draws: all but how many posts.

    The functions above are its methods. A caller that needs several of them reads and
    sorts the predictions once.
    """

    def __init__(
        self,
        audit: pd.DataFrame,
        target: str = "events",
        add_to: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    ) -> None:
        if target not in FIGURE_OF:
            raise InputError(
                f"target={target!r} is not known: expected one of "
                f"{', '.join(map(repr, FIGURE_OF))}. Pass one of them."
            )
        checked = checked_predictions(audit)
        self.ids, self.target = audit["id"].to_numpy(), target
        self.finest = stratify(checked)
        self.rows: IntArray = np.empty(0, dtype=np.intp)
        self.n_draws, held = 0, None
        if add_to is not None:
            names, advice = ["id", STRATUM, PROBABILITY], "Pass what was drawn."
            earlier = one_table(add_to, names, _EARLIER, advice)
            drawn = checked_draws(checked, earlier, self.finest, _EARLIER)
            check_whole(earlier, drawn, self.finest, _EARLIER)
            self.rows, self.n_draws = np.unique(drawn.rows), drawn.n_draws
            of = self.finest.stratum[self.rows]
            count = np.bincount(of, minlength=len(self.finest.size))
            held = Held(count, drawn.strata.first)
        self._planner = Planner(self.finest, target, held)
        self._designs: dict[int, Design] = {}

    @property
    def most(self) -> int:
        return int(self.finest.size.sum()) - len(self.rows)

    @property
    def least(self) -> int:
        """Fewest posts to draw: one more, or one of the flagged and of the others."""
        return min(1 if self.n_draws else len(self.finest.sides()), self.most)

    def design(self, n: int) -> Design:
        """Return the best design for n more posts."""
        size = as_whole(n)
        if size is None or not max(self.least, 1) <= size <= self.most:
            more = f" and are not in the {_EARLIER}" if self.n_draws else ""
            raise InputError(
                f"n={n!r} posts cannot be drawn: expected a whole number from "
                f"{self.least}, for flagged posts and others, to {self.most:,}, the "
                f"posts that were not seen in training{more}. Choose another n."
            )
        if size not in self._designs:
            self._designs[size] = self._planner.choose(size + len(self.rows))
        return self._designs[size]

    def draw(self, n: int, random_state: int = 0) -> pd.DataFrame:
        """Draw n posts."""
        strata, n_coded = self.design(n)
        held = np.zeros(len(self.ids), dtype=bool)
        held[self.rows] = True
        old = np.bincount(strata.stratum[self.rows], minlength=len(n_coded))
        rng = np.random.default_rng(check_seed(random_state))
        parts = []
        for h, k in enumerate(n_coded - old):
            pool = np.flatnonzero((strata.stratum == h) & ~held)
            parts.append(rng.choice(pool, k, replace=False))
        rows = rng.permutation(np.concatenate(parts))
        stratum = strata.stratum[rows]
        drawn = pd.DataFrame(
            {
                "id": self.ids[rows],
                STRATUM: strata.first[stratum],
                PROBABILITY: (n_coded / strata.size)[stratum],
            }
        )
        return drawn.assign(**{DRAW: self.n_draws + 1}) if self.n_draws else drawn

    def widths(self, n: int, *, at_random: bool = False) -> dict[str, float]:
        """Return the expected width of each interval with n more posts."""
        strata, n_coded = self.design(n)
        if at_random:
            return mean_widths_at_random(self.finest, int(n_coded.sum()))
        return mean_widths(strata, n_coded)

    def size_for(self, width: float) -> int:
        """Return the number of posts for an interval of this expected width."""
        _check_width(width, self.target)
        least, most = self.least, self.most

        def narrow(n: int) -> bool:
            return self.widths(n)[FIGURE_OF[self.target]] <= width

        if not narrow(most):
            raise InputError(
                f"width={width!r} is reached by no number of posts: expected one that "
                f"the interval for {self.target!r} has at least if all {most:,} posts "
                f"are coded. Choose a greater width, or another figure."
            )
        low, high = least, min(max(least, _FIRST), most)
        while not narrow(high):
            low, high = high + 1, min(2 * high, most)
        while high - low >= max(high // _FINE, 1):
            middle = (low + high) // 2
            low, high = (low, middle) if narrow(middle) else (middle + 1, high)
        return high


def checked_predictions(audit: pd.DataFrame) -> pd.DataFrame:
    """Validate a table of predictions; return it with numbers and flags as such."""
    optional = [name for name in ("probability", SEEN) if name in audit]
    need_columns(audit, ["id", "score", "margin", *optional], *PREDICTIONS)
    again, without = _lacking_ids(audit["id"])
    if len(audit) == 0 or again or without:
        raise InputError(
            f"the predictions have {len(audit):,} posts, of which {again:,} have the "
            f"id of another and {without:,} have none: expected one row or more, each "
            f"with its own id. Predict the corpus again."
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
    if SEEN in audit:
        columns[SEEN] = flag_column(audit, SEEN, what, "Predict the corpus again.")
    return audit.assign(**columns)


def _lacking_ids(ids: pd.Series) -> tuple[int, int]:
    """Return how many posts have the id of another, and how many have none."""
    if isinstance(ids.dtype, np.dtype) and ids.dtype.kind in "iu":
        return int(ids.duplicated().sum()), 0  # without making text of millions
    keys = pd.Series(as_keys(ids, "the ids of the predictions"), dtype=object)
    return int(keys.dropna().duplicated().sum()), int(keys.isna().sum())


def _check_width(width: Any, target: str) -> None:
    of_events = target == "events"
    number = not isinstance(width, bool) and isinstance(width, (int, float, np.number))
    if not (number and (1 <= width < np.inf if of_events else 0 < width < 1)):
        unit = "a number of events, 1 or more" if of_events else "between 0 and 1"
        raise InputError(
            f"width={width!r} is no width of an interval for {target!r}: expected "
            f"{unit}. Choose another width."
        )
