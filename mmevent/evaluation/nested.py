"""Scores of posts by branches and parameters that those posts did not choose."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.parallel import Parallel, delayed
from tqdm import tqdm

from mmevent.branches.fitting import fit_branch, predict_branch
from mmevent.branches.head import one_blas_thread
from mmevent.evaluation.baselines import (
    BOTH,
    FUSED,
    SecondStage,
    System,
    fit_systems,
    threshold_on,
    tune_first,
    whole,
)
from mmevent.evaluation.folds import Folds, Task, fold_numbers
from mmevent.evaluation.spread import Choices, comparable
from mmevent.exceptions import InputError
from mmevent.posts.labels import Labels
from mmevent.posts.prepared import TEXT, Material
from mmevent.rule.calibration import cases_of, fit_maps
from mmevent.rule.cuts import FLAG_ALL, has_both
from mmevent.rule.fusion import Evidence
from mmevent.rule.two_stage import TwoStageRule, candidates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmevent.rule.policies import Policy
    from mmevent.rule.search import Search

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
    choices : dict of str to Choices
        By system: what each fold's parameters say of all posts. Empty for held-out
        posts.
    """

    seed: int | None
    fold: IntArray
    scores: dict[str, FloatArray]
    thresholds: dict[str, FloatArray]
    parameters: list[dict[str, Any]]
    probability: FloatArray | None = None
    choices: dict[str, Choices] = field(default_factory=dict)

    def without(self, *systems: str) -> Run:
        """Return the same without some systems."""

        def kept(table: dict[str, Any]) -> dict[str, Any]:
            return {name: of for name, of in table.items() if name not in systems}

        return replace(
            self,
            scores=kept(self.scores),
            thresholds=kept(self.thresholds),
            choices=kept(self.choices),
        )

    def flagged(self, system: str) -> NDArray[np.bool_]:
        """Return which posts' score reaches the threshold of their fold."""
        return self.scores[system] >= self.thresholds[system]

    def ranks(self, system: str) -> FloatArray:
        """Return scores that can be ranked across folds; NaN where none tests a post.

        See `mmevent.evaluation.spread.comparable`.
        """
        tested, ranks = self.fold >= 0, np.full(len(self.fold), np.nan)
        choices = self.choices.get(system)
        ranks[tested] = comparable(
            self.scores[system][tested],
            self.fold[tested],
            None if choices is None else choices.take(tested),
        )
        return ranks


def estimate(
    job: Job, folds: Folds, kind: str | None
) -> tuple[Evidence, IntArray, Run | None]:
    """Return out-of-fold probabilities of all posts, their folds, and the scores.

    In a nested estimate the rule of a fold is tuned by an inner cross-validation of its
    training part. In a cross-fitted one it is tuned on the out-of-fold probabilities of
    the other folds, or of the earlier ones if folds run forward in time.
    """
    outer, inner = folds.outer, folds.inner if kind == NESTED else []
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
                tested = evidence.with_second(chosen.p_text_2)
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
    """Add the second stage's out-of-fold probabilities, from the same folds.

    It learns from candidates that a rule, tuned on all of these folds, selects. The
    `last` task, if there is one, predicts the test part of an outer fold.
    """
    rows = np.concatenate([task.test for task in folds])
    event = job.labels.event[rows]
    if job.second is None or not has_both(event):
        return evidence
    found = tune_first(evidence.take(rows), job.labels.take(rows), job.search)
    labels = job.labels
    kept = candidates(evidence, labels.event, labels.known, rows, found.rule)
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
    results = run_tasks(
        {TEXT: job.second.branch},
        job.material,
        job.labels.second,
        tasks,
        classes=job.classes,
        n_jobs=job.n_jobs,
        verbose=job.verbose,
    )
    second = to_evidence(merge(results), job.material, pool=found.rule.pool)
    return evidence.with_second(second.p_text)


def _second_rule(systems: Mapping[str, System]) -> dict[str, Any]:
    """Return the parameters of both stages for the table; none without two."""
    rule = systems[BOTH].rule if BOTH in systems else None
    if not isinstance(rule, TwoStageRule):
        return {}
    return {
        "threshold_1": rule.first.threshold,
        **{
            f"{name}_2": value
            for name, value in asdict(rule.second).items()
            if name not in ("pool", "image")
        },
    }


