"""Thresholds with and without smoothing, compared on posts that chose neither."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmevent.exceptions import InputError
from mmevent.rule.cuts import best_threshold
from mmevent.rule.fusion import Evidence
from mmevent.rule.guard import better_unsmoothed, groups_of
from mmevent.rule.policies import choose_threshold
from mmevent.rule.search import Search, rethreshold, tune_rule
from mmevent.rule.smoothing import smooth_threshold

Posts = tuple[NDArray[np.float64], NDArray[np.bool_]]


def with_corner(n: int, seed: int = 0) -> Posts:
    """Draw posts of which 30% of the events look like nothing, and 3% of others not."""
    rng = np.random.default_rng(seed)
    event = rng.random(n) < 0.1
    high = np.where(event, rng.random(n) >= 0.3, rng.random(n) < 0.03)
    return 1 / (1 + np.exp(-rng.normal(np.where(high, 4.0, -4.0), 1.5))), event


def without_corner(n: int, seed: int = 0) -> Posts:
    rng = np.random.default_rng(seed)
    event = rng.random(n) < 0.2
    return 1 / (1 + np.exp(-rng.normal(1.5 * event - 1.0))), event


def f1(posts: Posts, threshold: float) -> float:
    score, event = posts
    flagged = score >= threshold
    return float(2 * (flagged & event).sum() / (flagged.sum() + event.sum()))


@pytest.mark.parametrize("policy", ["f1", "fbeta=2", [[0, 1], [2, 0]]], ids=str)
def test_at_a_corner_the_threshold_is_that_of_the_posts(policy: Any) -> None:
    score, event = with_corner(3000)
    found = choose_threshold(policy, score, event)
    assert found == choose_threshold(policy, score, event, criterion="f1")


def test_at_a_corner_no_f1_is_lost() -> None:
    population = with_corner(100_000, seed=99)
    best = f1(population, best_threshold(*population)[0])
    for seed in range(3):
        posts = with_corner(2000, seed)
        assert f1(population, choose_threshold("f1", *posts)) > best - 0.01
        assert f1(population, smooth_threshold(*posts)[0]) < best - 0.02


def test_without_a_corner_the_smooth_threshold_is_mostly_kept() -> None:
    posts = [without_corner(400, seed) for seed in range(12)]
    kept = [better_unsmoothed(event, score) is None for score, event in posts]
    assert sum(kept) >= 8


def test_a_corner_on_both_sides_is_found() -> None:
    score, event = with_corner(3000)
    found = better_unsmoothed(event, score, side=np.arange(3000) % 2)
    assert found == pytest.approx(best_threshold(score, event))


def test_the_search_takes_the_raw_rule_at_a_corner() -> None:
    score, event = with_corner(2000)
    evidence, search = Evidence.from_images(score, [], []), Search(n_trials=1)
    found = tune_rule(evidence, event, search=search)
    assert found.rule.threshold == best_threshold(score, event)[0]
    assert found.f1 == pytest.approx(f1((score, event), found.rule.threshold))
    assert rethreshold(found.rule, evidence, event, search) == found.rules[0]
    assert found.rules[0].threshold != found.rule.threshold


def test_beta_is_that_of_the_raw_f1_as_well() -> None:
    score, event = with_corner(3000)
    picture = np.arange(3000) % 2 == 1
    text = np.where(picture, np.nan, score)
    evidence = Evidence.from_images(text, 0.7 * score[picture], np.flatnonzero(picture))
    search = Search(n_trials=2, random_state=0)
    found = tune_rule(evidence, event, search=search)
    raw = tune_rule(evidence, event, search=replace(search, criterion="f1"))
    assert found.beta_identified
    assert found.rule == raw.rule


def test_groups_are_left_out_as_a_whole() -> None:
    # What is chance in 60 posts repeats in each of their copies.
    score, event = without_corner(60, seed=3)
    group, copies = np.tile(np.arange(60), 20), (np.tile(event, 20), np.tile(score, 20))
    assert better_unsmoothed(*copies) is not None
    assert better_unsmoothed(*copies, groups=group) is None


def test_groups_of_another_length_are_refused() -> None:
    score, event = without_corner(40)
    with pytest.raises(InputError, match=r"groups do not fit.*each of 40.*\(39,\)"):
        choose_threshold("f1", score, event, groups=np.arange(39))
    with pytest.raises(InputError, match=r"groups do not fit.*each of 40.*\(39,\)"):
        tune_rule(
            Evidence.from_images(score, [], []),
            event,
            groups=np.arange(39),
            search=Search(n_trials=1),
        )


def test_posts_without_a_group_are_groups_of_their_own() -> None:
    assert groups_of(["a", None, "a", None], 4).tolist() == [0, 1, 0, 2]
    assert groups_of(None, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("digits", [1, 2, 9])
@pytest.mark.parametrize("n", [30, 200])
def test_order_does_not_matter_and_the_threshold_is_the_best(
    n: int, digits: int
) -> None:
    for seed in range(3):
        score, event = with_corner(n, seed)
        score = np.round(score, digits)
        found = better_unsmoothed(event, score)
        order = np.random.default_rng(seed).permutation(n)
        assert found == better_unsmoothed(event[order], score[order])
        assert found is None or found == pytest.approx(best_threshold(score, event))


@pytest.mark.parametrize(
    "posts", [([0.5, 0.4], [0, 0]), ([0.5], [1]), ([0.0, 0.0], [1, 0]), ([], [])]
)
def test_small_cases_are_left_as_they_are(posts: Any) -> None:
    score, event = np.array(posts[0], dtype=float), np.array(posts[1], dtype=bool)
    assert better_unsmoothed(event, score) is None
