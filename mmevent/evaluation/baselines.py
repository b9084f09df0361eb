"""The fused rule and its baselines, each tuned on the same probabilities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmevent.evaluation.metrics import Resampling
from mmevent.exceptions import PolicyError
from mmevent.rule.cuts import FLAG_ALL
from mmevent.rule.fusion import Evidence, Rule
from mmevent.rule.policies import (
    Policy,
    budget_of,
    budget_threshold,
    choose_threshold,
    share_of_budget,
)
from mmevent.rule.search import Search, TuningResult, tune_rule
from mmevent.rule.smoothing import BEST_THRESHOLD
from mmevent.rule.stacking import RULES, FusionRule
from mmevent.rule.two_stage import TwoStageRule, tune_two_stages

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from numpy.typing import NDArray

    from mmevent.posts.labels import Labels

    FloatArray = NDArray[np.float64]
    Score = Callable[[Evidence], FloatArray]

FUSED, STAGE_1, BOTH = "fused", "stage 1", "both stages"


@dataclass(frozen=True)
class System:
    """A way to score posts, with its threshold; baselines have no rule.

    The threshold is NaN for a budget, where it depends on the predicted posts, and
    infinite if the policy cannot be met.
    """

    score: Score
    threshold: float
    rule: FusionRule | TwoStageRule | None = None


def whole(systems: Container[str]) -> str:
    """Name the system that predicts: both stages where there are two."""
    return BOTH if BOTH in systems else FUSED


def threshold_on(
    system: System, score: FloatArray, policy: Policy, corpus_size: int | None
) -> float:
    """Return the threshold of a system for posts with these scores."""
    if not np.isnan(system.threshold):
        return system.threshold
    return budget_threshold(score, share_of_budget(policy, len(score), corpus_size))


def tune_first(evidence: Evidence, labels: Labels, search: Search) -> TuningResult:
    """Tune the rule of a search on the posts that the first stage learns from."""
    known = np.flatnonzero(labels.known)
    event = labels.first.event[known]
    return tune_rule(
        evidence.take(known), event, search=search, groups=labels.group[known]
    )


def fit_systems(
    evidence: Evidence,
    labels: Labels,
    search: Search,
    policy: Policy,
    rule: FusionRule,
    second: SecondStage | None = None,
) -> dict[str, System]:
    """Tune the threshold of a rule, and all baselines, on out-of-fold probabilities.

    A baseline is left out where it cannot differ from the others, because no post has
    text or none has an image. The other rule than that of the search is one of them. A
    second stage adds two systems: the first stage as it flags for the second, and both
    stages.
    """
    event = labels.event

    def tuned(score: Score) -> System:
        if budget_of(policy) is not None:
            return System(score, np.nan)
        try:
            threshold = choose_threshold(
                policy,
                score(evidence),
                event,
                criterion=search.criterion,
                groups=labels.group,
            )
        except PolicyError:
            threshold = np.inf
        return System(score, threshold)

    def best_key(make: Callable[[tuple[str, str]], Score]) -> Score:
        """Choose the image branch and pooling with the best criterion."""
        best = BEST_THRESHOLD[search.criterion]
        scores = [make(key) for key in evidence.pooled]
        return max(scores, key=lambda score: best(score(evidence), event)[1])

    def by_rule(rule: FusionRule) -> System:
        if policy != "f1" or labels.stage1 is not None:
            return replace(tuned(rule.score), rule=rule)
        return System(rule.score, rule.threshold, rule)

    systems = {"flag all": System(lambda e: np.ones(len(e)), FLAG_ALL)}
    if evidence.has_text.any():
        systems["text only"] = tuned(_text_score)
    if evidence.has_image.any():
        systems["image only"] = tuned(best_key(_image_score))
    if (evidence.has_text & evidence.has_image).any():
        systems["equal average"] = tuned(best_key(_average_score))
    if evidence.has_text.any() and evidence.has_image.any():
        other = next(name for name in RULES if name != search.rule)
        found = tune_first(evidence, labels, replace(search, rule=other))
        systems[other] = by_rule(found.rule)
    systems[FUSED] = by_rule(rule)
    if second is not None:
        both = choose_stages(evidence, labels, search, rule, second)
        systems[STAGE_1] = systems[BOTH] = systems[FUSED]
        if both is not None:
            systems[STAGE_1] = System(both.first.score, both.first.threshold)
            systems[BOTH] = System(both.score, both.threshold, both)
            if policy != "f1":
                systems[BOTH] = replace(tuned(both.score), rule=both)
    return systems


def _text_score(evidence: Evidence) -> FloatArray:
    return np.nan_to_num(evidence.p_text)


def _image_score(key: tuple[str, str]) -> Score:
    return lambda evidence: np.nan_to_num(evidence.pooled[key])


def _average_score(key: tuple[str, str]) -> Score:
    return Rule(alpha=1.0, beta=1.0, pool=key[1], threshold=1.0, image=key[0]).score


class SecondStage(NamedTuple):
    """The branch of a second stage, and whether it is kept only if it improves F1."""

    branch: Any
    only_if_better: bool


def choose_stages(
    evidence: Evidence,
    labels: Labels,
    search: Search,
    first: FusionRule,
    second: SecondStage,
) -> TwoStageRule | None:
    """Tune both stages; return None if that is not possible or does not improve F1.

    F1 improves if it is higher than that of the first stage alone by more than one
    standard error of the difference, over resamples of groups.
    """
    if evidence.p_text_2 is None:
        return None
    event = labels.event
    both = tune_two_stages(evidence, event, first, search)
    if both is None or not second.only_if_better:
        return both
    score = first.score(evidence)
    threshold = choose_threshold(
        "f1", score, event, criterion=search.criterion, groups=labels.group
    )
    alone = score >= threshold
    whole = both.score(evidence) >= both.threshold
    resampling = Resampling(labels.group)
    gain = resampling.ratios(whole, event)["f1"] - resampling.ratios(alone, event)["f1"]
    return both if gain[0] > resampling.standard_error(gain) else None
