"""Scores of posts by parameters that those posts did not choose."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from mmevent._branches import (
    TEXT,
    Labels,
    Material,
    Task,
    merge,
    run_tasks,
    to_evidence,
)
from mmevent._cuts import FLAG_ALL, has_both
from mmevent._folds import Folds, fold_numbers
from mmevent._systems import (
    BOTH,
    FUSED,
    System,
    cut,
    fit_systems,
    tune_first,
    whole,
)
from mmevent.calibration import cases_of, fit_calibration
from mmevent.exceptions import InputError
from mmevent.filter import IMAGES, SecondStage, TwoStageRule, candidates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmevent.decision import Policy
    from mmevent.tuning import Evidence, Search

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]
    Probabilities = dict[str, FloatArray]

NESTED, CROSS_FITTED = "nested", "cross-fit"


@dataclass(frozen=True)
class Job:
    """What an estimate is made from: branches, posts, labels, and how to tune."""

    branches: Mapping[str, Any]
    material: Material
    labels: Labels
    search: Search
    policy: Policy = "f1"
    corpus_size: int | None = None
    second: SecondStage | None = None
    calibration: str | None = None
    pool: str = "auto"
    classes: Sequence[Any] = (0, 1)
    n_jobs: int | None = None
    verbose: bool = False


@dataclass(frozen=True)
class Run:
    """Scores and thresholds of every system on the posts that a fold tests.

    Parameters
    ----------
    seed : int or None
        Seed of the folds.
    fold : ndarray of int of shape (n_posts,)
        Fold that tests each post; -1 where none does.
    scores, thresholds : dict of str to ndarray of shape (n_posts,)
        By system; NaN where no fold tests a post.
    parameters : list of dict
        What each fold chose for the fused rule.
    probability : ndarray of shape (n_posts,) or None
        The whole's calibrated probability, if it has one.
    """

    seed: int | None
    fold: IntArray
    scores: dict[str, FloatArray]
    thresholds: dict[str, FloatArray]
    parameters: list[dict[str, Any]]
    probability: FloatArray | None = None

    def without(self, *systems: str) -> Run:
        """Return the same without some systems."""
        scores, thresholds = (
            {name: values for name, values in table.items() if name not in systems}
            for table in (self.scores, self.thresholds)
        )
        return replace(self, scores=scores, thresholds=thresholds)

    def flagged(self, system: str) -> NDArray[np.bool_]:
        """Return which posts' score reaches the threshold of their fold."""
        return self.scores[system] >= self.thresholds[system]


def estimate(
    job: Job, folds: Folds, kind: str | None
) -> tuple[Evidence, IntArray, Run | None]:
    """Out-of-fold probabilities of all posts, their folds, and the scores.

    Nested: what is tuned for a fold comes from an inner cross-validation of its
    training part. Cross-fitted: from the other folds' out-of-fold probabilities, or
    the earlier folds' where folds run forward in time.
    """
    outer = folds.outer()
    inner = [folds.inner(task.train) for task in outer] if kind == NESTED else []
    results = run_tasks(
        job.branches,
        job.material,
        job.labels,
        [*outer, *(task for tasks in inner for task in tasks)],
        classes=job.classes,
        n_jobs=job.n_jobs,
        verbose=job.verbose,
    )
    fold = fold_numbers(outer, job.material.n_posts)
    evidence = _evidence(job, results[: len(outer)])
    evidence = _with_second(job, evidence, outer)
    if kind is None:
        return evidence, fold, None
    run = _Collector(job, folds, fold)
    start = len(outer)
    bar = tqdm(outer, desc="Tuning the rule", unit="fold", disable=not job.verbose)
    for k, task in enumerate(bar):
        if kind == NESTED:
            chosen = _evidence(job, results[start : start + len(inner[k])])
            start += len(inner[k])
            rows = np.sort(np.concatenate([t.test for t in inner[k]]))
            chosen = _with_second(job, chosen, inner[k], task)
            tested = evidence
            if chosen.p_text_2 is not None:
                tested = evidence.with_second(chosen.p_text_2, chosen.p_image_2)
            run.add(k, chosen, rows, task, tested)
        else:
            others = fold < k if folds.forward else fold != k
            rows = np.flatnonzero(others & (fold >= 0))
            rows = folds.without_twins(Task(rows, task.test)).train
            run.add(k, evidence, rows, task, evidence)
    return evidence, fold, run.finish()


def _evidence(job: Job, results: Sequence[Probabilities]) -> Evidence:
    return to_evidence(merge(results), job.material, pool=job.pool)


