"""Intervals from draws of the number of events."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmevent.corpus.melded import ERRORS, FIGURES, Totals, joint_tails
from mmevent.corpus.shares import StratumCounts, exact_interval, figures

FLAGGED = np.array([True, False])


def totals(
    events: tuple[int, int],
    coded: tuple[int, int],
    size: tuple[int, int],
    seed: int = 0,
) -> Totals:
    k, n, whole = np.array(events), np.array(coded, float), np.array(size, float)
    return Totals.of(
        *(whole, n, FLAGGED, whole * k / np.maximum(n, 1)),
        np.tile(k, (20000, 1)),
        np.random.default_rng(seed),
    )


@pytest.mark.parametrize("k", [0, 1, 7, 30])
def test_one_stratum_has_the_exact_interval(k: int) -> None:
    found = totals((k, 0), (30, 0), (400, 0)).figure("n_events")
    low, high = exact_interval(k, 30, 400)
    assert_allclose([found.low, found.high], [400 * low, 400 * high], atol=4)


def test_figures_are_near_those_of_known_codes() -> None:
    size, n, k = (200, 5000), (100, 200), (60, 4)
    found = [totals(k, n, size).figure(name) for name in FIGURES]
    exact = figures(
        StratumCounts(
            *map(np.array, (size,)), FLAGGED, *map(np.array, (n, k)), np.zeros(2)
        )  # type: ignore[arg-type]
    )
    for one, other in zip(found, exact, strict=True):
        assert one.value == pytest.approx(other.value)
        width = float(other.high - other.low)
        assert_allclose([one.low, one.high], [other.low, other.high], atol=0.25 * width)


def test_rates_of_error_follow_from_the_numbers() -> None:
    found = totals((60, 4), (100, 200), (200, 5000))
    wrong, missed = (found.figure(name) for name in ERRORS)
    assert wrong.value == pytest.approx(80 / 4980)
    assert missed.value == pytest.approx(100 / 220)
    recall = found.figure("recall")
    assert_allclose([missed.low, missed.high], [1 - recall.high, 1 - recall.low])


def test_nothing_coded_says_nothing() -> None:
    found = totals((0, 0), (0, 0), (50, 100))
    assert (found.figure("n_events").low, found.figure("n_events").high) == (0, 150)
    assert np.isnan(found.figure("precision").value)
    recall = found.figure("recall")
    assert (recall.low, recall.high) == (0, 1)
    none = totals((0, 3), (0, 10), (0, 100)).figure("precision")
    assert np.isnan([none.value, none.low, none.high]).all()


def test_joint_intervals_are_those_of_sidak_where_groups_are_independent() -> None:
    one = [totals((20, 5), (50, 50), (300, 900), seed) for seed in range(1)]
    assert_allclose(joint_tails(one, "n_events"), 0.025, atol=0.002)
    many = [totals((20, 5), (50, 50), (300, 900), seed) for seed in range(8)]
    assert_allclose(joint_tails(many, "n_events"), 0.025 / 8, rtol=0.25)
    same = [many[0]] * 8
    assert_allclose(joint_tails(same, "n_events"), 0.025, atol=0.002)
