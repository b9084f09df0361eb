"""Decision policies: from out-of-fold scores to a threshold."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, fbeta_score

from mmevent.exceptions import InputError, PolicyError
from mmevent.rule.cuts import best_threshold, recalling
from mmevent.rule.policies import (
    Policy,
    budget_threshold,
    check_policy,
    choose_threshold,
    share_of_budget,
)
from mmevent.rule.smoothing import smooth_threshold

scored = st.lists(st.tuples(st.floats(0, 2), st.booleans()), min_size=1, max_size=20)


def arrays(posts: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    score, event = zip(*posts, strict=True)
    return np.array(score, dtype=float), np.array(event, dtype=bool)


COSTS = [[0, 1], [5, 0]]


@pytest.mark.parametrize(
    "policy", ["f1", 0.7, "fbeta=2", "fbeta=0.5", "recall>=0.1", COSTS], ids=str
)
class TestEveryPolicy:
    """What every policy keeps to."""

    @settings(deadline=None)
    @given(posts=scored)
    def test_the_threshold_is_positive_and_finite(
        self, policy: Policy, posts: Any
    ) -> None:
        try:
            threshold = choose_threshold(policy, *arrays(posts))
        except PolicyError:
            assume(False)
        assert 0 < threshold < np.inf

    @settings(deadline=None)
    @given(posts=scored, seed=st.integers(0, 99))
    def test_the_order_of_posts_does_not_matter(
        self, policy: Policy, posts: Any, seed: int
    ) -> None:
        score, event = arrays(posts)
        order = np.random.default_rng(seed).permutation(len(score))
        try:
            threshold = choose_threshold(policy, score, event)
        except PolicyError:
            with pytest.raises(PolicyError):
                choose_threshold(policy, score[order], event[order])
            return
        assert threshold == choose_threshold(policy, score[order], event[order])


def test_f1_is_the_best_threshold() -> None:
    score, y = [0.9, 0.6, 0.4, 0.1], [1, 0, 1, 0]
    raw = choose_threshold("f1", score, y, criterion="f1")
    assert raw == best_threshold(score, y)[0]
    assert choose_threshold("f1", score, y) == smooth_threshold(score, y)[0]


@pytest.mark.parametrize("number", [0.7, 1, 1.8, np.float32(0.5), np.int64(1)])
def test_a_number_is_the_threshold(number: float) -> None:
    threshold = choose_threshold(number, [0.9, 0.1], [1, 0])
    assert threshold == number
    assert type(threshold) is float


@pytest.mark.parametrize(
    "policy",
    [
        "F1",
        "",
        "precision>=1",
        "precision>=0",
        "precision=0.9",
        "recall>=1.5",
        "recall>=",
        "fbeta=0",
        "budget=0",
        "budget=2.5",
        [[0, 1]],
        [[0, 1], [np.nan, 0]],
        [["a", 1], [5, 0]],
        0,
        0.0,
        -0.5,
        np.nan,
        np.inf,
        True,
        None,
        [0.5],
        np.ones(2),
    ],
    ids=repr,
)
def test_what_is_no_policy_is_refused(policy: Any) -> None:
    message = "is not known: expected 'f1', 'fbeta=2', 'precision>=0.90'"
    with pytest.raises(InputError, match=message):
        check_policy(policy)
    with pytest.raises(InputError, match=message):
        choose_threshold(policy, [0.5], [1])


def test_an_unknown_criterion_is_refused() -> None:
    with pytest.raises(InputError, match="criterion='auc' is not known: expected one"):
        choose_threshold("f1", [0.5], [1], criterion="auc")


def make(
    n: int, *, share: float = 0.3, distance: float = 2.5, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    event = rng.random(n) < share
    return 1 / (1 + np.exp(-rng.normal(distance * event))), event


def test_f_beta_of_one_is_f1() -> None:
    score, event = make(300)
    for criterion in ("f1", "smooth"):
        one, f1 = (
            choose_threshold(policy, score, event, criterion=criterion)
            for policy in ("fbeta=1", "f1")
        )
        assert one == f1


def test_f_beta_is_that_of_scikit_learn() -> None:
    score, event = make(200)
    best = choose_threshold("fbeta=2", score, event, criterion="f1")
    values = [fbeta_score(event, score >= cut, beta=2) for cut in np.sort(score)]
    assert fbeta_score(event, score >= best, beta=2) == pytest.approx(max(values))


def test_recall_counts_more_with_a_greater_beta() -> None:
    score, event = make(300)
    cuts = [choose_threshold(f"fbeta={b}", score, event) for b in (0.5, 1, 2)]
    assert cuts == sorted(cuts, reverse=True)


def test_costs_are_least_at_the_threshold() -> None:
    score, event = make(200)
    costs = np.array([[0.0, 1.0], [5.0, -1.0]])
    best = choose_threshold(costs, score, event, criterion="f1")

    def cost(cut: float) -> float:
        return float((confusion_matrix(event, score >= cut) * costs).sum())

    assert cost(best) == min(cost(cut) for cut in [*score, 2.0])


def test_flagging_nothing_can_cost_least() -> None:
    score, event = make(50)
    best = choose_threshold([[0, 100], [1, 0]], score, event, criterion="f1")
    assert best > score[~event].max()
    assert choose_threshold([[0, 1], [0, 1]], score, event) > score.max()


def test_a_precision_is_assured_on_these_posts() -> None:
    score, event = make(2000)
    threshold = choose_threshold("precision>=0.9", score, event)
    flagged = score >= threshold
    assert event[flagged].mean() > 0.9
    looser = choose_threshold("precision>=0.8", score, event)
    assert looser < threshold


def test_29_clean_groups_are_just_enough_for_a_precision() -> None:
    score = np.linspace(1, 0.1, 60)
    event = np.arange(60) < 30
    with pytest.raises(PolicyError, match="show no such precision at any threshold"):
        choose_threshold("precision>=0.9", score[:28], event[:28])
    choose_threshold("precision>=0.9", score, event)


def test_a_precision_that_is_not_to_be_had_names_the_highest_that_is() -> None:
    score, event = make(300, distance=1.0)
    with pytest.raises(PolicyError, match="The highest that they show is") as caught:
        choose_threshold("precision>=0.99", score, event)
    message = str(caught.value)
    lower, recall = re.findall(r"is (0\.\d\d), at a recall of (0\.\d\d)", message)[0]
    threshold = choose_threshold(f"precision>={lower}", score, event)
    assert f"{(event & (score >= threshold)).sum() / event.sum():.2f}" == recall
    more = f"precision>={float(lower) + 0.01:.2f}"
    with pytest.raises(PolicyError, match="cannot be met"):
        choose_threshold(more, score, event)


@pytest.mark.parametrize("policy", ["precision>=0.9", "recall>=0.9"])
def test_nothing_is_shown_without_events(policy: str) -> None:
    with pytest.raises(PolicyError, match="no (precision|recall) at all"):
        choose_threshold(policy, np.linspace(0.1, 1, 50), np.zeros(50))


def test_copies_of_a_post_are_no_more_evidence_than_one() -> None:
    score, event = np.repeat([0.9, 0.1], [40, 40]), np.arange(80) < 40
    choose_threshold("precision>=0.9", score, event)
    with pytest.raises(PolicyError, match="these 2 groups"):
        choose_threshold("precision>=0.9", score, event, groups=event)


def test_one_large_group_cannot_hide_behind_many_small_ones() -> None:
    score = np.r_[np.linspace(0.9, 0.8, 300), np.linspace(0.85, 0.75, 500)]
    event = np.arange(800) < 300
    group = np.r_[np.arange(300), np.full(500, 300)]
    threshold = choose_threshold("precision>=0.9", score, event, groups=group)
    assert event[score >= threshold].mean() >= 0.9


def test_groups_of_other_posts_are_refused() -> None:
    with pytest.raises(InputError, match="groups do not fit the scores"):
        choose_threshold("precision>=0.9", *make(20), groups=np.arange(5))


def test_a_recall_is_assured_on_these_posts() -> None:
    score, event = make(1000)
    threshold = choose_threshold("recall>=0.8", score, event)
    recall = (score[event] >= threshold).mean()
    assert 0.8 < recall < 0.87
    assert choose_threshold("recall>=0.95", score, event) < threshold


def test_a_large_group_of_missed_events_lowers_the_threshold() -> None:
    score = np.r_[np.linspace(0.9, 0.5, 200), np.full(20, 0.4)]
    event, group = np.ones(220), np.r_[np.arange(200), np.full(20, 200)]
    alone = choose_threshold("recall>=0.8", score, event, groups=np.arange(220))
    threshold = choose_threshold("recall>=0.8", score, event, groups=group)
    assert threshold < alone
    assert (score >= threshold).mean() >= 0.8


def test_a_recall_counts_events_whose_score_is_zero() -> None:
    score, event = np.r_[np.zeros(20), np.ones(80)], np.ones(100)
    with pytest.raises(PolicyError, match="The highest that they show is 0.7"):
        choose_threshold("recall>=0.8", score, event)


@given(posts=scored, n=st.integers(0, 25))
def test_a_budget_is_never_exceeded(posts: Any, n: int) -> None:
    score = arrays(posts)[0]
    flagged = score >= budget_threshold(score, n)
    assert flagged.sum() <= n
    assert not (score[flagged] == 0).any()
    left = score[~flagged & (score > 0)]
    if len(left):  # one more score would go over it
        assert flagged.sum() + (left == left.max()).sum() > n
        assert flagged.sum() == 0 or score[flagged].min() > left.max()


@pytest.mark.parametrize("n", [-1, 2.5, "3"])
def test_a_number_of_posts_that_is_none_is_refused(n: Any) -> None:
    with pytest.raises(InputError, match="is no number of posts"):
        budget_threshold([0.5, 0.4], n)


def test_a_budget_of_scores_that_are_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="for 1 of 3 posts"):
        budget_threshold([0.5, np.nan, 0.4], 1)


def test_a_budget_has_no_threshold_before_posts_are_predicted() -> None:
    with pytest.raises(InputError, match="has no threshold yet"):
        choose_threshold("budget=5", [0.5], [1])


def test_a_budget_is_shared_by_the_size_of_the_corpus() -> None:
    assert share_of_budget("budget=500", 200, 10_000) == 10
    assert share_of_budget("budget=500", 399, 100_000) == 2
    for size in (None, 100, 1_000_000, 2.5):
        with pytest.raises(InputError, match="expected corpus_size"):
            share_of_budget("budget=500", 200, size)


@pytest.mark.parametrize("missing", [None, np.nan])
def test_posts_without_a_group_are_linked_to_nothing(missing: Any) -> None:
    rng = np.random.default_rng(0)
    score = rng.random(200)
    event = rng.random(200) < score
    alone = choose_threshold("precision>=0.6", score, event)
    group = np.array([missing] * 200, dtype=object)
    assert choose_threshold("precision>=0.6", score, event, groups=group) == alone
    group[:2] = "a", "a"
    choose_threshold("precision>=0.6", score, event, groups=group)


def test_the_least_recall_is_that_of_one_event() -> None:
    score = [0.9, 0.8, 0.7]
    assert recalling(np.array(score), 1e-15) == 0.9
