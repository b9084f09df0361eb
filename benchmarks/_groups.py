"""Posts that come in groups, and how often a promise about them is broken.

A share `icc` of the posts of a group have the label of the group, and all of their
evidence but for a share 1 - icc of its variance: with 1, all posts of a group are
copies. Where sizes differ, posts of large groups look like events more often than they
are, so that a test that counts groups errs.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mmevent.rule import promises
from mmevent.rule.fusion import Evidence
from mmevent.rule.search import Search, tune_rule

PREVALENCE, SHARE_IMAGES, FEATURES, FOLDS = 0.3, 0.5, 5, 5
POPULATION = 40_000  # groups, of each of which one post stands for all
ICCS = (0.2, 0.5, 1.0)
POLICIES = ("precision>=0.8", "recall>=0.8")
FloatArray = NDArray[np.float64]


class Posts(NamedTuple):
    """Labels, groups, features of texts and of images, and which posts have one."""

    y: NDArray[np.bool_]
    group: NDArray[np.intp]
    text: FloatArray
    image: FloatArray
    has_image: NDArray[np.bool_]


class Setting(NamedTuple):
    """How posts are grouped, and how far apart events and others lie."""

    equal: bool
    icc: float
    separation: float = 2.4


def sizes(setting: Setting, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw sizes of groups: 10 posts each, or 1 to some hundred, 5 in the middle."""
    if setting.equal:
        return np.full(n, 10)
    return np.ceil(rng.lognormal(np.log(4.5), 1.0, n)).astype(np.intp)


def draw(setting: Setting, n_groups: int, rng: np.random.Generator) -> Posts:
    """Draw whole groups."""
    size = sizes(setting, n_groups, rng)
    group = np.repeat(np.arange(n_groups), size)
    follows = rng.random(len(group)) < np.sqrt(setting.icc)
    y = np.where(
        follows,
        (rng.random(n_groups) < PREVALENCE)[group],
        rng.random(len(group)) < PREVALENCE,
    )

    def features() -> FloatArray:
        shared = rng.normal(size=(n_groups, FEATURES))[group]
        own = rng.normal(size=(len(group), FEATURES))
        x = np.sqrt(setting.icc) * shared + np.sqrt(1 - setting.icc) * own
        x[:, 0] += setting.separation * y
        if not setting.equal:
            x[:, 0] += 0.6 * ((size > 10)[group] & ~y)
        return x

    has_image = (rng.random(n_groups) < SHARE_IMAGES)[group]
    return Posts(y, group, features(), features(), has_image)


def draw_corpus(setting: Setting) -> tuple[Posts, FloatArray]:
    """Draw one post of each of many groups, and the sizes of these groups."""
    posts = draw(setting, POPULATION, np.random.default_rng(10**6))
    _, first, size = np.unique(posts.group, return_index=True, return_counts=True)
    return Posts(*(values[first] for values in posts)), size.astype(np.float64)


def true_head(x: FloatArray, setting: Setting) -> FloatArray:
    """Give the probability of an event for who knows how features are drawn."""
    d = setting.separation
    odds = np.log(PREVALENCE / (1 - PREVALENCE))
    return np.asarray(expit(d * x[:, 0] - d**2 / 2 + odds))


def fitted_head(x: FloatArray, y: NDArray[np.bool_]) -> tuple[FloatArray, float]:
    """Fit linear discriminant analysis; give its weights and its offset."""
    means = np.stack([x[~y].mean(axis=0), x[y].mean(axis=0)])
    covariance = np.cov((x - means[y.astype(int)]).T) + 0.05 * np.eye(FEATURES)
    weight = np.linalg.solve(covariance, means[1] - means[0])
    offset = np.log(y.mean() / (1 - y.mean())) - means.mean(axis=0) @ weight
    return weight, float(offset)


def evidence_of(posts: Posts, text: FloatArray, image: FloatArray) -> Evidence:
    """Give probabilities of texts and images as the rule takes them."""
    rows = np.flatnonzero(posts.has_image)
    return Evidence.from_images(text, image[rows], rows)


