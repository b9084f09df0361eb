"""Whether policies keep what they promise: python -m benchmarks.policies [--groups].

Scores with a known population are drawn; alpha, beta and pooling are tuned on them, the
policy chooses the threshold on the same posts, and what it flags in the population is
counted. With --groups, posts come in groups, and a detector that is fixed, or is fitted
on the same posts, flags a population.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks._common import command_line, result_header, write_result
from benchmarks._estimates import show
from benchmarks._groups import grouped_table
from mmevent.exceptions import PolicyError
from mmevent.rule.fusion import Evidence, Rule
from mmevent.rule.policies import budget_threshold, choose_threshold
from mmevent.rule.search import Search, tune_rule
from mmevent.synthetic.scores import make_scores
from mmevent.synthetic.truth import SyntheticScores

PRECISION, RECALL, BUDGET = 0.9, 0.8, 100
POPULATIONS: dict[str, dict[str, Any]] = {
    "clear events": {"prevalence": 0.3, "separation_text": 2.4},
    "rarer events": {"prevalence": 0.15, "separation_text": 2.8},
    "hard events": {"prevalence": 0.3, "separation_text": 1.6},
}
SIZES = (1000, 3000)


def evidence_of(scores: SyntheticScores) -> Evidence:
    """Give what the rule is tuned on."""
    return Evidence.from_images(scores.p_text, scores.p_image, scores.post)


def precision_and_recall(
    score: NDArray[np.float64], y: NDArray[Any], threshold: float
) -> tuple[float, float]:
    """Give both at a threshold; precision is NaN where nothing is flagged."""
    flagged = score >= threshold
    found = (flagged & (y == 1)).sum()
    precision = found / flagged.sum() if flagged.any() else np.nan
    return float(precision), float(found / (y == 1).sum())


def reachable_recall(score: NDArray[np.float64], y: NDArray[Any]) -> float:
    """Give the greatest recall that the population has at the wanted precision."""
    order = np.argsort(-score)
    found = np.cumsum(y[order])
    enough = found / np.arange(1, len(y) + 1) >= PRECISION
    return float(found[enough].max(initial=0) / found[-1])


def best_single_test(
    score: NDArray[np.float64], y: NDArray[Any], n_posts: int
) -> float:
    """Give how often the test at the best number of flagged posts would succeed.

    Only who knows the population knows that number: no policy can do better by more
    than a little.
    """
    found = np.cumsum(y[np.argsort(-score)])
    n = np.arange(1, n_posts // 2)
    share = (n * len(y)) // n_posts
    precision = found[share - 1] / share
    enough = binom.isf(0.05, n, PRECISION) + 1
    return float(binom.sf(enough - 1, n, precision).max())


def simulate(settings: dict[str, Any], n_posts: int, runs: int) -> dict[str, Any]:
    """Give precision, recall and the number flagged by a budget, run by run."""
    known: dict[str, Any] = {name: [] for name in ("precise", "recalling", "budget")}
    reachable, limit = [], []
    for seed in range(runs):
        scores = make_scores(n_posts, **settings, random_state=seed)
        population = scores.truth.population
        search = Search(n_trials=50, random_state=seed)
        evidence = evidence_of(scores)
        rule: Rule = tune_rule(evidence, scores.y, search=search).rule
        everyone = evidence_of(population)
        score = rule.score(everyone)
        if seed < 20:
            reachable.append(reachable_recall(score, population.y))
            limit.append(best_single_test(score, population.y, n_posts))
        for name, policy in (
            ("precise", f"precision>={PRECISION}"),
            ("recalling", f"recall>={RECALL}"),
        ):
            try:
                t = choose_threshold(policy, rule.score(evidence), scores.y)
            except PolicyError:
                known[name].append((np.nan, 0.0))
                continue
            known[name].append(precision_and_recall(score, population.y, t))
        corpus = score[seed * 400 : seed * 400 + 5000]
        cut = budget_threshold(corpus, BUDGET)
        known["budget"].append(int((corpus >= cut).sum()))
    return {
        **known,
        "reachable": float(np.mean(reachable)),
        "limit": float(np.mean(limit)),
    }


def rows_of(found: dict[str, Any], runs: int) -> list[Any]:
    """Give the shares of runs that keep the promise, and those that make none."""
    precise, recalling = np.array(found["precise"]), np.array(found["recalling"])
    attained = ~np.isnan(precise[:, 0])
    violated = int((precise[:, 0] < PRECISION).sum())
    low = int((recalling[~np.isnan(recalling[:, 0]), 1] < RECALL).sum())
    return [
        found["reachable"],
        float(attained.mean()),
        found["limit"],
        violated / runs,
        float(precise[attained, 1].mean()) if attained.any() else None,
        float((~np.isnan(recalling[:, 0])).mean()),
        low / runs,
        float(np.max(found["budget"])),
    ]


def single_posts(runs: int) -> dict[str, Any]:
    """Give the result for posts that belong to no group."""
    rows = []
    for name, settings in POPULATIONS.items():
        for n_posts in SIZES:
            found = simulate(settings, n_posts, runs)
            rows.append([name, n_posts, *rows_of(found, runs)])
            print(rows[-1], flush=True)
    return {
        "title": "Policies on populations that are known",
        "tables": [
            {
                "caption": f"{runs} runs each. Promised: precision of "
                f"{PRECISION} or recall of {RECALL} in 95% of runs; at most {BUDGET} "
                f"of 5,000 posts flagged",
                "columns": [
                    *("population", "posts", "recall that allows the precision"),
                    *("precision attained", "at best", "violated", "mean recall"),
                    *("recall attained", "violated", "most flagged by the budget"),
                ],
                "rows": rows,
            }
        ],
        "notes": [
            "Attained: share of runs in which the policy gives a threshold; violated: "
            "in which the population's precision, or recall, at it is below the "
            "promise. At best: the share of runs in which a single binomial test would "
            "succeed at the number of flagged posts that is best for it, which only "
            "who knows the population can choose. A rate of 0.05 gives up to "
            f"{highest(runs):.3f} in so many runs.",
        ],
    }


def grouped_posts(n_groups: int, runs: int, jobs: int) -> dict[str, Any]:
    """Give the result for posts that come in groups."""
    table = grouped_table(n_groups, runs, jobs)
    worst = max(row[5] for row in table["rows"])
    return {
        "title": "Policies on posts that come in groups",
        "tables": [table],
        "notes": [
            "ICC: the correlation of the labels of two posts of a group, and of what "
            "is left of their features; with 1 they are copies. Out of fold: two heads "
            "are fitted in grouped folds and on all posts, and the rule is tuned on "
            "the posts that choose the threshold. Where sizes differ, other posts of "
            "large groups look more like events. Attained, violated: as above, as "
            "shares of all runs. Mean share: the precision or recall of a random post "
            "of the population, where the promise was attained.",
            f"The highest rate is {worst:.3f}. A rate of 0.05 gives up to "
            f"{highest(runs):.3f} in so many runs.",
        ],
    }


def highest(runs: int) -> float:
    """Give the share of violations that a rate of 0.05 gives at most, by chance."""
    return float(binom.ppf(0.975, runs, 0.05) / runs)


def main() -> None:
    """Run all populations, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--groups", type=int, metavar="N", help="posts in N groups")
    parser.add_argument("--jobs", type=int, default=1, help="processes, with --groups")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.groups:
        found = grouped_posts(arguments.groups, arguments.runs, arguments.jobs)
    else:
        found = single_posts(arguments.runs)
    header = result_header(seed=0)
    command = command_line("benchmarks.policies")
    result = {**found, "command": command, "header": header}
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
