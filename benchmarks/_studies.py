"""Made-up studies for the coverage of intervals: posts, detector, and its population.

Two kinds of branches. "given" probabilities are drawn, the same whatever a branch was
trained on: what varies is the rule. "learned" ones come from logistic regressions that
are fitted on drawn features, in every fold anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from mmevent.evaluation.baselines import System
from mmevent.evaluation.folds import Task, fold_numbers
from mmevent.evaluation.nested import NESTED, Run
from mmevent.evaluation.spread import Choices
from mmevent.rule.fusion import Evidence, Rule
from mmevent.rule.search import Search, Space, best_of
from mmevent.rule.smoothing import BEST_THRESHOLD

HELD_OUT = "held out"
N_TRAINING = 400
N_FOLDS, N_INNER, N_FEATURES = 5, 3, 12
SHARE_IMAGES, SHARE_GIANT, SHARE_COPIES = 0.6, 0.3, 0.3
WEIGHTS = (0.0, 0.2, 0.35, 0.5, 0.65, 0.99)
POPULATION = 200_000  # its own error is the same in all runs, and must be small
KEY = ("image", "max")

IntArray = NDArray[np.intp]
Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Study:
    """Settings of a study: how many posts, how they hang together, what is estimated.

    `icc` is the share of the variance of labels and scores that lies between groups.
    """

    way: str
    n_posts: int
    prevalence: float
    groups: str = "single posts"
    icc: float = 0.3
    learned: bool = False
    separation: tuple[float, float] = (1.5, 1.6)

    @property
    def name(self) -> str:
        """Name of the cell."""
        return f"{self.groups}, {'learned' if self.learned else 'given'} branches"


class Posts(NamedTuple):
    """Posts with the evidence of both branches, and which have an image."""

    event: NDArray[np.bool_]
    group: IntArray
    text: NDArray[np.float64]
    image: NDArray[np.float64]
    has_image: NDArray[np.bool_]


def groups_of(study: Study, rng: np.random.Generator) -> IntArray:
    """Give the group of each post."""
    n = study.n_posts
    group = np.arange(n)
    if study.groups == "one giant group":
        group[: int(SHARE_GIANT * n)] = 0
    elif study.groups == "copies":
        again = rng.random(n) < SHARE_COPIES
        group[again] = rng.integers(0, n, int(again.sum()))
    elif study.groups.endswith("authors"):
        n_authors = int(study.groups.split()[0])
        share = rng.lognormal(0, 1, n_authors)
        some = rng.choice(n_authors, n - n_authors, p=share / share.sum())
        group = np.append(np.arange(n_authors), some)
    elif study.groups.startswith("groups of"):
        group = np.arange(n) // int(study.groups.split()[-1])
    return np.unique(group, return_inverse=True)[1]


def draw(
    study: Study,
    group: IntArray,
    rng: np.random.Generator,
    event: NDArray[np.bool_] | None = None,
) -> Posts:
    """Draw posts of these groups, whose labels may be given."""
    same = {"single posts": 0.0, "copies": 1.0}.get(study.groups, study.icc)
    n_groups = int(group.max()) + 1

    def noise(*shape: int) -> NDArray[np.float64]:
        between = rng.normal(size=(n_groups, *shape))[group]
        within = rng.normal(size=(len(group), *shape))
        return np.sqrt(same) * between + np.sqrt(1 - same) * within

    if event is None:
        event = noise() < norm.ppf(study.prevalence)
    has_image = rng.random(n_groups if same == 1 else len(group)) < SHARE_IMAGES
    if same == 1:
        has_image = has_image[group]
    sides = []
    for separation in study.separation:
        if study.learned:
            x = noise(N_FEATURES)
            x[:, 0] += separation * event
        else:
            z = noise() + separation * (event - 0.5)
            x = expit(logit(study.prevalence) + separation * z)
        sides.append(x)
    return Posts(event, group, sides[0], sides[1], has_image)


@lru_cache(maxsize=1)
def population(study: Study) -> Posts:
    """Draw single posts, a fifth of them events, to be weighted by prevalence.

    The others are more, since at a low prevalence each of them weighs most.
    """
    event = np.arange(POPULATION) % 5 == 0
    return draw(study, np.arange(POPULATION), np.random.default_rng(1), event)


def folds_of(
    group: IntArray,
    event: NDArray[np.bool_],
    rows: IntArray,
    n_folds: int,
    rng: np.random.Generator,
) -> list[Task]:
    """Make folds of whole groups, as even in events and in posts as a quick way can."""
    found, local = np.unique(group[rows], return_inverse=True)
    n_events = np.bincount(local, event[rows], len(found))
    size = np.bincount(local)
    order = np.lexsort((rng.random(len(found)), -size, -n_events))
    fold, load = np.empty(len(found), dtype=int), np.zeros((n_folds, 2))
    scale = np.maximum([n_events.sum(), size.sum()], 1) / [3, 1]
    for g in order:
        k = int(np.argmin((load / scale).sum(axis=1)))
        fold[g], load[k] = k, load[k] + (n_events[g], size[g])
    return [
        Task(rows[fold[local] != k], rows[fold[local] == k]) for k in range(n_folds)
    ]


def draw_usable(study: Study, n_least: int, rng: np.random.Generator) -> Posts:
    """Draw posts again until both classes are in enough groups."""
    while True:
        posts = draw(study, groups_of(study, rng), rng)
        if all(
            len(np.unique(posts.group[posts.event == label])) >= n_least
            for label in (True, False)
        ):
            return posts


class Detector(NamedTuple):
    """Fitted branches (none where probabilities are given), and systems by name."""

    branches: list[LogisticRegression]
    systems: dict[str, System]

    def judge(self, posts: Posts) -> Evidence:
        """Give the probabilities of posts that the branches were not fitted on."""
        return evidence_of(posts, [_predict(self.branches, posts)])


def _fit_branches(study: Study, posts: Posts, rows: IntArray) -> list[Any]:
    if not study.learned:
        return []
    shown = rows[posts.has_image[rows]]
    event = posts.event
    return [
        LogisticRegression(C=0.05).fit(posts.text[rows], event[rows]),
        LogisticRegression(C=0.05).fit(posts.image[shown], event[shown]),
    ]


def _predict(branches: list[Any], posts: Posts) -> Pair:
    if not branches:
        return posts.text, posts.image
    text, image = branches
    return text.predict_proba(posts.text)[:, 1], image.predict_proba(posts.image)[:, 1]


def evidence_of(posts: Posts, predicted: list[Pair], fold: Any = 0) -> Evidence:
    """Take each post's probabilities from the branches of its fold."""
    text, image = (
        np.stack(p)[fold, np.arange(len(posts.event))]
        for p in zip(*predicted, strict=True)
    )
    return Evidence(text, {KEY: np.where(posts.has_image, image, np.nan)})


