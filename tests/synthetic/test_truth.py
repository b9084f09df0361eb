"""The best rule of a population, against other ways to find it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from benchmarks._exact import exact_search
from mmevent.rule.cuts import best_threshold
from mmevent.rule.fusion import POOLS, Evidence
from mmevent.synthetic.posts import make_posts
from mmevent.synthetic.scores import SCENARIOS, make_scores
from mmevent.synthetic.truth import SyntheticScores, find_best


def best_f1(scores: SyntheticScores, **rule: Any) -> float:
    return best_threshold(scores.fuse(**rule), scores.y)[1]


def tuned_population_f1(scores: SyntheticScores) -> float:
    evidence = Evidence.from_images(scores.p_text, scores.p_image, scores.post)
    rule = exact_search(evidence, scores.y).rule
    return scores.truth.population_f1(
        alpha=rule.alpha, beta=rule.beta, pool=rule.pool, threshold=rule.threshold
    )


def test_truth_reports_the_f1_of_its_own_rule() -> None:
    truth = make_scores(10, random_state=0).truth
    population = truth.population
    score = population.fuse(alpha=truth.alpha, beta=truth.beta, pool=truth.pool)
    expected = f1_score(population.y, score >= truth.threshold)
    assert truth.f1 == pytest.approx(expected, abs=1e-12)
    assert truth.population_f1() == pytest.approx(truth.f1, abs=1e-12)
    assert truth.population_f1(threshold=0.99) < truth.f1


def test_truth_belongs_to_the_parameters_not_to_the_sample() -> None:
    small, large = (make_scores(n, random_state=n).truth for n in (10, 1000))
    assert small.population is large.population
    assert (small.alpha, small.beta, small.f1) == (large.alpha, large.beta, large.f1)


def test_population_cannot_be_changed() -> None:
    population = make_scores(10, random_state=0).truth.population
    with pytest.raises(ValueError, match="read-only"):
        population.p_text[0] = 0.5


@pytest.mark.parametrize("name", ["small", "albums", "underconfident with images"])
def test_best_rule_is_not_beaten_on_a_plain_grid(name: str) -> None:
    scores = make_scores(**(SCENARIOS[name] | {"n_posts": 3000}), random_state=1)
    best = find_best(scores.p_text, scores.p_image, scores.post, scores.y)
    grid = [
        best_f1(scores, alpha=w / (1 - w), beta=beta, pool=pool)
        for w in np.linspace(0, 0.9, 16)
        for beta in np.exp2(np.linspace(-1, 1, 15))
        for pool in POOLS
    ]
    own = best_f1(scores, alpha=best.alpha, beta=best.beta, pool=best.pool)
    assert best.f1 == own
    assert best.f1 >= max(grid) - 0.002


def test_without_images_the_truth_is_the_text_alone() -> None:
    truth = make_scores(10, share_images=0.0, random_state=0).truth
    assert (truth.alpha, truth.beta, truth.pool) == (0.0, 1.0, "max")


def test_where_all_posts_have_images_beta_stays_1() -> None:
    truth = make_scores(10, **_without_size("all have images")).truth
    assert (truth.beta, truth.beta_unbounded, truth.pool) == (1.0, 1.0, "max")


def _without_size(name: str) -> dict[str, Any]:
    return {key: value for key, value in SCENARIOS[name].items() if key != "n_posts"}


def test_pooling_matters_and_which_is_best_depends_on_what_images_show() -> None:
    some, all_of_them = (
        make_scores(10, share_images=1.0, max_images=5, share_showing=share).truth
        for share in (0.35, 1.0)
    )
    f1 = {pool: best_f1(some.population, alpha=1, beta=1, pool=pool) for pool in POOLS}
    assert some.pool == "max"
    assert f1["max"] > f1["mean"] + 0.01
    assert all_of_them.pool == "mean"


def test_calibration_by_side_moves_the_best_beta() -> None:
    over = make_scores(**SCENARIOS["overconfident with images"]).truth
    under = make_scores(**SCENARIOS["underconfident with images"]).truth
    assert over.beta < 0.85
    assert under.beta > 1.1


def test_one_scenario_has_its_optimum_outside_the_bounds() -> None:
    truth = make_scores(**SCENARIOS["beta out of bounds"], random_state=0).truth
    assert truth.beta == pytest.approx(2.0)
    assert truth.beta_unbounded > 2.5


def test_tuning_on_8000_posts_recovers_the_population_f1() -> None:
    _, _, truth = make_posts(8_000, image_size=8, random_state=4)
    assert truth.ideal is not None
    assert tuned_population_f1(truth.ideal) == pytest.approx(truth.f1, abs=0.01)


def test_each_modality_tells_what_the_other_does_not() -> None:
    _, _, truth = make_posts(10, random_state=0)
    population = truth.population
    text = best_f1(population, alpha=0.0, beta=1.0, pool="max")
    image = best_f1(population, alpha=99.0, beta=1.0, pool=truth.pool)
    flag_all = 2 * 0.3 / 1.3
    assert min(text, image) > flag_all + 0.2
    assert truth.f1 > max(text, image) + 0.03
