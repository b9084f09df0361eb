"""Two stages on posts with pictures, and what tuning costs: benchmarks.stages.

Run it by python -m benchmarks.stages.

Both stages learn from the same labels here, so that the second one has nothing to learn
from but the hard part of the posts. Labels of two kinds, for which the method is made,
are in benchmarks.f1 --data crisislex.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._common import (
    command_line,
    data_folder,
    model_folder,
    result_header,
    write_result,
)
from benchmarks._estimates import plain, show
from benchmarks.tuning import N_TRIALS, REPEATS, bare_study, evidence_of, seconds
from mmevent import EventDetector, ImageClassifier, TextClassifier
from mmevent.detector.settings import Settings
from mmevent.encoders.cache import shared_memo
from mmevent.evaluation.baselines import whole
from mmevent.evaluation.metrics import Resampling
from mmevent.evaluation.nested import NESTED, Run, estimate
from mmevent.rule.policies import choose_threshold
from mmevent.rule.search import Search, tune_rule
from mmevent.rule.two_stage import tune_two_stages

N_POSTS = 20_000
SECOND_STAGES: dict[str, Any] = {
    "one stage": False,
    "two stages": True,
}


def times() -> dict[str, Any]:
    """Time the tuning of both stages and a policy, from given probabilities."""
    scores, evidence = evidence_of("albums", 0, n_posts=N_POSTS)
    event = scores.y == 1
    rng = np.random.default_rng(0)
    p_text_2 = np.clip(rng.normal(0.4 + 0.2 * event, 0.2), 0, 1)
    evidence = evidence.with_second(np.where(evidence.has_text, p_text_2, np.nan))
    search = Search(n_trials=N_TRIALS, random_state=0)
    first = tune_rule(evidence, event, search=search).rule
    both = tune_two_stages(evidence, event, first, search)
    assert both is not None
    score = both.score(evidence)
    steps = {
        "the rule of the first stage": partial(
            tune_rule, evidence, event, search=search
        ),
        "both stages, given that rule": partial(
            tune_two_stages, evidence, event, first, search
        ),
        "the policy precision>=0.5": partial(
            choose_threshold, "precision>=0.5", score, event
        ),
    }
    taken = {name: seconds(step) for name, step in steps.items()}
    taken["all of it"] = sum(taken.values())
    bare = seconds(bare_study)
    return {
        "caption": f"Tuning on {N_POSTS:,} posts, {N_TRIALS} trials: median of "
        f"{REPEATS} runs",
        "columns": ["what", "seconds", "times Optuna's own part"],
        "rows": [[name, s, s / bare] for name, s in taken.items()],
    }


def nested_run(
    posts: pd.DataFrame, y: pd.Series, second_stage: Any, seed: int
) -> tuple[Run, Any]:
    """Give the nested run of a detector on mvsa, and the groups of the posts."""
    detector = EventDetector(
        text=TextClassifier(model_folder("minilm"), random_state=0),
        image=ImageClassifier(model_folder("mobilenet_v2_imagenet"), random_state=0),
        image_root=data_folder("mvsa"),
        second_stage=second_stage,
        n_jobs=2,
    )
    settings = Settings.of(detector, seed=seed)
    sample = settings.sample(settings.reading.read(posts), y, None, None)
    job = settings.job(sample, ["text", "image"], [0, 1])
    folds = settings.fold_maker(sample, NESTED).make()
    run = estimate(job, folds, NESTED)[2]
    assert run is not None
    return run, sample.labels.group


def mvsa(seeds: int) -> dict[str, Any]:
    """Compare one stage and two, means over seeds of the folds."""
    posts = pd.read_csv(data_folder("mvsa") / "posts.csv")
    y = posts.pop("negative")
    event = y.to_numpy() == 1
    figures: dict[str, dict[str, Any]] = {}
    with shared_memo():
        for name, second_stage in SECOND_STAGES.items():
            runs = []
            for seed in range(seeds):
                run, group = nested_run(posts, y, second_stage, seed)
                runs.append(run)
            resampling = Resampling(group)
            basis = resampling.basis(event)
            figures[name] = {
                "f1": np.mean([_f1(run, resampling, event) for run in runs], axis=0),
                "average precision": np.mean(
                    [_area(run, resampling, event) for run in runs], axis=0
                ),
            }
            print(name, *(f"{v[0]:.3f}" for v in figures[name].values()), flush=True)
    rows = []
    for name, own in figures.items():
        row: list[Any] = [name]
        for figure, values in own.items():
            row += _cells(resampling.interval(values, basis))
            gain = values - figures["one stage"][figure]
            row += _cells(resampling.difference(gain, basis))
        rows.append(row)
    gain = ("minus one stage", "95%")
    return {
        "caption": f"MVSA, MiniLM and MobileNetV2, frozen, the same labels for both "
        f"stages: nested, {seeds} seeds of the folds",
        "columns": [
            *("detector", "F1", "95%", *gain, "average precision", "95%", *gain)
        ],
        "rows": rows,
    }


def _f1(run: Run, resampling: Resampling, event: Any) -> Any:
    return resampling.ratios(run.flagged(whole(run.scores)), event)["f1"]


def _area(run: Run, resampling: Resampling, event: Any) -> Any:
    return resampling.average_precision(run.ranks(whole(run.scores)), event)


def _cells(interval: Any) -> list[Any]:
    return [plain(interval.value), [plain(interval.low), plain(interval.high)]]


def main() -> None:
    """Run both, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    result = {
        "title": "Two stages on mvsa, and the cost of tuning them",
        "command": command_line("benchmarks.stages"),
        "header": result_header(seed=list(range(arguments.seeds))),
        "tables": [times(), mvsa(arguments.seeds)],
        "notes": [
            "No model is fitted within a trial: tuning works on out-of-fold "
            "probabilities."
        ],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
