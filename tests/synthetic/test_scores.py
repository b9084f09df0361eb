"""Made-up probabilities: what is promised of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import logit

from mmevent.exceptions import InputError
from mmevent.synthetic.posts import make_posts
from mmevent.synthetic.scores import (
    SCENARIOS,
    Draw,
    PostModel,
    draw_originals,
    make_scores,
    take_posts,
)


def test_scores_have_the_promised_shapes_and_shares() -> None:
    scores = make_scores(
        4000,
        share_images=0.25,
        max_images=4,
        share_no_text=0.1,
        prevalence=0.2,
        random_state=0,
    )
    assert scores.y.sum() == 800
    assert np.isnan(scores.p_text).mean() == pytest.approx(0.1, abs=0.02)
    assert scores.p_image.shape == scores.post.shape
    n_images = np.bincount(scores.post, minlength=4000)
    assert (n_images > 0).mean() == pytest.approx(0.25, abs=0.03)
    assert set(n_images) == {0, 1, 2, 3, 4}
    assert (np.diff(scores.post) >= 0).all()


def test_scores_depend_on_the_seed_alone() -> None:
    first, again, other = (make_scores(50, random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.p_text, again.p_text)
    np.testing.assert_array_equal(first.p_image, again.p_image)
    assert not np.array_equal(first.y, other.y)


def test_branches_without_distortion_are_calibrated() -> None:
    population = make_scores(10, prevalence=0.2, random_state=0).truth.population
    has_text = ~np.isnan(population.p_text)
    for p, y in (
        (population.p_text[has_text], population.y[has_text]),
        (population.p_image, population.y[population.post]),
    ):
        by_size = np.argsort(p)
        for rows in np.array_split(by_size, 10):
            assert p[rows].mean() == pytest.approx(y[rows].mean(), abs=0.015)


def test_calibration_is_a_line_on_the_log_odds_of_its_own_side() -> None:
    plain = make_scores(300, random_state=3)
    bent = make_scores(
        300,
        calibration_text_with_images=(2.0, -0.5),
        calibration_image=(0.5, 1.0),
        random_state=3,
    )
    with_images = np.isin(np.arange(300), plain.post)
    np.testing.assert_allclose(
        logit(bent.p_text[with_images]), 2 * logit(plain.p_text[with_images]) - 0.5
    )
    np.testing.assert_array_equal(bent.p_text[~with_images], plain.p_text[~with_images])
    np.testing.assert_allclose(logit(bent.p_image), 0.5 * logit(plain.p_image) + 1)


@pytest.mark.parametrize("n_posts", [1, 2])
def test_the_smallest_numbers_of_scores_work(n_posts: int) -> None:
    assert make_scores(n_posts, random_state=0).y.sum() == 1


def test_scenarios_span_sizes_and_prevalence() -> None:
    sizes = [settings["n_posts"] for settings in SCENARIOS.values()]
    assert (min(sizes), max(sizes)) == (500, 20_000)
    assert min(s.get("prevalence", 0.3) for s in SCENARIOS.values()) < 0.05


@pytest.mark.parametrize("make", [make_scores, make_posts])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_posts": 0}, r"n_posts=0 is no usable number: expected an integer of 1"),
        ({"n_posts": 2.5}, r"n_posts=2.5 is no usable number"),
        ({"max_images": 0}, r"max_images=0 .* Change max_images"),
        ({"share_images": 1.1}, r"share_images=1.1 is out of range: .* from 0 to 1"),
        ({"share_showing": -1}, r"share_showing=-1 is out of range"),
        ({"share_no_text": np.nan}, r"share_no_text=nan is out of range"),
        ({"prevalence": 1.0}, r"prevalence=1.0 leaves one class empty: .* excluded"),
    ],
)
def test_common_parameters_out_of_range(
    make: Any, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        make(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"separation_text": -1}, r"separation_text=-1 .* a number of 0 or more"),
        ({"separation_image": np.inf}, r"separation_image=inf is out of range"),
        ({"calibration_text": (0.0, 1.0)}, r"calibration_text=\(0.0, 1.0\) is no cal"),
        ({"calibration_image": (1.0,)}, r"calibration_image=.* \(slope, offset\)"),
        (
            {"calibration_text_with_images": ()},
            r"calibration_text_with_images=\(\) is no calibration",
        ),
    ],
)
def test_parameters_of_scores_out_of_range(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        make_scores(10, **settings)


MODEL = PostModel(
    share_images=0.5,
    max_images=3,
    share_showing=0.5,
    share_broken=0.2,
    share_no_text=0.1,
    share_telling=0.9,
    share_lookalike=0.3,
    prevalence=0.3,
)


def test_the_probabilities_are_those_of_the_content() -> None:
    draw, content = MODEL.draw_with_content(500, np.random.default_rng(0))
    alone = MODEL.draw(500, np.random.default_rng(0))
    for one, other in zip(draw, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(draw.post, content.post[~content.broken])
    no_text = content.counts.sum(axis=1) == 0
    np.testing.assert_array_equal(np.isnan(draw.p_text), no_text)
    order = np.argsort(content.evidence[~content.broken])
    assert (np.diff(draw.p_image[order]) >= 0).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_repost_has_an_earlier_original_of_its_class(share: float) -> None:
    y = np.random.default_rng(0).integers(0, 2, 400)
    original = draw_originals(y, share, np.random.default_rng(1))
    assert (original <= np.arange(400)).all()
    np.testing.assert_array_equal(y[original], y)
    np.testing.assert_array_equal(original[original], original)
    assert (original != np.arange(400)).mean() == pytest.approx(
        share if share < 1 else 0, abs=0.1
    )


def test_posts_are_taken_with_their_images() -> None:
    draw = Draw(
        np.array([0.1, 0.2, 0.3]),
        np.array([0.4, 0.5, 0.6]),
        np.array([0, 2, 2]),
        np.array([1, 0, 1]),
    )
    taken = take_posts(draw, np.array([2, 1, 2, 0]))
    assert taken.p_text.tolist() == [0.3, 0.2, 0.3, 0.1]
    assert taken.p_image.tolist() == [0.5, 0.6, 0.5, 0.6, 0.4]
    assert taken.post.tolist() == [0, 0, 2, 2, 3]
    assert taken.y.tolist() == [1, 0, 1, 1]
