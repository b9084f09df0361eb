"""From the scores of runs to figures, slices, differences and notes."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from evaluation.helpers import (
    EVENT,
    N_IMAGES,
    NO_LEAKAGE,
    SLICES,
    N,
    make_run,
    summary,
)
from sklearn.metrics import average_precision_score, f1_score, precision_score

from mmevent.evaluation.figures import summarise
from mmevent.evaluation.metrics import Resampling


def test_figures_are_those_of_scikit_learn_in_every_slice() -> None:
    run = make_run()
    estimate = summary(run)
    slices = {
        "all": np.ones(N, dtype=bool),
        "with images": N_IMAGES > 0,
        "without images": N_IMAGES == 0,
    }
    for name, rows in slices.items():
        table = estimate.to_frame(name)
        for system in ("text only", "fused"):
            flagged, event = run.flagged(system)[rows], EVENT[rows]
            row = table.loc[system]
            assert row["n_posts"] == rows.sum()
            assert row["n_events"] == event.sum()
            assert row["n_flagged"] == flagged.sum()
            assert row["f1"] == pytest.approx(f1_score(event, flagged))
            assert row["precision"] == pytest.approx(precision_score(event, flagged))
            area = average_precision_score(event, run.scores[system][rows])
            assert row["average_precision"] == pytest.approx(area)
            for figure in ("f1", "precision", "recall", "average_precision"):
                assert row[f"{figure}_low"] <= row[figure] <= row[f"{figure}_high"]


def test_the_threshold_of_each_fold_is_used() -> None:
    run = make_run()
    run.thresholds["fused"][run.fold == 1] = 2.0
    flagged = (run.scores["fused"] >= 0.5) & (run.fold != 1)
    row = summary(run).to_frame().loc["fused"]
    assert row["f1"] == pytest.approx(f1_score(EVENT, flagged))


def test_posts_that_no_fold_tests_count_in_no_figure() -> None:
    fold = np.where(np.arange(N) < 30, -1, np.arange(N) % 3)
    estimate = summary(make_run(fold=fold))
    assert estimate.to_frame()["n_posts"].tolist() == [90, 90]
    run = make_run(fold=fold)
    tested = f1_score(EVENT[30:], run.flagged("fused")[30:])
    assert estimate.to_frame().loc["fused", "f1"] == pytest.approx(tested)
    assert estimate.notes == [
        "30 of 120 posts are tested by no fold, or by one that no earlier posts can "
        "tune, and count in no figure."
    ]


def test_slices_are_left_out_where_all_or_no_posts_have_images() -> None:
    for n_images in (np.zeros(N, dtype=int), np.ones(N, dtype=int)):
        estimate = summarise(
            [make_run()],
            EVENT,
            np.arange(N),
            n_images,
            kind="nested",
            leakage=NO_LEAKAGE,
            slices=SLICES,
        )
        assert estimate.table["slice"].unique().tolist() == ["all"]


def test_differences_are_paired() -> None:
    run = make_run()
    estimate = summary(run)
    resampling = Resampling(np.arange(N))
    fused, text = (
        resampling.ratios(run.flagged(name), EVENT)["f1"]
        for name in ("fused", "text only")
    )
    flagged = [run.flagged(name) for name in ("fused", "text only")]
    basis = resampling.basis(flagged[0] | flagged[1] | EVENT, flagged[0] != flagged[1])
    # A post more that is flagged, as a share of those flagged or events, in F1.
    per_share = (2 - max(fused[0], text[0])) ** 2 / 2
    expected = resampling.difference(fused - text, basis, per_share=per_share)
    (row,) = estimate.differences.to_dict("records")
    assert row == {
        "baseline": "text only",
        "difference": pytest.approx(expected.value),
        "low": pytest.approx(expected.low),
        "high": pytest.approx(expected.high),
    }


def test_false_positive_rates_are_by_number_of_images() -> None:
    run = make_run()
    rates = summary(run).false_positive_rates.set_index("n_images")
    assert rates.index.tolist() == ["0", "1", "2", "3", "4 or more"]
    flagged = run.flagged("fused")
    for name, rows in zip(
        rates.index, [*(N_IMAGES == k for k in range(4)), N_IMAGES >= 4], strict=True
    ):
        negatives = rows & ~EVENT
        assert rates.loc[name, "n_negatives"] == negatives.sum()
        assert rates.loc[name, "rate"] == pytest.approx(flagged[negatives].mean())


def test_several_seeds_are_averaged_and_their_intervals_do_not_shrink() -> None:
    first, second = make_run(0), make_run(1)
    both = summary(first, second)
    f1 = [f1_score(EVENT, run.flagged("fused")) for run in (first, second)]
    assert both.to_frame().loc["fused", "f1"] == pytest.approx(np.mean(f1))
    by_seed = both.by_seed[both.by_seed["system"] == "fused"]
    assert by_seed["f1"].tolist() == pytest.approx(f1)
    assert by_seed["seed"].tolist() == [0, 1]
    same = summary(first, first).to_frame()
    pd.testing.assert_frame_equal(same, summary(first).to_frame())
    assert len(both.parameters) == 6


def test_groups_widen_the_intervals() -> None:
    cluster = np.repeat(np.arange(40), 3)
    event = np.repeat(np.arange(40) % 2 == 0, 3)
    run = make_run()
    run.scores["fused"] = np.repeat(run.scores["fused"][::3], 3)
    widths = []
    for groups in (np.arange(N), cluster):
        estimate = summarise(
            *([run], event, groups, N_IMAGES),
            kind="nested",
            leakage=NO_LEAKAGE,
            slices=SLICES,
        )
        row = estimate.to_frame().loc["fused"]
        widths.append(row["f1_high"] - row["f1_low"])
    assert widths[1] > 1.3 * widths[0]


def test_few_groups_are_labelled() -> None:
    estimate = summary(make_run(), cluster=np.arange(N) % 8)
    assert any(
        note.startswith(
            "small number of clusters: 8 groups, so the variances are those of"
        )
        for note in estimate.notes
    )
    assert not summary(make_run()).notes


def test_precision_is_undefined_where_nothing_is_flagged() -> None:
    estimate = summary(make_run(threshold=9.0))
    row = estimate.to_frame().loc["fused"]
    assert np.isnan(row["precision"])
    assert row["f1"] == 0
    assert "undefined" in str(estimate)
    assert json.loads(estimate.to_json())["table"][0]["precision"] is None
