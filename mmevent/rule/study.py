"""Optuna's study of the alpha/beta rule: it samples weights of the image."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._common import shared_context
from mmevent.posts.labels import check_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import optuna

    from mmevent.rule.search import Search, Space


def run_study(space: Space, search: Search) -> optuna.Study:
    """Run an Optuna study, or resume it, until it has the number of trials asked for.

    The first trials are text alone, equal weights and images alone, with each image
    branch and pooling.
    """
    import optuna

    low, high = space.weights
    choices = [json.dumps(key) for key in space.branches]

    def objective(trial: optuna.Trial) -> float:
        weight = trial.suggest_float("weight", low, high)
        image, pool = json.loads(trial.suggest_categorical("branch", choices))
        rule, f1 = space.best(weight, image, pool)
        trial.set_user_attr("rule", asdict(rule))
        return f1

    seed: Any = check_seed(search.random_state)
    with _quiet_optuna():
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed),
            storage=search.storage,
            study_name=space.name(),
            load_if_exists=True,
        )
        if not study.trials:
            for weight in sorted({low, float(np.clip(0.5, low, high)), high}):
                for choice in choices:
                    study.enqueue_trial({"weight": weight, "branch": choice})
        single = low == high and len(choices) == 1
        done = sum(bool(trial.user_attrs) for trial in study.trials)
        study.optimize(
            objective,
            n_trials=max((1 if single else int(search.n_trials)) - done, 0),
            show_progress_bar=search.verbose,
        )
    return study


@shared_context
def _quiet_optuna() -> Iterator[None]:
    """Let Optuna log warnings only."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
