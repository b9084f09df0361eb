"""Whether intervals of a corpus cover, and how wide: python -m benchmarks.corpus.

Corpora are simulated whose every event is known. Samples of them are drawn and coded
without error, and the corpus estimated from each. Beside it are the interval of a
simple random sample with as many posts, and what the sample was expected to show. On
the same draws are the number of flagged posts, which is often reported for that of
events, and the interval of prediction-powered inference (ppi-python) under the sample's
weights.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks._common import command_line, result_header, write_result
from benchmarks._estimates import show
from mmevent.corpus.allocation import FIGURE_OF
from mmevent.corpus.sampling import SamplePlan
from mmevent.corpus.shares import (
    Figure,
    StratumCounts,
    effective_size,
    exact_interval,
    figures,
)
from mmevent.corpus.strata import Strata

N_POSTS, N_CODED = 20_000, 400
PREVALENCES = (0.005, 0.02, 0.2)
POSTS_A_CLUSTER = 20
SPREAD = 0.05  # shape of the gamma distribution of a cluster's share of events
CORPORA = 4  # in each row of the first table
WIDTHS = {  # of the second table
    "prevalence": (0.001, 0.005, 0.02, 0.2),
    "apart": (3.0, 1.5, 0.0),
    "n": (50, 100, 200, 400, 1000),
}


def make_corpus(
    prevalence: float, *, clustered: bool, seed: int, apart: float = 3.0
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Give predictions, and which posts are events.

    Scores of events and of others are `apart` standard deviations apart. If posts are
    not clustered, the column ``true`` has the probability that a post is an event.
    """
    rng = np.random.default_rng(seed)
    share, shift = np.full(N_POSTS, prevalence), np.zeros(N_POSTS)
    if clustered:
        n_clusters = N_POSTS // POSTS_A_CLUSTER
        cluster = rng.integers(0, n_clusters, N_POSTS)
        drawn = rng.gamma(SPREAD, 1 / SPREAD, n_clusters) * prevalence
        share = np.minimum(drawn, 0.9)[cluster]
        shift = rng.normal(0, 0.5, n_clusters)[cluster]
    event = rng.random(N_POSTS) < share
    evidence = rng.normal(apart * event + shift)
    score = 1 / (1 + np.exp(3 - evidence))
    threshold = np.quantile(score, 1 - 1.2 * prevalence)
    audit = pd.DataFrame({"id": np.arange(N_POSTS), "score": score})
    odds = prevalence / (1 - prevalence) * np.exp(apart * evidence - apart**2 / 2)
    return audit.assign(margin=score - threshold, true=odds / (1 + odds)), event


def powered(
    audit: pd.DataFrame, sample: pd.DataFrame, event: NDArray[np.bool_]
) -> tuple[float, float]:
    """Give ppi-python's interval of the number of events."""
    from ppi_py import ppi_mean_ci

    score, rows = audit["score"].to_numpy(), sample["id"].to_numpy()
    low, high = ppi_mean_ci(
        event[rows].astype(float),
        score[rows],
        score,
        alpha=0.05,
        w=(1 / sample["inclusion_probability"]).to_numpy(),
    )
    return float(low[0] * N_POSTS), float(high[0] * N_POSTS)


def truth_of(audit: pd.DataFrame, event: NDArray[np.bool_]) -> dict[str, float]:
    """Give the figures of a corpus."""
    flagged = audit["margin"].to_numpy() >= 0
    found = (event & flagged).sum()
    return {
        "n_events": float(event.sum()),
        "precision": float(found / flagged.sum()),
        "recall": float(found / event.sum()),
        "f1": float(2 * found / (flagged.sum() + event.sum())),
    }


def counts_of(strata: Strata, coded: Any, events: Any) -> StratumCounts:
    """Give the counts of one sample, or of many."""
    return StratumCounts(
        strata.size.astype(float),
        strata.flagged,
        np.broadcast_to(coded, np.shape(events)).astype(float),
        np.asarray(events, dtype=float),
        np.zeros(len(strata.size)),
    )


def covers(row: Figure, truth: dict[str, float]) -> Any:
    """Tell which intervals have the truth in them, but for rounding."""
    value = truth[row.figure]
    slack = 1e-9 * max(value, 1)
    return (row.low - slack <= value) & (value <= row.high + slack)