def held_out_run(
    posts: Posts, corpus: Posts, setting: Setting, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Give scores of a detector that never saw the posts: the mean of both sides."""

    def score(some: Posts) -> FloatArray:
        p, q = (true_head(x, setting) for x in (some.text, some.image))
        return np.where(some.has_image, (p + q) / 2, p)

    return score(posts), score(corpus)


def out_of_fold_run(
    posts: Posts, corpus: Posts, setting: Setting, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Fit heads in grouped folds and the rule on all posts; score a corpus anew."""
    rng = np.random.default_rng(seed)
    fold = rng.permutation(posts.group.max() + 1)[posts.group] % FOLDS
    probabilities, everyone = [], []
    for x, z in ((posts.text, corpus.text), (posts.image, corpus.image)):
        p = np.empty(len(x))
        for k in range(FOLDS):
            weight, offset = fitted_head(x[fold != k], posts.y[fold != k])
            p[fold == k] = expit(x[fold == k] @ weight + offset)
        weight, offset = fitted_head(x, posts.y)
        probabilities.append(p)
        everyone.append(expit(z @ weight + offset))
    evidence = evidence_of(posts, *probabilities)
    search = Search(n_trials=5, random_state=seed)
    rule = tune_rule(evidence, posts.y, search=search).rule
    return rule.score(evidence), rule.score(evidence_of(corpus, *everyone))


WAYS = {"hold-out": held_out_run, "out of fold": out_of_fold_run}


def simulate(
    setting: Setting, n_groups: int, way: str, policies: Sequence[str], runs: int
) -> list[tuple[float, float, float]]:
    """Give for each policy how often it is attained and broken, and the mean share."""
    corpus, size = draw_corpus(setting)
    reached: dict[str, list[float]] = {policy: [] for policy in policies}
    for seed in range(runs):
        posts = draw(setting, n_groups, np.random.default_rng(seed))
        score, everyone = WAYS[way](posts, corpus, setting, seed)
        labelled = promises.Evidence.of(score, posts.y, posts.group)
        for policy in policies:
            kind, target = policy.split(">=")
            cut = promises.assured_cut(kind, float(target), labelled)
            if cut is None:
                continue
            flagged = everyone >= labelled.side.threshold(cut)
            of = flagged if kind == "precision" else corpus.y
            share = size @ (flagged & corpus.y) / (size @ of)
            reached[policy].append(float(share))
    rows = []
    for policy in policies:
        target, share = float(policy.split(">=")[1]), np.array(reached[policy])
        rows.append(
            (
                len(share) / runs,
                float((share < target).sum() / runs),
                float(share.mean()) if len(share) else np.nan,
            )
        )
    return rows


def rows_of_cell(
    way: str, setting: Setting, *, n_groups: int, runs: int
) -> list[list[Any]]:
    """Give a row for each policy."""
    rows = []
    found = simulate(setting, n_groups, way, POLICIES, runs)
    for policy, (attained, broken, share) in zip(POLICIES, found, strict=True):
        error = float(np.sqrt(broken * (1 - broken) / runs))
        size = "10 posts" if setting.equal else "1 to some hundred"
        cells = [way, size, setting.icc, policy, attained, broken, error]
        rows.append([*cells, None if np.isnan(share) else share])
        print(rows[-1], flush=True)
    return rows


def grouped_table(n_groups: int, runs: int, jobs: int) -> dict[str, Any]:
    """Give a row for each way, size, share of what is common, and policy."""
    cells = [
        (way, Setting(equal, icc))
        for way in WAYS
        for equal in (True, False)
        for icc in ICCS
    ]
    with ProcessPoolExecutor(jobs) as pool:
        run = partial(rows_of_cell, n_groups=n_groups, runs=runs)
        rows = list(chain.from_iterable(pool.map(run, *zip(*cells, strict=True))))
    return {
        "caption": f"{n_groups} groups, {runs} runs of each setting",
        "columns": [
            *("threshold chosen", "group size", "ICC", "promised"),
            *("attained", "violated", "Monte Carlo error", "mean share"),
        ],
        "rows": rows,
    }