class _Collector:
    """Collects the scores of the posts that each fold tests."""

    def __init__(self, job: Job, folds: Folds, fold: IntArray) -> None:
        self.job, self.folds = job, folds
        self.fold = fold.copy()
        self.scores: dict[str, FloatArray] = {}
        self.thresholds: dict[str, FloatArray] = {}
        self.choices: dict[str, dict[int, tuple[FloatArray, float]]] = {}
        self.parameters: list[dict[str, Any]] = []
        self.probability = np.full(len(fold), np.nan)

    def add(
        self, k: int, chosen_on: Evidence, rows: IntArray, task: Task, tested: Evidence
    ) -> None:
        """Tune all systems on some rows, and score the posts that fold k tests.

        `tested` has the out-of-fold probabilities of all posts.
        """
        event = self.job.labels.event[rows]
        if not has_both(event):
            # The first block in time has no earlier posts to tune on.
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
                **found.parameters(),
                "threshold": systems[FUSED].threshold,
                **_second_rule(systems),
            }
        )
        for name, system in systems.items():
            self._score(k, name, system, tested, task.test)
        if job.calibration is not None:
            rule = systems[whole(systems)].rule
            assert rule is not None
            curve = fit_maps(
                job.calibration, rule.score(seen), event, cases_of(seen, rule)
            )
            self.probability[task.test] = curve.predict(
                rule.score(unseen), cases_of(unseen, rule)
            )

    def _score(
        self, k: int, name: str, system: System, evidence: Evidence, rows: IntArray
    ) -> None:
        for table in (self.scores, self.thresholds):
            table.setdefault(name, np.full(len(self.fold), np.nan))
        score, job = system.score(evidence), self.job
        threshold = threshold_on(system, score[rows], job.policy, job.corpus_size)
        self.scores[name][rows], self.thresholds[name][rows] = score[rows], threshold
        self.choices.setdefault(name, {})[k] = score, threshold

    def finish(self) -> Run:
        """Return the run; a system that a fold could not tune flags nothing there."""
        if not self.scores:
            raise InputError(
                "no fold has earlier posts to tune the rule on: expected posts of both "
                "classes in the folds before it, got none for any fold. Raise "
                "n_splits, or use estimate='nested'."
            )
        for name, scores in self.scores.items():
            untuned = np.isnan(scores) & (self.fold >= 0)
            scores[untuned], self.thresholds[name][untuned] = 0.0, FLAG_ALL
        folds, nothing = np.unique(self.fold[self.fold >= 0]), np.zeros(len(self.fold))
        return Run(
            self.folds.seed,
            self.fold,
            self.scores,
            self.thresholds,
            self.parameters,
            None if self.job.calibration is None else self.probability,
            {
                name: Choices.of([each.get(k, (nothing, FLAG_ALL)) for k in folds])
                for name, each in self.choices.items()
            },
        )


def run_tasks(
    branches: Mapping[str, Any],
    material: Material,
    labels: Labels,
    tasks: Sequence[Task],
    *,
    classes: Sequence[Any] = (0, 1),
    n_jobs: int | None = None,
    verbose: bool = False,
) -> list[dict[str, NDArray[np.float64]]]:
    """Run each task with each branch: one probability per item of the tested posts.

    Each array is over all items of the branch's side, NaN outside the tested posts.
    `classes` are the caller's labels of no event and of an event, which a frozen
    branch may have been fitted with; a branch that is fitted here learns 0 and 1.
    """

    def run(task: Task) -> dict[str, NDArray[np.float64]]:
        return {name: probabilities(name, branch, task) for name, branch in named}

    def probabilities(name: str, branch: Any, task: Task) -> NDArray[np.float64]:
        side = material.side(name)
        fitted = fit_branch(branch, side, task.train, labels)
        tested = side.of(task.test, material.n_posts)
        p = np.full(len(side.post), np.nan)
        p[tested] = predict_branch(fitted, side, tested, classes=classes)
        return p

    named = list(branches.items())
    bar = tqdm(tasks, desc="Fitting folds", unit="fold", disable=not verbose)
    with one_blas_thread():
        results: list[dict[str, NDArray[np.float64]]] = Parallel(
            n_jobs=n_jobs, prefer="threads"
        )(delayed(run)(task) for task in bar)
    return results


def merge(
    results: Sequence[dict[str, NDArray[np.float64]]],
) -> dict[str, NDArray[np.float64]]:
    """Join the results of several tasks, which test different posts."""
    merged = {name: p.copy() for name, p in results[0].items()}
    for result in results[1:]:
        for name, p in result.items():
            merged[name] = np.where(np.isnan(p), merged[name], p)
    return merged


def to_evidence(
    probabilities: Mapping[str, NDArray[np.float64]],
    material: Material,
    *,
    pool: str = "auto",
) -> Evidence:
    """Turn probabilities of items into evidence of posts."""
    p_text = np.full(material.n_posts, np.nan)
    if TEXT in probabilities:
        p_text[material.text.post] = probabilities[TEXT]
    images = {name: p for name, p in probabilities.items() if name != TEXT}
    none = np.full(len(material.image.post), np.nan)
    if not images and pool == "auto":
        pool = "max"
    return Evidence.from_images(
        p_text, images or {"image": none}, material.image.post, pool=pool
    )
