"""Two stages on crises, in the paper's protocol: benchmarks.f1 --data crisislex.

Stage 1 learns informative posts of crises against posts of another collection that are
off-topic. It is tested on posts that also contain the look-alikes: posts of the crises
that are not informative, or not related. Stage 2 learns from their labels, among what
stage 1 flags. The control is one classifier that learns from the same labels at once.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GroupKFold

from benchmarks._branches import words
from benchmarks._common import data_folder, model_folder
from benchmarks._estimates import plain
from mmevent import EventDetector, TextClassifier
from mmevent.detector.settings import Settings
from mmevent.encoders.cache import shared_memo
from mmevent.evaluation.baselines import BOTH, FUSED, STAGE_1
from mmevent.evaluation.metrics import Resampling
from mmevent.evaluation.nested import NESTED, Run, estimate

N_BACKGROUND = 9000
EVENT = "Related and informative"
STAGE_1_ALONE, ONE = "stage 1 alone", "one classifier"
# What tells the two collections apart, and no event from another post.
MARKS = r"\bRT\b|https?://\S+|@\w+|\\"


def ensemble() -> Any:
    """Give a branch of words, and of MiniLM's embeddings."""
    head = TextClassifier(model_folder("minilm"), random_state=0)
    return VotingClassifier([("words", words()), ("minilm", head)], voting="soft")


def read(*, stripped: bool, n_posts: int | None) -> pd.DataFrame:
    """Give posts with y and y_stage1; of the latter, look-alikes have none."""
    folder = data_folder("crisislex")
    crises = pd.read_parquet(folder / "t26.parquet")
    other = pd.read_parquet(folder / "t6.parquet")
    other = other[other["label"] == "off-topic"].sample(N_BACKGROUND, random_state=0)
    crises["y"] = (crises["label"] == EVENT).astype(int)
    crises["y_stage1"] = np.where(crises["y"] == 1, 1.0, np.nan)
    posts = pd.concat([crises, other.assign(y=0, y_stage1=0.0)], ignore_index=True)
    posts["background"] = posts["y_stage1"] == 0
    if stripped:
        text = posts["text"].str.replace(MARKS, " ", regex=True)
        posts["text"] = text.str.split().str.join(" ")
    if n_posts:
        posts = posts.sample(n_posts, random_state=0).reset_index(drop=True)
    return posts


def run_nested(
    posts: pd.DataFrame, branch: Any, *, by_crisis: bool, two_stages: bool, seed: int
) -> tuple[Run, NDArray[np.intp]]:
    """Give the nested run of a detector, and the group of each post."""
    detector = EventDetector(
        text=branch,
        image=None,
        cv=GroupKFold(6) if by_crisis else 5,
        inner_cv=3,
        second_stage=two_stages,
        n_jobs=2,
        random_state=seed,
    )
    settings = Settings.of(detector, seed=seed)
    prepared = settings.reading.read(posts[["text"]])
    groups = posts["crisis"] if by_crisis else None
    stage1 = posts["y_stage1"] if two_stages else None
    sample = settings.sample(prepared, posts["y"], groups, stage1)
    job = settings.job(sample, ["text"], [0, 1])
    folds = settings.fold_maker(sample, NESTED).make()
    run = estimate(job, folds, NESTED)[2]
    assert run is not None
    group = sample.caller if by_crisis else sample.labels.group
    return run, np.unique(group, return_inverse=True)[1]


def compare(
    posts: pd.DataFrame, branch: Any, *, by_crisis: bool, seed: int
) -> list[list[Any]]:
    """Give F1 of each system, and what both stages gain, on all posts and on crises."""
    with shared_memo():
        whole, group = run_nested(
            posts, branch, by_crisis=by_crisis, two_stages=True, seed=seed
        )
        single, _ = run_nested(
            posts, branch, by_crisis=by_crisis, two_stages=False, seed=seed
        )
    flagged = {
        "flag all": np.ones(len(posts), dtype=bool),
        STAGE_1_ALONE: whole.flagged(FUSED),
        "stage 1, as it flags": whole.flagged(STAGE_1),
        ONE: single.flagged(FUSED),
        BOTH: whole.flagged(BOTH),
    }
    event = posts["y"].to_numpy() == 1
    table = []
    parts = {"all": np.ones(len(posts), bool), "no background": ~posts["background"]}
    for part, mask in parts.items():
        rows = np.flatnonzero(mask)
        resampling = Resampling(group[rows])
        basis = resampling.basis(event[rows])
        figures = {
            name: resampling.ratios(chosen[rows], event[rows])
            for name, chosen in flagged.items()
        }
        for name in flagged:
            row: list[Any] = [part, name]
            for figure in ("f1", "precision", "recall"):
                row += _cells(resampling.interval(figures[name][figure], basis))
            gain = resampling.difference(
                figures[BOTH]["f1"] - figures[name]["f1"], basis
            )
            row += _cells(gain) if name != BOTH else [None, None]
            table.append(row)
    return table


def _cells(interval: Any) -> list[Any]:
    return [plain(interval.value), [plain(interval.low), plain(interval.high)]]


def crisislex(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare two stages, the first alone, and one classifier on the same labels."""
    tables = []
    cases = [("words", words, False), ("words", words, True)]
    cases += [("words and MiniLM", ensemble, False)]
    for name, branch, stripped in cases:
        posts = read(stripped=stripped, n_posts=arguments.posts)
        for by_crisis in (False, True):
            if branch is ensemble and not by_crisis:
                continue
            folds = "whole crises left out" if by_crisis else "random grouped folds"
            texts = (
                "without RT, links, mentions and backslashes" if stripped else "as is"
            )
            rows = compare(posts, branch(), by_crisis=by_crisis, seed=0)
            interval = "t-intervals over crises" if by_crisis else "bootstrap intervals"
            tables.append(
                {
                    "caption": f"{name}, {folds}, texts {texts}: nested, {interval}",
                    "columns": [
                        *("posts", "system", "F1", "95%", "precision", "95%"),
                        *("recall", "95%", "F1 of both stages minus this", "95%"),
                    ],
                    "rows": rows,
                }
            )
            for row in rows[:5]:
                print(name, folds, texts, row[1], f"{row[2]:.3f}", flush=True)
    n = len(posts)
    note = (
        f"{n:,} posts: those of CrisisLexT26 with {EVENT!r} as the event, its other "
        f"labels as look-alikes that stage 1 does not learn from, and "
        f"{int(posts['background'].sum()):,} off-topic posts of CrisisLexT6 as "
        f"background; a crisis's posts of both share a fold. The thresholds of all "
        f"systems are tuned on all posts of a training part."
    )
    return {"tables": tables, "notes": [note]}
