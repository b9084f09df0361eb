"""The rule of two stages: its score, and how it is tuned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmevent.exceptions import InputError
from mmevent.rule.fusion import Evidence, Rule
from mmevent.rule.search import Search
from mmevent.rule.two_stage import (
    TwoStageRule,
    candidates,
    first_of,
    threshold_of,
    tune_two_stages,
)

SEARCH = Search(n_trials=20, random_state=0)
FIRST = Rule(alpha=0.0, beta=1.0, pool="max", threshold=0.5)


probability = st.floats(0, 1)


@given(
    rows=st.lists(st.tuples(probability, probability), min_size=1, max_size=20),
    first=st.floats(1e-6, 1),
    second=st.floats(1e-6, 1),
)
def test_the_whole_keeps_the_order_of_each_stage(
    rows: Any, first: float, second: float
) -> None:
    p, p_2 = np.array(rows).T
    evidence = Evidence.from_images(p, [], []).with_second(p_2)
    rule = Rule(alpha=0.0, beta=1.0, pool="max", threshold=first)
    both = TwoStageRule(rule, Rule(0.0, 1.0, "max", second))
    score, flagged = both.score(evidence), p >= first
    assert (score[flagged] >= 1).all()
    assert (score[~flagged] < 1).all()
    assert ((score >= both.threshold) <= flagged).all()
    clear = flagged & (abs(p_2 - second) > 1e-9)
    assert ((score >= both.threshold) == (p_2 >= second))[clear].all()
    for rows_of, by in ((flagged, p_2), (~flagged, p)):
        order = np.argsort(by[rows_of], kind="stable")
        assert (np.diff(score[rows_of][order]) >= 0).all()


def test_a_second_score_of_zero_is_never_an_event() -> None:
    evidence = Evidence.from_images([0.9], [], []).with_second(np.array([0.0]))
    rule = Rule(alpha=0.0, beta=1.0, pool="max", threshold=5e-324)
    both = TwoStageRule(rule, rule)
    assert both.score(evidence)[0] < both.threshold


@given(
    rows=st.lists(st.tuples(probability, st.booleans()), min_size=1, max_size=30),
    recall=st.sampled_from([0.5, 0.9, 0.99, 1.0]),
)
def test_the_threshold_of_a_recall_is_the_greatest(rows: Any, recall: float) -> None:
    score = np.array([score for score, _ in rows])
    event = np.array([event for _, event in rows])
    if not event.any():
        return
    threshold = threshold_of(recall, score, event)
    enough = np.ceil(recall * event.sum() - 1e-9)
    flagged = (score >= threshold) & event
    assert flagged.sum() >= min(enough, (score[event] > 0).sum())
    higher = score[event] > score[flagged].min(initial=np.inf)
    assert higher.sum() < enough


def test_both_stages_find_what_neither_does_alone() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 600)
    p = 1 / (1 + np.exp(-rng.normal(np.array([2, 2, -2])[kinds])))
    p_2 = 1 / (1 + np.exp(-rng.normal(np.array([2, -2, 2])[kinds])))
    evidence = Evidence.from_images(p, [], []).with_second(p_2)
    rule = Rule(alpha=0.0, beta=1.0, pool="max", threshold=0.5)
    event = kinds == 0
    both = tune_two_stages(evidence, event, rule, SEARCH)
    assert both is not None
    flagged = both.score(evidence) >= both.threshold
    assert (flagged == event).mean() > 0.9
    assert 0.9 <= (p[event] >= both.first.threshold).mean() <= 0.995


def test_flagged_posts_of_one_class_leave_nothing_to_tune() -> None:
    p = np.r_[np.full(5, 0.9), np.full(5, 0.1)]
    evidence = Evidence.from_images(p, [], []).with_second(p)
    rule = Rule(alpha=0.0, beta=1.0, pool="max", threshold=0.5)
    assert tune_two_stages(evidence, p > 0.5, rule, SEARCH) is None


def test_the_first_rule_of_one_stage_is_itself() -> None:
    second = Rule(alpha=1.0, beta=1.0, pool="max", threshold=0.2)
    assert first_of(FIRST) == FIRST
    assert first_of(TwoStageRule(FIRST, second)) == FIRST


def test_the_second_rule_fuses_the_images_of_the_first() -> None:
    evidence = Evidence.from_images([0.9, 0.9], [0.2, 0.6, 0.4], [0, 0, 1])
    evidence = evidence.with_second([0.3, np.nan])
    first = Rule(alpha=0.0, beta=1.0, pool="mean", threshold=0.5)
    both = TwoStageRule(first, Rule(alpha=1.0, beta=1.0, pool="mean", threshold=0.5))
    judged = both.judged(evidence)
    assert list(judged.pooled) == [("image", "mean")]
    np.testing.assert_allclose(both.second.score(judged), [0.35, 0.4])


def test_flagged_and_unknown_posts_train_the_second_stage() -> None:
    evidence = Evidence.from_images([0.9, 0.8, 0.7, 0.2, 0.1, 0.6], [], [])
    event = np.array([True, False, True, False, False, False])
    known = np.array([True, True, True, True, False, True])
    rows = np.array([0, 1, 2, 3, 4])
    found = candidates(evidence, event, known, rows, FIRST)
    assert found.tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize("y", [[1, -1] * 5, ["1", "0"] * 5, [1, np.nan] * 5], ids=str)
def test_labels_that_are_not_0_or_1_are_refused(y: Any) -> None:
    evidence = Evidence.from_images(np.linspace(0, 1, 10), [], [])
    evidence = evidence.with_second(np.linspace(1, 0, 10))
    with pytest.raises(InputError, match="which posts are events"):
        tune_two_stages(evidence, y, FIRST, SEARCH)


@pytest.mark.parametrize(
    ("event", "search", "message"),
    [
        ([1, 0, 1], SEARCH, "expected one label for each of 4 posts"),
        ([1, 0, 1, 2], SEARCH, "does not say which posts are events"),
        ([1, 0, 1, 0], Search(n_trials=-3), "n_trials=-3"),
    ],
)
def test_labels_and_settings_are_checked(
    event: Any, search: Search, message: str
) -> None:
    evidence = Evidence.from_images([0.9, 0.8, 0.7, 0.1], [], [])
    with pytest.raises(InputError, match=message):
        tune_two_stages(evidence.with_second([0.5] * 4), event, FIRST, search)


def test_two_stages_need_probabilities_of_both() -> None:
    evidence = Evidence.from_images([0.9, 0.1], [], [])
    with pytest.raises(InputError, match=r"one stage only.*with_second"):
        tune_two_stages(evidence, [1, 0], FIRST, SEARCH)


def test_one_class_leaves_nothing_to_tune() -> None:
    evidence = Evidence.from_images([0.9, 0.1], [], []).with_second([0.5, 0.5])
    assert tune_two_stages(evidence, [0, 0], FIRST, SEARCH) is None
