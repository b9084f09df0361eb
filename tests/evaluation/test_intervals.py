"""Intervals have width, keep within bounds, hold their value, and cover the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmevent.evaluation.intervals import (
    F1,
    SHARE,
    Basis,
    Scale,
    difference_interval,
    share_interval,
    with_interval,
)

shares = st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(1e-6, 1 - 1e-6))
variances = st.one_of(st.just(0.0), st.floats(1e-12, 0.25))
numbers = st.floats(1, 1e6)


def of_posts(k: int, n: int) -> tuple[float, float]:
    """Return the interval of k of n posts, each of a group of its own."""
    p = k / n
    hits = np.arange(n) < k
    return share_interval(p, p * (1 - p) / n, Basis.of(np.ones(n), hits.astype(float)))


@pytest.mark.parametrize(
    ("row", "sign", "shown"),
    [
        ((1.0, 0.9963, 1.0), "", "1.000 [0.99, 1.00]"),
        ((0.996, 0.9951, 0.9999), "", "0.996 [0.99, 1.00]"),
        ((0.29, 0.29, 0.29), "", "0.290 [0.29, 0.29]"),
        ((0.0, 0.0, 0.001), "", "0.000 [0.00, 0.01]"),
        ((-0.1, -0.2001, -0.001), "+", "-0.100 [-0.21, +0.00]"),
    ],
)
def test_the_ends_that_are_shown_are_rounded_outwards(
    row: tuple[float, float, float], sign: str, shown: str
) -> None:
    assert with_interval(*row, digits=2, sign=sign) == shown


@settings(max_examples=150, deadline=None)
@given(p=shares, variance=variances, n=numbers, groups=numbers, added=variances)
def test_a_share_has_an_interval_with_width_within_0_and_1(
    p: float, variance: float, n: float, groups: float, added: float
) -> None:
    for basis in (
        Basis(max(n, groups), groups, int(groups / 3)),
        Basis(np.inf, groups),
        Basis(0.0, 0.0, 0),
    ):
        low, high = share_interval(p, variance, basis, added=added)
        assert 0 <= low <= p <= high <= 1
        assert high - low > 1e-8


@settings(max_examples=150, deadline=None)
@given(p=shares, variance=variances, n=numbers, groups=numbers, added=variances)
def test_a_difference_has_an_interval_with_width_within_minus_1_and_1(
    p: float, variance: float, n: float, groups: float, added: float
) -> None:
    difference = 2 * p - 1
    for basis in (Basis(max(n, groups), groups, 0), Basis(np.inf, groups)):
        low, high = difference_interval(difference, variance, basis, added=added)
        assert -1 <= low <= difference <= high <= 1
        assert high - low > 1e-8


@pytest.mark.parametrize(("k", "n"), [(12, 12), (11, 12), (9, 12), (0, 5), (30, 300)])
def test_posts_without_groups_have_the_limits_of_the_mid_p_test(k: int, n: int) -> None:
    low, high = of_posts(k, n)
    if k:
        more = stats.binom.sf(k, n, low) + stats.binom.pmf(k, n, low) / 2
        assert more == pytest.approx(0.025)
    if k < n:
        less = stats.binom.cdf(k - 1, n, high) + stats.binom.pmf(k, n, high) / 2
        assert less == pytest.approx(0.025)


def test_posts_that_all_agree_say_as_much_as_their_groups() -> None:
    groups = np.full(25, 20.0)
    low, high = share_interval(1.0, 0.0, Basis.of(groups, groups))
    assert (low, high) == pytest.approx((0.05 ** (1 / 25), 1.0))


def test_groups_of_unequal_size_count_as_fewer() -> None:
    assert Basis.of(np.array([3.0, 3.0, 3.0])).n_groups == pytest.approx(3)
    giant = Basis.of(np.append(300.0, np.ones(300)))
    assert giant.n_groups == pytest.approx(4, abs=0.05)


def test_few_groups_with_misses_widen_the_interval_less_and_less() -> None:
    p, n = 0.9, 500.0
    widths = [
        float(np.diff(share_interval(p, p * (1 - p) / n, Basis(n, 25.0, mixed)))[0])
        for mixed in (0, 1, 3, 10)
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1.5 * widths[-1]


def test_added_variance_and_few_degrees_of_freedom_widen_the_interval() -> None:
    basis = Basis(100.0, 100.0, 20)
    for interval, value in ((share_interval, 0.8), (difference_interval, 0.1)):
        plain, added, few = (
            float(np.diff(interval(value, 0.0016, basis, **more))[0])
            for more in ({}, {"added": 0.0016}, {"df": 5.0})
        )
        assert added == pytest.approx(np.sqrt(2) * plain, rel=0.05)
        assert few > 1.2 * plain


def test_a_certain_share_with_added_variance_is_wider() -> None:
    basis = Basis(50.0, 50.0, 0)
    plain = share_interval(1.0, 0.0, basis)
    assert share_interval(1.0, 0.0, basis, added=0.01)[0] < plain[0]


@pytest.mark.parametrize("scale", [SHARE, F1, Scale(0.1), Scale(7.0, f1=True)])
def test_a_scale_and_back(scale: Scale) -> None:
    figures = np.linspace(0, 1, 11)
    shares = scale.to_share(figures)
    assert (shares[0], shares[-1]) == (0, 1)
    back = [scale.from_share(float(share)) for share in shares]
    np.testing.assert_allclose(back, figures, atol=1e-12)
    step = 1e-6
    rise = np.diff(scale.to_share(np.array([0.4 - step, 0.4 + step])))[0]
    assert scale.slope(0.4) == pytest.approx(rise / (2 * step), rel=1e-4)


def test_two_detectors_that_flag_the_same_may_still_differ_in_other_posts() -> None:
    low, high = difference_interval(0.0, 0.0, Basis(40.0, 40.0, 0))
    assert high == pytest.approx(stats.norm.isf(0.025) ** 2 / 40)
    assert low == -high


def test_what_is_assumed_of_a_difference_matters_little_in_many_groups() -> None:
    shares = np.random.default_rng(0).normal(0.0, 0.02, 25)
    variance = float(shares.var(ddof=1)) / 25
    low, high = difference_interval(0.0, variance, Basis(500.0, 12.0, 25))
    t_limits = 2 * stats.t.isf(0.025, 11) * np.sqrt(variance)
    assert t_limits < high - low < 1.6 * t_limits


@pytest.mark.parametrize(("more", "fewer"), [(2, 1), (3, 3), (6, 2), (12, 4)])
def test_the_interval_of_a_difference_in_few_posts_covers(
    more: int, fewer: int
) -> None:
    n, rng = 200, np.random.default_rng(0)
    share = np.array([more, fewer, n - more - fewer]) / n
    drawn, times = np.unique(
        rng.multinomial(n, share, 4000), axis=0, return_counts=True
    )
    true, holds = (more - fewer) / n, np.zeros(len(drawn))
    for i, (one, other, _) in enumerate(drawn):
        difference = (one - other) / n
        variance = ((one + other) / n - difference**2) / n
        basis = Basis(n, n, one + other)
        low, high = difference_interval(difference, variance, basis)
        holds[i] = low <= true <= high
    assert 0.93 <= np.average(holds, weights=times) <= 0.98


@pytest.mark.parametrize(
    ("p", "n"), [(0.8, 6), (0.8, 12), (0.95, 9), (0.99, 30), (0.5, 20), (0.9, 100)]
)
def test_the_interval_of_posts_without_groups_covers(p: float, n: int) -> None:
    k = np.arange(n + 1)
    ends = np.array([of_posts(int(one), n) for one in k])
    holds = (ends[:, 0] <= p) & (p <= ends[:, 1])
    assert 0.93 <= stats.binom.pmf(k, n, p)[holds].sum()


@pytest.mark.parametrize(
    ("sizes", "spread"),
    [
        (np.full(25, 20), 1.0),
        (np.full(100, 5), 1.0),
        (np.full(25, 20), 2.5),
        (1 + np.random.default_rng(0).geometric(0.1, 60), 1.0),
        (np.append(300, np.ones(300, int)), 1.0),
    ],
    ids=["25x20", "100x5", "alike", "unequal", "giant"],
)
def test_the_interval_of_a_share_over_groups_covers(sizes: Any, spread: float) -> None:
    rng = np.random.default_rng(0)

    def drawn() -> tuple[Any, Any]:
        """Return the hits and the posts of each group; posts of a group are alike."""
        p = 1 / (1 + np.exp(-(2.5 + spread * rng.normal(size=len(sizes)))))
        trials = rng.binomial(sizes, 0.3)
        return rng.binomial(trials, p), trials.astype(float)

    z = rng.normal(size=100_000)
    truth, covered, n = np.mean(1 / (1 + np.exp(-(2.5 + spread * z)))), 0, 300
    for _ in range(n):
        k, m = drawn()
        p, g = k.sum() / m.sum(), (m > 0).sum()
        variance = np.square(k - p * m).sum() / m.sum() ** 2 * g / (g - 1)
        low, high = share_interval(p, variance, Basis.of(m, k))
        covered += low <= truth <= high
    assert 0.93 - 3 * np.sqrt(0.05 * 0.95 / n) <= covered / n
