"""How often an estimate calls a detector worthless: python -m benchmarks.verdicts.

Probabilities of the branches are drawn, of some kinds without any relation to the
events. Rule and threshold are tuned on four fifths of the posts and judged on the other
fifth, five times in turn. Counted is how often the estimate says that the detector, its
images or its second stage are not shown to be of use.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from benchmarks._common import command_line, result_header, write_result
from benchmarks._estimates import show
from mmevent import Estimate
from mmevent.evaluation.baselines import SecondStage, fit_systems, tune_first
from mmevent.evaluation.figures import summarise
from mmevent.evaluation.metrics import Resampling
from mmevent.evaluation.nested import CROSS_FITTED, Run
from mmevent.evaluation.slices import Slices
from mmevent.evaluation.verdicts import verdicts
from mmevent.posts.labels import Labels
from mmevent.rule.fusion import Evidence
from mmevent.rule.search import Search

N_FOLDS = 5
DETECTOR, IMAGES, SECOND = "this detector", "The images", "The second stage"


class Kind(NamedTuple):
    """Posts, and how far apart events and others are in each part's evidence.

    The distance is in standard deviations; None is a part that is not there, and
    "constant" one that gives all posts the same probability. Groups share labels and
    evidence.
    """

    n_posts: int
    prevalence: float
    text: float | str
    images: float | str | None = None
    second: float | None = None
    group_size: int = 1


WORTHLESS = {
    "random scores": Kind(600, 0.3, 0.0, 0.0),
    "random scores, few posts": Kind(100, 0.3, 0.0, 0.0),
    "random scores, 2% events": Kind(1000, 0.02, 0.0, 0.0),
    "random scores, 60% events": Kind(600, 0.6, 0.0, 0.0),
    "random scores, authors of 10 posts": Kind(600, 0.3, 0.0, 0.0, group_size=10),
    "constant scores": Kind(600, 0.3, "constant", "constant"),
}
USEFUL = {
    "good": Kind(600, 0.3, 1.8, 1.5),
    "good, few posts": Kind(200, 0.3, 1.8, 1.5),
    "good, 2% events": Kind(1000, 0.02, 2.4, 1.5),
    "good, 60% events": Kind(600, 0.6, 1.8, 1.5),
    "good, authors of 10 posts": Kind(600, 0.3, 1.8, 1.5, group_size=10),
    "fair": Kind(600, 0.3, 1.0, 0.7),
    "weak": Kind(600, 0.3, 0.5, 0.3),
}
PARTS = {
    "worthless images": Kind(600, 0.3, 1.8, 0.0),
    "good images": Kind(600, 0.3, 1.8, 1.8),
    "worthless second stage": Kind(600, 0.3, 1.8, 1.0, second=0.0),
    "good second stage": Kind(600, 0.3, 1.2, 0.5, second=2.4),
}

TABLES = {
    "worthless": ("Scores without a relation to the events", WORTHLESS),
    "useful": ("Scores with one", USEFUL),
    "parts": ("Good detectors with parts of either kind", PARTS),
}


def draw(kind: Kind, rng: np.random.Generator) -> tuple[Evidence, Labels]:
    """Draw the probabilities of posts, half of them with an image, and their labels."""
    n_groups = kind.n_posts // kind.group_size
    group = np.arange(kind.n_posts) // kind.group_size
    event = (np.arange(n_groups) < round(n_groups * kind.prevalence))[group]
    if kind.group_size > 1:  # one in five posts has another label than its author
        event = event ^ (rng.random(kind.n_posts) < 0.2)

    def probability(distance: float | str | None) -> NDArray[np.float64]:
        if not isinstance(distance, float):
            return np.full(kind.n_posts, np.nan if distance is None else 0.5)
        noise = rng.normal(size=kind.n_posts)
        if kind.group_size > 1:
            noise = (noise + rng.normal(size=n_groups)[group]) / np.sqrt(2)
        slope = max(distance, 0.5)  # branches that learned noise do not say 0.5
        evidence = slope * (noise + distance * (event - 0.5))
        return expit(logit(kind.prevalence) + evidence)

    images = probability(kind.images)
    images[rng.random(kind.n_posts) < 0.5] = np.nan
    evidence = Evidence(probability(kind.text), {("image", "max"): images})
    if kind.second is not None:
        evidence = evidence.with_second(probability(kind.second))
    return evidence, Labels(event, group)


def estimate_of(kind: Kind, seed: int) -> Estimate:
    """Tune on all folds but one and judge on that, for each fold."""
    rng = np.random.default_rng(seed)
    evidence, labels = draw(kind, rng)
    n_groups = labels.group.max() + 1
    fold = rng.permutation(np.arange(n_groups) % N_FOLDS)[labels.group]
    search = Search(n_trials=4, random_state=seed)
    second = None if kind.second is None else SecondStage(None, False)
    scores: dict[str, NDArray[np.float64]] = {}
    thresholds: dict[str, NDArray[np.float64]] = {}
    parameters = []
    for k in range(N_FOLDS):
        seen, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        known, unseen = evidence.take(seen), evidence.take(test)
        found = tune_first(known, labels.take(seen), search)
        systems = fit_systems(
            known, labels.take(seen), search, "f1", found.rule, second
        )
        parameters.append({"threshold_1": 0.0, **asdict(found.rule)})
        for name, system in systems.items():
            for table in (scores, thresholds):
                table.setdefault(name, np.full(kind.n_posts, np.nan))
            scores[name][test] = system.score(unseen)
            thresholds[name][test] = system.threshold
    # Most of the time would go into average precision, which no sentence uses.
    with patch.object(Resampling, "average_precision", _undefined):
        return summarise(
            [Run(seed, fold, scores, thresholds, parameters)],
            labels.event,
            labels.group,
            np.zeros(kind.n_posts, dtype=np.intp),
            kind=CROSS_FITTED,
            leakage={},
            slices=Slices({}, []),
        )


def _undefined(resampling: Resampling, *_: object) -> NDArray[np.float64]:
    return np.full(len(resampling.counts), np.nan)


def shares_of(kind: Kind, runs: int) -> list[float]:
    """Give the mean F1 and that of flagging all, and how often each part is named."""
    f1, said = [], []
    for seed in range(runs):
        estimate = estimate_of(kind, seed)
        table = estimate.to_frame()["f1"]
        f1.append([table.iloc[-1], table["flag all"]])
        sentences = " ".join(verdicts(estimate))
        said.append([part in sentences for part in (DETECTOR, IMAGES, SECOND)])
    return [*np.mean(f1, axis=0).tolist(), *np.mean(said, axis=0).tolist()]


def table_of(caption: str, kinds: dict[str, Kind], runs: int) -> dict[str, Any]:
    """Give a row for each kind of posts."""
    rows = []
    for name, kind in kinds.items():
        n_events = int(draw(kind, np.random.default_rng(0))[1].event.sum())
        rows.append([name, kind.n_posts, n_events, *shares_of(kind, runs)])
        print(rows[-1], flush=True)
    return {
        "caption": f"{caption}, {runs} runs each",
        "columns": [
            *("posts are", "n", "events", "F1", "F1 of flagging all"),
            *("detector named", "images named", "second stage named"),
        ],
        "rows": rows,
    }


def main() -> None:
    """Run all kinds, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    arguments = parser.parse_args()
    runs = arguments.runs
    error = float(np.sqrt(0.25 / runs))
    edge = 1 - 0.05 ** (1 / runs)
    which = ", ".join(arguments.tables)
    result = {
        "title": f"Whether what is worthless is called so: {which}",
        "command": command_line("benchmarks.verdicts"),
        "header": result_header(seed=0),
        "tables": [table_of(*TABLES[name], runs=runs) for name in arguments.tables],
        "notes": [
            "Named: the share of runs whose estimate says, above its figures, that the "
            "detector is not shown to be better than flagging every post, or that a "
            "part is not shown to add to the others. Parts are not judged where the "
            "detector is named.",
            f"The standard error of a share is at most {error:.3f} in so many runs. A "
            f"share of 0 is below {edge:.3f}, and one of 1 above {1 - edge:.3f}, with "
            f"95% confidence.",
            "A part that is worthless must be named in most runs. A part that helps is "
            "named as well where the posts are too few to show it: the sentence says "
            "'not shown to add', and gives the interval.",
        ],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