def systems_of(evidence: Evidence, event: NDArray[np.bool_]) -> dict[str, System]:
    """Tune the rule, over a grid of weights in place of Optuna, and two baselines."""
    space = Space.of(evidence, event, Search())
    found = [space.best(w, *KEY) for w in WEIGHTS]
    rule = best_of([r for r, _ in found], [value for _, value in found])

    def tuned(score: Any) -> System:
        return System(score, BEST_THRESHOLD["smooth"](score(evidence), event)[0])

    average = Rule(alpha=1.0, beta=1.0, pool=KEY[1], threshold=1.0)
    return {
        "text only": tuned(lambda e: e.p_text),
        "equal average": tuned(average.score),
        "fused": System(rule.score, rule.threshold, rule),
    }


def out_of_fold(study: Study, posts: Posts, tasks: list[Task]) -> Evidence:
    """Give the probabilities of each fold's test posts by branches of the others."""
    fold = fold_numbers(tasks, len(posts.event))
    branches = [_fit_branches(study, posts, task.train) for task in tasks]
    return evidence_of(posts, [_predict(b, posts) for b in branches], fold)


def fit(study: Study, posts: Posts, seed: int) -> tuple[Detector, Run]:
    """Fit a detector as `EventDetector` does, with its estimate."""
    rng, n = np.random.default_rng(seed), len(posts.event)
    rows, event = np.arange(n), posts.event
    outer = folds_of(posts.group, event, rows, N_FOLDS, rng)
    fold, evidence = fold_numbers(outer, n), out_of_fold(study, posts, outer)
    chosen = []
    for task in outer:
        chosen_on = evidence
        if study.way == NESTED:
            inner = folds_of(posts.group, event, task.train, N_INNER, rng)
            chosen_on = out_of_fold(study, posts, inner)
        chosen.append(systems_of(chosen_on.take(task.train), event[task.train]))
    final = systems_of(evidence, event)
    choices = {
        name: Choices.of([(s[name].score(evidence), s[name].threshold) for s in chosen])
        for name in final
    }
    run = Run(
        seed,
        fold,
        {name: of.score[fold, rows] for name, of in choices.items()},
        {name: of.threshold[fold] for name, of in choices.items()},
        [],
        choices=choices,
    )
    return Detector(_fit_branches(study, posts, rows), final), run


