"""How far the threshold moves with other posts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmevent._prediction import rule_of
from mmevent._setup import Setup
from mmevent.decision import choose_threshold, has_threshold
from mmevent.exceptions import PolicyError
from mmevent.filter import TwoStageRule
from mmevent.tuning import Evidence, tune_rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mmevent.detector import EventDetector

    IntArray = NDArray[np.intp]
    Choose = Callable[[IntArray, IntArray], float]

N_RESAMPLES = 200


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
    table = detector.out_of_fold_[detector.out_of_fold_["fold"] >= 0]
    if not has_threshold(detector.policy_):
        return pd.DataFrame()
    if detector.policy_ == "f1":
        table, choose = _by_f1(detector, table)
    else:
        choose = _by_policy(detector, table)
    group = np.unique(table["group"], return_inverse=True)[1]
    if not np.isclose(choose(np.arange(len(table)), group), detector.threshold_):
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


def _by_f1(detector: EventDetector, table: pd.DataFrame) -> tuple[pd.DataFrame, Choose]:
    """Return the posts that the best F1 is sought on, and how; beta may change."""
    rule, stages, p_text = rule_of(detector), detector.stages_, "p_text"
    if stages is not None:
        rule, p_text = stages.second, "p_text_2"
        table = table[table["score"] >= 1]
    key = (detector.image_name_, detector.pool_)
    p_image = table["p_image"].to_numpy(dtype=float)
    evidence = Evidence(table[p_text].to_numpy(dtype=float), {key: p_image})
    event = table["event"].to_numpy(dtype=bool)
    search = replace(
        Setup(detector, 0).search(),
        method="exact",
        alpha_bounds=(rule.alpha, rule.alpha),
    )

    def choose(rows: IntArray, groups: IntArray) -> float:
        found = tune_rule(evidence.take(rows), event[rows], search=search).rule
        whole = found if stages is None else TwoStageRule(stages.first, found)
        return whole.threshold

    return table, choose


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
