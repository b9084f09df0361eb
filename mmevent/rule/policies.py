"""Decision policies: from scores to a threshold.

A policy is written as text, a number or a table of costs, see :func:`choose_threshold`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mmevent._common import as_whole
from mmevent.exceptions import InputError
from mmevent.rule.cuts import (
    FLAG_ALL,
    TIE,
    Ranking,
    as_scores,
    scores_and_events,
)
from mmevent.rule.guard import Counts, Value, better_unsmoothed, f1_at, groups_of
from mmevent.rule.promises import assured_threshold
from mmevent.rule.smoothing import BEST_THRESHOLD, smoothed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Policy", "budget_threshold", "check_policy", "choose_threshold"]

Policy: TypeAlias = "str | float | Sequence[Sequence[float]]"

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_GRAMMAR = {
    "fbeta": re.compile(rf"fbeta={_NUMBER}"),
    "precision": re.compile(rf"precision>={_NUMBER}"),
    "recall": re.compile(rf"recall>={_NUMBER}"),
    "budget": re.compile(r"budget=(\d+)"),
}


class _Parsed(NamedTuple):
    kind: str
    value: Any


def choose_threshold(
    policy: Policy,
    score: ArrayLike,
    y: ArrayLike,
    *,
    criterion: str = "smooth",
    groups: ArrayLike | None = None,
) -> float:
    """Choose the threshold that a policy asks for.

    Parameters
    ----------
    policy : str, float or 2 x 2 sequence of float
        ``"f1"``; ``"fbeta=B"`` with B above 0; ``"precision>=P"`` or ``"recall>=R"``
        with P and R between 0 and 1; a threshold above 0; or costs in scikit-learn's
        layout of a confusion matrix, ``[[other not flagged, other flagged], [event not
        flagged, event flagged]]``. ``"budget=N"`` has no threshold before posts are
        predicted, see :func:`budget_threshold`.
    score : array-like of shape (n_posts,)
        Out-of-fold scores. A score of 0 is never flagged.
    y : array-like of shape (n_posts,)
        True or 1 for an event, False or 0 for another post.
    criterion : {"smooth", "f1"}, default="smooth"
        Whether F1, F-beta and costs are computed from the smoothed ROC curve, see
        :class:`mmevent.rule.Search`, or from the posts themselves. With ``"smooth"``
        the threshold from the posts themselves is taken where it does better on posts
        that did not choose it, see Notes.
    groups : array-like of shape (n_posts,) or None, default=None
        Groups of posts. A precision or a recall is tested on sums over groups, since
        posts of one group are not independent evidence. None, or a missing value, for
        a post that belongs to no group.

    Returns
    -------
    float
        The threshold, above 0. A post is flagged if its score reaches it.

    Raises
    ------
    InputError
        If the policy or the criterion is not known, lengths differ, a score is not
        finite, or a label is not 0 or 1.
    PolicyError
        If these posts do not show that the precision or the recall can be reached; the
        message says which one can, and how many groups like these would do.

    See Also
    --------
    EventDetector.set_policy : The same for a fitted detector.

    Notes
    -----
    Where a ROC curve has a corner, for example because a third of the events look like
    nothing, a smoothed curve cuts it off. Therefore thresholds are chosen with and
    without smoothing on 30 bootstrap resamples of the groups, and compared on the posts
    that each resample left out. The threshold without smoothing is taken if it is the
    better one there on average.

    Both are about a random post of the corpus, not about a random group: a group with
    twenty flagged posts counts twenty times. The posts must be drawn as the corpus is,
    by whole groups or one by one.

    ``"precision>=P"`` tests thresholds from the highest to the lowest, each of which
    flags a tenth more posts than the one before. It takes the lowest threshold at which
    a test rejects that the precision is below P. The fallback procedure (Wiens 2003)
    keeps the error over all these tests at 5%: a test that rejects passes its level on
    to the next one. Most of the 5% is spent at the first threshold, which flags just
    enough groups for a rejection; the rest is divided among thresholds at which the
    number of posts has doubled. This is learn-then-test (Angelopoulos et al. 2021,
    section 2).

    ``"recall>=R"`` takes the largest threshold at which a test rejects that the recall
    is below R. Recall can only fall as the threshold rises, so that one test is enough.

    Without groups the test is the exact binomial one. With groups it is the binomial
    test's generalisation to sums (Gaffke 2005), which is not proven to hold for every
    corpus; in simulations it did (``benchmarks/policies.py``). Neither can know of
    groups unlike all those that were labelled. On out-of-fold scores, whose rule was
    chosen on the labels, both are approximate.

    References
    ----------
    Angelopoulos, Bates, Candès, Jordan and Lei (2021), "Learn then Test: Calibrating
    Predictive Algorithms to Achieve Risk Control", arXiv:2110.01052. Gaffke (2005),
    "Three Test Statistics for a Nonparametric One-Sided Hypothesis on the Mean of a
    Nonnegative Variable", Mathematical Methods of Statistics 14. Wiens (2003), "A Fixed
    Sequence Bonferroni Procedure for Testing Multiple Endpoints", Pharmaceutical
    Statistics 2.

    Examples
    --------
    >>> from mmevent.rule import choose_threshold
    >>> choose_threshold("f1", [0.9, 0.5, 0.1], [1, 1, 0], criterion="f1")
    0.3
    >>> choose_threshold([[0, 9], [1, 0]], [0.9, 0.5, 0.4], [1, 0, 1], criterion="f1")
    0.7
    >>> choose_threshold(0.7, [0.9, 0.5, 0.1], [1, 1, 0])
    0.7
    """
    kind, value = _parse(policy)
    if criterion not in BEST_THRESHOLD:
        raise InputError(
            f"criterion={criterion!r} is not known: expected one of "
            f"{', '.join(map(repr, BEST_THRESHOLD))}. Choose one of them."
        )
    s, event = scores_and_events(score, y)
    if kind == "threshold":
        return float(value)
    if kind == "budget":
        raise InputError(
            f"policy={policy!r} has no threshold yet: expected posts to be predicted. "
            f"Use budget_threshold on their scores."
        )
    if kind in ("precision", "recall"):
        return assured_threshold(kind, value, s, event, groups_of(groups, len(s)))
    valued = _value_of(kind, value)
    if criterion == "smooth":
        group = None if groups is None else groups_of(groups, len(s))
        found = better_unsmoothed(event, s, groups=group, value=valued)
        if found is not None:
            return found[0]
    if kind == "f1":
        return BEST_THRESHOLD[criterion](s, event)[0]
    if kind == "fbeta" and not event.any():
        return FLAG_ALL
    return _highest(valued, s, event, criterion)


def budget_threshold(score: ArrayLike, n: int) -> float:
    """Return the threshold that flags the n highest scores.

    Parameters
    ----------
    score : array-like of shape (n_posts,)
        Scores of the posts that are predicted together.
    n : int
        Number of posts that may be flagged, 0 or more.

    Returns
    -------
    float
        The threshold. Where posts with equal scores would exceed the budget, none of
        them is flagged.

    Raises
    ------
    InputError
        If a score is not finite, or `n` is not a whole number of 0 or more.

    Examples
    --------
    >>> from mmevent.rule import budget_threshold
    >>> budget_threshold([0.9, 0.5, 0.5, 0.1], 2)
    0.7
    """
    s = as_scores(score)
    size = as_whole(n)
    if size is None or size < 0:
        raise InputError(
            f"n={n!r} is no number of posts: expected an integer of 0 or more. Pass "
            f"how many posts may be flagged."
        )
    side = Ranking.of(s, np.zeros(len(s), dtype=bool))
    return side.threshold(int(np.flatnonzero(side.flagged <= size)[-1]))


def check_corpus_size(policy: object, corpus_size: int | None) -> None:
    """Validate that the size of a corpus is given only for a budget."""
    if corpus_size is not None and budget_of(policy) is None:
        raise InputError(
            f"corpus_size={corpus_size!r} is for a budget: expected the policy "
            f"'budget=N', got {policy!r}. Leave it out, or set that policy."
        )


def share_of_budget(policy: object, n_posts: int, corpus_size: int | None) -> int:
    """Return the share of a corpus's budget for some of its posts."""
    n = budget_of(policy)
    assert n is not None
    size = as_whole(corpus_size)
    if size is None or size < n_posts or 2 * n * n_posts <= size:
        raise InputError(
            f"policy={policy!r} is for a whole corpus, of which {n_posts} posts are "
            f"tested: expected corpus_size, the number of its posts, so that one of "
            f"them or more can be flagged, got {corpus_size!r}. Pass corpus_size= "
            f"(--corpus-size on the command line), or use another policy."
        )
    return round(n * n_posts / size)


