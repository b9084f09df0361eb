"""How far the threshold moves with other posts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.evaluation.stability import N_RESAMPLES, chosen_on, threshold_spread
from mmevent.rule import Evidence, Rule, Search, TwoStageRule
from mmevent.rule.policies import choose_threshold
from mmevent.rule.search import tune_rule
from mmevent.synthetic import make_scores

SEARCH = Search(n_trials=12, random_state=0)


@pytest.fixture(scope="module")
def rule_and_tested() -> tuple[Rule, pd.DataFrame]:
    """A rule, and the posts that chose it, as a fit keeps them."""
    scores = make_scores(160, share_no_text=0.1, random_state=0)
    evidence = Evidence.from_images(scores.p_text, scores.p_image, scores.post)
    rule = tune_rule(evidence, scores.y == 1, search=SEARCH).rule
    tested = pd.DataFrame(
        {
            "event": scores.y == 1,
            "group": np.arange(160) // 2,
            "p_text": evidence.p_text,
            "p_image": evidence.pooled[rule.image, rule.pool],
            "score": rule.score(evidence),
        }
    )
    return rule, tested


def spread(
    rule_and_tested: tuple[Rule, pd.DataFrame],
    policy: Any,
    threshold: float | None = None,
    **columns: Any,
) -> pd.DataFrame:
    rule, tested = rule_and_tested
    tested = tested.assign(**columns)
    if threshold is None:
        threshold = choose_threshold(
            policy,
            tested["score"],
            tested["event"],
            criterion=SEARCH.criterion,
            groups=tested["group"],
        )
    return threshold_spread(
        tested, rule, None, policy=policy, threshold=threshold, search=SEARCH
    )


@pytest.mark.parametrize(
    "policy", ["f1", "fbeta=2", "recall>=0.5", [[0, 1], [3, 0]]], ids=str
)
def test_the_threshold_of_a_policy_moves(rule_and_tested: Any, policy: Any) -> None:
    row = spread(rule_and_tested, policy).iloc[0]
    assert row["low"] <= row["threshold"] <= row["high"]
    assert row["low"] < row["high"]
    assert row["n_resamples"] == N_RESAMPLES


def test_a_policy_that_some_resamples_cannot_meet(rule_and_tested: Any) -> None:
    assert 0 < spread(rule_and_tested, "recall>=0.84")["n_unmet"].iloc[0] < 200


@pytest.mark.parametrize("policy", [0.4, "budget=20"])
def test_a_threshold_that_no_label_chose_has_no_spread(
    rule_and_tested: Any, policy: Any
) -> None:
    assert spread(rule_and_tested, policy, 0.4).empty


def test_a_threshold_of_other_posts_has_no_spread_here(rule_and_tested: Any) -> None:
    threshold = float(spread(rule_and_tested, "fbeta=2")["threshold"].iloc[0])
    assert spread(rule_and_tested, "fbeta=2", threshold * 1.2).empty


@pytest.mark.parametrize("n_others", [30, 1])
def test_a_threshold_that_every_resample_chooses_has_an_interval_with_width(
    n_others: int,
) -> None:
    event = np.arange(40) >= n_others
    score = np.where(event, 0.9, 0.2)
    tested = pd.DataFrame(
        {"event": event, "group": np.arange(40), "p_text": score, "score": score}
    ).assign(p_image=np.nan)
    rule = Rule(alpha=1.0, beta=0.0, pool="max", threshold=0.5)
    threshold = choose_threshold("recall>=0.5", score, event, groups=tested["group"])
    row = threshold_spread(
        *(tested, rule, None),
        policy="recall>=0.5",
        threshold=threshold,
        search=SEARCH,
    ).iloc[0]
    assert row["low"] <= threshold <= row["high"]
    assert row["high"] - row["low"] > 0.1


def test_resamples_without_events_choose_nothing(rule_and_tested: Any) -> None:
    event = rule_and_tested[1]["event"].to_numpy()
    group = np.where(event, 0, np.arange(len(event)) % 4 + 1)
    row = spread(rule_and_tested, "f1", group=group).iloc[0]
    assert row["n_unmet"] > 0
    assert row["low"] > 0.01


def test_a_threshold_by_the_raw_f1_is_chosen_again_by_the_raw_f1() -> None:
    rng = np.random.default_rng(0)
    event = rng.random(1500) < 0.1
    high = np.where(event, rng.random(1500) < 0.7, rng.random(1500) < 0.03)
    score = 1 / (1 + np.exp(-rng.normal(np.where(high, 4.0, -4.0), 1.5)))  # a corner
    evidence = Evidence.from_images(score, [], [])
    rule = tune_rule(evidence, event, search=SEARCH).rule
    tested = pd.DataFrame(
        {
            "event": event,
            "group": np.arange(1500),
            "p_text": score,
            "p_image": np.nan,
            "score": score,
        }
    )
    row, raw = (
        threshold_spread(
            tested,
            rule,
            None,
            policy="f1",
            threshold=rule.threshold,
            search=replace(SEARCH, criterion=criterion),
        )
        for criterion in ("smooth", "f1")
    )
    pd.testing.assert_frame_equal(row, raw)


def test_it_is_the_same_every_time(rule_and_tested: Any) -> None:
    first, second = (spread(rule_and_tested, "fbeta=2") for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_one_stage_was_chosen_on_all_posts_that_a_fold_tests(
    rule_and_tested: Any,
) -> None:
    rule, tested = rule_and_tested
    found = chosen_on(tested, rule, None)
    assert found.rule is rule
    np.testing.assert_array_equal(found.rule.score(found.evidence), tested["score"])
    assert found.event.tolist() == tested["event"].tolist()


def test_the_second_of_two_was_chosen_on_what_the_first_flags() -> None:
    first = Rule(alpha=0.0, beta=1.0, pool="max", threshold=0.5)
    second = Rule(alpha=0.0, beta=1.0, pool="max", threshold=0.3)
    stages = TwoStageRule(first, second)
    evidence = Evidence.from_images([0.3, 0.8, 0.9], [], [])
    evidence = evidence.with_second([0.5, 0.1, 0.6])
    tested = pd.DataFrame(
        {
            "event": [False, False, True],
            "group": [0, 1, 2],
            "p_text": evidence.p_text,
            "p_image": np.nan,
            "p_text_2": [0.5, 0.1, 0.6],
            "score": stages.score(evidence),
        }
    )
    found = chosen_on(tested, first, stages)
    assert found.rule is second
    assert found.group.tolist() == [1, 2]
    np.testing.assert_allclose(second.score(found.evidence), [0.1, 0.6])
