"""Intervals of shares in strata, and of their sums."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binomtest, hypergeom

from mmevent.corpus.shares import (
    Shares,
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


def test_weights_below_zero_swap_the_ends() -> None:
    shares = Shares(*(np.array([v]) for v in (1.0, 0.2, 0.1, 0.5)))
    assert_allclose(shares.interval(np.array([1.0])), [0.1, 0.5])
    assert_allclose(shares.interval(np.array([-1.0])), [-0.5, -0.1])


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
