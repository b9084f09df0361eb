"""Labels at random must look random, however often posts are repeated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import average_precision_score
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline

from mmevent import EventDetector
from mmevent.detector.settings import Settings
from mmevent.evaluation.baselines import BOTH, FUSED
from mmevent.evaluation.metrics import Resampling
from mmevent.evaluation.nested import NESTED, Run, estimate

SEEDS = range(10)
N_ORIGINALS = 100
WORDS = [f"word{i}" for i in range(400)]


def random_posts(
    seed: int,
) -> tuple[pd.DataFrame, NDArray[np.bool_], NDArray[np.intp]]:
    """Write posts, each twice, labelled by the toss of a coin for the two together.

    Also return the number of each post's original.
    """
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, 8)) for _ in range(N_ORIGINALS)]
    event = rng.random(N_ORIGINALS) < 0.35
    order = rng.permutation(2 * N_ORIGINALS)
    reposts = [f"RT @someone: {text}!" for text in texts]
    return (
        pd.DataFrame({"text": [*texts, *reposts]}).iloc[order],
        np.tile(event, 2)[order],
        order % N_ORIGINALS,
    )


def run_of(
    seed: int, *, ignore_groups: bool, **settings: Any
) -> tuple[Run, NDArray[np.bool_], NDArray[np.intp]]:
    posts, event, twin = random_posts(seed)
    detector = EventDetector(
        text=make_pipeline(CountVectorizer(binary=True), BernoulliNB()),
        image=None,
        cv=3,
        inner_cv=3,
        n_trials=1,
        random_state=seed,
        **settings,
    )
    chosen = Settings.of(detector, seed=seed)
    sample = chosen.sample(chosen.read(posts), event, None, None)
    maker = chosen.fold_maker(sample, NESTED)
    if ignore_groups:
        alone = np.arange(len(event))
        maker.labels, maker.apart = sample.labels._replace(group=alone), (alone,)
        sample = replace(sample, labels=maker.labels)
    job = chosen.job(sample, ["text"], [False, True])
    run = estimate(job, maker.make(), NESTED)[2]
    assert run is not None
    return run, event, twin


def advantages(
    seed: int, *, ignore_groups: bool, **settings: Any
) -> tuple[float, float]:
    """How much F1 exceeds flag-all's, and AP that of scores shuffled in the fold.

    Posts that come twice are shuffled as pairs: by chance alone the average precision
    of few pairs is higher than that of twice as many posts.
    """
    run, event, twin = run_of(seed, ignore_groups=ignore_groups, **settings)
    whole = BOTH if BOTH in run.scores else FUSED
    resampling = Resampling(np.arange(len(event)))
    f1 = {
        name: resampling.ratios(run.flagged(name), event)["f1"][0]
        for name in (whole, "flag all")
    }
    rng = np.random.default_rng(seed)
    score, precision, shuffled = run.scores[whole], [], []
    for k in np.unique(run.fold):
        rows = np.flatnonzero(run.fold == k)
        rows = rows[np.argsort(twin[rows], kind="stable")]
        precision.append(average_precision_score(event[rows], score[rows]))
        pairs = score[rows].reshape(-1, 1 if ignore_groups else 2)
        shuffled += [
            average_precision_score(event[rows], rng.permutation(pairs).ravel())
            for _ in range(8)
        ]
    return f1[whole] - f1["flag all"], float(np.mean(precision) - np.mean(shuffled))


def z_values(*, ignore_groups: bool, **settings: Any) -> NDArray[np.float64]:
    found = np.array(
        [advantages(s, ignore_groups=ignore_groups, **settings) for s in SEEDS]
    )
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    z: NDArray[np.float64] = found.mean(axis=0) / error
    return z


@pytest.mark.parametrize(
    ("second_stage", "policy"),
    [
        (False, "f1"),
        (False, "recall>=0.8"),
        (True, "f1"),
        (True, [[0, 1], [2, 0]]),
        ("auto", "f1"),
    ],
    ids=str,
)
def test_random_labels_look_random(second_stage: Any, policy: Any) -> None:
    settings = {"second_stage": second_stage, "policy": policy}
    f1, precision = z_values(ignore_groups=False, **settings)
    assert f1 <= 2
    assert precision <= 2


def test_the_same_test_finds_the_leak_where_groups_are_ignored() -> None:
    f1, precision = z_values(ignore_groups=True)
    assert f1 > 5
    assert precision > 5


@pytest.mark.parametrize("kind", ["nested", "cross-fit"])
def test_the_whole_estimate_of_random_labels_is_no_better_than_flag_all(
    text_branch: Any, kind: str
) -> None:
    differences = []
    for seed in range(3):
        posts, event, _ = random_posts(seed)
        detector = EventDetector(
            text=text_branch,
            image=None,
            cv=3,
            inner_cv=2,
            n_trials=1,
            estimate=kind,
            random_state=seed,
        ).fit(posts, event)
        table = detector.estimate_.to_frame()["f1"]
        differences.append(table[FUSED] - table["flag all"])
    assert np.mean(differences) < 0.03
