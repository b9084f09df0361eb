"""Decision policies: from out-of-fold scores to a threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmevent.decision import check_policy, choose_threshold
from mmevent.exceptions import InputError
from mmevent.tuning import best_threshold, smooth_threshold

scored = st.lists(st.tuples(st.floats(0, 2), st.booleans()), min_size=1, max_size=20)


def arrays(posts: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    score, event = zip(*posts, strict=True)
    return np.array(score, dtype=float), np.array(event, dtype=bool)


@pytest.mark.parametrize("policy", ["f1", 0.7], ids=str)
class TestEveryPolicy:
    """What every policy keeps to."""

    @given(posts=scored)
    def test_the_threshold_is_positive_and_finite(
        self, policy: str | float, posts: Any
    ) -> None:
        assert 0 < choose_threshold(policy, *arrays(posts)) < np.inf

    @given(posts=scored, seed=st.integers(0, 99))
    def test_the_order_of_posts_does_not_matter(
        self, policy: str | float, posts: Any, seed: int
    ) -> None:
        score, event = arrays(posts)
        order = np.random.default_rng(seed).permutation(len(score))
        threshold = choose_threshold(policy, score, event)
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
        "precision>=0.9",
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
    message = "is not known: expected 'f1', or a finite threshold above 0"
    with pytest.raises(InputError, match=message):
        check_policy(policy)
    with pytest.raises(InputError, match=message):
        choose_threshold(policy, [0.5], [1])


def test_an_unknown_criterion_is_refused() -> None:
    with pytest.raises(InputError, match="criterion='auc' is not known: expected one"):
        choose_threshold("f1", [0.5], [1], criterion="auc")
