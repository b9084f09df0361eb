"""When the alpha/beta rule wins, and when stacking: python -m benchmarks.rules.

The probabilities of both branches are drawn, in several ways. On each data set both
rules are tuned with their threshold, and measured in a large population of the same
kind. Their difference is paired: both see the same data sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import t as student

from benchmarks._common import command_line, result_header, write_result
from benchmarks._estimates import show
from mmevent.rule import Evidence, Search, tune_rule
from mmevent.rule.search import f1_of

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Pair = tuple[Floats, Floats]

POPULATION = 100_000
SHARE_IMAGES, SHARE_TEXTS = 0.6, 0.95
N_TRIALS = 50
RULES = ("alpha-beta", "stacking")


class Kind(NamedTuple):
    """How the evidence of texts and images is drawn, and what the branches make of it.

    `balanced` branches take events and other posts as equally frequent, as those with
    balanced class weights do; others know their share.
    """

    draw: Callable[[Bools, np.random.Generator], Pair]
    balanced: bool = True


def evidence(
    shown: Bools, distance: float, rng: np.random.Generator, *, slope: float = 1.0
) -> Floats:
    """Draw log likelihood ratios of two normal distributions, times a slope."""
    mean = distance * (shown - 0.5)
    return slope * distance * rng.normal(mean)


def alike(slope: tuple[float, float] = (1.0, 1.0), images: float = 1.8) -> Any:
    """Draw independent evidence from texts and images."""

    def draw(event: Bools, rng: np.random.Generator) -> Pair:
        text = evidence(event, 2.0, rng, slope=slope[0])
        return text, evidence(event, images, rng, slope=slope[1])

    return draw


def one_shows_it(event: Bools, rng: np.random.Generator) -> Pair:
    """Draw events that show in the text or in the images, seldom in both."""
    text = event & (rng.random(len(event)) < 0.55)
    image = event & (~text | (rng.random(len(event)) < 0.1))
    return evidence(text, 2.8, rng), evidence(image, 2.8, rng)


def say_the_same(event: Bools, rng: np.random.Generator) -> Pair:
    """Draw images that say nearly what the text says."""
    text = evidence(event, 2.0, rng)
    return text, text + rng.normal(size=len(event))


def coarse(event: Bools, rng: np.random.Generator) -> Pair:
    """Draw probabilities near 0 and 1, as of branches that are far too sure."""
    return alike((3.0, 3.0))(event, rng)


def worthless_images(event: Bools, rng: np.random.Generator) -> Pair:
    """Draw images without a relation to the events."""
    return evidence(event, 2.0, rng), rng.normal(size=len(event))


KINDS = {
    "balanced branches": Kind(alike()),
    "calibrated branches": Kind(alike(), balanced=False),
    "images too sure, texts unsure": Kind(alike((0.5, 2.0))),
    "both far too sure": Kind(coarse),
    "event shows in one of both": Kind(one_shows_it),
    "images repeat the text": Kind(say_the_same),
    "worthless images": Kind(worthless_images),
}


def draw(
    kind: Kind, n: int, prevalence: float, rng: np.random.Generator
) -> tuple[Evidence, Bools]:
    """Draw the probabilities of posts, and which are events."""
    event = rng.permutation(np.arange(n) < round(n * prevalence))
    start = 0.0 if kind.balanced else float(logit(prevalence))
    text, image = (expit(start + side) for side in kind.draw(event, rng))
    text[rng.random(n) >= SHARE_TEXTS] = np.nan
    image[rng.random(n) >= SHARE_IMAGES] = np.nan
    return Evidence(text, {("image", "max"): image}), event


def reached(kind: Kind, n: int, prevalence: float, runs: int) -> NDArray[np.float64]:
    """Give F1 in the population of both rules, for each data set."""
    population = np.random.default_rng(10_000)
    others, events = draw(kind, POPULATION, prevalence, population)
    found = np.empty((runs, len(RULES)))
    for run in range(runs):
        known, event = draw(kind, n, prevalence, np.random.default_rng(run))
        for j, name in enumerate(RULES):
            search = Search(rule=name, n_trials=N_TRIALS, random_state=run)
            rule = tune_rule(known, event, search=search).rule
            found[run, j] = f1_of(rule.score(others) >= rule.threshold, events)
    return found


def row(name: str, n: int, prevalence: float, runs: int) -> list[Any]:
    """Give the means of a cell, and the paired difference with its interval."""
    found = reached(KINDS[name], n, prevalence, runs)
    gain = found[:, 1] - found[:, 0]
    error = float(gain.std(ddof=1) / np.sqrt(runs))
    reach = float(student.ppf(0.975, runs - 1)) * error
    mean = float(gain.mean())
    return [
        *(name, prevalence, n, round(n * prevalence)),
        *map(float, found.mean(axis=0)),
        *(mean, [mean - reach, mean + reach], float((gain > 0).mean())),
    ]


def main() -> None:
    """Run all cells, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40, help="data sets per cell")
    parser.add_argument("--posts", type=int, default=3000)
    parser.add_argument(
        "--prevalence", type=float, nargs="+", default=[0.01, 0.03, 0.1, 0.3]
    )
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.kinds:
        for share in arguments.prevalence:
            rows.append(row(name, arguments.posts, share, arguments.runs))
            print(*rows[-1], flush=True)
    result = {
        "title": "The alpha/beta rule and stacking, by kind of evidence and prevalence",
        "command": command_line("benchmarks.rules"),
        "header": result_header(seed=list(range(arguments.runs))),
        "tables": [
            {
                "caption": f"F1 in a population of {POPULATION:,} posts, means over "
                f"{arguments.runs} data sets; stacking minus alpha-beta, paired",
                "columns": [
                    *("evidence", "prevalence", "posts", "events", "alpha-beta"),
                    *("stacking", "difference", "95%", "stacking is better in"),
                ],
                "rows": rows,
            }
        ],
        "notes": [
            "The interval is that of the mean difference over the data sets (Student's "
            "t): it is the Monte-Carlo error of this table, not the uncertainty of one "
            "study, whose estimate has its own interval.",
            f"{SHARE_IMAGES:.0%} of the posts have images, {SHARE_TEXTS:.0%} text. The "
            f"evidence is normal, so that log odds add up to the best score wherever "
            f"texts and images are independent: this favours stacking. Real branches "
            f"need not be so, see the row stacking on MVSA above.",
        ],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
