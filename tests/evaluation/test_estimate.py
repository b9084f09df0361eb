"""The forms of an estimate: text, HTML and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluation.helpers import (
    EVENT,
    N_IMAGES,
    NO_LEAKAGE,
    SLICES,
    N,
    assert_same_estimate,
    make_run,
    summary,
)

from mmevent import Estimate
from mmevent.evaluation.figures import summarise
from mmevent.evaluation.nested import Run
from mmevent.exceptions import InputError


@pytest.mark.parametrize("threshold", [0.5, 9.0])
@pytest.mark.parametrize("n_groups", [N, 8, 1])
def test_an_estimate_survives_json(threshold: float, n_groups: int) -> None:
    estimate = summary(
        make_run(threshold=threshold),
        cluster=np.arange(N) % n_groups,
        notes=["a <note>"],
    )
    assert_same_estimate(estimate, Estimate.from_dict(json.loads(estimate.to_json())))


def test_an_estimate_without_negatives_survives_too() -> None:
    run = make_run()
    everything = np.ones(N, dtype=bool)
    estimate = summarise(
        [Run(None, run.fold, run.scores, run.thresholds, [])],
        everything,
        np.arange(N),
        N_IMAGES,
        kind="held out",
        leakage=NO_LEAKAGE,
        slices=SLICES,
    )
    assert "False-positive rate" not in str(estimate)
    assert_same_estimate(estimate, Estimate.from_dict(json.loads(estimate.to_json())))


def test_an_estimate_prints_what_a_reviewer_asks_for() -> None:
    text = str(summary(make_run(0), make_run(1), notes=["mind this"]))
    for words in (
        "Estimate by nested cross-validation",
        f"120 posts, {EVENT.sum()} events, 120 groups; 2 seeds of the folds",
        "95% intervals",
        "All posts",
        "F1 of fused minus",
        "Fused, by slice",
        "False-positive rate of fused, by number of images",
        "4 or more",
        "- mind this",
    ):
        assert words in text
    assert "1 seed of" in str(summary(make_run()))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nested", "nested cross-validation"),
        ("cross-fit", "cross-fitted (slightly optimistic: the branches saw the fold"),
        ("held out", "held-out posts, never seen in training"),
    ],
)
def test_every_form_says_how_posts_were_kept_apart(kind: str, words: str) -> None:
    estimate = summary(make_run(), kind=kind)
    assert f"Estimate by {words}" in str(estimate)
    assert words in estimate._repr_html_()


def test_held_out_posts_have_no_seeds() -> None:
    run = make_run()
    estimate = summary(Run(None, run.fold, run.scores, run.thresholds, []))
    assert "seed" not in str(estimate)


def test_html_is_escaped() -> None:
    page = summary(make_run(), notes=["<script>alert(1)</script>"])._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<table") == page.count("</table>") == 4


def one_slice(own: float, minus_rest: float) -> pd.DataFrame:
    """Return a table of one slice: all its figures, and how far they are."""
    row: dict[str, Any] = {"by": "place", "slice": "north", "n_posts": 7}
    row |= {"n_events": 3, "n_groups": 7, "n_flagged": 1.0}
    for name in ("f1", "precision", "recall"):
        for end in ("", "_low", "_high"):
            row |= {f"{name}{end}": own, f"{name}_minus_rest{end}": minus_rest}
    return pd.DataFrame([row])


def test_no_event_is_a_dash_and_the_count() -> None:
    table = one_slice(np.nan, np.nan)
    text = str(replace(summary(make_run()), slices=table))
    line = next(x for x in text.splitlines() if x.startswith("place: north"))
    assert line.split()[-5:] == ["7", "3", "–", "–", "–"]
    assert "intervals hold for all slices at once" not in text


def test_differences_stand_below_the_figures() -> None:
    text = str(replace(summary(make_run()), slices=one_slice(0.5, -0.1)))
    above, _, below = text.partition("intervals hold for all slices at once")
    assert "place: north" in above
    line = next(x for x in below.splitlines() if x.startswith("place: north"))
    assert line.count("-0.100 [-0.10, -0.10]") == 3


def test_a_long_name_of_a_slice_is_cut() -> None:
    table = one_slice(0.5, 0.1).assign(slice="a" * 60)
    text = str(replace(summary(make_run()), slices=table))
    assert f"place: {'a' * 21}… " in text


@pytest.mark.parametrize("slice_name", ["all", "with images", "without images"])
def test_a_frame_holds_the_rows_of_one_slice(slice_name: str) -> None:
    estimate = summary(make_run())
    frame = estimate.to_frame(slice_name)
    rows = estimate.table[estimate.table["slice"] == slice_name]
    assert frame.index.tolist() == rows["system"].tolist() == ["text only", "fused"]
    assert frame["f1"].tolist() == rows["f1"].tolist()


def test_the_threshold_and_the_brier_score_are_printed_where_there_are_some() -> None:
    plain = summary(make_run())
    spread = {"threshold": 0.5, "low": 0.4, "high": 0.7, "n_resamples": 200}
    brier = {"probabilities": "calibrated", "value": 0.1, "low": 0.05, "high": 0.2}
    tenth = {
        "n_posts": 12.0,
        "probability": 0.25,
        "value": 0.3,
        "low": 0.1,
        "high": 0.5,
    }
    text = str(
        replace(
            plain,
            threshold=pd.DataFrame([spread | {"n_unmet": 3}]),
            brier=pd.DataFrame([brier]),
            reliability=pd.DataFrame([tenth]),
        )
    )
    for words in (
        *("0.500 [0.400, 0.700]", "3 of 200", "calibrated 0.100 [0.050, 0.200]"),
        "0.250    12 0.300 [0.100, 0.500]",
    ):
        assert words in text
        assert words not in str(plain)


def test_a_slice_without_figures_is_refused() -> None:
    with pytest.raises(InputError, match=r"slice='with image' has no figures.*'all'"):
        summary(make_run()).to_frame("with image")


def test_an_estimate_has_a_short_form_with_the_detectors_own_figure() -> None:
    estimate = summary(make_run(), notes=["n" * 900])
    f1 = estimate.to_frame().loc["fused", "f1"]
    assert len(repr(estimate)) < 100
    assert f"F1 {f1:.3f} [" in repr(estimate)
