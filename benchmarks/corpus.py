"""Whether intervals of a corpus cover its truth: python -m benchmarks.corpus.

Corpora are simulated whose every event is known. A sample is drawn and coded without
error, and the corpus estimated from it. Beside it, on the same draws, are the number of
flagged posts, which is often reported for that of events, and the interval of
prediction-powered inference (ppi-python) under the sample's weights.
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
from mmevent.corpus.estimate import estimate_corpus
from mmevent.corpus.sampling import draw_sample

N_POSTS, N_CODED = 20_000, 400
PREVALENCES = (0.005, 0.02, 0.2)
POSTS_A_CLUSTER = 20
SPREAD = 0.05  # shape of the gamma distribution of a cluster's share of events


def make_corpus(
    prevalence: float, *, clustered: bool, seed: int
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Give predictions, and which posts are events."""
    rng = np.random.default_rng(seed)
    share, shift = np.full(N_POSTS, prevalence), np.zeros(N_POSTS)
    if clustered:
        n_clusters = N_POSTS // POSTS_A_CLUSTER
        cluster = rng.integers(0, n_clusters, N_POSTS)
        drawn = rng.gamma(SPREAD, 1 / SPREAD, n_clusters) * prevalence
        share = np.minimum(drawn, 0.9)[cluster]
        shift = rng.normal(0, 0.5, n_clusters)[cluster]
    event = rng.random(N_POSTS) < share
    evidence = rng.normal(3.0 * event + shift)
    score = 1 / (1 + np.exp(3 - evidence))
    threshold = np.quantile(score, 1 - 1.2 * prevalence)
    audit = pd.DataFrame({"id": np.arange(N_POSTS), "score": score})
    return audit.assign(margin=score - threshold), event


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


def simulate(prevalence: float, runs: int, *, clustered: bool) -> list[Any]:
    """Give coverage and mean width of each interval."""
    covered: dict[str, list[bool]] = {}
    width: dict[str, list[float]] = {}
    worth, naive = [], []
    for seed in range(runs):
        audit, event = make_corpus(prevalence, clustered=clustered, seed=seed)
        flagged = audit["margin"].to_numpy() >= 0
        found = (event & flagged).sum()
        truth = {
            "n_events": event.sum(),
            "precision": found / flagged.sum(),
            "recall": found / event.sum(),
            "f1": 2 * found / (flagged.sum() + event.sum()),
        }
        sample = draw_sample(audit, N_CODED, random_state=seed)
        sample["event"] = event[sample["id"]].astype(int)
        estimate = estimate_corpus(audit, sample, "event")
        ends = {r.figure: (r.low, r.high) for r in estimate.table.itertuples()}
        ends["ppi"], truth["ppi"] = powered(audit, sample, event), truth["n_events"]
        for name, (low, high) in ends.items():
            covered.setdefault(name, []).append(low <= truth[name] <= high)
            width.setdefault(name, []).append(high - low)
        worth.append(estimate.effective_sample_size)
        naive.append(flagged.sum() / event.sum() - 1)
    row: list[Any] = [prevalence, "yes" if clustered else "no"]
    for name in ("n_events", "ppi", "precision", "recall", "f1"):
        row += [float(np.mean(covered[name])), float(np.mean(width[name]))]
    return [*row, float(np.mean(worth)), float(np.mean(np.abs(naive)))]


def main() -> None:
    """Run all corpora, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
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
    least = binom.ppf(0.025, arguments.runs, 0.95) / arguments.runs
    figures = ("events", "events, ppi-python", "precision", "recall", "F1")
    result = {
        "title": "Estimates of a corpus",
        "command": command_line("benchmarks.corpus"),
        "header": result_header(seed=0),
        "tables": [
            {
                "caption": f"{arguments.runs} corpora each, of {N_POSTS:,} posts, "
                f"{N_CODED} coded: share of 95% intervals with the truth in it, and "
                f"their mean width",
                "columns": [
                    *("prevalence", "clustered"),
                    *(part for name in figures for part in (name, "width")),
                    *("worth posts at random", "error of the number flagged"),
                ],
                "rows": rows,
            }
        ],
        "notes": [
            f"An interval that covers in 95% of corpora does so in {least:.3f} or more "
            f"of {arguments.runs} in 39 of 40 cases.",
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