def check_policy(policy: object) -> None:
    """Validate a policy."""
    _parse(policy)


def budget_of(policy: object) -> int | None:
    """Return N of the policy ``"budget=N"``, None for others."""
    kind, value = _parse(policy)
    return int(value) if kind == "budget" else None


def learns_threshold(policy: object) -> bool:
    """Whether a policy chooses a threshold on labelled posts."""
    return _parse(policy).kind not in ("budget", "threshold")


def plain_policy(policy: object) -> Any:
    """Return a policy as JSON values."""
    kind, value = _parse(policy)
    return value if kind in ("threshold", "cost") else policy


def _parse(policy: object) -> _Parsed:
    if isinstance(policy, str):
        if policy == "f1":
            return _Parsed("f1", None)
        for kind, pattern in _GRAMMAR.items():
            match = pattern.fullmatch(policy.replace(" ", ""))
            if match and _is_in_range(kind, float(match[1])):
                return _Parsed(kind, float(match[1]))
    elif isinstance(policy, (int, float, np.number)) and not isinstance(policy, bool):
        if np.isfinite(policy) and policy > 0:
            return _Parsed("threshold", float(policy))
    elif (costs := _costs(policy)) is not None:
        return _Parsed("cost", costs)
    raise InputError(
        f"policy={policy!r} is not known: expected 'f1', 'fbeta=2', "
        f"'precision>=0.90', 'recall>=0.80' (shares between 0 and 1), 'budget=500', a "
        f"finite threshold above 0, or costs [[other not flagged, other flagged], "
        f"[event not flagged, event flagged]]. Pass one of them."
    )


