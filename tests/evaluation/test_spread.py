"""What the choice of parameters adds to intervals, and scores ranked across folds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_score,
    recall_score,
)

from mmevent.evaluation.baselines import BOTH, STAGE_1
from mmevent.evaluation.metrics import Resampling
from mmevent.evaluation.nested import Run
from mmevent.evaluation.spread import (
    GIVEN_STAGE_1,
    Added,
    Choices,
    Spread,
    comparable,
    variance_of_choice,
)
from tests.evaluation.helpers import EVENT, N, make_run, summary

NAN = float("nan")
RNG = np.random.default_rng(5)
SCORE = np.clip(RNG.normal(0.3 + 0.4 * EVENT, 0.3), 0, 1)


def choices(*thresholds: float) -> Choices:
    return Choices.of([(SCORE, threshold) for threshold in thresholds])


def run_of(**systems: Choices) -> Run:
    run = make_run()
    fold, rows = run.fold, np.arange(N)
    return replace(
        run,
        scores={name: c.score[fold, rows] for name, c in systems.items()},
        thresholds={name: c.threshold[fold] for name, c in systems.items()},
        choices=systems,
    )


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([[0.6, 0.8, 0.7]], 0.01 * 4 / 3),
        ([[0.6, 0.8, 0.7], [0.7, 0.7, 0.7]], 0.005 * 4 / 3),
        ([[0.6, NAN, 0.8]], 0.02 * 3 / 2),
        ([[0.6, NAN]], 0.0),
        ([[0.5, 0.5, 0.5, 0.5]], 0.0),
        ([], 0.0),
    ],
    ids=["one run", "mean of runs", "undefined", "one fold", "all alike", "no run"],
)
def test_variance_between_folds_and_one_more_choice(
    figures: Any, expected: float
) -> None:
    found = variance_of_choice([np.array(run) for run in figures])
    assert found.variance == pytest.approx(expected)


def test_degrees_of_freedom_are_those_of_the_larger_part() -> None:
    assert Added(0.0, np.inf).degrees(0.1, 50) is None
    assert Added(1.0, 4.0).degrees(1e-9, 50) == pytest.approx(4)
    assert Added(1e-9, 4.0).degrees(1.0, 50) == pytest.approx(49)
    two_runs = [np.array([0.6, 0.8, 0.7]), np.array([0.6, NAN, 0.8])]
    assert variance_of_choice(two_runs).df == 1


@pytest.mark.parametrize("factors", [(1.0, 1.0), (0.2, 1.7)], ids=["plain", "weighted"])
def test_figures_of_each_fold_are_as_scikit_learn_says(factors: Any) -> None:
    other = Choices.of([(SCORE, 0.3), (np.round(SCORE, 1), 0.6)])
    found, weight = other.figures(EVENT, factors), np.where(EVENT, *factors)
    for k, flagged in enumerate(other.flagged()):
        for name, score in (
            ("f1", f1_score),
            ("precision", precision_score),
            ("recall", recall_score),
        ):
            expected = score(EVENT, flagged, sample_weight=weight)
            assert found[name][k] == pytest.approx(expected), name
        area = average_precision_score(EVENT, other.score[k], sample_weight=weight)
        assert found["average_precision"][k] == pytest.approx(area)


def test_posts_without_events_have_no_figure_of_a_fold() -> None:
    found = choices(0.3, 0.6).figures(np.zeros(N, dtype=bool))
    assert np.isnan(found["average_precision"]).all()
    assert np.isnan(found["recall"]).all()


def test_scores_of_folds_that_chose_alike_keep_their_order() -> None:
    same, fold = choices(0.5, 0.5, 0.5), np.arange(N) % 3
    found = comparable(SCORE, fold, same)
    assert (np.argsort(found, kind="stable") == np.argsort(SCORE, kind="stable")).all()


def test_the_scale_of_a_folds_scores_does_not_matter() -> None:
    fold = np.arange(N) % 3
    rows = Choices.of([(SCORE, 0.5), (SCORE / 10, 0.1), (SCORE**2 * 2, 0.5)])
    scores = rows.score[fold, np.arange(N)]
    found = comparable(scores, fold, rows)
    np.testing.assert_array_equal(found, comparable(SCORE, fold, choices(*[0.5] * 3)))
    assert average_precision_score(EVENT, found) == pytest.approx(
        average_precision_score(EVENT, SCORE)
    )


def test_held_out_scores_stay_and_nothing_is_added() -> None:
    run = replace(make_run(), fold=np.zeros(N, dtype=int))
    np.testing.assert_array_equal(run.ranks("fused"), run.scores["fused"])
    spread = Spread([run], np.ones(N, dtype=bool), EVENT)
    assert spread.of_figure("fused", "recall").variance == 0
    assert spread.of_difference("fused", "text only").variance == 0


def test_posts_that_no_fold_tests_have_no_rank() -> None:
    run = run_of(fused=choices(0.5, 0.5, 0.5))
    run.fold[:10] = -1
    ranks = run.ranks("fused")
    assert np.isnan(ranks[:10]).all()
    assert np.isfinite(ranks[10:]).all()


def test_folds_that_chose_otherwise_make_the_intervals_wider() -> None:
    flat = {"text only": choices(0.6, 0.6, 0.6), "fused": choices(0.5, 0.5, 0.5)}
    alike, apart = run_of(**flat), run_of(**flat)
    # The same posts are flagged: only what is said of other posts differs.
    apart.choices["fused"] = Choices(
        SCORE[None].repeat(3, 0), np.array([0.2, 0.5, 0.8])
    )
    one, other = summary(alike), summary(apart)
    for name in ("f1", "precision", "recall"):
        first, second = (e.to_frame().loc["fused"] for e in (one, other))
        assert first[name] == second[name]
        assert second[f"{name}_low"] < first[f"{name}_low"], name
        assert second[f"{name}_high"] > first[f"{name}_high"], name
    (low, high), (lower, higher) = (
        e.differences.iloc[0][["low", "high"]] for e in (one, other)
    )
    assert lower < low
    assert higher > high


def test_a_second_stage_alone_has_a_spread_too() -> None:
    run = run_of(
        fused=choices(0.5, 0.5, 0.5),
        **{STAGE_1: choices(0.2, 0.2, 0.2), BOTH: choices(0.4, 0.5, 0.6)},
    )
    spread = Spread([run], np.ones(N, dtype=bool), EVENT)
    judged = SCORE >= 0.2
    each = [recall_score(EVENT[judged], SCORE[judged] >= t) for t in (0.4, 0.5, 0.6)]
    expected = variance_of_choice([np.array(each)])
    assert expected.variance > 0
    assert spread.of_figure(GIVEN_STAGE_1, "recall") == pytest.approx(expected)
    assert spread.of_figure(GIVEN_STAGE_1, "average_precision").variance == 0


def test_intervals_cover_the_detector_that_was_fitted() -> None:
    """Thresholds that vary by chance: without their spread recall covers 0.75."""
    rng, n, spread_of_cut = np.random.default_rng(0), 200, 0.25
    event, everyone = np.arange(n) < 100, np.ones(n, dtype=bool)
    resampling, fold = Resampling(np.arange(n)), np.arange(n) % 5
    covered = {True: 0, False: 0}
    for _ in range(120):
        score = rng.normal(1.5 * event)
        cuts = 0.75 + spread_of_cut * rng.normal(size=6)
        of = Choices(np.broadcast_to(score, (5, n)), cuts[:5])
        run = Run(
            0, fold, {"fused": score}, {"fused": cuts[fold]}, [], None, {"fused": of}
        )
        flagged = run.flagged("fused")
        recall = resampling.ratios(flagged, event)["recall"]
        basis = resampling.bases(flagged[None], event[None])["recall"]
        added = Spread([run], everyone, event).of_figure("fused", "recall")
        true = norm.sf(cuts[5] - 1.5)
        for with_spread in covered:
            df = added.degrees(resampling.variance(recall), n) if with_spread else None
            extra = added.variance * with_spread
            _, low, high = resampling.interval(recall, basis, added=extra, df=df)
            covered[with_spread] += low <= true <= high
    assert covered[False] / 120 < 0.8
    assert covered[True] / 120 > 0.92
