"""Whether corrected coefficients cover the truth: python -m benchmarks.regression.

Corpora are simulated whose detector errs more where a covariate is high. A sample is
drawn and coded without error. Each regression is fitted with the corrected events, with
those that were flagged, and on the coded posts alone, and compared with the coefficient
of the population that the posts are from.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks._common import command_line, result_header, write_result
from benchmarks._estimates import show
from mmevent.corpus.pseudo_outcomes import regression_table
from mmevent.corpus.regression import fit_regression
from mmevent.corpus.sampling import draw_sample

N_POSTS, N_UNITS, N_MONTHS = 4_000, 80, 12
N_LARGE = 2_000_000  # posts that give the population's coefficient
SLOPE, LEAN = 0.5, 1.0  # of events, and of the detector's evidence, on the covariate
EFFECT = 0.6  # of events on outcomes
FAMILIES = ("linear", "logistic", "poisson")

Array = NDArray[np.float64]


class Setting(NamedTuple):
    """One kind of corpus and sample."""

    role: str  # of events: outcome, covariate, or count
    prevalence: float
    evidence: float  # distance of events and others, in standard deviations
    n_coded: int


SETTINGS = [
    Setting("outcome", 0.1, 4.0, 500),
    Setting("covariate", 0.1, 4.0, 500),
    Setting("count", 0.1, 4.0, 500),
    Setting("outcome", 0.1, 2.5, 500),
    Setting("outcome", 0.02, 4.0, 500),
    Setting("outcome", 0.1, 4.0, 200),
]


def sigmoid(x: Array) -> Array:
    """Give 1 / (1 + exp(-x))."""
    return np.asarray(1 / (1 + np.exp(-x)))


def make_posts(
    setting: Setting, rng: np.random.Generator
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Give posts with covariates and the detector's score, and which are events."""
    n, prevalence = N_POSTS, setting.prevalence
    posts = pd.DataFrame({"id": np.arange(n)})
    if setting.role == "count":
        posts["unit"] = rng.integers(0, N_UNITS, n)
        x = rng.normal(size=N_UNITS)[posts["unit"]]
        differ = rng.gamma(20, 1 / 20, N_UNITS)[posts["unit"]]  # units beyond x
        event = rng.random(n) < np.minimum(prevalence * np.exp(SLOPE * x) * differ, 1)
        months = rng.integers(1, N_MONTHS + 1, n)
        posts["created_at"] = [f"2024-{month:02d}-15" for month in months]
    else:
        x = rng.normal(size=n)
        event = rng.random(n) < share(prevalence, x)
    leaning = x
    if setting.role == "covariate":
        outcomes = {
            f: outcome(f, EFFECT * event - 0.3 * x - 0.5, rng) for f in FAMILIES
        }
        posts = posts.assign(**outcomes)
        leaning = sum((y - y.mean()) / y.std() for y in outcomes.values())
    evidence = rng.normal(setting.evidence * event + LEAN * leaning)
    score = sigmoid(evidence - setting.evidence)
    threshold = np.quantile(score, 1 - prevalence)
    return posts.assign(x=x, score=score, margin=score - threshold), event


def share(prevalence: float, x: Array) -> Array:
    """Give the share of events at a value of the covariate."""
    return sigmoid(np.log(prevalence / (1 - prevalence)) + SLOPE * x)


def outcome(family: str, eta: Array, rng: np.random.Generator) -> Array:
    """Give outcomes that events explain."""
    if family == "linear":
        return np.asarray(eta + rng.normal(size=len(eta)))
    if family == "logistic":
        return np.asarray((rng.random(len(eta)) < sigmoid(eta)) * 1.0)
    return np.asarray(rng.poisson(np.exp(eta)) * 1.0)


def truths(setting: Setting) -> dict[str, float]:
    """Give the coefficients of the population, by family."""
    if setting.role == "covariate":
        return dict.fromkeys(FAMILIES, EFFECT)
    x = np.random.default_rng(10**6).normal(size=N_LARGE)
    if setting.role == "count":
        mean = np.minimum(setting.prevalence * np.exp(SLOPE * x), 1)
        linear = np.polyfit(x, mean, 1)[0] * N_POSTS / N_UNITS / N_MONTHS
        return {"linear": float(linear), "poisson": SLOPE}
    p = share(setting.prevalence, x)
    slopes = {"linear": float(np.polyfit(x, p, 1)[0]), "logistic": SLOPE}
    return slopes | {"poisson": poisson_slope(x, p)}


