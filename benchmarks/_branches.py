"""Branches compared on the same folds: each alone, and fused with another."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline

from benchmarks._estimates import plain
from mmevent.encoders.cache import shared_memo
from mmevent.evaluation.folds import fold_numbers
from mmevent.evaluation.metrics import Resampling
from mmevent.evaluation.nested import merge, run_tasks, to_evidence
from mmevent.evaluation.sample import Sample
from mmevent.posts.prepared import TEXT, Prepared
from mmevent.rule.fusion import Evidence
from mmevent.rule.search import Search, tune_rule

FloatArray = NDArray[np.float64]


def words() -> Any:
    """Give a branch of words and pairs of words."""
    return make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2),
        LogisticRegression(C=3.0, class_weight="balanced", max_iter=1000),
    )


def characters() -> Any:
    """Give a branch of runs of two to five characters."""
    return make_pipeline(
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2
        ),
        LogisticRegression(C=3.0, class_weight="balanced", max_iter=1000),
    )


class OutOfFold:
    """Out-of-fold probabilities of several branches, on the same five grouped folds."""

    def __init__(self, posts: pd.DataFrame, y: pd.Series, root: Any, seed: int) -> None:
        self.seed = seed
        self.prepared = Prepared.of(
            posts, columns=None, image_root=root, allow_outside_root=False
        )
        sample = Sample.of(self.prepared, y.to_numpy() == 1, None)
        self.labels = sample.labels
        self.event, self.group = sample.labels.event, sample.labels.group
        self.tasks = sample.fold_maker(5, None, seed).make().outer
        self.fold = fold_numbers(self.tasks, len(posts))
        self.p_text: dict[str, FloatArray] = {}
        self.p_image: dict[str, FloatArray] = {}
        self.minutes: dict[str, float] = {}

    def add(self, name: str, *, text: Any = None, image: Any = None) -> None:
        """Fit a branch in every fold, and predict what the fold tests."""
        start = time.perf_counter()
        side, branch = (TEXT, text) if image is None else ("image", image)
        uncached = clone(branch)
        if "cache" in uncached.get_params():
            uncached.set_params(cache=None)  # the minutes are its own
        with shared_memo():
            results = run_tasks(
                {side: uncached}, self.prepared.material, self.labels, self.tasks
            )
        self.minutes[name] = (time.perf_counter() - start) / 60
        evidence = to_evidence(merge(results), self.prepared.material, pool="max")
        if side == TEXT:
            self.p_text[name] = evidence.p_text
        else:
            self.p_image[name] = evidence.pooled["image", "max"]
        print(f"{name}: {self.minutes[name]:.1f} minutes", flush=True)

    def system(self, text: str = "", image: str = "") -> System:
        """Tune the rule for each fold on the others, and score what it tests."""
        missing = np.full(len(self.event), np.nan)
        evidence = Evidence(
            self.p_text.get(text, missing),
            {("image", "max"): self.p_image.get(image, missing)},
        )
        score, threshold = missing.copy(), missing.copy()
        for k in np.unique(self.fold):
            others, tested = self.fold != k, np.flatnonzero(self.fold == k)
            search = Search(random_state=self.seed)
            chosen_on = evidence.take(np.flatnonzero(others))
            rule = tune_rule(chosen_on, self.event[others], search=search).rule
            score[tested] = rule.score(evidence.take(tested))
            threshold[tested] = rule.threshold
        return System(score, score >= threshold)

    def alone(self) -> dict[str, System]:
        """Give each branch by itself."""
        texts = {name: self.system(text=name) for name in self.p_text}
        return texts | {name: self.system(image=name) for name in self.p_image}


@dataclass
class System:
    """Scores of posts, and which of them are flagged."""

    score: FloatArray
    flagged: NDArray[np.bool_]


def figures(systems: Mapping[str, System], of: OutOfFold) -> dict[str, Any]:
    """Give F1, average precision and AUC of each system, for all resamples."""
    resampling = Resampling(of.group)
    replicates = {
        name: {
            "F1": resampling.ratios(system.flagged, of.event)["f1"],
            "average precision": resampling.average_precision(system.score, of.event),
            "AUC": areas(resampling, system.score, of.event, of.fold),
        }
        for name, system in systems.items()
    }
    return {"resampling": resampling, "replicates": replicates}


def areas(
    resampling: Resampling,
    score: FloatArray,
    event: NDArray[np.bool_],
    fold: NDArray[np.intp],
) -> FloatArray:
    """Area under the ROC curve within each fold, averaged, of each resample."""
    per_fold = []
    for k in np.unique(fold):
        positive = np.flatnonzero((fold == k) & event)
        negative = np.flatnonzero((fold == k) & ~event)
        ahead = score[positive][:, None] - score[negative]
        wins = (ahead > 0) + 0.5 * (ahead == 0)
        a = resampling.counts[:, resampling.group[positive]]
        b = resampling.counts[:, resampling.group[negative]]
        pairs = a.sum(axis=1) * b.sum(axis=1)
        per_fold.append((a @ wins * b).sum(axis=1) / pairs)
    return np.mean(per_fold, axis=0)


def tables(
    systems: Mapping[str, System], of: OutOfFold, reference: str, caption: str
) -> list[dict[str, Any]]:
    """Give the figures of each system, and its paired differences to one of them."""
    found = figures(systems, of)
    resampling, replicates = found["resampling"], found["replicates"]
    basis = resampling.basis(of.event)
    names = list(replicates[reference])
    rows, differences = [], []
    for name, system in systems.items():
        own: list[Any] = [name, of.minutes.get(name)]
        gain: list[Any] = [name]
        for figure in names:
            values = replicates[name][figure]
            own += _cells(resampling.interval(values, basis))
            more = values - replicates[reference][figure]
            gain += _cells(resampling.difference(more, basis))
        own.append(float(accuracy_score(of.event, system.flagged)))
        rows.append(own)
        if name != reference:
            differences.append(gain)
    pairs = [part for figure in names for part in (figure, "95%")]
    return [
        {
            "caption": f"{caption}: cross-fitted, five grouped folds of seed {of.seed}",
            "columns": ["branch", "minutes of all folds", *pairs, "accuracy"],
            "rows": rows,
        },
        {
            "caption": f"{caption}: minus {reference}, paired",
            "columns": ["branch", *pairs],
            "rows": differences,
        },
    ]


def _cells(interval: Any) -> list[Any]:
    return [plain(interval.value), [plain(interval.low), plain(interval.high)]]
