"""Intervals that are corrected for errors of coders: python -m benchmarks.coder_error.

The posts of a corpus whose every event is known are sampled and coded by people who
err. Beside the corrected number of events, on the same codings, is that of their mean,
and that of codings without an error, which shows how much wider the errors make it.
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
from benchmarks.corpus import N_POSTS, PREVALENCES, make_corpus
from mmevent.corpus import coder_error
from mmevent.corpus.codings import read_codings
from mmevent.corpus.sampling import SamplePlan
from mmevent.corpus.shares import StratumCounts, figures
from mmevent.corpus.strata import Strata

Flags = NDArray[np.bool_]

ALIKE, UNLIKE = ((0.9, 0.99),) * 2, ((0.95, 0.995), (0.75, 0.98))
# Sensitivity and specificity of each coder, and what else is known of them.
SETTINGS: dict[str, tuple[tuple[tuple[float, float], ...], dict[str, Any]]] = {
    "two coders": (ALIKE, {}),
    "two coders, unlike, named": (UNLIKE, {"coder": "coder"}),
    "one coder, a third adjudicated": (ALIKE[:1], {"adjudicated": 1 / 3}),
    "one coder, rates given": (ALIKE[:1], {"known": ALIKE[0]}),
    "two coders, a third of the errors shared": (ALIKE, {"shared": 1 / 3}),
}


def code(
    event: Flags,
    rates: tuple[tuple[float, float], ...],
    shared: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Let coders code posts; on a share of the posts they all say the same."""
    alike, first = rng.random(len(event)) < shared, rng.random(len(event))
    tables = []
    for place, (sensitivity, specificity) in enumerate(rates):
        luck = np.where(alike, first, rng.random(len(event)))
        wrong = luck > np.where(event, sensitivity, specificity)
        table = {"id": np.arange(len(event)), "coder": place, "event": event ^ wrong}
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def interval(
    strata: Strata, stratum: NDArray[np.intp], share: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Give the number of events as if the codes were right."""
    n_strata = len(strata.size)
    counts = StratumCounts(
        *(strata.size.astype(float), strata.flagged),
        np.bincount(stratum, minlength=n_strata).astype(float),
        np.bincount(stratum, share, minlength=n_strata),
        np.zeros(n_strata),
    )
    events = figures(counts)[0]
    return events.value, events.low, events.high


def simulate(prevalence: float, setting: str, n_coded: int, runs: int) -> list[Any]:
    """Give coverage, width and error of each number of events."""
    rates, options = SETTINGS[setting]
    audit, event = make_corpus(prevalence, clustered=False, seed=0)
    strata, drawn = SamplePlan(audit).design(n_coded)
    truth = event.sum()
    posts = [np.flatnonzero(strata.stratum == h) for h in range(len(strata.size))]
    found: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(runs):
        rng = np.random.default_rng([seed, n_coded])
        chosen = [
            rng.choice(p, k, replace=False) for p, k in zip(posts, drawn, strict=True)
        ]
        rows = np.concatenate(chosen)
        stratum, true = strata.stratum[rows], event[rows]
        codes = code(true, rates, options.get("shared", 0.0), rng)
        known = pd.DataFrame({"id": np.arange(len(rows)), "event": true})
        some = known[rng.random(len(rows)) < options.get("adjudicated", 0.0)]
        codings = read_codings(
            *(known["id"], codes, "event"),
            coder=options.get("coder"),
            adjudicated=some if len(some) else None,
        )
        correction = coder_error.correct(
            codings, stratum, len(drawn), options.get("known")
        )
        assert correction is not None
        size, everything = strata.size.astype(float), np.ones(len(rows), dtype=bool)
        corrected = correction.figures(size, strata.flagged, everything)[0]
        mean = codes.groupby("id")["event"].mean().to_numpy()
        for name, ends in (
            ("corrected", (corrected.value, corrected.low, corrected.high)),
            ("mean", interval(strata, stratum, mean)),
            ("right", interval(strata, stratum, true.astype(float))),
        ):
            found.setdefault(name, []).append(ends)
    row: list[Any] = [setting, prevalence]
    for name in ("corrected", "mean", "right"):
        value, low, high = np.array(found[name]).T
        row += [
            float(((low <= truth) & (truth <= high)).mean()),
            float((high - low).mean() / truth),
            float(value.mean() / truth),
        ]
    return row


def main() -> None:
    """Run all settings, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--coded", type=int, default=500)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument(
        "--settings",
        type=int,
        nargs="+",
        default=range(1, len(SETTINGS) + 1),
        help="numbers of the settings, from 1",
    )
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    coder_error.N_DRAWS = arguments.draws
    rows = []
    for setting in [list(SETTINGS)[number - 1] for number in arguments.settings]:
        for prevalence in PREVALENCES:
            rows.append(simulate(prevalence, setting, arguments.coded, arguments.runs))
            print(rows[-1], flush=True)
    least = binom.ppf(0.025, arguments.runs, 0.95) / arguments.runs
    kinds = ("corrected", "mean of codings", "codes without error")
    result = {
        "title": "Errors of coders"
        if 1 in arguments.settings
        else "Errors of coders: other settings",
        "command": command_line("benchmarks.coder_error"),
        "header": result_header(seed=0),
        "tables": [
            {
                "caption": f"{arguments.runs} samples each of {arguments.coded} posts "
                f"from a corpus of {N_POSTS:,}: share of 95% intervals with the number "
                f"of events in it, mean width and mean estimate, both divided by that "
                f"number",
                "columns": [
                    *("codings", "prevalence"),
                    *(
                        f"{kind}: {what}"
                        for kind in kinds
                        for what in ("covers", "width", "estimate")
                    ),
                ],
                "rows": rows,
            }
        ],
        "notes": [
            f"Coders have a sensitivity of 0.9 and a specificity of 0.99; the two that "
            f"are unlike have {UNLIKE[0][0]} and {UNLIKE[1][0]}, and {UNLIKE[0][1]} "
            f"and {UNLIKE[1][1]}. Where errors are shared, coders do not err "
            f"independently, as the correction assumes: it shows what that costs.",
            f"An interval that covers in 95% of samples does so in {least:.3f} or more "
            f"of {arguments.runs} in 39 of 40 cases. Each interval is from "
            f"{arguments.draws} draws of the truth; `estimate` takes 1,000.",
        ],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
