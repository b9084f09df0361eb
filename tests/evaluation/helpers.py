"""Runs that were never made, and the estimate of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mmevent import Estimate
from mmevent.evaluation.figures import summarise
from mmevent.evaluation.nested import Run
from mmevent.evaluation.slices import Slices

N = 120
RNG = np.random.default_rng(0)
EVENT = RNG.random(N) < 0.4
N_IMAGES = np.arange(N) // 3 % 6
NO_LEAKAGE = {"n_groups": N}
SLICES = Slices({"images": np.where(N_IMAGES > 0, "with", "without")}, [])


def make_run(
    seed: int = 0, *, fold: Any = None, threshold: float = 0.5, noise: float = 0.3
) -> Run:
    rng = np.random.default_rng(seed)
    fold = np.arange(N) % 3 if fold is None else np.asarray(fold)
    scores = {
        "text only": np.clip(rng.normal(0.4 + 0.2 * EVENT, noise), 0, 1),
        "fused": np.clip(rng.normal(0.3 + 0.4 * EVENT, noise), 0, 1),
    }
    for score in scores.values():
        score[fold < 0] = np.nan
    thresholds = {name: np.full(N, threshold) for name in scores}
    parameters = [{"seed": seed, "fold": k, "alpha": 1.0} for k in range(3)]
    return Run(seed, fold, scores, thresholds, parameters)


def summary(*runs: Run, cluster: Any = None, **settings: Any) -> Estimate:
    given: dict[str, Any] = {"kind": "nested", "leakage": NO_LEAKAGE, "slices": SLICES}
    cluster = np.arange(N) if cluster is None else cluster
    return summarise(runs, EVENT, cluster, N_IMAGES, **(given | settings))


def assert_same_estimate(first: Estimate, second: Estimate) -> None:
    assert (first.kind, first.leakage, first.notes) == (
        second.kind,
        second.leakage,
        second.notes,
    )
    for name in (
        *("table", "differences", "by_seed", "false_positive_rates"),
        *("slices", "threshold"),
    ):
        one, other = (
            frame.astype(object).where(frame.notna(), None)
            for frame in (getattr(first, name), getattr(second, name))
        )
        pd.testing.assert_frame_equal(one, other, rtol=1e-12)
    assert str(first) == str(second)
    assert first._repr_html_() == second._repr_html_()
