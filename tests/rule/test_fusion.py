"""The alpha/beta rule: its four cases, its limits, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmevent import pool_images
from mmevent.exceptions import InputError
from mmevent.rule.fusion import POOLS, Evidence, Rule, applied_rule, fuse

NAN = float("nan")

probability = st.floats(0, 1)
alphas = st.floats(0, 1e6)
betas = st.floats(1e-3, 1e3)


def fuse_one(p_text: float, p_image: float, *, alpha: float, beta: float) -> float:
    return float(fuse([p_text], [p_image], alpha=alpha, beta=beta)[0])


@given(p_text=probability, p_image=probability | st.just(NAN))
def test_alpha_0_and_beta_1_give_the_text(p_text: float, p_image: float) -> None:
    assert fuse_one(p_text, p_image, alpha=0.0, beta=1.0) == p_text


@given(p_text=probability, p_image=probability, alpha=st.floats(1, 1e12))
def test_a_large_alpha_and_beta_1_tend_to_the_image(
    p_text: float, p_image: float, alpha: float
) -> None:
    distance = abs(fuse_one(p_text, p_image, alpha=alpha, beta=1.0) - p_image)
    assert distance <= 1 / alpha + 1e-15


@given(p_text=probability | st.just(NAN), alpha=alphas, beta=betas)
def test_posts_without_images_ignore_alpha_and_beta(
    p_text: float, alpha: float, beta: float
) -> None:
    expected = 0.0 if np.isnan(p_text) else p_text
    assert fuse_one(p_text, NAN, alpha=alpha, beta=beta) == expected


@given(p_image=probability, beta=betas)
def test_posts_without_text_are_the_limit_of_a_large_alpha(
    p_image: float, beta: float
) -> None:
    score = fuse_one(NAN, p_image, alpha=0.0, beta=beta)
    assert score == beta * p_image
    assert score == fuse_one(NAN, p_image, alpha=1e6, beta=beta)
    limit = fuse_one(1.0, p_image, alpha=1e15, beta=beta)
    assert score == pytest.approx(limit, abs=1e-12 * beta)


@given(p_text=probability, p_image=probability, alpha=alphas, beta=betas)
def test_the_formula_of_the_paper_on_its_own_terms(
    p_text: float, p_image: float, alpha: float, beta: float
) -> None:
    expected = beta * (p_text + alpha * p_image) / (1 + alpha)
    score = fuse_one(p_text, p_image, alpha=alpha, beta=beta)
    assert score == pytest.approx(expected, rel=1e-9, abs=1e-15)


@given(
    texts=st.tuples(probability, probability),
    images=st.tuples(probability, probability),
    alpha=alphas,
    beta=betas,
)
def test_the_score_is_monotone_in_each_probability(
    texts: tuple[float, float], images: tuple[float, float], alpha: float, beta: float
) -> None:
    low, high = sorted(texts)
    dark, bright = sorted(images)
    for image in (dark, NAN):
        lower = fuse_one(low, image, alpha=alpha, beta=beta)
        assert lower <= fuse_one(high, image, alpha=alpha, beta=beta)
    for text in (low, NAN):
        lower = fuse_one(text, dark, alpha=alpha, beta=beta)
        assert lower <= fuse_one(text, bright, alpha=alpha, beta=beta)


@given(
    p_text=probability | st.just(NAN),
    p_image=probability | st.just(NAN),
    alpha=alphas,
    beta=betas,
)
def test_the_score_lies_between_0_and_the_greater_of_1_and_beta(
    p_text: float, p_image: float, alpha: float, beta: float
) -> None:
    score = fuse_one(p_text, p_image, alpha=alpha, beta=beta)
    assert 0 <= score <= max(1.0, beta)


def test_the_four_rules() -> None:
    p_text, p_image = [0.8, 0.8, NAN, NAN], [0.2, NAN, 0.2, NAN]
    assert applied_rule(p_text, p_image).tolist() == ["both", "text", "image", "none"]
    score = fuse(p_text, p_image, alpha=3.0, beta=2.0)
    np.testing.assert_allclose(score, [0.7, 0.8, 0.4, 0.0], rtol=1e-15)


@given(
    posts=st.lists(
        st.tuples(probability | st.just(NAN), probability | st.just(NAN)), min_size=1
    ),
    alpha=alphas,
    beta=betas,
)
def test_a_post_is_scored_alone_as_among_others(
    posts: list[tuple[float, float]], alpha: float, beta: float
) -> None:
    p_text, p_image = np.array(posts).T
    together = fuse(p_text, p_image, alpha=alpha, beta=beta)
    alone = [fuse_one(*post, alpha=alpha, beta=beta) for post in posts]
    assert together.tolist() == alone


def test_no_posts_have_no_scores() -> None:
    assert fuse([], [], alpha=1.0).shape == (0,)
    assert applied_rule([], []).shape == (0,)


@pytest.mark.parametrize("value", [-0.1, NAN, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_weights_are_finite_and_not_negative(name: str, value: float) -> None:
    weights = {"alpha": 1.0, "beta": 1.0, name: value}
    with pytest.raises(InputError, match=f"{name}={value} .*expected a finite number"):
        fuse([0.5], [0.5], **weights)


def test_beta_0_is_refused_and_alpha_0_is_not() -> None:
    with pytest.raises(InputError, match="beta=0.0 .* greater than 0"):
        fuse([0.5], [0.5], alpha=1.0, beta=0.0)
    assert fuse([0.5], [0.1], alpha=0.0) == [0.5]


@pytest.mark.parametrize("value", [-0.01, 1.01, np.inf])
@pytest.mark.parametrize("name", ["p_text", "p_image"])
def test_what_is_no_probability_is_refused(name: str, value: float) -> None:
    p = {"p_text": [0.5, 0.5], "p_image": [0.5, 0.5], name: [0.5, value]}
    with pytest.raises(InputError, match=rf"{name} holds no probabilities.*{value}"):
        fuse(**p, alpha=1.0)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="differ in length.*got 2 and 1"):
        fuse([0.5, 0.5], [0.5], alpha=1.0)


@st.composite
def image_probabilities(
    draw: st.DrawFn,
) -> tuple[NDArray[np.float64], NDArray[np.intp], int]:
    n_posts = draw(st.integers(1, 5))
    rows = draw(st.lists(st.integers(0, n_posts - 1), max_size=12))
    p = draw(
        st.lists(probability | st.just(NAN), min_size=len(rows), max_size=len(rows))
    )
    return np.array(p, dtype=float), np.array(rows, dtype=np.intp), n_posts


def pool_directly(values: list[float], pool: str) -> float:
    present = [v for v in values if not np.isnan(v)]
    if not present:
        return NAN
    if pool == "max":
        return max(present)
    if pool == "mean":
        return sum(present) / len(present)
    return 1 - float(np.prod([1 - v for v in present]))


@given(images=image_probabilities(), pool=st.sampled_from(POOLS))
def test_images_are_pooled_post_by_post(
    images: tuple[NDArray[np.float64], NDArray[np.intp], int], pool: str
) -> None:
    p, row, n_posts = images
    expected = [pool_directly(list(p[row == i]), pool) for i in range(n_posts)]
    pooled = pool_images(p, row, n_posts, pool=pool)
    np.testing.assert_allclose(pooled, expected, atol=1e-12)
    assert np.nanmax(pooled, initial=0) <= 1


@given(images=image_probabilities())
def test_mean_is_below_max_and_max_below_noisy_or(
    images: tuple[NDArray[np.float64], NDArray[np.intp], int],
) -> None:
    highest, mean, noisy = (pool_images(*images, pool=pool) for pool in POOLS)
    there = ~np.isnan(highest)
    assert (mean[there] <= highest[there] + 1e-12).all()
    assert (highest[there] <= noisy[there] + 1e-12).all()


@pytest.mark.parametrize("pool", POOLS)
def test_one_image_is_its_own_pool(pool: str) -> None:
    assert pool_images([0.25], [1], 2, pool=pool)[1] == 0.25


def test_an_unknown_pool_is_refused() -> None:
    with pytest.raises(InputError, match="pool='median'.*expected one of max, mean"):
        pool_images([0.5], [0], 1, pool="median")


def test_an_image_without_a_post_is_refused() -> None:
    with pytest.raises(InputError, match="one post for each image, got 2 and 1"):
        pool_images([0.5, 0.5], [0], 1)


@pytest.mark.parametrize("row", [-1, 3])
def test_a_row_that_is_not_there_is_refused(row: int) -> None:
    with pytest.raises(InputError, match="from 0 to 2, got"):
        pool_images([0.5, 0.5], [0, row], 3)


NAN = float("nan")


def test_auto_pools_in_every_way_where_a_post_has_two_images() -> None:
    single = Evidence.from_images([0.5, 0.5], [0.1, 0.9], [0, 1])
    several = Evidence.from_images([0.5, 0.5], [0.1, 0.9], [0, 0])
    named = Evidence.from_images([0.5, 0.5], [0.1, 0.9], [0, 0], pool="mean")
    assert list(single.pooled) == [("image", "max")]
    assert list(several.pooled) == [("image", pool) for pool in POOLS]
    assert list(named.pooled) == [("image", "mean")]


def test_each_branch_has_its_probabilities() -> None:
    evidence = Evidence.from_images(
        [0.5, NAN, NAN], {"a": [0.1, NAN], "b": [0.2, 0.3]}, [0, 1]
    )
    assert list(evidence.pooled) == [("a", "max"), ("b", "max")]
    assert evidence.has_text.tolist() == [True, False, False]
    assert evidence.has_image.tolist() == [True, True, False]


@pytest.mark.parametrize("rows", [[2, 0], [True, False, True]], ids=["numbers", "mask"])
def test_some_posts_are_taken_with_all_that_is_known_of_them(rows: Any) -> None:
    evidence = Evidence.from_images([0.1, 0.2, 0.3], [0.4, 0.6], [0, 2])
    evidence = evidence.with_second([0.7, 0.8, NAN])
    some = evidence.take(np.array(rows))
    chosen = np.arange(3)[rows]
    assert len(some) == 2
    np.testing.assert_array_equal(some.p_text, evidence.p_text[chosen])
    np.testing.assert_array_equal(
        some.pooled["image", "max"], evidence.pooled["image", "max"][chosen]
    )
    assert some.p_text_2 is not None
    np.testing.assert_array_equal(some.p_text_2, np.array([0.7, 0.8, NAN])[chosen])


@pytest.mark.parametrize("p", [[0.5, 1.2], [0.5, np.inf], [[0.5, 0.5]]], ids=str)
def test_evidence_that_is_no_probability_is_refused(p: Any) -> None:
    with pytest.raises(InputError, match="p_text holds no probabilities"):
        Evidence.from_images(p, [], [])
    with pytest.raises(InputError, match="p_text_2 holds no probabilities"):
        Evidence.from_images([0.5, 0.5], [], []).with_second(p)


def test_a_second_stage_is_of_the_same_posts() -> None:
    with pytest.raises(InputError, match="each of 2 posts, got 3"):
        Evidence.from_images([0.5, 0.5], [], []).with_second([0.1, 0.2, 0.3])


def test_a_rule_scores_with_its_own_branch_and_pooling() -> None:
    evidence = Evidence.from_images(
        [0.5, 0.4], {"a": [0.1, 0.9], "b": [0.2, 0.8]}, [0, 0]
    )
    rule = Rule(alpha=1.0, beta=1.5, pool="mean", threshold=0.5, image="b")
    expected = fuse([0.5, 0.4], [0.5, NAN], alpha=1.0, beta=1.5)
    np.testing.assert_allclose(rule.score(evidence), expected)
    assert rule.weight == 0.5


def test_a_small_alpha_then_beta_near_1_then_max_is_preferred() -> None:
    rules = [
        Rule(0.5, 1.5, "noisy-or", 0.5),
        Rule(1.0, 1.0, "max", 0.5),
        Rule(1.0, 1.0, "mean", 0.5),
        Rule(1.0, 0.8, "max", 0.5),
        Rule(1.0, 1.3, "max", 0.5),
    ]
    assert sorted(rules, key=Rule.preference) == rules
    assert min(rules[::-1], key=Rule.preference) == rules[0]


def test_evidence_needs_a_branch() -> None:
    with pytest.raises(InputError, match="p_image has no branch"):
        Evidence.from_images([0.9], {}, [])
