"""Cost and exactness of the search: python -m benchmarks.tuning."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks._common import (
    command_line,
    data_folder,
    model_folder,
    result_header,
    write_result,
)
from benchmarks._estimates import plain, show
from benchmarks._exact import exact_search
from mmevent import EventDetector, ImageClassifier, TextClassifier, evaluate
from mmevent.encoders.cache import shared_memo
from mmevent.rule.fusion import Evidence
from mmevent.rule.search import Search, tune_rule
from mmevent.synthetic.scores import SCENARIOS, make_scores

N_TRIALS = 200
REPEATS = 5
# Those below were looked at when the smooth criterion was made.
FIRST_FRESH_SEED = 200


def seconds(run: Callable[[], Any]) -> float:
    """Give the median wall time of a call over several runs, after one warm-up."""
    run()
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def evidence_of(name: str, seed: int, n_posts: int | None = None) -> tuple[Any, ...]:
    """Draw one scenario's scores."""
    settings = dict(SCENARIOS[name])
    if n_posts is not None:
        settings["n_posts"] = n_posts
    scores = make_scores(**settings, random_state=seed)
    evidence = Evidence.from_images(scores.p_text, scores.p_image, scores.post)
    return scores, evidence


def gaps(seeds: int) -> dict[str, Any]:
    """Compare Optuna with the exact search on every scenario."""
    rows = []
    for name in SCENARIOS:
        for seed in range(seeds):
            scores, evidence = evidence_of(name, seed)
            by_f1 = Search(n_trials=N_TRIALS, random_state=seed, criterion="f1")
            by_smooth = replace(by_f1, criterion="smooth")
            exact = exact_search(evidence, scores.y, search=by_f1).f1
            optuna = tune_rule(evidence, scores.y, search=by_f1).f1
            smooth = tune_rule(evidence, scores.y, search=by_smooth).f1
            rows.append(
                [name, seed, len(scores.y), exact, optuna, exact - optuna, smooth]
            )
    return {
        "caption": "F1 on the posts that were searched",
        "columns": [
            *("scenario", "seed", "posts", "exact", "Optuna", "gap"),
            "criterion smooth",
        ],
        "rows": rows,
    }


def population(seeds: int) -> dict[str, Any]:
    """Compare what either criterion loses on the population to the best rule."""
    rows = []
    for name in SCENARIOS:
        lost: dict[str, list[float]] = {"f1": [], "smooth": []}
        for seed in range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + seeds):
            scores, evidence = evidence_of(name, seed)
            for criterion, values in lost.items():
                search = Search(
                    n_trials=N_TRIALS, random_state=seed, criterion=criterion
                )
                rule = tune_rule(evidence, scores.y, search=search).rule
                reached = scores.truth.population_f1(
                    alpha=rule.alpha,
                    beta=rule.beta,
                    pool=rule.pool,
                    threshold=rule.threshold,
                )
                values.append(plain(scores.truth.f1 - reached))
        gain = np.subtract(lost["f1"], lost["smooth"])
        reach = stats.t.ppf(0.975, seeds - 1) * gain.std(ddof=1) / np.sqrt(seeds)
        rows.append(
            [
                *(name, len(scores.y), plain(scores.truth.f1)),
                *(float(np.mean(values)) for values in lost.values()),
                *(float(np.max(values)) for values in lost.values()),
                float(gain.mean()),
                [float(gain.mean() - reach), float(gain.mean() + reach)],
            ]
        )
    return {
        "caption": f"F1 in the population: what is lost to the best rule, over {seeds} "
        f"data sets each (seeds from {FIRST_FRESH_SEED}, which chose nothing)",
        "columns": [
            *("scenario", "posts", "best F1", "f1 loses", "smooth loses"),
            *("f1 at most", "smooth at most", "smooth gains", "95% interval"),
        ],
        "rows": rows,
    }


def times() -> dict[str, Any]:
    """Time the searches on 20,000 posts, beside a bare Optuna study."""
    bare = seconds(bare_study)
    rows: list[list[Any]] = [
        ["a constant", "Optuna, nothing to score: its own part", bare, 1.0]
    ]
    for scenario in ("albums", "beta out of bounds"):
        scores, evidence = evidence_of(scenario, 0, n_posts=20_000)
        for name, find, criterion in (
            ("Optuna, criterion smooth", tune_rule, "smooth"),
            ("Optuna, criterion f1", tune_rule, "f1"),
            ("exact, criterion f1", exact_search, "f1"),
        ):
            search = Search(n_trials=N_TRIALS, random_state=0, criterion=criterion)
            taken = seconds(partial(find, evidence, scores.y, search=search))
            rows.append([scenario, name, taken, taken / bare])
    return {
        "caption": f"{N_TRIALS} trials in memory on 20,000 posts, three pools: median "
        f"of {REPEATS} runs",
        "columns": ["scenario", "search", "seconds", "times Optuna's own part"],
        "rows": rows,
    }


def bare_study() -> None:
    """Sample the same space without scoring anything."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))

    def constant(trial: optuna.Trial) -> float:
        trial.suggest_float("weight", 0.0, 0.99)
        trial.suggest_categorical("branch", ["max", "mean", "noisy-or"])
        return 0.0

    study.optimize(constant, n_trials=N_TRIALS)
    optuna.logging.set_verbosity(verbosity)


def nested() -> dict[str, Any]:
    """Time a nested estimate with default heads from embeddings in memory."""
    folder = data_folder("mvsa")
    posts = pd.read_csv(folder / "posts.csv")
    y = posts.pop("negative")
    detector = EventDetector(
        text=TextClassifier(model_folder("minilm")),
        image=ImageClassifier(model_folder("mobilenet_v2_imagenet")),
        image_root=folder,
        estimate=None,
        random_state=0,
        n_jobs=2,
    )
    with shared_memo():
        detector.fit(posts, y)
        start = time.perf_counter()
        evaluate(detector, posts, y, seeds=[0])
        taken = time.perf_counter() - start
    return {
        "caption": "Nested estimate on mvsa, 5 by 5 folds, default heads, embeddings "
        "in memory",
        "columns": ["posts", "seconds"],
        "rows": [[len(posts), taken]],
    }


def main() -> None:
    """Run everything, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-sets", type=int, default=20)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    table = gaps(arguments.seeds)
    worst = max(row[5] for row in table["rows"])
    result = {
        "title": "The search",
        "command": command_line("benchmarks.tuning"),
        "header": result_header(seed=list(range(arguments.seeds))),
        "tables": [times(), nested(), table, population(arguments.data_sets)],
        "notes": [
            f"Greatest gap between the exact search and Optuna's: {worst:.5f} (below 0 "
            f"where Optuna found a weight between those of the exact search's grid)."
        ],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
