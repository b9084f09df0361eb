"""The search: what it finds, what it prefers, and that it can be repeated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from benchmarks._exact import ExactResult, exact_search
from mmevent.exceptions import InputError
from mmevent.rule.cuts import best_threshold
from mmevent.rule.fusion import Evidence, Rule
from mmevent.rule.search import (
    Search,
    TuningResult,
    best_of,
    f1_of,
    rethreshold,
    tune_rule,
)
from mmevent.synthetic.scores import make_scores
from mmevent.synthetic.truth import SyntheticScores

NAN = float("nan")
BY_F1 = Search(criterion="f1", random_state=0)
# Optuna, and the exhaustive search that it is measured by.
WAYS = pytest.mark.parametrize("find", [tune_rule, exact_search])

DATA_SETS: dict[str, dict[str, Any]] = {
    "small": {"n_posts": 500},
    "rare event": {"n_posts": 3000, "prevalence": 0.05},
    "few images": {"n_posts": 2000, "share_images": 0.15, "max_images": 1},
    "all have images": {"n_posts": 1500, "share_images": 1.0},
    "overconfident with images": {
        "n_posts": 2000,
        "calibration_text_with_images": (1.6, 0.8),
        "calibration_image": (1.4, 0.6),
    },
    "beta out of bounds": {
        "n_posts": 1000,
        "calibration_text_with_images": (0.8, -2.0),
        "calibration_image": (0.8, -2.0),
    },
}


@dataclass(frozen=True)
class Searched:
    evidence: Evidence
    y: Any
    exact: ExactResult
    sampled: TuningResult


@pytest.fixture(scope="module", params=DATA_SETS)
def searched(request: pytest.FixtureRequest) -> Searched:
    scores = make_scores(**DATA_SETS[request.param], random_state=1)
    evidence = evidence_of(scores)
    return Searched(
        evidence,
        scores.y,
        exact_search(evidence, scores.y, search=BY_F1),
        tune_rule(evidence, scores.y, search=BY_F1),
    )


@pytest.fixture(scope="module")
def some_scores() -> SyntheticScores:
    return make_scores(600, random_state=0)


def evidence_of(scores: SyntheticScores, pool: str = "auto") -> Evidence:
    return Evidence.from_images(scores.p_text, scores.p_image, scores.post, pool=pool)


def f1_at(rule: Rule, evidence: Evidence, y: Any) -> float:
    return f1_of(rule.score(evidence) >= rule.threshold, np.asarray(y, dtype=bool))


def test_the_f1_found_is_the_f1_of_the_rule(searched: Searched) -> None:
    evidence, y = searched.evidence, searched.y
    for found in (searched.exact, searched.sampled):
        assert f1_at(found.rule, evidence, y) == pytest.approx(found.f1)
        assert found.f1 == pytest.approx(max(found.values))
        for rule, value in zip(found.rules[::41], found.values[::41], strict=True):
            assert f1_at(rule, evidence, y) == pytest.approx(value)


def test_exact_is_the_best_of_its_grid(some_scores: SyntheticScores) -> None:
    evidence, y = evidence_of(some_scores), some_scores.y
    found = exact_search(evidence, y, search=BY_F1)
    assert len(found.rules) == 201 * 3
    for weight, pool in itertools.product(
        np.linspace(0, 0.99, 201)[::20], ("max", "mean", "noisy-or")
    ):
        for beta in np.geomspace(0.5, 2, 41):
            rule = Rule(weight / (1 - weight), float(beta), pool, 1.0)
            assert best_threshold(rule.score(evidence), y)[1] <= found.f1 + 1e-12


def test_optuna_is_as_good_as_exact(searched: Searched) -> None:
    assert len(searched.sampled.rules) == 200
    assert searched.sampled.f1 >= searched.exact.f1 - 0.002


def test_the_same_seed_finds_the_same(some_scores: SyntheticScores) -> None:
    evidence = evidence_of(some_scores)
    search = Search(n_trials=30, random_state=7)
    first, second = (
        tune_rule(evidence, some_scores.y, search=search) for _ in range(2)
    )
    assert first.rules == second.rules
    assert (first.rule, first.f1) == (second.rule, second.f1)


def test_another_seed_samples_other_weights(some_scores: SyntheticScores) -> None:
    evidence = evidence_of(some_scores)
    first, second = (
        tune_rule(
            evidence, some_scores.y, search=Search(n_trials=30, random_state=seed)
        )
        for seed in (0, 1)
    )
    assert first.rules[:9] == second.rules[:9]
    assert first.rules != second.rules


def test_the_first_trials_are_text_only_equal_weights_and_image_only(
    some_scores: SyntheticScores,
) -> None:
    search = Search(n_trials=12, random_state=0)
    found = tune_rule(evidence_of(some_scores), some_scores.y, search=search)
    enqueued = [(round(rule.weight, 9), rule.pool) for rule in found.rules[:9]]
    pools = ("max", "mean", "noisy-or")
    assert enqueued == list(itertools.product((0.0, 0.5, 0.99), pools))


def test_bounds_are_kept(some_scores: SyntheticScores) -> None:
    search = Search(
        n_trials=20, random_state=0, alpha_bounds=(0.5, 2.0), beta_bounds=(0.9, 1.1)
    )
    for find in (exact_search, tune_rule):
        found = find(evidence_of(some_scores), some_scores.y, search=search)
        alphas = [rule.alpha for rule in found.rules]
        assert 0.5 - 1e-9 <= min(alphas) < max(alphas) <= 2.0 + 1e-9
        assert all(0.9 <= rule.beta <= 1.1 for rule in found.rules)
        assert not all(rule.beta == 1.0 for rule in found.rules)


def test_an_optimum_outside_the_bounds_is_met_at_the_bound() -> None:
    scores = make_scores(**DATA_SETS["beta out of bounds"], random_state=1)
    evidence = evidence_of(scores, pool="max")
    search = Search(n_trials=30, random_state=0)
    narrow = tune_rule(evidence, scores.y, search=search)
    wide = tune_rule(
        evidence, scores.y, search=replace(search, beta_bounds=(0.1, 20.0))
    )
    assert 1.9 < narrow.rule.beta <= 2.0 < wide.rule.beta
    assert narrow.f1 < wide.f1


# What is known and what is not


def two_sides(n_text: int, n_image: int) -> tuple[Evidence, np.ndarray]:
    """Make posts of each side, the first half of each being events."""
    rng = np.random.default_rng(0)
    n = n_text + n_image
    event = np.concatenate([np.arange(k) < k // 2 for k in (n_text, n_image)])
    p_text = np.clip(0.3 + 0.4 * event + rng.normal(0, 0.2, n), 0, 1)
    rows = np.arange(n_text, n)
    p_image = np.clip(0.2 + 0.2 * event[rows] + rng.normal(0, 0.1, n_image), 0, 1)
    return Evidence.from_images(p_text, p_image, rows), event


@pytest.mark.parametrize(
    ("n_text", "n_image", "identified"),
    [(40, 40, True), (38, 40, False), (40, 38, False), (0, 80, False), (80, 0, False)],
)
def test_beta_needs_20_positives_and_20_negatives_on_each_side(
    n_text: int, n_image: int, identified: bool
) -> None:
    evidence, event = two_sides(n_text, n_image)
    for find in (exact_search, tune_rule):
        found = find(evidence, event, search=Search(n_trials=10, random_state=0))
        assert found.beta_identified is identified
        assert all(rule.beta == 1.0 for rule in found.rules) is not identified


def test_posts_without_text_or_images_do_not_identify_beta() -> None:
    evidence, event = two_sides(0, 60)
    nothing = Evidence(
        np.append(evidence.p_text, np.full(60, NAN)),
        {key: np.append(p, np.full(60, NAN)) for key, p in evidence.pooled.items()},
    )
    assert not tune_rule(nothing, np.tile(event, 2), search=BY_F1).beta_identified


@WAYS
def test_without_images_there_is_one_trial_and_alpha_is_0(find: Any) -> None:
    evidence = Evidence.from_images([0.9, 0.6, 0.4, 0.1], [], [])
    found = find(evidence, [1, 1, 0, 0], search=BY_F1)
    assert found.rules == [found.rule]
    assert found.rule.alpha == 0.0
    assert found.rule.threshold == pytest.approx(0.5)
    assert found.f1 == 1.0


def test_without_texts_alpha_has_no_meaning_and_is_its_least() -> None:
    evidence = Evidence.from_images([NAN] * 4, [0.9, 0.6, 0.4, 0.1], [0, 1, 2, 3])
    found = tune_rule(evidence, [1, 1, 0, 0], search=replace(BY_F1, n_trials=5))
    assert (found.rule.alpha, found.rule.beta, found.f1) == (0.0, 1.0, 1.0)


# Ties


def test_of_equal_trials_the_smaller_alpha_is_taken() -> None:
    evidence = Evidence.from_images([0.9, 0.8, 0.2], [0.9, 0.8, 0.2], [0, 1, 2])
    for find in (exact_search, tune_rule):
        found = find(evidence, [1, 1, 0], search=replace(BY_F1, n_trials=20))
        assert found.rule.alpha == 0.0


def test_of_equal_trials_beta_nearest_1_is_taken() -> None:
    event = np.tile([True, False], 60)
    p = np.where(event, 0.8, 0.2)
    evidence = Evidence.from_images(p, p[60:], np.arange(60, 120))
    for find in (exact_search, tune_rule):
        found = find(evidence, event, search=replace(BY_F1, n_trials=5))
        assert found.beta_identified
        assert found.rule.beta == 1.0


def test_of_equal_trials_max_comes_before_mean_and_noisy_or() -> None:
    # Both images of a post say the same, so that max and mean agree.
    evidence = Evidence.from_images(
        [0.5, 0.5, 0.5], [0.9, 0.9, 0.1, 0.1, 0.1], [0, 0, 1, 1, 2]
    )
    found = tune_rule(evidence, [1, 0, 0], search=replace(BY_F1, n_trials=12))
    assert found.f1 == 1.0
    assert found.rule.pool == "max"


def test_near_ties_are_ties() -> None:
    first = Rule(alpha=2.0, beta=1.0, pool="max", threshold=0.5)
    others = [
        replace(first, alpha=1.0, beta=1.5),
        replace(first, alpha=1.0, beta=0.8, pool="mean"),
        replace(first, alpha=1.0, beta=0.8),
        replace(first, alpha=0.5),
    ]
    assert best_of([first, *others[:3]], [0.5, 0.5, 0.5, 0.5]) == others[2]
    assert best_of([first, others[3]], [0.5, 0.5 - 5e-13]) == others[3]
    assert best_of([first, others[3]], [0.5, 0.5 - 5e-12]) == first


# Pools and branches


def test_auto_pools_by_max_where_no_post_has_two_images() -> None:
    single = Evidence.from_images([0.5, 0.5], [0.1, 0.9], [0, 1])
    several = Evidence.from_images([0.5, 0.5], [0.1, 0.9], [0, 0])
    assert list(single.pooled) == [("image", "max")]
    assert [pool for _, pool in several.pooled] == ["max", "mean", "noisy-or"]


@pytest.mark.parametrize("pool", ["max", "mean", "noisy-or"])
def test_a_pool_that_is_named_is_kept(pool: str, some_scores: SyntheticScores) -> None:
    evidence = evidence_of(some_scores, pool=pool)
    found = tune_rule(evidence, some_scores.y, search=Search(n_trials=5))
    assert {rule.pool for rule in found.rules} == {pool}


def test_the_better_of_two_image_branches_is_chosen() -> None:
    rng = np.random.default_rng(0)
    event = rng.random(300) < 0.4
    good = np.clip(0.3 + 0.4 * event + rng.normal(0, 0.1, 300), 0, 1)
    evidence = Evidence.from_images(
        np.full(300, 0.5),
        {"noise": rng.random(300), "sharp": good},
        np.arange(300),
    )
    for find in (exact_search, tune_rule):
        found = find(evidence, event, search=Search(n_trials=10, random_state=0))
        assert found.rule.image == "sharp"


def test_images_that_one_branch_cannot_use_are_posts_without_images_to_it() -> None:
    evidence, event = two_sides(60, 60)
    p = evidence.pooled["image", "max"]
    partly = np.where(np.arange(120) >= 110, NAN, p)
    both = Evidence(evidence.p_text, {("image", "max"): p, ("partly", "max"): partly})
    found = exact_search(both, event, search=BY_F1)
    for rule, value in zip(found.rules, found.values, strict=True):
        assert f1_at(rule, both, event) == pytest.approx(value)


# Optuna's own things


@pytest.fixture(params=["sqlite", "journal", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'study.db'}"
    elif request.param == "journal":
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        yield JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    else:
        yield optuna.storages.InMemoryStorage()


def test_a_storage_resumes_up_to_the_total(
    storage: Any, some_scores: SyntheticScores
) -> None:
    evidence = evidence_of(some_scores)

    def search(n_trials: int) -> TuningResult:
        settings = Search(n_trials=n_trials, storage=storage, random_state=0)
        return tune_rule(evidence, some_scores.y, search=settings)

    first = search(4)
    assert len(first.rules) == 4
    second = search(12)
    assert second.rules[:4] == first.rules
    assert len(second.rules) == 12
    again = search(12)
    assert again.rules == second.rules
    assert again.rule == second.rule
    assert search(5).rules == second.rules


def test_the_study_is_named_by_probabilities_labels_and_space(
    some_scores: SyntheticScores,
) -> None:
    storage = optuna.storages.InMemoryStorage()
    scores, y = some_scores, some_scores.y

    def name(evidence: Evidence, y: Any, **settings: Any) -> str:
        search = Search(n_trials=1, storage=storage, random_state=0, **settings)
        study = tune_rule(evidence, y, search=search).study
        assert study is not None
        return study.study_name

    plain = name(evidence_of(scores), y)
    assert plain == name(evidence_of(scores), y)
    other_text = Evidence.from_images(1 - scores.p_text, scores.p_image, scores.post)
    other_image = Evidence.from_images(scores.p_text, 1 - scores.p_image, scores.post)
    others = [
        name(other_text, y),
        name(other_image, y),
        name(evidence_of(scores), 1 - y),
        name(evidence_of(scores, pool="max"), y),
        name(evidence_of(scores), y, alpha_bounds=(0, 9)),
        name(evidence_of(scores), y, beta_bounds=(0.5, 1.5)),
        name(evidence_of(scores), y, criterion="f1"),
    ]
    assert len({plain, *others}) == 8


# Recovery of what is known


@WAYS
def test_the_population_f1_is_recovered_from_20000_posts(find: Any) -> None:
    scores = make_scores(20_000, random_state=3)
    search = Search(n_trials=40, random_state=0)
    rule = find(evidence_of(scores), scores.y, search=search).rule
    reached = scores.truth.population_f1(
        alpha=rule.alpha, beta=rule.beta, pool=rule.pool, threshold=rule.threshold
    )
    assert reached >= scores.truth.f1 - 0.01
    plain = best_threshold(scores.fuse(alpha=0.0, beta=1.0, pool="max"), scores.y)[1]
    assert plain < scores.truth.f1 - 0.01


# The two criteria


@WAYS
def test_the_smooth_criterion_is_what_the_trials_are_valued_by(
    find: Any, some_scores: SyntheticScores
) -> None:
    evidence, y = evidence_of(some_scores, pool="max"), some_scores.y
    settings = Search(n_trials=20, random_state=0)
    smooth = find(evidence, y, search=settings)
    raw = find(evidence, y, search=replace(settings, criterion="f1"))
    assert smooth.f1 == f1_at(smooth.rule, evidence, y) <= raw.f1
    assert max(smooth.values) < raw.f1
    best = best_of(smooth.rules, smooth.values)
    assert smooth.rule.alpha == pytest.approx(best.alpha)
    assert smooth.rule.pool == best.pool
    assert f1_at(best, evidence, y) < raw.f1


def test_smooth_is_nearer_to_the_best_rule_where_events_are_few() -> None:
    gaps: dict[str, list[float]] = {"smooth": [], "f1": []}
    for seed in range(8):
        scores = make_scores(1500, prevalence=0.05, random_state=seed)
        for criterion, found in gaps.items():
            search = Search(criterion=criterion)
            rule = exact_search(
                evidence_of(scores, "max"), scores.y, search=search
            ).rule
            reached = scores.truth.population_f1(
                alpha=rule.alpha, beta=rule.beta, pool="max", threshold=rule.threshold
            )
            found.append(scores.truth.f1 - reached)
    assert np.mean(gaps["smooth"]) < 0.8 * np.mean(gaps["f1"])


def test_labels_of_another_length_are_refused() -> None:
    evidence, event = two_sides(20, 20)
    with pytest.raises(InputError, match=r"one label for each of 40 posts.*\(39,\)"):
        tune_rule(evidence, event[1:])


@pytest.mark.parametrize(
    "y", [[1, -1] * 20, ["1", "0"] * 20, [1.0, NAN] * 20, ["yes", "no"] * 20], ids=str
)
def test_labels_that_are_not_0_or_1_are_refused(y: Any) -> None:
    evidence, _ = two_sides(20, 20)
    with pytest.raises(InputError, match=r"y does not say which posts are events.*=="):
        tune_rule(evidence, y)


# A new threshold for a rule


@pytest.mark.parametrize("criterion", ["smooth", "f1"])
def test_a_new_threshold_is_that_of_a_search_between_equal_bounds(
    criterion: str, some_scores: SyntheticScores
) -> None:
    search = Search(criterion=criterion, n_trials=10, random_state=0)
    evidence = evidence_of(some_scores, pool="max")
    rule = tune_rule(evidence, some_scores.y, search=search).rule
    rng = np.random.default_rng(0)
    for n in (600, 60):  # beta is identified by the first alone
        rows = rng.integers(0, 600, n)
        posts, y = evidence.take(rows), some_scores.y[rows]
        fixed = replace(
            search,
            alpha_bounds=(rule.alpha, rule.alpha),
            beta_bounds=(rule.beta, rule.beta),
        )
        expected = exact_search(posts, y, search=fixed)
        found = rethreshold(rule, posts, y, search)
        assert found == expected.rule
        assert found.beta == (rule.beta if expected.beta_identified else 1.0)


def test_a_rule_on_the_posts_that_chose_it_keeps_its_threshold(
    some_scores: SyntheticScores,
) -> None:
    evidence = evidence_of(some_scores)
    search = Search(n_trials=20, random_state=0)
    rule = tune_rule(evidence, some_scores.y, search=search).rule
    found = rethreshold(rule, evidence, some_scores.y, search)
    assert found.threshold == pytest.approx(rule.threshold)
    assert (found.pool, found.image) == (rule.pool, rule.image)


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "average"}, "rule='average' is not known.*'alpha-beta', 'stacking'"),
        ({"rule": "stacking", "storage": "x"}, "storage keeps.*rule='stacking'"),
        ({"criterion": "auc"}, "criterion='auc' is not known"),
        ({"n_trials": 0}, "n_trials=0 is no number of trials"),
        ({"n_trials": 2.5}, "n_trials=2.5 is no number of trials"),
        ({"alpha_bounds": (-1, 2)}, r"alpha_bounds=\(-1, 2\).*0 or greater"),
        ({"alpha_bounds": (3, 2)}, "alpha_bounds=.*the smaller first"),
        ({"alpha_bounds": (0, np.inf)}, "alpha_bounds=.*two numbers"),
        ({"alpha_bounds": (0, 1e17)}, r"alpha_bounds=.*two numbers.*up to 1e\+06"),
        ({"alpha_bounds": (0, NAN)}, "alpha_bounds=.*two numbers"),
        ({"alpha_bounds": (1,)}, "alpha_bounds=.*two numbers"),
        ({"alpha_bounds": 1.0}, "alpha_bounds=1.0.*two numbers"),
        ({"alpha_bounds": ("a", "b")}, "alpha_bounds=.*two numbers"),
        ({"beta_bounds": (0, 2)}, "beta_bounds=.*greater than 0"),
        ({"beta_bounds": (-1, 2)}, "beta_bounds=.*greater than 0"),
        ({"beta_bounds": None}, "beta_bounds=None.*two numbers"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_searched_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    evidence = Evidence.from_images([0.9, 0.1], [], [])
    with pytest.raises(InputError, match=message):
        tune_rule(evidence, [1, 0], search=Search(**settings))


def test_a_threshold_is_sought_by_a_known_criterion() -> None:
    evidence = Evidence.from_images([0.9, 0.1], [], [])
    rule = Rule(alpha=0.0, beta=1.0, pool="max", threshold=0.5)
    with pytest.raises(InputError, match="criterion='nope'"):
        rethreshold(rule, evidence, [1, 0], Search(criterion="nope"))
