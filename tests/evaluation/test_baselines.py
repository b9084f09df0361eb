"""The fused rule beside its baselines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmevent.evaluation.baselines import FUSED, fit_systems, tune_first
from mmevent.posts.labels import Labels
from mmevent.rule.cuts import FLAG_ALL, best_threshold
from mmevent.rule.fusion import Evidence, Rule
from mmevent.rule.search import Search, tune_rule
from mmevent.synthetic import make_scores

BASELINES = ("flag all", "text only", "image only", "equal average", "stacking")
NAN = float("nan")
SEARCH = Search(n_trials=12, criterion="f1", random_state=0)


def fit(evidence: Evidence, event: Any, policy: str | float = "f1") -> Any:
    event = np.asarray(event, dtype=bool)
    labels = Labels(event, np.arange(len(event)))
    found = tune_first(evidence, labels, SEARCH)
    return fit_systems(evidence, labels, SEARCH, policy, found.rule), found


@pytest.fixture(scope="module")
def evidence_and_event() -> tuple[Evidence, NDArray[np.bool_]]:
    scores = make_scores(400, share_no_text=0.1, random_state=0)
    evidence = Evidence.from_images(scores.p_text, scores.p_image, scores.post)
    return evidence, scores.y == 1


def test_all_systems_are_there_and_tuned(
    evidence_and_event: tuple[Evidence, NDArray[np.bool_]],
) -> None:
    evidence, event = evidence_and_event
    systems, found = fit(evidence, event)
    assert tuple(systems) == (*BASELINES, FUSED)
    for name, system in systems.items():
        if name != "flag all":
            score = system.score(evidence)
            best = best_threshold(score, event)[0]
            assert system.threshold == pytest.approx(best, rel=1e-12)
    assert found.rule == tune_rule(evidence, event, search=SEARCH).rule


def test_flag_all_flags_all(
    evidence_and_event: tuple[Evidence, NDArray[np.bool_]],
) -> None:
    evidence, event = evidence_and_event
    system = fit(evidence, event)[0]["flag all"]
    assert system.threshold == FLAG_ALL
    assert (system.score(evidence) >= system.threshold).all()


def test_baselines_score_what_they_say(
    evidence_and_event: tuple[Evidence, NDArray[np.bool_]],
) -> None:
    evidence, event = evidence_and_event
    systems, found = fit(evidence, event)
    scores = {name: system.score(evidence) for name, system in systems.items()}
    np.testing.assert_array_equal(
        scores["text only"], np.nan_to_num(evidence.p_text, nan=0.0)
    )
    images = [np.nan_to_num(p) for p in evidence.pooled.values()]
    best = max(images, key=lambda score: best_threshold(score, event)[1])
    np.testing.assert_array_equal(scores["image only"], best)
    averages = [
        Rule(1.0, 1.0, pool, 1.0).score(evidence)
        for pool in ("max", "mean", "noisy-or")
    ]
    best = max(averages, key=lambda score: best_threshold(score, event)[1])
    np.testing.assert_array_equal(scores["equal average"], best)
    np.testing.assert_array_equal(scores[FUSED], found.rule.score(evidence))


@pytest.mark.parametrize("policy", ["f1", "recall>=0.5"])
def test_each_rule_is_the_baseline_of_the_other(
    policy: str, evidence_and_event: tuple[Evidence, NDArray[np.bool_]]
) -> None:
    evidence, event = evidence_and_event
    labels, stacking = Labels(event, np.arange(len(event))), "stacking"
    systems = {}
    for rule in ("alpha-beta", stacking):
        search = replace(SEARCH, rule=rule)
        found = tune_first(evidence, labels, search).rule
        systems[rule] = fit_systems(evidence, labels, search, policy, found)
    assert tuple(systems[stacking]) == (*BASELINES[:-1], "alpha-beta", FUSED)
    for rule, other in (("alpha-beta", stacking), (stacking, "alpha-beta")):
        one, same = systems[rule][FUSED], systems[other][rule]
        assert one.rule == same.rule
        assert one.threshold == same.threshold
        np.testing.assert_array_equal(one.score(evidence), same.score(evidence))


@pytest.mark.parametrize(
    ("p_text", "p_image", "expected"),
    [
        ([0.9, 0.2], [NAN, NAN], ["flag all", "text only", FUSED]),
        ([NAN, NAN], [0.9, 0.2], ["flag all", "image only", FUSED]),
        (
            [0.9, NAN],
            [NAN, 0.2],
            ["flag all", "text only", "image only", "stacking", FUSED],
        ),
    ],
    ids=["texts", "images", "one or the other"],
)
def test_baselines_that_could_not_differ_are_left_out(
    p_text: list[float], p_image: list[float], expected: list[str]
) -> None:
    evidence = Evidence(np.array(p_text), {("image", "max"): np.array(p_image)})
    assert list(fit(evidence, [1, 0])[0]) == expected


def test_the_policy_chooses_every_threshold_but_that_of_flag_all(
    evidence_and_event: tuple[Evidence, NDArray[np.bool_]],
) -> None:
    evidence, event = evidence_and_event
    systems, _ = fit(evidence, event, 0.6)
    thresholds = {name: system.threshold for name, system in systems.items()}
    assert thresholds.pop("flag all") == FLAG_ALL
    assert set(thresholds.values()) == {0.6}


def test_systems_score_posts_one_by_one(
    evidence_and_event: tuple[Evidence, NDArray[np.bool_]],
) -> None:
    evidence, event = evidence_and_event
    order = np.random.default_rng(0).permutation(len(event))
    for system in fit(evidence, event)[0].values():
        together = system.score(evidence)
        shuffled = system.score(evidence.take(order))
        np.testing.assert_allclose(shuffled, together[order], rtol=1e-12)
        first = system.score(evidence.take(np.array([0])))
        np.testing.assert_allclose(first, together[:1], rtol=1e-12)
