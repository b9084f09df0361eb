"""Intervals of shares in strata, and of their sums."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binomtest, hypergeom

from mmevent.corpus.shares import (
    StratumCounts,
    effective_size,
    exact_interval,
    figures,
)


def test_exact_intervals_are_those_of_clopper_and_pearson() -> None:
    for k in (0, 3, 20):
        expected = binomtest(k, 20).proportion_ci(method="exact")
        assert_allclose(exact_interval(k, 20, 10**7), expected, atol=1e-5)


def test_a_stratum_that_is_coded_whole_is_known() -> None:
    assert exact_interval(3, 10, 10) == (0.3, 0.3)


def test_a_stratum_that_is_not_coded_is_unknown() -> None:
    assert exact_interval(0, 0, 10) == (0.0, 1.0)


@pytest.mark.parametrize(("size", "n"), [(11, 10), (15, 10), (60, 40), (200, 25)])
def test_intervals_of_finite_strata_cover(size: int, n: int) -> None:
    ends = np.array([exact_interval(k, n, size) for k in range(n + 1)])
    for events in range(0, size + 1, max(size // 30, 1)):
        share = events / size
        inside = (ends[:, 0] <= share + 1e-9) & (share <= ends[:, 1] + 1e-9)
        k = np.flatnonzero(inside)
        assert hypergeom.pmf(k, size, events, n).sum() >= 0.95 - 1e-9


def test_a_mean_of_codings_lies_between_its_neighbours() -> None:
    low, high = np.array([exact_interval(k, 20, 500) for k in (3, 3.5, 4)]).T
    assert low[0] < low[1] < low[2]
    assert high[0] < high[1] < high[2]


def test_intervals_of_many_samples_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    size, n = np.array([50.0, 400.0, 3000.0]), np.array([20.0, 30.0, 90.0])
    flagged = np.array([True, False, False])
    found = rng.binomial(n.astype(int), [0.7, 0.1, 0.01], size=(30, 3)).astype(float)
    together = figures(StratumCounts(size, flagged, n, found, n / n))
    for row, events in enumerate(found):
        alone = figures(StratumCounts(size, flagged, n, events, n / n))
        for one, many in zip(alone, together, strict=True):
            assert_allclose(one[1:], [part[row] for part in many[1:]])


@pytest.mark.parametrize("events", [(14, 3, 1), (20, 0, 0), (0, 1, 0), (1, 20, 60)])
def test_ends_of_a_ratio_are_where_its_sum_may_be_0(events: tuple[int, ...]) -> None:
    size, n = np.array([50.0, 400.0, 3000.0]), np.array([20.0, 30.0, 90.0])
    flagged, k = np.array([True, False, False]), np.array(events, dtype=float)
    low, high = (end * size for end in exact_interval(k, n, size))
    value = k / n * size
    rows = figures(StratumCounts(size, flagged, n, k, n / n))
    for row, most, least in ((rows[2], 1.0, 0.0), (rows[3], 2.0, 50.0)):
        for end, side in ((row.low, -1), (row.high, 1)):
            weight = np.where(flagged, most - end, -end)
            apart = (high - value) if side > 0 else (value - low)
            turned = (value - low) if side > 0 else (high - value)
            spread = np.linalg.norm(weight * np.where(flagged, apart, turned))
            gap = (weight * value).sum() - least * end + side * spread
            assert end in (0.0, 1.0) or gap == pytest.approx(0, abs=1e-6)


def one_stratum(events: float) -> StratumCounts:
    """Give 20 coded posts of 1,000, all of them flagged."""
    return StratumCounts(
        np.array([1000.0]),
        np.array([True]),
        np.array([20.0]),
        np.array([events]),
        np.array([0.5]),
    )


def test_figures_of_one_stratum_have_its_exact_interval() -> None:
    low, high = exact_interval(5, 20, 1000)
    events, precision, recall, f1 = figures(one_stratum(5))
    assert_allclose(events[1:], [250, 1000 * low, 1000 * high])
    assert_allclose(precision[1:], [0.25, low, high])
    assert (recall.value, recall.high) == (1.0, 1.0)
    assert f1.low < f1.value == 0.4 < f1.high


def test_a_sample_of_one_stratum_is_worth_its_own_posts() -> None:
    assert effective_size(one_stratum(5)) == pytest.approx(20, abs=1)
    assert np.isnan(effective_size(one_stratum(0)))
