"""Made-up studies for the coverage of intervals: posts, detector, and its population.

Two kinds of branches. "given" probabilities are drawn, the same whatever a branch was
trained on: what varies is the rule. "learned" ones come from logistic regressions that
are fitted on drawn features, in every fold anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from mmevent.branches.fitting import fit_branch, predict_branch
from mmevent.evaluation.baselines import System, fit_systems, tune_first
from mmevent.evaluation.folds import Folds, Task
from mmevent.evaluation.nested import Job, Run, estimate, to_evidence
from mmevent.posts.labels import Labels
from mmevent.posts.prepared import Material, Side
from mmevent.rule.fusion import Evidence
from mmevent.rule.search import Search

N_FOLDS, N_INNER, N_FEATURES, N_TRIALS = 5, 3, 12, 12
SHARE_IMAGES, SHARE_GIANT, SHARE_COPIES = 0.6, 0.3, 0.3
POPULATION = 60_000


class Given(ClassifierMixin, BaseEstimator):
    """A branch whose items are its own probabilities."""

    def fit(self, X: Any, y: Any) -> Given:  # noqa: N803
        """Learn nothing."""
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Give the items."""
        p = np.asarray(X, dtype=float)
        return np.column_stack([1 - p, p])


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
    group: NDArray[np.intp]
    text: NDArray[np.float64]
    image: NDArray[np.float64]
    has_image: NDArray[np.bool_]

    def material(self) -> Material:
        """Give the items of both branches."""
        n, post = len(self.event), np.flatnonzero(self.has_image)
        ones = np.ones(n)
        return Material(
            n,
            Side(list(self.text), np.arange(n), ones),
            Side(list(self.image[post]), post, ones[post]),
        )


def groups_of(study: Study, rng: np.random.Generator) -> NDArray[np.intp]:
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
    group: NDArray[np.intp],
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


def population(study: Study, rng: np.random.Generator) -> Posts:
    """Draw single posts, half of them events, to be weighted by prevalence."""
    event = np.arange(POPULATION) % 2 == 0
    return draw(study, np.arange(POPULATION), rng, event)


def folds_of(
    group: NDArray[np.intp],
    event: NDArray[np.bool_],
    rows: NDArray[np.intp],
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


class Result(NamedTuple):
    """A run of an estimate, and the systems of the fitted detector."""

    run: Run | None
    systems: dict[str, System]
    branches: dict[str, Any]


def fit(study: Study, posts: Posts, kind: str | None, seed: int) -> Result:
    """Fit a detector as `EventDetector` does, with its estimate."""
    rng = np.random.default_rng(seed)
    rows = np.arange(len(posts.event))
    outer = folds_of(posts.group, posts.event, rows, N_FOLDS, rng)
    inner = [folds_of(posts.group, posts.event, t.train, N_INNER, rng) for t in outer]
    branch: Any = Given()
    if study.learned:
        branch = LogisticRegression(C=0.05)
    search = Search(n_trials=N_TRIALS, random_state=seed)
    labels = Labels(posts.event, posts.group)
    branches = {"text": branch, "image": branch}
    job = Job(branches, posts.material(), labels, search)
    folds = Folds(outer, inner, seed, False, False, 0, ())
    evidence, _, run = estimate(job, folds, kind)
    rule = tune_first(evidence, labels, search).rule
    systems = fit_systems(evidence, labels, search, "f1", rule)
    fitted = {
        name: fit_branch(branch, job.material.side(name), rows, labels)
        for name, branch in branches.items()
    }
    return Result(run, systems, fitted)


def evidence_of(result: Result, posts: Posts) -> Evidence:
    """Let the fitted branches judge other posts."""
    material = posts.material()
    found = {}
    for name, branch in result.branches.items():
        side = material.side(name)
        found[name] = predict_branch(branch, side, np.arange(len(side.post)))
    return to_evidence(found, material)
