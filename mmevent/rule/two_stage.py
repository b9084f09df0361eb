"""The rule with a second stage, which judges the flagged posts again.

Zhang and Pan (2019) found most of their gain here. The first stage tells posts about
the topic from random posts, and flags look-alikes as well. A second text classifier is
trained on flagged posts only, and tells events from look-alikes. Its probability is
fused with the same image probability as before, by an alpha and a beta of its own.

A post has one score. It is below 1 if the first stage does not flag the post, and
follows the first stage's score; else it is between 1 and 2 and follows the second's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mmevent.exceptions import InputError
from mmevent.rule.cuts import FLAG_ALL, has_both, midway, recalling
from mmevent.rule.fusion import Evidence
from mmevent.rule.search import Search, events_of, f1_of, tune_rule
from mmevent.rule.stacking import FusionRule

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["TwoStageRule", "tune_two_stages"]

WIDEST = 0.99  # recall of the first stage at which the second one is trained
RECALLS = np.arange(90, 100) / 100
_SHARE_OF_TRIALS = 10  # each recall gets a tenth of the search's trials


@dataclass(frozen=True)
class TwoStageRule:
    """The rules of both stages.

    Parameters
    ----------
    first : Rule or StackedRule
        A post is flagged where its first score reaches this rule's threshold.
    second : Rule or StackedRule
        The rule for flagged posts. It fuses ``p_text_2`` in place of ``p_text``.

    Examples
    --------
    >>> from mmevent.rule import Evidence, Rule, TwoStageRule
    >>> evidence = Evidence.from_images([0.3, 0.8, 0.9], [], [])
    >>> evidence = evidence.with_second([0.5, 0.1, 0.6])
    >>> rule = Rule(alpha=0.0, beta=1.0, pool="max", threshold=0.5)
    >>> both = TwoStageRule(rule, rule)
    >>> both.score(evidence).round(3)
    array([0.6  , 1.091, 1.375])
    >>> both.score(evidence) >= both.threshold
    array([False, False,  True])
    """

    first: FusionRule
    second: FusionRule

    def score(self, evidence: Evidence) -> FloatArray:
        """Score of each post, to be compared with the threshold."""
        second = self.second.score(self.judged(evidence))
        with np.errstate(over="ignore"):
            below = self.first.score(evidence) / self.first.threshold
        return np.where(self.flagged(evidence), 1.0 + second / (1.0 + second), below)

    def flagged(self, evidence: Evidence) -> NDArray[np.bool_]:
        """Return which posts the first stage flags, for the second one to judge."""
        return self.first.score(evidence) >= self.first.threshold

    def judged(self, evidence: Evidence) -> Evidence:
        """Return what the second rule fuses: ``p_text_2`` and the image probability."""
        return evidence.second(self.first.image, self.first.pool)

    @property
    def threshold(self) -> float:
        """Threshold on the score: the second rule's, moved to its place above 1."""
        t = self.second.threshold
        return max(1.0 + t / (1.0 + t), math.nextafter(1.0, 2.0))


def first_of(rule: FusionRule | TwoStageRule) -> FusionRule:
    """Return the first stage's rule, which is the rule itself if it has one stage."""
    return rule.first if isinstance(rule, TwoStageRule) else rule


def tune_two_stages(
    evidence: Evidence, event: ArrayLike, first: FusionRule, search: Search
) -> TwoStageRule | None:
    """Find the first stage's threshold and the second stage's rule with the highest F1.

    Parameters
    ----------
    evidence : Evidence
        Out-of-fold probabilities of both stages.
    event : array-like of shape (n_posts,)
        True or 1 for an event, False or 0 for another post.
    first : Rule or StackedRule
        Rule of the first stage. Its parameters stay as they are; its threshold is
        chosen from those that reach a recall of 0.90, 0.91, ..., 0.99.
    search : Search
        Settings of the search for the second rule, which runs at each recall with a
        tenth of the trials.

    Returns
    -------
    TwoStageRule or None
        None where the flagged posts are of one class at every recall.

    Raises
    ------
    InputError
        If the labels have another length or other values, or a setting of the search
        cannot be used.

    Examples
    --------
    >>> from mmevent.rule import Evidence, Rule, Search, tune_two_stages
    >>> evidence = Evidence.from_images([0.9, 0.8, 0.8, 0.1], [], [])
    >>> evidence = evidence.with_second([0.7, 0.6, 0.2, 0.9])
    >>> first = Rule(alpha=0.0, beta=1.0, pool="max", threshold=0.5)
    >>> both = tune_two_stages(evidence, [1, 1, 0, 0], first, Search())
    >>> both.score(evidence) >= both.threshold
    array([ True,  True, False, False])
    """
    search.check()
    y = events_of(evidence, event)
    if evidence.p_text_2 is None:
        raise InputError(
            "evidence has one stage only: expected probabilities of a second stage as "
            "well, got none. Add them by evidence.with_second(p)."
        )
    if not has_both(y):
        return None
    score = first.score(evidence)
    trials = max(int(search.n_trials) // _SHARE_OF_TRIALS, 10)
    search = replace(search, n_trials=trials, storage=None, verbose=False)
    second = evidence.second(first.image, first.pool)
    best, highest = None, -1.0
    for threshold in sorted({threshold_of(r, score, y) for r in RECALLS}):
        flagged = score >= threshold
        if not has_both(y[flagged]):
            continue
        found = tune_rule(second.take(flagged), y[flagged], search=search)
        rule = TwoStageRule(replace(first, threshold=threshold), found.rule)
        f1 = f1_of(rule.score(evidence) >= rule.threshold, y)
        if f1 > highest:
            best, highest = rule, f1
    return best


def candidates(
    evidence: Evidence,
    event: NDArray[np.bool_],
    known: NDArray[np.bool_],
    rows: NDArray[np.intp],
    first: FusionRule,
) -> NDArray[np.intp]:
    """Return which of the rows train the second stage.

    They are posts that are flagged out of fold at a recall of 0.99, and posts that the
    first stage does not learn from.

    Parameters
    ----------
    evidence : Evidence
        Out-of-fold probabilities of all posts.
    event, known : ndarray of bool of shape (n_posts,)
        Which posts are events, and which ones the first stage learns from.
    rows : ndarray of int
        Row numbers to choose from.
    first : Rule or StackedRule
        Rule of the first stage.
    """
    score = first.score(evidence.take(rows))
    flagged = score >= threshold_of(WIDEST, score, event[rows])
    return rows[flagged | ~known[rows]]


def threshold_of(recall: float, score: FloatArray, event: NDArray[np.bool_]) -> float:
    """Return the largest threshold that reaches this recall."""
    edge = recalling(score[event], recall)
    if edge <= 0:
        return FLAG_ALL
    return midway(float(score[score < edge].max(initial=0.0)), edge)
