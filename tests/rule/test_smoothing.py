"""Counts read off a smoothed ROC curve, and thresholds by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from mmevent.exceptions import InputError
from mmevent.rule.cuts import FLAG_ALL, Ranking, best_threshold
from mmevent.rule.smoothing import MIN_COUNT, smooth_threshold, smoothed

many = st.lists(st.tuples(st.floats(1e-3, 1.0), st.booleans()), min_size=1, max_size=60)


def normal_scores(
    n: int, prevalence: float = 0.2, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Draw scores of two normal distributions, 1.5 apart, as probabilities."""
    rng = np.random.default_rng(seed)
    event = rng.random(n) < prevalence
    return norm.cdf(rng.normal(1.5 * event - 1.0)), event


def f1_in_the_population(threshold: float, prevalence: float = 0.2) -> float:
    cut = norm.ppf(threshold) + 1.0
    recall, false = norm.sf(cut - 1.5), norm.sf(cut)
    flagged = prevalence * recall + (1 - prevalence) * false
    return float(2 * prevalence * recall / (flagged + prevalence))


@pytest.mark.parametrize("n", [300, 3000])
def test_the_threshold_comes_nearer_to_the_best_one(n: int) -> None:
    best = max(f1_in_the_population(t) for t in np.linspace(0.05, 0.95, 181))
    lost = {best_threshold: [], smooth_threshold: []}
    for seed in range(40):
        score, event = normal_scores(n, seed=seed)
        for choose, losses in lost.items():
            losses.append(best - f1_in_the_population(choose(score, event)[0]))
    assert np.mean(lost[smooth_threshold]) < 0.7 * np.mean(lost[best_threshold])


@pytest.mark.parametrize(
    "scale",
    [
        lambda score: 5 * score,
        lambda score: score**5,
        lambda score: 1 - (1 - score) ** 5,
        lambda score: norm.cdf(2 * norm.ppf(score)),
    ],
    ids=["times 5", "near 0", "near 1", "near both"],
)
def test_only_the_order_of_the_scores_matters(scale: Any) -> None:
    score, event = normal_scores(500)
    threshold, f1 = smooth_threshold(score, event)
    other, same = smooth_threshold(scale(score), event)
    assert same == pytest.approx(f1)
    np.testing.assert_array_equal(scale(score) >= other, score >= threshold)


def test_true_counts_are_never_changed_and_nor_is_what_is_flagged_of_nothing() -> None:
    side = Ranking.of(*normal_scores(500))
    found = smoothed(side)
    np.testing.assert_array_equal(found.true, side.true)
    np.testing.assert_array_equal(found.values, side.values)
    assert found.flagged[0] == 0
    assert (found.flagged >= found.true - 0.5).all()
    assert not np.array_equal(found.flagged, side.flagged)


def test_bins_move_a_count_by_less_than_a_tenth_of_a_post() -> None:
    side = Ranking.of(*normal_scores(2000))
    events = int(side.true[-1])
    others = int(side.flagged[-1]) - events
    at = np.flatnonzero(np.diff(side.true)) + 1
    z = norm.ppf((np.arange(events) + 0.5) / events)
    y = norm.ppf((side.flagged[at] - side.true[at] + 0.5) / (others + 1))
    line = np.polyval(np.polyfit(z, y, 1), z)
    kernel = norm.pdf(z[:, None], z, 0.9 * events**-0.2)
    curve = line + kernel @ (y - line) / kernel.sum(axis=1)
    expected = (others + 1) * norm.cdf(curve) - 0.5
    counted = smoothed(side)
    np.testing.assert_allclose(
        counted.flagged[at] - counted.true[at], expected, atol=0.1
    )


def test_between_events_other_posts_count_as_they_are() -> None:
    side = Ranking.of(*normal_scores(500))
    moved = smoothed(side).flagged - side.flagged
    for rank in np.unique(side.true):
        assert np.ptp(moved[side.true == rank]) < 1e-9


@pytest.mark.parametrize("n_events", [0, 1, MIN_COUNT - 1])
@pytest.mark.parametrize("swap", [False, True], ids=["events", "others"])
def test_too_few_posts_of_a_kind_are_left_as_they_are(
    n_events: int, swap: bool
) -> None:
    score = np.linspace(0.1, 0.9, 40)
    event = (np.arange(40) % 8 == 0).cumsum() * (np.arange(40) % 8 == 0) > 0
    event[np.flatnonzero(event)[n_events:]] = False
    side = Ranking.of(score, ~event if swap else event)
    assert smoothed(side) is side


def test_separated_classes_stay_so() -> None:
    score, event = np.linspace(0.05, 0.95, 40), np.arange(40) >= 25
    threshold, f1 = smooth_threshold(score, event)
    assert score[24] < threshold < score[25]
    assert f1 == pytest.approx(1.0)


def test_ties_are_never_split() -> None:
    score, event = normal_scores(500)
    rounded = np.round(score, 1)
    threshold, _ = smooth_threshold(rounded, event)
    assert np.min(np.abs(rounded - threshold)) == pytest.approx(0.05)
    assert smooth_threshold(np.full(20, 0.4), np.arange(20) < 8) == (
        FLAG_ALL,
        pytest.approx(2 * 8 / 28),
    )


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
    assert smooth_threshold(score, y) == pytest.approx((threshold, f1), abs=1e-12)


@given(posts=many)
def test_the_threshold_is_positive_and_the_f1_a_share(posts: Any) -> None:
    score, event = (np.array(column) for column in zip(*posts, strict=True))
    threshold, f1 = smooth_threshold(score, event)
    assert 0 < threshold <= score.max()
    assert 0 <= f1 <= 1.1


@given(posts=many, seed=st.integers(0, 99))
def test_the_order_of_posts_does_not_matter(posts: Any, seed: int) -> None:
    score, event = (np.array(column) for column in zip(*posts, strict=True))
    order = np.random.default_rng(seed).permutation(len(score))
    assert smooth_threshold(score, event) == smooth_threshold(
        score[order], event[order]
    )


def test_scores_and_labels_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"got shapes \(2,\) and \(1,\)"):
        smooth_threshold([0.5, 0.1], [1])