def simulate(prevalence: float, runs: int, *, clustered: bool) -> list[Any]:
    """Give coverage and mean width of each interval."""
    covered: dict[str, list[bool]] = {}
    width: dict[str, list[float]] = {}
    worth, naive = [], []
    for seed in range(CORPORA):
        audit, event = make_corpus(prevalence, clustered=clustered, seed=seed)
        truth, plan = truth_of(audit, event), SamplePlan(audit)
        truth["ppi"] = truth["n_events"]
        strata, n_coded = plan.design(N_CODED)
        for run in range(runs // CORPORA):
            sample = plan.draw(N_CODED, run)
            rows = sample["id"].to_numpy()
            events = np.bincount(strata.stratum[rows], event[rows], len(n_coded))
            counts = counts_of(strata, n_coded, events)
            ppi = Figure("ppi", np.nan, *powered(audit, sample, event))
            for row in (*figures(counts), ppi):
                covered.setdefault(row.figure, []).append(bool(covers(row, truth)))
                width.setdefault(row.figure, []).append(float(row.high - row.low))
            worth.append(effective_size(counts))
        naive.append((audit["margin"] >= 0).sum() / event.sum() - 1)
    cells: list[Any] = [prevalence, "yes" if clustered else "no"]
    for name in ("n_events", "ppi", "precision", "recall", "f1"):
        cells += [float(np.mean(covered[name])), float(np.mean(width[name]))]
    return [*cells, float(np.nanmean(worth)), float(np.mean(np.abs(naive)))]


def compare(prevalence: float, apart: float, n: int, runs: int) -> list[Any]:
    """Give widths beside those of a random sample and those expected, and coverage."""
    audit, event = make_corpus(prevalence, clustered=False, seed=1, apart=apart)
    truth, rng = truth_of(audit, event), np.random.default_rng(n)
    found = rng.hypergeometric(event.sum(), N_POSTS - event.sum(), n, size=runs)
    low, high = exact_interval(found, n, N_POSTS)
    at_random = float(np.mean(high - low) * N_POSTS)
    relative, expected = [], []
    for predictions in (audit, audit.rename(columns={"true": "probability"})):
        plan = SamplePlan(predictions)
        strata, n_coded = plan.design(n)
        there = np.bincount(strata.stratum, event, len(n_coded)).astype(int)
        size = (runs, len(n_coded))
        drawn = rng.hypergeometric(there, strata.size - there, n_coded, size=size)
        rows = figures(counts_of(strata, n_coded, drawn))
        realised = {row.figure: float(np.mean(row.high - row.low)) for row in rows}
        relative.append(realised["n_events"] / at_random)
        widths = plan.widths(n)
        expected.append([widths[f] / realised[f] for f in FIGURE_OF.values()])
    covered = [float(np.mean(covers(row, truth))) for row in rows]
    bias = float(np.nanmean(rows[2].value) - truth["recall"])
    return [prevalence, apart, n, *relative, *sum(expected, []), *covered, bias]


def main() -> None:
    """Run all corpora, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--width-runs", type=int, default=1000)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    try:
        import ppi_py  # noqa: F401
    except ImportError as error:
        message = 'benchmarks: ppi-python is missing: pip install "mmevent[bench]"'
        raise SystemExit(message) from error
    rows = []
    for prevalence in PREVALENCES:
        for clustered in (False, True):
            rows.append(simulate(prevalence, arguments.runs, clustered=clustered))
            print(rows[-1], flush=True)
    widths = [
        compare(prevalence, apart, n, arguments.width_runs)
        for prevalence in WIDTHS["prevalence"]
        for apart in WIDTHS["apart"]
        for n in WIDTHS["n"]
    ]
    least = binom.ppf(0.025, arguments.runs, 0.95) / arguments.runs
    figures = ("events", "events, ppi-python", "precision", "recall", "F1")
    result = {
        "title": "Estimates of a corpus",
        "command": command_line("benchmarks.corpus"),
        "header": result_header(seed=0),
        "tables": [
            {
                "caption": f"{arguments.runs} samples each, of {CORPORA} corpora with "
                f"{N_POSTS:,} posts, {N_CODED} coded: share of 95% intervals with the "
                f"truth in it, and their mean width",
                "columns": [
                    *("prevalence", "clustered"),
                    *(part for name in figures for part in (name, "width")),
                    *("worth posts at random", "error of the number flagged"),
                ],
                "rows": rows,
            },
            {
                "caption": f"{arguments.width_runs} samples each, of a corpus with "
                f"{N_POSTS:,} posts: width of the interval of the number of events, "
                f"relative to a simple random sample; expected width relative to the "
                f"realised one, from typical detectors and from true probabilities; "
                f"share of 95% intervals with the truth in it",
                "columns": [
                    *("prevalence", "separation", "coded"),
                    *("relative width", "with probabilities"),
                    *(
                        f"expected {name}, {source}"
                        for source in ("typical", "probabilities")
                        for name in ("events", "precision", "recall", "F1")
                    ),
                    *("events", "precision", "recall", "F1", "bias of recall"),
                ],
                "rows": widths,
            },
        ],
        "notes": [
            f"An interval that covers in 95% of samples does so in {least:.3f} or more "
            f"of {arguments.runs} in 39 of 40 cases.",
            "Separation: standard deviations between scores of events and of others; 0 "
            "for a detector that knows nothing. The mean widths have Monte-Carlo "
            "errors of 1% or less in most rows, up to 3% where few samples have an "
            "event.",
            "Worth posts at random: size of a simple random sample with as narrow an "
            "interval of the number of events. Error of the number flagged: how far it "
            "is from that of events, as a share of these; it has no interval, and so "
            "covers nothing.",
        ],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
