"""Rows of a result file from an estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from mmevent import Estimate

FIGURES = ("f1", "precision", "recall", "average_precision")


def plain(value: Any) -> Any:
    """Give a number that JSON can hold; None where it is undefined."""
    if isinstance(value, (float, np.floating)):
        return None if np.isnan(value) else float(value)
    return value.item() if isinstance(value, np.generic) else value


def figures_table(name: str, estimate: Estimate) -> dict[str, Any]:
    """Give every slice and system with its figures and intervals."""
    rows = []
    for row in estimate.table.to_dict("records"):
        cells = [row["slice"], row["system"], row["n_posts"], row["n_events"]]
        for figure in FIGURES:
            cells += [
                plain(row[figure]),
                [plain(row[f"{figure}_low"]), plain(row[f"{figure}_high"])],
            ]
        rows.append(cells)
    titles = [part for figure in FIGURES for part in (figure.replace("_", " "), "95%")]
    return {
        "caption": f"{name}: {estimate.kind}, mean of "
        f"{estimate.by_seed['seed'].nunique()} seeds",
        "columns": ["slice", "system", "posts", "events", *titles],
        "rows": rows,
    }


def differences_table(name: str, estimate: Estimate) -> dict[str, Any]:
    """Give the paired differences, and those of each seed."""
    by_seed = estimate.by_seed.pivot_table(index="seed", columns="system", values="f1")
    rows = []
    for row in estimate.differences.to_dict("records"):
        each = by_seed["fused"] - by_seed[row["baseline"]]
        interval = [plain(row["low"]), plain(row["high"])]
        rows.append(
            [row["baseline"], plain(row["difference"]), interval, *map(float, each)]
        )
    seeds = [f"seed {seed}" for seed in by_seed.index]
    return {
        "caption": f"{name}: F1 of fused minus that of a baseline, paired",
        "columns": ["baseline", "difference", "95%", *seeds],
        "rows": rows,
    }


def parameters_table(name: str, estimate: Estimate) -> dict[str, Any]:
    """Give what the folds chose: medians and ranges over folds and seeds."""
    parameters: pd.DataFrame = estimate.parameters
    rows = [
        [
            column,
            *(float(parameters[column].quantile(q)) for q in (0.5, 0.0, 1.0)),
        ]
        for column in ("alpha", "beta", "threshold")
    ]
    pools = parameters["pool"].value_counts().to_dict()
    return {
        "caption": f"{name}: what {len(parameters)} folds chose (pool: "
        + ", ".join(f"{pool} {count}" for pool, count in pools.items())
        + ")",
        "columns": ["parameter", "median", "least", "greatest"],
        "rows": rows,
    }


def show(result: dict[str, Any]) -> None:
    """Print a result as the page shows it."""
    from benchmarks.make_page import render

    print(render([result]))
