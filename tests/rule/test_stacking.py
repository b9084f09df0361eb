"""Stacking: what its score is, and what the regression finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from mmevent.exceptions import InputError
from mmevent.rule import Evidence, Search, StackedRule, rethreshold, tune_rule
from mmevent.rule.cuts import best_threshold
from mmevent.rule.search import f1_of
from mmevent.rule.stacking import stack
from mmevent.synthetic.scores import make_scores
from mmevent.synthetic.truth import SyntheticScores

NAN = float("nan")
SEARCH = Search(rule="stacking", criterion="f1")
RULE = StackedRule(
    weight_text=2.0,
    weight_image=0.5,
    intercept_both=-1.0,
    intercept_text=0.5,
    intercept_image=0.25,
    pool="max",
    threshold=0.4,
)


def evidence_of(scores: SyntheticScores, pool: str = "auto") -> Evidence:
    return Evidence.from_images(scores.p_text, scores.p_image, scores.post, pool=pool)


def both(p_text: Any, p_image: Any) -> Evidence:
    return Evidence(np.array(p_text), {("image", "max"): np.array(p_image)})


def test_each_kind_of_post_has_its_formula() -> None:
    evidence = both([0.3, 0.3, NAN, NAN], [0.9, NAN, 0.9, NAN])
    text, image = 2 * logit(0.3), 0.5 * logit(0.9)
    expected = [expit(text + image - 1), expit(text + 0.5), expit(image + 0.25), 0.0]
    np.testing.assert_allclose(RULE.score(evidence), expected)


def test_the_words_say_what_the_score_is() -> None:
    names = {"p_text": 0.3, "p_image": 0.9, "logistic": expit, "logit": logit}
    evidence = both([0.3, 0.3, NAN], [0.9, NAN, 0.9])
    said = [RULE.formulas()[case] for case in ("both", "text", "image")]
    values = [eval(formula.replace("×", "*"), {}, dict(names)) for formula in said]
    np.testing.assert_allclose(RULE.score(evidence), values)
    meanings = RULE.meanings(beta_identified=False)
    assert [value for _, value, _ in meanings] == ["2", "0.5", "-1", "0.5", "0.25"]


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_probability_of_0_or_1_has_a_finite_weight(p: float) -> None:
    score = RULE.score(both([p, p, NAN], [p, NAN, p]))
    assert (score > 0).all()
    assert (score < 1).all() or p == 1
    found = tune_rule(both([p, 0.5, 0.5], [0.5, p, NAN]), [1, 0, 1], search=SEARCH)
    assert np.isfinite(found.rule.score(both([p], [p]))).all()


def test_it_is_the_regression_on_log_odds_and_indicators() -> None:
    scores = make_scores(2000, share_no_text=0.1, random_state=0)
    evidence, event = evidence_of(scores, "max"), scores.y == 1
    some = evidence.has_text | evidence.has_image
    rule = tune_rule(evidence, scores.y, search=SEARCH).rule
    sides = np.array([evidence.p_text, evidence.pooled["image", "max"]])
    odds = logit(sides) - np.nanmean(logit(sides), axis=1)[:, None]
    x = np.vstack([np.nan_to_num(odds), np.isnan(sides)]).T
    plain = LogisticRegression(tol=1e-8).fit(x[some], event[some])
    expected = plain.predict_proba(x)[:, 1] * some
    np.testing.assert_allclose(rule.score(evidence), expected, atol=1e-6)


def test_the_best_combination_is_found() -> None:
    """Log odds of calibrated branches add up, less the prevalence counted twice."""
    settings: dict[str, Any] = {"share_no_text": 0.2, "max_images": 1}
    scores = make_scores(60_000, share_showing=1.0, random_state=1, **settings)
    rule = tune_rule(evidence_of(scores), scores.y, search=SEARCH).rule
    assert isinstance(rule, StackedRule)
    found = [rule.weight_text, rule.weight_image, rule.intercept_both]
    assert found == pytest.approx([1, 1, -logit(0.3)], abs=0.06)
    assert [rule.intercept_text, rule.intercept_image] == pytest.approx([0, 0], abs=0.1)


def test_a_branch_that_misleads_gets_no_weight() -> None:
    scores = make_scores(2000, random_state=0)
    evidence = evidence_of(scores, "max")
    wrong = Evidence(
        evidence.p_text, {key: 1 - p for key, p in evidence.pooled.items()}
    )
    rule = tune_rule(wrong, scores.y, search=SEARCH).rule
    assert isinstance(rule, StackedRule)
    assert rule.weight_image == 0
    assert rule.weight_text > 0.5
    neither = Evidence(1 - wrong.p_text, wrong.pooled)
    rule = tune_rule(neither, scores.y, search=SEARCH).rule
    assert isinstance(rule, StackedRule)
    assert (rule.weight_text, rule.weight_image) == (0, 0)


def test_a_kind_of_post_that_was_not_seen_counts_as_usual() -> None:
    scores = make_scores(
        3000, prevalence=0.02, share_no_text=0.0, share_images=1.0, random_state=0
    )
    rule = tune_rule(evidence_of(scores, "max"), scores.y, search=SEARCH).rule
    evidence = evidence_of(scores, "max")
    images_alone = Evidence(np.full(3000, NAN), evidence.pooled)
    # Not as if the text said one half, which would be a sign of an event here.
    assert rule.score(images_alone).mean() < 0.05


def test_the_highest_likelihood_chooses_branch_and_pool() -> None:
    scores = make_scores(1500, share_showing=1.0, random_state=0)
    noise = np.random.default_rng(0).random(len(scores.post))
    images = {"noise": noise, "good": scores.p_image}
    evidence = Evidence.from_images(scores.p_text, images, scores.post)
    found = tune_rule(evidence, scores.y, search=SEARCH)
    assert found.rule.image == "good"
    assert len(found.rules) == len(found.values) == 6
    assert found.rule == found.rules[int(np.argmax(found.values))]
    assert found.study is None
    assert "beta_identified" not in found.parameters()
    p = np.where(scores.y == 1, (s := found.rule.score(evidence)), 1 - s)
    some = evidence.has_text | evidence.has_image
    assert max(found.values) == pytest.approx(
        np.log(np.clip(p, 1e-6, 1)).mean(), abs=1e-12
    )
    assert some.sum() > 1400


def test_the_threshold_is_that_of_the_criterion() -> None:
    scores = make_scores(800, random_state=3)
    evidence, event = evidence_of(scores), scores.y == 1
    found = tune_rule(evidence, scores.y, search=SEARCH)
    score = found.rule.score(evidence)
    threshold, f1 = best_threshold(score, scores.y)
    assert (found.rule.threshold, found.f1) == (threshold, f1)
    assert found.f1 == f1_of(score >= threshold, event)
    moved = rethreshold(
        replace(found.rule, threshold=0.9), evidence, scores.y, search=SEARCH
    )
    assert moved == found.rule


def test_smoothing_is_guarded_where_the_roc_curve_has_a_corner() -> None:
    rng = np.random.default_rng(0)
    event = rng.random(3000) < 0.1
    u = rng.random(3000)
    high = np.where(event, u >= 0.3, u < 0.03)
    p = expit(rng.normal(np.where(high, 4.0, -4.0), 1.5))
    evidence = Evidence.from_images(p, [], [])
    groups = np.arange(3000) // 2
    smooth, raw = (
        tune_rule(evidence, event, search=replace(SEARCH, criterion=c), groups=groups)
        for c in ("smooth", "f1")
    )
    assert smooth.rule == raw.rule
    with pytest.raises(InputError, match="groups do not fit"):
        tune_rule(evidence, event, search=SEARCH, groups=[1, 2])


def test_it_beats_the_rule_where_events_are_rare() -> None:
    """Balanced branches, whose probabilities an average cannot join well."""
    line = (0.8, -0.8 * logit(0.01))
    settings: dict[str, Any] = {
        "prevalence": 0.01,
        "separation_text": 2.4,
        "calibration_text": line,
        "calibration_image": line,
        "max_images": 1,
    }
    others = make_scores(60_000, random_state=100, **settings)
    gains = []
    for seed in range(6):
        scores, reached = make_scores(3000, random_state=seed, **settings), {}
        for name in ("alpha-beta", "stacking"):
            search = Search(rule=name, n_trials=15, random_state=0)
            rule = tune_rule(evidence_of(scores), scores.y, search=search).rule
            flagged = rule.score(evidence_of(others)) >= rule.threshold
            reached[name] = f1_of(flagged, others.y == 1)
        gains.append(reached["stacking"] - reached["alpha-beta"])
    assert np.mean(gains) > 0.02


@pytest.mark.parametrize(
    "y", [[0, 0, 0], [1, 1, 1], [1, 0, 0]], ids=["no event", "all events", "separated"]
)
def test_few_posts_of_one_class_give_a_finite_rule(y: list[int]) -> None:
    evidence = both([0.9, 0.1, NAN], [NAN, 0.2, NAN])
    found = tune_rule(evidence, y, search=SEARCH)
    numbers = [v for v in found.parameters().values() if isinstance(v, float)]
    assert np.isfinite(numbers).all()
    flagged = found.rule.score(evidence) >= found.rule.threshold
    assert not flagged[2]
    assert flagged[0] == (max(y) == 1) or not any(y)


def test_without_posts_there_is_a_rule_all_the_same() -> None:
    empty: NDArray[np.float64] = np.array([])
    rules, values = stack(both(empty, empty), np.array([], dtype=bool), "f1")
    assert values == [0.0]
    assert rules[0].threshold > 0


def test_the_order_of_posts_does_not_matter() -> None:
    scores = make_scores(500, random_state=0)
    evidence, order = evidence_of(scores), np.random.default_rng(0).permutation(500)
    one = tune_rule(evidence, scores.y, search=SEARCH).rule
    other = tune_rule(evidence.take(order), scores.y[order], search=SEARCH).rule
    np.testing.assert_allclose(other.score(evidence), one.score(evidence), atol=1e-7)
