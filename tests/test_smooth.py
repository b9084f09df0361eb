"""Thresholds by a smoothed F1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from mmevent._cuts import FLAG_ALL, Side
from mmevent._smooth import smooth_cuts, smooth_threshold
from mmevent.exceptions import InputError
from mmevent.synthetic import make_scores

positive = st.floats(1e-6, 2.0)


def two_sides(seed: int, n: int = 400) -> tuple[Any, ...]:
    scores = make_scores(n, random_state=seed)
    score = scores.fuse(alpha=0.8, beta=1.0, pool="max")
    has_image = np.bincount(scores.post, minlength=n) > 0
    return score, scores.y == 1, has_image


def sides_of(
    score: NDArray[Any], event: NDArray[Any], has_image: NDArray[Any]
) -> tuple[Side, Side]:
    text, image = (Side.of(score[r], event[r]) for r in (~has_image, has_image))
    return text, image


def smoothed_f1(
    score: NDArray[Any],
    event: NDArray[Any],
    has_image: NDArray[Any],
    beta: float,
    threshold: float,
) -> float:
    """F1 of sums of normal tails, by their definition."""
    some, positives = score > 0, event.sum()
    log, event = np.log(score[some]), event[some]
    low, high = np.quantile(log[event], [0.25, 0.75])
    spread = min(log[event].std(), (high - low) / 1.34)
    width = 0.9 * spread * event.sum() ** -0.2
    log = log + np.where(has_image[some], np.log(beta), 0.0)
    flagged = norm.sf((np.log(threshold) - log) / width)
    return float(2 * flagged[event].sum() / (flagged.sum() + positives))


@pytest.mark.parametrize("seed", range(4))
def test_the_pair_of_cuts_is_the_best_by_definition(seed: int) -> None:
    data = two_sides(seed)
    sides = sides_of(*data)
    beta, threshold, f1 = smooth_cuts(*sides, int(data[1].sum()), (0.5, 2.0))
    assert f1 == pytest.approx(smoothed_f1(*data, beta, threshold), abs=0.003)
    best = max(
        smoothed_f1(*data, b, t)
        for b in np.geomspace(0.5, 2.0, 21)
        for t in np.linspace(0.05, 0.95, 46)
    )
    assert smoothed_f1(*data, beta, threshold) >= best - 0.001


def test_one_side_alone_is_a_threshold() -> None:
    score, event, _ = two_sides(0)
    nowhere = np.zeros(len(score), dtype=bool)
    threshold, f1 = smooth_threshold(score, event)
    sides = sides_of(score, event, nowhere)
    found = smooth_cuts(*sides, int(event.sum()), (1.0, 1.0))
    assert found == (1.0, threshold, f1)
    expected = smoothed_f1(score, event, nowhere, 1.0, threshold)
    assert f1 == pytest.approx(expected, abs=0.003)


def test_beta_stays_within_its_bounds_and_meets_them() -> None:
    score, event, has_image = two_sides(1)
    lowered = np.where(has_image, score / 8, score)
    sides = sides_of(lowered, event, has_image)
    for bounds in ((0.5, 2.0), (1.5, 1.5), (1.2, 3.0)):
        beta, _, _ = smooth_cuts(*sides, int(event.sum()), bounds)
        assert beta == pytest.approx(bounds[1])


def test_where_beta_makes_no_difference_it_is_1() -> None:
    score, event, _ = two_sides(2)
    for has_image in (np.zeros(400, dtype=bool), np.ones(400, dtype=bool)):
        beta = smooth_cuts(
            *sides_of(score, event, has_image), int(event.sum()), (0.5, 2.0)
        )[0]
        assert beta == pytest.approx(1.0, abs=0.05)


def test_it_follows_a_single_post_less_than_f1_does() -> None:
    score, event, _ = two_sides(3)
    order = np.argsort(score)
    moved = event.copy()
    moved[order[150]] = ~moved[order[150]]
    first, second = (smooth_threshold(score, y)[0] for y in (event, moved))
    assert 0 < abs(np.log(first / second)) < 0.1


@pytest.mark.parametrize(
    ("score", "y", "threshold", "f1"),
    [
        ([0.9, 0.9], [1, 0], FLAG_ALL, 2 / 3),
        ([0.9], [1], FLAG_ALL, 1.0),
        ([0.5, 0.4], [0, 0], FLAG_ALL, 0.0),
        ([0.0, 0.0], [1, 0], FLAG_ALL, 0.0),
        ([], [], FLAG_ALL, 0.0),
        ([0.6, 0.0], [1, 0], 0.3, 1.0),
    ],
    ids=["tie", "one", "no event", "never flagged", "nothing", "above 0"],
)
def test_small_cases(
    score: list[float], y: list[int], threshold: float, f1: float
) -> None:
    found = smooth_threshold(score, y)
    assert found == pytest.approx((threshold, f1), abs=0.31 if 0.3 in found else 1e-9)


@given(posts=st.lists(st.tuples(positive, st.booleans()), min_size=1, max_size=20))
def test_the_threshold_is_positive_and_the_f1_a_share(posts: Any) -> None:
    score, event = (np.array(column) for column in zip(*posts, strict=True))
    threshold, f1 = smooth_threshold(score, event)
    assert 0 < threshold < np.inf
    assert 0 <= f1 <= 1 + 1e-9


@given(
    posts=st.lists(st.tuples(positive, st.booleans()), min_size=2, max_size=20),
    factor=st.floats(0.1, 10.0),
)
def test_it_moves_with_the_scale_of_the_score(posts: Any, factor: float) -> None:
    score, event = (np.array(column) for column in zip(*posts, strict=True))
    first, f1 = smooth_threshold(score, event)
    second, other = smooth_threshold(score * factor, event)
    assert other == pytest.approx(f1, abs=0.05)
    assert (first == FLAG_ALL) == (second == FLAG_ALL) or abs(f1 - other) < 0.05


def test_scores_and_labels_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"got shapes \(2,\) and \(1,\)"):
        smooth_threshold([0.5, 0.1], [1])