class Fit(NamedTuple):
    """A fitted detector as its estimate sees it, and what is true of it.

    `truth` has the figures of each system in the population, by name.
    """

    run: Run
    event: NDArray[np.bool_]
    group: IntArray
    truth: dict[str, dict[str, float]]


def true_figures(
    score: NDArray[np.float64], threshold: float, posts: Posts, prevalence: float
) -> dict[str, float]:
    """Give the figures of a system in the population, at its prevalence."""
    flagged, event = score >= threshold, posts.event
    recall = float(flagged[event].mean())
    rate = float(flagged[~event].mean())
    n_flagged = prevalence * recall + (1 - prevalence) * rate
    order = np.argsort(-score)
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    found = np.cumsum(event[order])[last] / event.sum()
    others = (last + 1 - found * event.sum()) / (~event).sum()
    at = prevalence * found / (prevalence * found + (1 - prevalence) * others)
    return {
        "f1": 2 * prevalence * recall / (n_flagged + prevalence),
        "precision": prevalence * recall / n_flagged if n_flagged else np.nan,
        "recall": recall,
        "average_precision": float((np.diff(found, prepend=0) * at).sum()),
    }


def held_out_run(detector: Detector, posts: Posts) -> Run:
    """Let the fitted detector and its baselines judge posts that it never saw."""
    evidence, n = detector.judge(posts), len(posts.event)
    systems = detector.systems
    scores = {name: system.score(evidence) for name, system in systems.items()}
    thresholds = {name: np.full(n, s.threshold) for name, s in systems.items()}
    return Run(None, np.zeros(n, dtype=np.intp), scores, thresholds, [])


def fitted(study: Study, seed: int) -> Fit:
    """Draw a study and fit a detector, which the whole population then judges."""
    rng = np.random.default_rng(seed)
    if study.way == HELD_OUT:
        training = replace(study, n_posts=N_TRAINING, groups="single posts")
        detector, _ = fit(training, draw_usable(training, N_FOLDS + 1, rng), seed)
        posts = draw_usable(study, 1, rng)
        run = held_out_run(detector, posts)
    else:
        posts = draw_usable(study, N_FOLDS + 1, rng)
        detector, run = fit(study, posts, seed)
    everyone = population(study)
    evidence = detector.judge(everyone)
    truth = {
        name: true_figures(
            *(system.score(evidence), system.threshold, everyone, study.prevalence)
        )
        for name, system in detector.systems.items()
    }
    return Fit(run, posts.event, posts.group, truth)
