"""How far the threshold moves with other posts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mmevent._cuts import has_both
from mmevent._prediction import rule_of
from mmevent._setup import Setup
from mmevent.decision import choose_threshold, has_threshold
from mmevent.exceptions import PolicyError
from mmevent.tuning import Evidence, Rule, tune_rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mmevent.detector import EventDetector

    IntArray = NDArray[np.intp]
    Choose = Callable[[IntArray, IntArray], float]

N_RESAMPLES = 200


class ChosenOn(NamedTuple):
    """A detector's last rule, and the posts that chose it."""

    rule: Rule
    evidence: Evidence
    event: NDArray[np.bool_]
    group: NDArray[Any]


def chosen_on(detector: EventDetector) -> ChosenOn:
    """Return what alpha, beta and threshold were chosen on.

    With two stages it is the second one's rule, among the posts that the first flags.
    """
    table = detector.out_of_fold_[detector.out_of_fold_["fold"] >= 0]
    rule, stages = rule_of(detector), detector.stages_
    if stages is not None:
        table = table[table["score"] >= 1]
    p = {k: v.to_numpy(dtype=float) for k, v in table.items() if k.startswith("p_")}
    evidence = Evidence(p["p_text"], {(rule.image, rule.pool): p["p_image"]})
    if stages is not None:
        evidence = evidence.with_second(p["p_text_2"], p.get("p_image_2"))
        rule, evidence = stages.second, stages.judged(evidence)
    event = table["event"].to_numpy(dtype=bool)
    return ChosenOn(rule, evidence, event, table["group"].to_numpy())


def threshold_spread(detector: EventDetector) -> pd.DataFrame:
    """Choose a fitted detector's threshold again on resamples of groups.

    alpha, beta and the first stage stay as they are.

    Returns
    -------
    DataFrame
        One row: ``threshold``, ``low`` and ``high`` of its 95% interval (percentiles),
        ``n_resamples``, and ``n_unmet``, those for which the policy cannot be met, or
        which lack events or others. None where the policy chooses no threshold on these
        posts, or chose it on others that were held out.
    """
    if not has_threshold(detector.policy_):
        return pd.DataFrame()
    ways = [_by_policy(detector)]
    if detector.policy_ == "f1":
        ways.insert(0, _by_f1(detector))
    for choose, labels in ways:
        group = np.unique(labels, return_inverse=True)[1]
        if np.isclose(choose(np.arange(len(group)), group), detector.threshold_):
            return _resampled(detector.threshold_, choose, group)
    return pd.DataFrame()


def _resampled(threshold: float, choose: Choose, group: IntArray) -> pd.DataFrame:
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group))[:-1])
    size, rng = np.bincount(group), np.random.default_rng(0)
    found = []
    for _ in range(N_RESAMPLES):
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[k] for k in drawn])
        found.append(choose(rows, np.repeat(np.arange(len(drawn)), size[drawn])))
    met = np.array(found)[~np.isnan(found)]
    low, high = np.quantile(met, [0.025, 0.975]) if len(met) else (np.nan, np.nan)
    return pd.DataFrame(
        {
            "threshold": [threshold],
            "low": [float(low)],
            "high": [float(high)],
            "n_resamples": [N_RESAMPLES],
            "n_unmet": [N_RESAMPLES - len(met)],
        }
    )


def _by_f1(detector: EventDetector) -> tuple[Choose, NDArray[Any]]:
    """Return how the best F1 chooses, and the groups of the posts."""
    chosen, stages = chosen_on(detector), detector.stages_
    rule = chosen.rule
    search = replace(
        Setup(detector, 0).search(),
        method="exact",
        alpha_bounds=(rule.alpha, rule.alpha),
        beta_bounds=(rule.beta, rule.beta),
    )

    def choose(rows: IntArray, groups: IntArray) -> float:
        evidence, event = chosen.evidence.take(rows), chosen.event[rows]
        if not has_both(event):
            return np.nan
        found = tune_rule(evidence, event, search=search).rule
        whole = found if stages is None else replace(stages, second=found)
        return whole.threshold

    return choose, chosen.group


def _by_policy(detector: EventDetector) -> tuple[Choose, NDArray[Any]]:
    """Return how a policy chooses among scores, and the groups of the posts."""
    table = detector.out_of_fold_[detector.out_of_fold_["fold"] >= 0]
    score = table["score"].to_numpy(dtype=float)
    event = table["event"].to_numpy(dtype=bool)

    def choose(rows: IntArray, groups: IntArray) -> float:
        if not has_both(event[rows]):
            return np.nan
        try:
            return choose_threshold(
                detector.policy_,
                score[rows],
                event[rows],
                criterion=detector.criterion,
                groups=groups,
            )
        except PolicyError:
            return np.nan

    return choose, table["group"].to_numpy()