def _is_in_range(kind: str, value: float) -> bool:
    if kind == "budget":
        return value >= 1
    return 0 < value < (np.inf if kind == "fbeta" else 1)


def _costs(policy: object) -> list[list[float]] | None:
    try:
        costs = np.asarray(policy, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if costs.shape != (2, 2) or not np.isfinite(costs).all():
        return None
    table: list[list[float]] = costs.tolist()
    return table


def _value_of(kind: str, setting: Any) -> Value:
    """Return what a policy maximises."""
    if kind == "f1":
        return f1_at
    return _f_beta(setting) if kind == "fbeta" else _saved(setting)


def _f_beta(beta: float) -> Value:
    """F-beta = (1 + b²) TP / (flagged + b² events), van Rijsbergen (1979)."""

    def value(counts: Counts) -> FloatArray:
        total = counts.flagged + beta**2 * counts.n_events
        found: FloatArray = (1 + beta**2) * counts.true / total
        return found

    return value


def _saved(costs: list[list[float]]) -> Value:
    (spared, false), (missed, found) = costs

    def value(counts: Counts) -> FloatArray:
        n_others = counts.n_posts - counts.n_events
        false_alarms = counts.flagged - counts.true
        total = spared * (n_others - false_alarms) + false * false_alarms
        total = total + missed * (counts.n_events - counts.true) + found * counts.true
        saved: FloatArray = -total
        return saved

    return value


def _highest(
    value: Value, score: FloatArray, event: NDArray[np.bool_], criterion: str
) -> float:
    """Return the threshold with the highest value, by the criterion alone."""
    side = Ranking.of(score, event)
    if criterion == "smooth":
        side = smoothed(side)
    values = value(Counts(side.flagged, side.true, int(event.sum()), len(event)))
    return side.threshold(int(np.flatnonzero(values >= values.max() - TIE)[0]))
