"""The interval of the threshold over resamples of groups."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mmevent.exceptions import PolicyError
from mmevent.rule.cuts import has_both
from mmevent.rule.fusion import Evidence
from mmevent.rule.policies import Policy, choose_threshold, learns_threshold
from mmevent.rule.search import Search, rethreshold

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mmevent.rule.stacking import FusionRule
    from mmevent.rule.two_stage import TwoStageRule

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]
    Choose = Callable[[IntArray, IntArray], float]

N_RESAMPLES = 200


class ChosenOn(NamedTuple):
    """A detector's last rule, and the posts that chose it."""

    rule: FusionRule
    evidence: Evidence
    event: NDArray[np.bool_]
    group: NDArray[Any]


def chosen_on(
    tested: pd.DataFrame, rule: FusionRule, stages: TwoStageRule | None
) -> ChosenOn:
    """Return the posts that chose the rule and its threshold, with the rule.

    `tested` is the out-of-fold table. With two stages the rule is the second one's, and
    the posts are those that the first flags.
    """
    table = tested if stages is None else tested[tested["score"] >= 1]
    p = {k: v.to_numpy(dtype=float) for k, v in table.items() if k.startswith("p_")}
    evidence = Evidence(p["p_text"], {(rule.image, rule.pool): p["p_image"]})
    if stages is not None:
        evidence = evidence.with_second(p["p_text_2"])
        rule, evidence = stages.second, stages.judged(evidence)
    event = table["event"].to_numpy(dtype=bool)
    return ChosenOn(rule, evidence, event, table["group"].to_numpy())


def threshold_spread(
    tested: pd.DataFrame,
    rule: FusionRule,
    stages: TwoStageRule | None,
    *,
    policy: Policy,
    threshold: float,
    search: Search,
) -> pd.DataFrame:
    """Choose a fitted detector's threshold again on resamples of groups.

    The parameters of the rule and the first stage stay as they are, and where the
    criterion is ``"smooth"``, whether the threshold comes from the smoothed F1 or from
    the raw one.

    Returns
    -------
    DataFrame
        One row: ``threshold``, ``low`` and ``high`` of its 95% interval (percentiles,
        outwards to the next scores of posts, since thresholds between two scores flag
        the same posts), ``n_resamples``, and ``n_unmet``: the number of resamples that
        have one class only, or on which the policy cannot be met. No row if the policy
        chooses no threshold, or chose it on held-out posts.
    """
    if not learns_threshold(policy):
        return pd.DataFrame()
    ways = [_by_policy(tested, policy, search)]
    if isinstance(policy, str) and policy == "f1":
        for criterion in dict.fromkeys(["f1", search.criterion]):
            by = replace(search, criterion=criterion)
            ways.insert(0, _by_f1(tested, rule, stages, by))
    for choose, labels in ways:
        group = np.unique(labels, return_inverse=True)[1]
        if np.isclose(choose(np.arange(len(group)), group), threshold):
            score = tested["score"].to_numpy(dtype=float)
            if stages is not None and threshold >= 1:  # below 1 the first stage decides
                score = np.append(np.maximum(score, 1.0), 1.0)
            return _resampled(threshold, choose, group, score)
    return pd.DataFrame()


def _resampled(
    threshold: float, choose: Choose, group: IntArray, score: FloatArray
) -> pd.DataFrame:
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group))[:-1])
    size, rng = np.bincount(group), np.random.default_rng(0)
    found = []
    for _ in range(N_RESAMPLES):
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[k] for k in drawn])
        found.append(choose(rows, np.repeat(np.arange(len(drawn)), size[drawn])))
    met = np.array(found)[~np.isnan(found)]
    low, high = np.nan, np.nan
    if len(met):
        low, high = np.quantile(met, [0.025, 0.975])
        low, high = _outwards(float(low), float(high), score)
    return pd.DataFrame(
        {
            "threshold": [threshold],
            "low": [low],
            "high": [high],
            "n_resamples": [N_RESAMPLES],
            "n_unmet": [N_RESAMPLES - len(met)],
        }
    )


def _outwards(low: float, high: float, score: FloatArray) -> tuple[float, float]:
    """Return the scores next to an interval of thresholds, which then has width.

    Posts are flagged at the threshold and above. Where all of them are, every threshold
    down to 0, or to 1 in a second stage, does the same.
    """
    below, above = score[score < low], score[score >= high]
    return (
        float(below.max()) if len(below) else min(low, float(score.min() >= 1.0)),
        float(above.min()) if len(above) else high,
    )


def _by_f1(
    tested: pd.DataFrame, rule: FusionRule, stages: TwoStageRule | None, search: Search
) -> tuple[Choose, NDArray[Any]]:
    """Return the choice by the best F1, and the groups of the posts."""
    chosen = chosen_on(tested, rule, stages)

    def choose(rows: IntArray, groups: IntArray) -> float:
        evidence, event = chosen.evidence.take(rows), chosen.event[rows]
        if not has_both(event):
            return np.nan
        found = rethreshold(chosen.rule, evidence, event, search)
        whole = found if stages is None else replace(stages, second=found)
        return whole.threshold

    return choose, chosen.group


def _by_policy(
    tested: pd.DataFrame, policy: Policy, search: Search
) -> tuple[Choose, NDArray[Any]]:
    """Return the choice by a policy, and the groups of the posts."""
    score = tested["score"].to_numpy(dtype=float)
    event = tested["event"].to_numpy(dtype=bool)

    def choose(rows: IntArray, groups: IntArray) -> float:
        if not has_both(event[rows]):
            return np.nan
        try:
            return choose_threshold(
                policy,
                score[rows],
                event[rows],
                criterion=search.criterion,
                groups=groups,
            )
        except PolicyError:
            return np.nan

    return choose, tested["group"].to_numpy()
