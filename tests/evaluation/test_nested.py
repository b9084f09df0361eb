"""Nested and cross-fitted scores: nothing that is chosen sees what it is tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import PredefinedSplit

from mmevent import ForwardInTime
from mmevent.evaluation import nested
from mmevent.evaluation.baselines import FUSED
from mmevent.evaluation.folds import FoldMaker, Folds, Task
from mmevent.evaluation.nested import (
    CROSS_FITTED,
    NESTED,
    Job,
    Run,
    estimate,
    merge,
    run_tasks,
    to_evidence,
)
from mmevent.posts.labels import Labels
from mmevent.posts.prepared import Prepared
from mmevent.rule.cuts import FLAG_ALL
from mmevent.rule.fusion import Evidence, Rule
from mmevent.rule.search import Search, tune_rule
from mmevent.synthetic.posts import make_posts

N_POSTS = 90
SEARCH = Search(n_trials=8, random_state=0)
FOLD = np.arange(N_POSTS) % 3


@dataclass
class Case:
    """Posts with branches and folds, to be estimated once or, changed, again."""

    posts: pd.DataFrame
    event: NDArray[np.bool_]
    branches: dict[str, Any]
    cv: Any = None
    inner_cv: Any = 2

    def folds(self) -> Folds:
        prepared = self.prepared()
        return FoldMaker(
            PredefinedSplit(FOLD) if self.cv is None else self.cv,
            self.inner_cv,
            posts=prepared.posts,
            labels=self.labels(),
            caller=None,
            duplicate=self.labels().group,
            seed=0,
        ).make()

    def labels(self) -> Labels:
        return Labels(self.event, np.arange(len(self.event)))

    def prepared(self) -> Prepared:
        return Prepared.of(
            self.posts, columns=None, image_root=None, allow_outside_root=False
        )

    def job(self) -> Job:
        return Job(
            branches=self.branches,
            material=self.prepared().material,
            labels=self.labels(),
            search=SEARCH,
        )

    def run(self, kind: str) -> Run:
        run = estimate(self.job(), self.folds(), kind)[2]
        assert run is not None
        return run


@pytest.fixture
def case(text_branch: Any, image_branch: Any) -> Case:
    posts, y, _ = make_posts(N_POSTS, image_size=8, share_reposts=0, random_state=2)
    return Case(posts, y == 1, {"text": text_branch, "image": image_branch})


@pytest.fixture
def frozen_case(case: Case) -> Case:
    """The same, with branches that were fitted elsewhere."""
    posts, y, _ = make_posts(80, image_size=8, random_state=3)
    other = Prepared.of(posts, columns=None, image_root=None, allow_outside_root=False)
    material = other.material
    for name, branch in case.branches.items():
        side = material.side(name)
        fitted = clone(branch).fit(list(side.items), y[side.post])
        case.branches[name] = FrozenEstimator(fitted)
    return case


def parameters(run: Run) -> dict[int, dict[str, Any]]:
    return {row["fold"]: row for row in run.parameters}


def assert_untouched(before: Run, after: Run, fold: int, changed: Any) -> None:
    """Assert that a fold chose the same, and scored all but the changed posts alike."""
    assert parameters(before)[fold] == parameters(after)[fold]
    rows = np.setdiff1d(np.flatnonzero(before.fold == fold), changed)
    for system in before.scores:
        for table in ("scores", "thresholds"):
            one, other = (getattr(run, table)[system][rows] for run in (before, after))
            np.testing.assert_array_equal(one, other, err_msg=f"{system} {table}")


@pytest.mark.parametrize("fold", [0, 2])
def test_nested_labels_of_test_posts_move_nothing_of_their_fold(
    case: Case, fold: int
) -> None:
    before = case.run(NESTED)
    case.event = np.where(fold == FOLD, ~case.event, case.event)
    after = case.run(NESTED)
    assert_untouched(before, after, fold, changed=[])
    others = [k for k in range(3) if k != fold]
    assert any(parameters(before)[k] != parameters(after)[k] for k in others)


@pytest.mark.parametrize("kind", [NESTED, CROSS_FITTED])
def test_each_fold_says_of_all_posts_what_it_says_of_its_own(
    case: Case, kind: str
) -> None:
    run = case.run(kind)
    assert run.choices.keys() == run.scores.keys()
    for name, choices in run.choices.items():
        assert choices.score.shape == (3, N_POSTS)
        own = choices.score[FOLD, np.arange(N_POSTS)]
        np.testing.assert_allclose(own, run.scores[name], rtol=1e-12)
        np.testing.assert_array_equal(choices.threshold[FOLD], run.thresholds[name])
        own_flags = choices.flagged()[FOLD, np.arange(N_POSTS)]
        np.testing.assert_array_equal(own_flags, run.flagged(name))


def test_nested_test_posts_move_nothing_of_their_fold_but_themselves(
    case: Case,
) -> None:
    fold = 1
    before = case.run(NESTED)
    changed = np.flatnonzero(fold == FOLD)[:10]
    for row in changed:
        case.posts.at[row, "text"] = f"police march everywhere {row}"
        case.posts.at[row, "images"] = []
    after = case.run(NESTED)
    assert_untouched(before, after, fold, changed)
    scores = (run.scores[FUSED][changed] for run in (before, after))
    assert (next(scores) != next(scores)).any()


def test_nested_choices_come_from_inner_folds_of_the_training_part(case: Case) -> None:
    run, job, folds = case.run(NESTED), case.job(), case.folds()
    for k, (task, inner) in enumerate(zip(folds.outer, folds.inner, strict=True)):
        tasks = [*inner, task]
        results = run_tasks(job.branches, job.material, job.labels, tasks)
        chosen_on = to_evidence(merge(results[:-1]), job.material).take(task.train)
        event, test = case.event[task.train], task.test
        found = tune_rule(chosen_on, event, search=SEARCH)
        for name, value in vars(found.rule).items():
            assert parameters(run)[k][name] == value
        tested = to_evidence(results[-1], job.material).take(test)
        np.testing.assert_array_equal(run.scores[FUSED][test], found.rule.score(tested))
        threshold = found.rule.threshold
        assert set(run.thresholds[FUSED][test]) == {threshold}


@pytest.mark.parametrize("fold", [0, 2])
def test_cross_fitted_labels_of_test_posts_move_nothing_of_their_fold(
    frozen_case: Case, fold: int
) -> None:
    # The branches of other folds have seen this one: frozen, they cannot have.
    before = frozen_case.run(CROSS_FITTED)
    frozen_case.event = np.where(fold == FOLD, ~frozen_case.event, frozen_case.event)
    after = frozen_case.run(CROSS_FITTED)
    assert_untouched(before, after, fold, changed=[])
    others = [k for k in range(3) if k != fold]
    assert any(parameters(before)[k] != parameters(after)[k] for k in others)


def test_cross_fitted_choices_come_from_the_other_folds(case: Case) -> None:
    evidence, fold, run = estimate(case.job(), case.folds(), CROSS_FITTED)
    assert run is not None
    assert fold.tolist() == FOLD.tolist()
    for k in range(3):
        others = np.flatnonzero(fold != k)
        found = tune_rule(evidence.take(others), case.event[others], search=SEARCH)
        assert parameters(run)[k]["alpha"] == found.rule.alpha
        test = np.flatnonzero(fold == k)
        score = found.rule.score(evidence.take(test))
        np.testing.assert_array_equal(run.scores[FUSED][test], score)


def test_cross_fitted_fits_each_branch_once_a_fold(case: Case) -> None:
    fits: list[int] = []
    branch = type(case.branches["text"])

    class Counting(branch):  # type: ignore[misc, valid-type]
        def fit(self, X: Any, y: Any) -> Any:
            fits.append(len(X))
            return super().fit(X, y)

    case.branches = {"text": Counting()}
    case.run(CROSS_FITTED)
    assert len(fits) == 3
    fits.clear()
    case.run(NESTED)
    assert len(fits) == 3 + 3 * 2


def test_forward_in_time_only_earlier_blocks_are_used(case: Case) -> None:
    case.cv, case.inner_cv = ForwardInTime(3), None
    evidence, fold, run = estimate(case.job(), case.folds(), CROSS_FITTED)
    assert run is not None
    # Nothing is tested before block 1, so block 1 has nothing to choose from.
    assert 15 <= (fold == -1).sum() <= 30
    np.testing.assert_array_equal(run.fold, np.where(fold == 0, -1, fold))
    assert sorted(parameters(run)) == [1, 2]
    for k in (1, 2):
        earlier = np.flatnonzero((fold >= 0) & (fold < k))
        found = tune_rule(evidence.take(earlier), case.event[earlier], search=SEARCH)
        assert parameters(run)[k]["alpha"] == found.rule.alpha
        assert parameters(run)[k]["pool"] == found.rule.pool
    before = run
    case.event = np.where(fold == 2, ~case.event, case.event)
    assert_untouched(before, case.run(CROSS_FITTED), 1, changed=[])


def test_forward_in_time_nested_never_looks_ahead(case: Case) -> None:
    case.cv, case.inner_cv = ForwardInTime(2), 1
    before = case.run(NESTED)
    assert np.isnan(before.scores[FUSED][before.fold == -1]).all()
    case.event = np.where(before.fold == 1, ~case.event, case.event)
    case.posts.loc[before.fold == 1, "text"] = "police march"
    after = case.run(NESTED)
    assert_untouched(before, after, 0, changed=[])


def test_out_of_fold_probabilities_are_the_same_whatever_the_estimate(
    case: Case,
) -> None:
    results = [
        estimate(case.job(), case.folds(), k) for k in (NESTED, CROSS_FITTED, None)
    ]
    assert results[2][2] is None
    for evidence, fold, _ in results:
        assert fold.tolist() == FOLD.tolist()
        np.testing.assert_array_equal(evidence.p_text, results[0][0].p_text)
        for key, pooled in evidence.pooled.items():
            np.testing.assert_array_equal(pooled, results[0][0].pooled[key])


def test_out_of_fold_probabilities_come_from_the_other_folds(case: Case) -> None:
    evidence, fold, _ = estimate(case.job(), case.folds(), None)
    job = case.job()
    task = Task(np.flatnonzero(FOLD != 1), np.flatnonzero(FOLD == 1))
    alone = to_evidence(
        run_tasks(job.branches, job.material, job.labels, [task])[0], job.material
    )
    np.testing.assert_array_equal(evidence.p_text[FOLD == 1], alone.p_text[FOLD == 1])
    assert fold[0] == 0


def test_posts_that_no_fold_tests_have_no_scores(case: Case) -> None:
    case.cv = PredefinedSplit(np.where(np.arange(N_POSTS) < 20, -1, FOLD))
    run = case.run(NESTED)
    assert (run.fold == -1).sum() == 20
    for system in run.scores:
        np.testing.assert_array_equal(np.isnan(run.scores[system]), run.fold == -1)
        np.testing.assert_array_equal(np.isnan(run.thresholds[system]), run.fold == -1)
        assert not run.flagged(system)[:20].any()


def test_a_system_that_a_fold_cannot_tune_flags_nothing_there(case: Case) -> None:
    # Every picture lies in fold 0, whose training part has none.
    case.posts["images"] = [
        images if k == 0 else []
        for images, k in zip(case.posts["images"], FOLD, strict=True)
    ]
    run = case.run(NESTED)
    assert set(run.scores["image only"][FOLD == 0]) == {0.0}
    assert set(run.thresholds["image only"][FOLD == 0]) == {FLAG_ALL}
    assert not run.flagged("image only")[FOLD == 0].any()
    assert not np.isnan(run.scores["image only"]).any()


def test_parameters_are_kept_for_each_fold(case: Case) -> None:
    run = case.run(NESTED)
    assert [row["fold"] for row in run.parameters] == [0, 1, 2]
    for row in run.parameters:
        assert row["seed"] == 0
        assert set(row) >= {*vars(Rule(0, 1, "max", 1)), "beta_identified"}


def test_cross_fitted_choices_are_made_without_copies_of_the_test_posts(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    fit = nested.fit_systems

    def watched(evidence: Evidence, *arguments: Any) -> Any:
        seen.append(len(evidence))
        return fit(evidence, *arguments)

    monkeypatch.setattr(nested, "fit_systems", watched)
    original = np.arange(N_POSTS) % 80  # posts 80 to 89 copy posts 0 to 9
    folds = replace(case.folds(), apart=(original,))
    estimate(case.job(), folds, CROSS_FITTED)
    alone = [int((FOLD != k).sum()) for k in range(3)]
    copies = np.arange(10)
    leaving = [
        int(((FOLD[copies] == k) != (FOLD[copies + 80] == k)).sum()) for k in range(3)
    ]
    assert sum(leaving) > 0
    assert seen == [n - gone for n, gone in zip(alone, leaving, strict=True)]
