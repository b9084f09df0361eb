"""How far the threshold moves with other posts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

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

    alpha and the first stage stay as they are; beta only where the policy is not F1.

    Returns
    -------
    DataFrame
        One row: ``threshold``, ``low`` and ``high`` of its 95% interval (percentiles),
        ``n_resamples``, and ``n_unmet``, those for which the policy cannot be met. None
        where the policy chooses no threshold on these posts.
    """
    if not has_threshold(detector.policy_):
        return pd.DataFrame()
    if detector.policy_ == "f1":
        chosen = chosen_on(detector)
        choose, group = _by_f1(detector, chosen), chosen.group
    else:
        table = detector.out_of_fold_[detector.out_of_fold_["fold"] >= 0]
        choose, group = _by_policy(detector, table), table["group"].to_numpy()
    group = np.unique(group, return_inverse=True)[1]
    if not np.isclose(choose(np.arange(len(group)), group), detector.threshold_):
        return pd.DataFrame()
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
            "threshold": [detector.threshold_],
            "low": [float(low)],
            "high": [float(high)],
            "n_resamples": [N_RESAMPLES],
            "n_unmet": [N_RESAMPLES - len(met)],
        }
    )


def _by_f1(detector: EventDetector, chosen: ChosenOn) -> Choose:
    """Seek the best F1 again, beta included."""
    stages, alpha = detector.stages_, chosen.rule.alpha
    search = replace(
        Setup(detector, 0).search(), method="exact", alpha_bounds=(alpha, alpha)
    )

    def choose(rows: IntArray, groups: IntArray) -> float:
        evidence, event = chosen.evidence.take(rows), chosen.event[rows]
        found = tune_rule(evidence, event, search=search).rule
        whole = found if stages is None else replace(stages, second=found)
        return whole.threshold

    return choose


def _by_policy(detector: EventDetector, table: pd.DataFrame) -> Choose:
    score = table["score"].to_numpy(dtype=float)
    event = table["event"].to_numpy(dtype=bool)

    def choose(rows: IntArray, groups: IntArray) -> float:
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

    return choose
