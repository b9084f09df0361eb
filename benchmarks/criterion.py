"""The smooth criterion, its guard, and the raw F1: python -m benchmarks.criterion."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_predict

from benchmarks._branches import words
from benchmarks._common import command_line, data_folder, result_header, write_result
from benchmarks._estimates import show
from mmevent.rule import best_threshold, choose_threshold, smooth_threshold
from mmevent.rule.search import f1_of

FloatArray = NDArray[np.float64]
Draw = Callable[[np.random.Generator, NDArray[np.bool_]], FloatArray]

SIZES = (200, 500, 1000, 2000, 5000, 20_000)
POPULATION = 400_000
DATA = ("mvsa", "crisislex", "flood_tweets")
# No choice was made on these seeds.
FIRST_SEED = 10_000


class Kind(NamedTuple):
    """Scores of events and of other posts, at some share of events."""

    share: float
    draw: Draw


def shifted(distance: float, spread: float = 1.0) -> Draw:
    """Draw normal scores; those of events lie higher, and are spread otherwise."""

    def draw(rng: np.random.Generator, event: NDArray[np.bool_]) -> FloatArray:
        width = np.where(event, spread, 1.0)
        return rng.normal(distance * event, width)

    return draw


def corner(missed: float, false: float) -> Draw:
    """Draw scores where some events look like nothing, and some others like events."""

    def draw(rng: np.random.Generator, event: NDArray[np.bool_]) -> FloatArray:
        u = rng.random(len(event))
        high = np.where(event, u >= missed, u < false)
        return rng.normal(np.where(high, 4.0, -4.0), 1.5)

    return draw


def exponential(rng: np.random.Generator, event: NDArray[np.bool_]) -> FloatArray:
    """Draw scores with a long tail."""
    return rng.exponential(np.where(event, 3.0, 1.0))


def coarse(rng: np.random.Generator, event: NDArray[np.bool_]) -> FloatArray:
    """Draw scores with few distinct values."""
    return np.round(shifted(1.5)(rng, event) * 2)


def three_kinds(rng: np.random.Generator, event: NDArray[np.bool_]) -> FloatArray:
    """Draw clear events, unclear ones, and look-alikes among the other posts."""
    half, tenth = rng.random(len(event)) < 0.5, rng.random(len(event)) < 0.1
    mean = np.where(event, np.where(half, 4.0, 1.0), np.where(tenth, 2.5, 0.0))
    return rng.normal(mean)


KINDS = {
    "normal": Kind(0.2, shifted(1.5)),
    "normal, events spread wider": Kind(0.2, shifted(1.2, 1.7)),
    "long tail": Kind(0.2, exponential),
    "three kinds of posts": Kind(0.15, three_kinds),
    "few distinct values": Kind(0.2, coarse),
    "nearly perfect": Kind(0.3, shifted(5.0)),
    "rare events": Kind(0.02, shifted(2.2)),
    "corner": Kind(0.1, corner(0.3, 0.03)),
    "corner, rare events": Kind(0.02, corner(0.2, 0.005)),
    "corner, half are events": Kind(0.5, corner(0.1, 0.1)),
}


class Population(NamedTuple):
    """Sorted scores of many events and of many other posts."""

    share: float
    events: FloatArray
    others: FloatArray

    @classmethod
    def of(cls, kind: Kind) -> Population:
        """Draw a population."""
        rng = np.random.default_rng(1)
        events, others = (
            np.sort(as_score(kind.draw(rng, np.full(POPULATION, label))))
            for label in (True, False)
        )
        return cls(kind.share, events, others)

    def f1(self, threshold: float) -> float:
        """F1 of a threshold in the population."""
        recall, false = (
            1.0 - np.searchsorted(scores, threshold) / POPULATION
            for scores in (self.events, self.others)
        )
        flagged = self.share * recall + (1.0 - self.share) * false
        return float(2.0 * self.share * recall / (flagged + self.share))


def as_score(latent: FloatArray) -> FloatArray:
    """Squeeze scores between 0 and 1, in the same order."""
    return 0.5 + np.arctan(latent) / np.pi


def thresholds(score: FloatArray, event: NDArray[np.bool_]) -> dict[str, float]:
    """Give the thresholds of the raw F1, the smoothed one, and the guarded one."""
    return {
        "f1": best_threshold(score, event)[0],
        "unguarded": smooth_threshold(score, event)[0],
        "smooth": choose_threshold("f1", score, event, criterion="smooth"),
    }


def cell(name: str, n: int, runs: int) -> list[Any]:
    """Compare the three on many data sets of one kind and size."""
    kind, reached = KINDS[name], []
    population = Population.of(kind)
    for run in range(runs):
        rng = np.random.default_rng([FIRST_SEED + run, n])
        event = rng.random(n) < kind.share
        event[:2] |= event.sum() < 2
        found = thresholds(as_score(kind.draw(rng, event)), event)
        reached.append([population.f1(t) for t in found.values()])
    raw, unguarded, guarded = np.array(reached).T
    better = raw if raw.mean() >= unguarded.mean() else unguarded
    loss = better - guarded
    error = float(loss.std(ddof=1) / np.sqrt(runs))
    return [
        *(name, n, runs, float(raw.mean()), float(unguarded.mean())),
        *(float(guarded.mean()), float(loss.mean()), error),
    ]


def read(name: str) -> tuple[pd.Series, NDArray[np.bool_]]:
    """Give the texts and labels of a data set."""
    folder = data_folder(name)
    if name == "mvsa":
        posts = pd.read_csv(folder / "posts.csv")
        return posts["text"].fillna(""), posts["negative"].to_numpy() == 1
    if name == "flood_tweets":
        posts = pd.read_parquet(folder / "posts.parquet")
        return posts["text"], posts["label"].to_numpy() == 1
    posts = pd.read_parquet(folder / "t26.parquet").sample(4000, random_state=0)
    return posts["text"], posts["label"].to_numpy() == "Related and informative"


def real(name: str, n: int, runs: int) -> list[Any]:
    """Choose thresholds on n posts, and measure F1 on the others, many times."""
    text, event = read(name)
    score = cross_val_predict(words(), text, event, cv=5, method="predict_proba")[:, 1]
    reached = []
    for run in range(runs):
        order = np.random.default_rng([FIRST_SEED + run, n]).permutation(len(event))
        chosen, rest = order[:n], order[n:]
        found = thresholds(score[chosen], event[chosen])
        reached.append([f1_of(score[rest] >= t, event[rest]) for t in found.values()])
    raw, unguarded, guarded = np.array(reached).T
    gain = guarded - unguarded
    return [
        *(name, len(event), float(event.mean()), n, runs, float(raw.mean())),
        *(float(unguarded.mean()), float(guarded.mean()), float(gain.mean())),
        float(gain.std(ddof=1) / np.sqrt(runs)),
    ]


def main() -> None:
    """Run all cells, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="data sets per cell")
    parser.add_argument("--posts", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument(
        "--data", nargs="*", choices=DATA, default=list(DATA), help="real posts"
    )
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.kinds:
        for n in arguments.posts:
            # Large samples vary less: fewer of them are as exact.
            runs = max(arguments.runs * 1000 // max(n, 1000), 20)
            rows.append(cell(name, n, min(runs, arguments.runs)))
            print(*rows[-1][:2], *(f"{v:.4f}" for v in rows[-1][3:]), flush=True)
    loss = np.array([row[6] for row in rows])
    worst = rows[int(loss.argmax())]
    rest = [
        real(name, n, arguments.runs) for name in arguments.data for n in (300, 1000)
    ]
    result = {
        "title": "The smooth criterion and its guard",
        "command": command_line("benchmarks.criterion"),
        "header": result_header(seed=FIRST_SEED),
        "tables": [
            {
                "caption": "F1 in the population of the threshold that each criterion "
                "chooses: f1, smooth without its guard, and smooth; the loss is "
                "against the better of the first two on average",
                "columns": [
                    *("scores", "posts", "runs", "f1", "without guard", "smooth"),
                    *("loss", "Monte-Carlo error"),
                ],
                "rows": rows,
            },
            {
                "caption": "F1 on real posts that chose no threshold, by words alone, "
                "out of fold; gain of smooth over smooth without its guard",
                "columns": [
                    *("data", "posts", "share of events", "posts that choose"),
                    *("runs", "f1", "without guard", "smooth", "gain"),
                    "standard error over runs",
                ],
                "rows": rest,
            },
        ],
        "notes": [
            f"Mean loss over {len(rows)} cells: {loss.mean():.4f}. Greatest: "
            f"{loss.max():.4f} (error {worst[7]:.4f}), {worst[0]}, {worst[1]:,} posts. "
            f"A loss below 0 is a gain over both."
        ],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
