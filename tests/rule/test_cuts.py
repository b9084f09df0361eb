"""Thresholds and pairs of cuts, against enumeration."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmevent.exceptions import InputError
from mmevent.rule.cuts import FLAG_ALL, Ranking, as_events, best_cuts, best_threshold
from mmevent.rule.policies import choose_threshold
from mmevent.rule.smoothing import smooth_threshold

Scored = list[tuple[float, bool]]

# Few distinct values, so that ties and equal F1 are common.
coarse = st.sampled_from([i / 8 for i in range(9)])
fine = st.floats(0, 1, allow_subnormal=False)
labelled = st.tuples(coarse | fine, st.booleans())


def split(posts: Scored) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return (
        np.array([score for score, _ in posts], dtype=np.float64),
        np.array([event for _, event in posts], dtype=bool),
    )


def f1(flagged: NDArray[np.bool_], event: NDArray[np.bool_]) -> float:
    total = int(flagged.sum()) + int(event.sum())
    return 2 * int((flagged & event).sum()) / total if total else 0.0


def every_threshold(score: NDArray[np.float64]) -> list[float]:
    """Give one threshold for each set of posts that a threshold above 0 can flag."""
    return [FLAG_ALL, *score[score > 0].tolist(), 2.0]


@given(posts=st.lists(labelled, min_size=1, max_size=12))
def test_no_threshold_does_better(posts: Scored) -> None:
    score, event = split(posts)
    threshold, found = best_threshold(score, event)
    best = max(f1(score >= t, event) for t in every_threshold(score))
    assert found == pytest.approx(best, abs=1e-12)
    assert f1(score >= threshold, event) == pytest.approx(best, abs=1e-12)
    assert threshold > 0


@given(posts=st.lists(labelled, min_size=1, max_size=12))
def test_of_equal_thresholds_the_greatest_is_taken(posts: Scored) -> None:
    score, event = split(posts)
    threshold, found = best_threshold(score, event)
    if found > 0:
        higher = [
            t for t in every_threshold(score) if (t > score[score >= threshold]).any()
        ]
        assert all(f1(score >= t, event) < found for t in higher)


@given(posts=st.lists(labelled, min_size=1, max_size=12))
def test_the_threshold_lies_midway_and_never_on_a_tie(posts: Scored) -> None:
    score, event = split(posts)
    threshold, found = best_threshold(score, event)
    if found == 0:
        return
    above, below = score[score >= threshold].min(), score[score < threshold]
    if len(below) == 0:
        assert threshold == FLAG_ALL <= above
        return
    assert below.max() < threshold <= above
    assert threshold == pytest.approx((below.max() + above) / 2, rel=1e-12)


def test_all_equal_scores_are_flagged_together() -> None:
    assert best_threshold([0.4, 0.4, 0.4], [1, 0, 0]) == (FLAG_ALL, 0.5)


def test_a_score_of_0_is_never_flagged() -> None:
    threshold, found = best_threshold([0.0, 0.0, 0.3], [1, 1, 0])
    assert (threshold, found) == (FLAG_ALL, 0.0)
    threshold, found = best_threshold([0.0, 0.2, 0.3], [1, 1, 0])
    assert threshold == 0.1
    assert found == 2 * 1 / (2 + 2)


def test_scores_and_labels_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"got shapes \(2,\) and \(1,\)"):
        best_threshold([0.5, 0.1], [1])


def test_a_pair_of_cuts_lies_midway_above_scores_of_0() -> None:
    text = Ranking.of(np.array([0.8, 0.0]), np.array([True, False]))
    image = Ranking.of(np.array([0.6, 0.5]), np.array([True, True]))
    beta, threshold, f1 = best_cuts(text, image, 3, (0.5, 2.0))
    assert (beta, threshold, f1) == (1.0, 0.25, 1.0)


def test_no_events_at_all_have_an_f1_of_0() -> None:
    assert best_threshold([0.2, 0.3], [0, 0]) == (FLAG_ALL, 0.0)


def test_no_posts_have_an_f1_of_0() -> None:
    assert best_threshold([], []) == (FLAG_ALL, 0.0)


@pytest.mark.parametrize("middle", [0.5, 0.1, 1e-300, 5e-324])
def test_adjacent_floats_are_told_apart(middle: float) -> None:
    higher = float(np.nextafter(middle, 1))
    threshold, found = best_threshold([higher, middle], [1, 0])
    assert found == 1.0
    assert middle < threshold <= higher


def side(posts: Scored) -> Ranking:
    return Ranking.of(*split(posts))


def every_beta(text: Scored, image: Scored, bounds: tuple[float, float]) -> list[float]:
    """Give a beta in each cell that the ratios of two scores cut the bounds into."""
    ratios = {
        t / i for (t, _), (i, _) in itertools.product(text, image) if i > 0 and t > 0
    }
    edges = sorted({*bounds, *(r for r in ratios if bounds[0] < r < bounds[1])})
    between = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    return [*edges, *between, *([1.0] if bounds[0] <= 1 <= bounds[1] else [])]


def best_by_enumeration(
    text: Scored, image: Scored, bounds: tuple[float, float]
) -> dict[float, float]:
    """Give the best F1 for each beta, over all thresholds."""
    (p_text, event), (p_image, shown) = split(text), split(image)
    labels = np.append(event, shown)
    return {
        beta: best_threshold(np.append(p_text, beta * p_image), labels)[1]
        for beta in every_beta(text, image, bounds)
    }


# Sixteenths: their ratios, products and means are far from rounding.
grid = st.tuples(st.sampled_from([i / 16 for i in range(17)]), st.booleans())
BOUNDS = [(0.5, 2.0), (0.999, 1.001), (1.0, 1.0), (0.01, 100.0), (0.25, 0.5)]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@given(
    text=st.lists(grid, max_size=8),
    image=st.lists(grid, max_size=8),
    lost=st.integers(0, 2),
)
@example(text=[(0.25, True), (0.5, False)], image=[(0.25, False), (0.5, True)], lost=0)
def test_no_pair_of_cuts_does_better(
    bounds: tuple[float, float], text: Scored, image: Scored, lost: int
) -> None:
    (p_text, event), (p_image, shown) = split(text), split(image)
    unreachable = [(0.0, True)] * lost
    positives = int(event.sum() + shown.sum()) + lost
    assume(positives > 0)
    beta, threshold, found = best_cuts(side(text), side(image), positives, bounds)
    assert bounds[0] <= beta <= bounds[1]
    by_beta = best_by_enumeration(text + unreachable, image, bounds)
    assert found == pytest.approx(max(by_beta.values()), abs=1e-12)
    score = np.concatenate([p_text, beta * p_image, np.zeros(lost)])
    labels = np.concatenate([event, shown, np.ones(lost, dtype=bool)])
    assert f1(score >= threshold, labels) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@given(text=st.lists(grid, max_size=8), image=st.lists(grid, max_size=8))
def test_of_equal_pairs_the_one_with_beta_nearest_1_is_taken(
    bounds: tuple[float, float], text: Scored, image: Scored
) -> None:
    positives = sum(event for _, event in text + image)
    assume(positives > 0)
    beta, _, found = best_cuts(side(text), side(image), positives, bounds)
    by_beta = best_by_enumeration(text, image, bounds)
    nearest = min(
        abs(np.log(b)) for b, value in by_beta.items() if value >= found - 1e-12
    )
    # An end of an interval of beta is not attained, and a beta of the enumeration
    # may lie in the middle of one.
    assert abs(np.log(beta)) <= nearest + 0.01 * np.log(bounds[1] / bounds[0]) + 1e-12


def test_beta_stays_1_where_another_is_as_good() -> None:
    text: Scored = [(0.9, True), (0.2, False)]
    image: Scored = [(0.8, True), (0.1, False)]
    assert best_cuts(side(text), side(image), 2, (0.5, 2.0))[0] == 1.0


def test_beta_lifts_the_side_that_is_too_low() -> None:
    text: Scored = [(0.8, True), (0.6, False)]
    image: Scored = [(0.5, True), (0.3, False)]
    beta, threshold, found = best_cuts(side(text), side(image), 2, (0.5, 2.0))
    assert found == 1.0
    assert beta == pytest.approx(1.2, abs=0.002)
    assert 0.6 < threshold <= 0.6 * 1.01


def test_a_bound_that_binds_costs_f1() -> None:
    text: Scored = [(0.9, True), (0.8, False)]
    image: Scored = [(0.3, True), (0.1, False)]
    wide = best_cuts(side(text), side(image), 2, (0.1, 10.0))
    narrow = best_cuts(side(text), side(image), 2, (0.5, 2.0))
    assert wide[2] == 1.0
    assert wide[0] == pytest.approx(0.8 / 0.3, rel=0.02)
    assert narrow[2] == pytest.approx(0.8)
    assert narrow[0] <= 2.0


@pytest.mark.parametrize("empty", ["text", "image", "both"])
def test_a_side_may_be_empty(empty: str) -> None:
    posts: Scored = [(0.7, True), (0.4, False)]
    text = [] if empty in ("text", "both") else posts
    image = [] if empty in ("image", "both") else posts
    beta, threshold, found = best_cuts(side(text), side(image), 1, (0.5, 2.0))
    assert found == (0.0 if empty == "both" else 1.0)
    assert threshold > 0
    assert beta == 1.0


@pytest.mark.parametrize("bounds", [(0.5, 2.0), (0.95, 1.05)], ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_many_posts_are_cut_as_well_as_by_a_grid_of_beta(
    seed: int, bounds: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    event = rng.random(600) < 0.3
    score = 1 / (1 + np.exp(-rng.normal(2.0 * event - 1.0)))
    with_image = rng.random(600) < 0.5
    score[with_image] **= 2
    beta, threshold, found = best_cuts(
        Ranking.of(score[~with_image], event[~with_image]),
        Ranking.of(score[with_image], event[with_image]),
        int(event.sum()),
        bounds,
    )
    fused = np.where(with_image, beta * score, score)
    assert f1(fused >= threshold, event) == pytest.approx(found, abs=1e-12)
    for other in np.geomspace(*bounds, 100):
        fused = np.where(with_image, other * score, score)
        assert best_threshold(fused, event)[1] <= found + 1e-12


def test_where_no_event_can_be_flagged_beta_is_1_whatever_the_number_of_posts() -> None:
    score = np.linspace(0.1, 0.9, 5000)
    none = Ranking.of(score, np.zeros(5000, dtype=bool))
    assert best_cuts(none, none, 3, (0.5, 2.0)) == (1.0, FLAG_ALL, 0.0)
    assert best_cuts(none, none, 3, (1.5, 2.0))[0] == 1.5


@pytest.mark.parametrize("seed", range(20))
def test_adjacent_floats_under_a_fixed_beta_do_no_harm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    beta = float(rng.uniform(0.5, 2.0))
    score = np.nextafter(np.repeat(rng.uniform(0.1, 1.0, 8), 2), [0.0, 1.0] * 8)
    event = rng.random(16) < 0.5
    event[0] = True
    text, image = Ranking.of(score, event), Ranking.of(score / beta, ~event)
    found = best_cuts(text, image, 16, (beta, beta))
    assert found[0] == pytest.approx(beta)
    assert 0.0 < found[2] <= 1.0


def test_counts_of_millions_are_cut() -> None:
    def side_of(seed: int) -> Ranking:
        rng = np.random.default_rng(seed)
        steps = rng.integers(1, 10_000_000, 30)
        flagged, true = np.cumsum(steps), np.cumsum(rng.integers(0, steps))
        values = np.sort(rng.random(30))[::-1]
        return Ranking(values, np.append(0, flagged), np.append(0, true), False)

    for seed in range(50):
        text, image = side_of(seed), side_of(seed + 100)
        positives = int(text.true[-1] + image.true[-1])
        assert best_cuts(text, image, positives, (0.9, 1.1))[2] > 0.0


# Scores and labels that cannot be used

POLICIES = ("f1", "fbeta=2", "precision>=0.5", "recall>=0.5", 0.5, [[0, 1], [1, 0]])
CHOOSING = {"best": best_threshold, "smooth": smooth_threshold} | {
    str(policy): partial(choose_threshold, policy) for policy in POLICIES
}
choosing = pytest.mark.parametrize("choose", CHOOSING.values(), ids=list(CHOOSING))


@choosing
@pytest.mark.parametrize(
    ("y", "values"),
    [
        ([1, -1], "-1, 1"),
        ([1, 2], "1, 2"),
        (["1", "0"], "'0', '1'"),
        (["yes", "no"], "'no', 'yes'"),
        ([1.0, np.nan], "1.0, nan"),
        (np.array([True, None]), "None, True"),
        (pd.Series([True, None], dtype="boolean"), "<NA>, True"),
        ([0.5, 1], "0.5, 1.0"),
    ],
    ids=str,
)
def test_labels_that_are_not_0_or_1_are_refused(
    choose: Any, y: Any, values: str
) -> None:
    with pytest.raises(InputError, match=f"which posts are events.*{values}.*=="):
        choose([0.9, 0.1], y)


@choosing
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(choose: Any, value: float) -> None:
    with pytest.raises(InputError, match=r"not finite.*for 2 of 4 posts.*score 0"):
        choose([0.9, value, 0.1, value], [1, 0, 1, 0])


@pytest.mark.parametrize(
    "y",
    [
        [True, False],
        [1, 0],
        [1.0, 0.0],
        np.array([True, 0], dtype=object),
        pd.Series([1, 0], dtype="Int64"),
        pd.Series([True, False], dtype="boolean"),
        np.array([1, 0], dtype=np.uint8),
    ],
    ids=str,
)
def test_labels_may_be_of_any_type_of_number(y: Any) -> None:
    assert as_events(y).tolist() == [True, False]


def test_more_than_five_other_labels_are_not_all_listed() -> None:
    with pytest.raises(InputError, match="got the values 0, 1, 2, 3, 4 and others"):
        as_events(range(9))


def test_words_are_no_scores() -> None:
    with pytest.raises(InputError, match="score holds no numbers.*'high'"):
        best_threshold(["high", "low"], [1, 0])