def poisson_slope(x: Array, p: Array) -> float:
    """Give the slope of a Poisson regression whose outcome has the mean p."""
    beta, design = np.array([np.log(p.mean()), 0.0]), np.column_stack([x**0, x])
    for _ in range(20):
        mean = np.exp(design @ beta)
        score = design.T @ (p - mean)
        beta = beta + np.linalg.solve(design.T @ (design * mean[:, None]), score)
    return float(beta[1])


def fitted(setting: Setting, seed: int, families: Iterable[str]) -> list[pd.DataFrame]:
    """Give the coefficient of interest by each estimator, for one corpus."""
    posts, event = make_posts(setting, np.random.default_rng(seed))
    coded = draw_sample(posts, setting.n_coded, random_state=seed)
    coded["event"] = event[coded["id"]] * 1
    features = ["x", *(FAMILIES if setting.role == "covariate" else ())]
    options: dict[str, Any] = {"features": features}
    if setting.role == "count":
        options |= {"unit": "unit", "period": "month"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of units without a coded post
        table = regression_table(posts, coded, "event", **options)
    if setting.role == "count":
        x = posts.groupby("unit")["x"].first()
        table["x"] = table["unit"].astype(int).map(x)
    found = []
    for family in families:
        formula, term = "event ~ x", "x"
        if setting.role == "covariate":
            formula, term = f"{family} ~ event + x", "event"
        figures = fit_regression(formula, table, family=family).table
        found.append(figures[figures["term"] == term].set_index("estimator"))
    return found


def simulate(setting: Setting, runs: int) -> list[list[Any]]:
    """Give coverage, bias and standard errors of each estimator, by family."""
    truth = truths(setting)
    found = [fitted(setting, seed, truth) for seed in range(runs)]
    rows = []
    for place, (family, value) in enumerate(truth.items()):
        rows.append([setting.role, family, *setting[1:], value])
        errors = {}
        for name in ("corrected", "flagged", "coded alone"):
            figures = np.array(
                [f[place].loc[name].drop("term").astype(float) for f in found]
            )
            estimate, error, low, high = figures.T[:4]
            covered = (low <= value) & (value <= high)
            rows[-1] += [float(covered.mean()), float(np.nanmean(estimate) - value)]
            errors[name] = error
            if name == "corrected":
                rows[-1] += [float(estimate.std()), rms(error)]
        gain = 1 - np.nanmedian(errors["corrected"] / errors["coded alone"])
        rows[-1].append(float(gain))
        print(rows[-1], flush=True)
    return rows


def rms(values: Array) -> float:
    """Give the root of the mean of squares."""
    return float(np.sqrt(np.nanmean(values**2)))


def main() -> None:
    """Run all cells, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--settings", type=int, nargs="*", help="numbers, from 0")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    numbers = arguments.settings or range(len(SETTINGS))
    rows = [r for i in numbers for r in simulate(SETTINGS[i], arguments.runs)]
    error = np.sqrt(0.95 * 0.05 / arguments.runs)
    columns = ["events are the", "regression", "prevalence", "evidence", "coded"]
    columns += ["truth", "coverage", "bias", "spread", "standard error"]
    columns += ["flagged: coverage", "bias", "coded alone: coverage", "bias"]
    columns += ["less than coded alone"]
    result = {
        "title": "Regressions with detected events",
        "command": command_line("benchmarks.regression"),
        "header": result_header(seed=0),
        "tables": [
            {
                "caption": f"{arguments.runs} corpora each, of {N_POSTS:,} posts whose "
                f"detector leans with the covariate: share of 95% intervals with the "
                f"population's coefficient in them, and bias of the estimates",
                "columns": columns,
                "rows": rows,
            }
        ],
        "notes": [
            f"Monte-Carlo error of a coverage of 0.95: {error:.3f}.",
            f"Evidence: distance between events and others on the detector's scale, "
            f"in standard deviations; that scale moves by {LEAN:g} per standard "
            f"deviation of the covariate, or of the outcomes where events are a "
            f"covariate. Counts: {N_UNITS} units in {N_MONTHS} months, with units "
            f"as clusters.",
            "Spread: standard deviation of the estimates. Standard error: root of the "
            "mean of its square. Less than coded alone: by how much the standard error "
            "is below that of the coded posts alone, median.",
        ],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