def _with_second(
    job: Job, evidence: Evidence, folds: Sequence[Task], last: Task | None = None
) -> Evidence:
    """Add the second stage's probabilities, out of the same folds.

    What it learns from are candidates by a rule that is tuned on all of these folds.
    The `last` task, if any, learns from all of them, for what an outer fold tests.
    """
    rows = np.concatenate([task.test for task in folds])
    event = job.labels.event[rows]
    if job.second is None or not has_both(event):
        return evidence
    found = tune_first(evidence.take(rows), job.labels.take(rows), job.search)
    kept = candidates(evidence, job.labels, rows, found.rule)
    tasks = [
        Task(task.train[np.isin(task.train, kept)], task.test)
        for task in (*folds, *([last] if last else []))
    ]
    if not all(has_both(job.labels.event[task.train]) for task in tasks):
        if job.second.only_if_better:
            return evidence
        raise InputError(
            f"the second stage has nothing to tell apart in some fold: expected events "
            f"and others among the {len(kept)} posts that stage 1 flags, in every "
            f"training part. Code more look-alikes, use fewer folds, or "
            f"second_stage='auto', which goes on with one stage. With ForwardInTime "
            f"the earliest posts are never flagged, since no fold tests them: use "
            f"grouped folds."
        )
    image, branches = found.rule.image, {TEXT: job.second.branch}
    if IMAGES in job.second.features and image in job.branches:
        branches[image] = job.branches[image]
    results = run_tasks(
        branches,
        job.material,
        job.labels.second,
        tasks,
        classes=job.classes,
        n_jobs=job.n_jobs,
        verbose=job.verbose,
    )
    second = to_evidence(merge(results), job.material, pool=found.rule.pool)
    p_image = second.pooled.get((image, found.rule.pool))
    return evidence.with_second(second.p_text, p_image)


def _second_rule(systems: Mapping[str, System]) -> dict[str, Any]:
    """Parameters of the second stage, where there is one."""
    rule = systems[BOTH].rule if BOTH in systems else None
    if not isinstance(rule, TwoStageRule):
        return {}
    return {
        "threshold_1": rule.first.threshold,
        "alpha_2": rule.second.alpha,
        "beta_2": rule.second.beta,
        "threshold_2": rule.second.threshold,
    }


class _Collector:
    """Gathers the scores of each fold's tested posts."""

    def __init__(self, job: Job, folds: Folds, fold: IntArray) -> None:
        self.job, self.folds = job, folds
        self.fold = fold.copy()
        self.scores: dict[str, FloatArray] = {}
        self.thresholds: dict[str, FloatArray] = {}
        self.parameters: list[dict[str, Any]] = []
        self.probability = np.full(len(fold), np.nan)

    def add(
        self, k: int, chosen_on: Evidence, rows: IntArray, task: Task, tested: Evidence
    ) -> None:
        """Tune all systems on some rows, and score the posts that fold k tests."""
        event = self.job.labels.event[rows]
        if not has_both(event):
            # The first block in time has no earlier one to choose from.
            self.fold[task.test] = -1
            return
        job = self.job
        seen, unseen = chosen_on.take(rows), tested.take(task.test)
        labels = job.labels.take(rows)
        found = tune_first(seen, labels, job.search)
        systems = fit_systems(
            seen, labels, job.search, job.policy, found.rule, job.second
        )
        self.parameters.append(
            {
                "seed": self.folds.seed,
                "fold": k,
                **asdict(found.rule),
                "threshold": systems[FUSED].threshold,
                "beta_identified": found.beta_identified,
                **_second_rule(systems),
            }
        )
        for name, system in systems.items():
            self._score(name, system, unseen, task.test)
        if job.calibration is not None:
            rule = systems[whole(systems)].rule
            assert rule is not None
            curve = fit_calibration(
                job.calibration, rule.score(seen), event, cases_of(seen, rule)
            )
            self.probability[task.test] = curve.predict(
                rule.score(unseen), cases_of(unseen, rule)
            )

    def _score(
        self, name: str, system: System, evidence: Evidence, rows: IntArray
    ) -> None:
        for table in (self.scores, self.thresholds):
            table.setdefault(name, np.full(len(self.fold), np.nan))
        self.scores[name][rows] = score = system.score(evidence)
        job = self.job
        self.thresholds[name][rows] = cut(system, score, job.policy, job.corpus_size)

    def finish(self) -> Run:
        """Return what was gathered.

        A system that a fold could not tune, for lack of images say, flags nothing of
        what that fold tests.
        """
        if not self.scores:
            raise InputError(
                "no fold has others to choose from: expected an earlier one with posts "
                "of both classes for at least one, got none. Raise n_splits, or use "
                "estimate='nested'."
            )
        for name, scores in self.scores.items():
            untuned = np.isnan(scores) & (self.fold >= 0)
            scores[untuned], self.thresholds[name][untuned] = 0.0, FLAG_ALL
        return Run(
            self.folds.seed,
            self.fold,
            self.scores,
            self.thresholds,
            self.parameters,
            None if self.job.calibration is None else self.probability,
        )
