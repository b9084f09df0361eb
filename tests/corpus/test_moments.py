"""Estimating equations with weights of either sign, and their variance."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmevent.corpus.moments import Extra, Moments, infer, intervals, solve
from mmevent.exceptions import InputError


def moments(n: int = 300, *, family: str = "linear", seed: int = 0) -> Moments:
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    eta = x @ [-1.0, 0.5]
    mean = {"linear": eta, "logistic": 1 / (1 + np.exp(-eta)), "poisson": np.exp(eta)}
    noise = rng.normal(0, 2, n)  # so that outcomes lie outside of what they could be
    return Moments(x, mean[family] + noise, np.ones(n), np.zeros(n), np.arange(n))


@pytest.mark.parametrize("family", ["linear", "logistic", "poisson"])
def test_outcomes_below_0_and_above_1_are_no_obstacle(family: str) -> None:
    equation = moments(family=family)
    assert equation.target.min() < 0
    found = solve(equation, family)
    assert_allclose(found.score.sum(axis=0), 0, atol=1e-6)
    error = np.sqrt(np.diag(infer(equation, found, np.arange(300)).covariance))
    assert (np.abs(found.beta - [-1.0, 0.5]) < 4 * error).all()


def test_an_offset_moves_the_mean() -> None:
    equation = moments(family="poisson")
    moved = equation._replace(offset=np.full(300, np.log(2.0)))
    one, other = solve(equation, "poisson").beta, solve(moved, "poisson").beta
    assert_allclose(one - other, [np.log(2.0), 0], atol=1e-7)


def test_the_jackknife_is_that_of_clusters_left_out() -> None:
    equation = moments()
    cluster = np.arange(300) // 20
    found = infer(equation, solve(equation, "linear"), cluster)
    left_out = []
    for k in range(15):
        kept = cluster != k
        part = Moments(*(values[kept] for values in equation))
        left_out.append(solve(part, "linear").beta)
    differences = np.array(left_out) - solve(equation, "linear").beta
    assert_allclose(found.covariance, differences.T @ differences * 14 / 15)
    assert found.n_clusters == 15
    assert (found.df <= 14).all()


def test_many_clusters_give_the_same_as_few() -> None:
    equation = moments(1001)
    found = solve(equation, "linear")
    many = infer(equation, found, np.arange(1001)).covariance
    few = infer(equation, found, np.minimum(np.arange(1001), 999)).covariance
    assert_allclose(np.sqrt(np.diag(many)), np.sqrt(np.diag(few)), rtol=0.01)


def test_one_heavy_post_leaves_few_degrees_of_freedom() -> None:
    equation = moments()
    heavy = equation._replace(
        target=np.where(np.arange(300) == 7, 300.0, equation.target)
    )
    for one, least, most in ((equation, 20, 299), (heavy, 1, 3)):
        found = infer(one, solve(one, "linear"), np.arange(300))
        assert (found.df >= least).all()
        assert (found.df <= most).all()


def test_extra_variance_is_added_with_its_own_uncertainty() -> None:
    equation = moments()
    found = solve(equation, "linear")
    one = np.ones(300)
    known, guessed = (
        Extra(0.5 * equation.x, one, square) for square in (0 * one, 900 * one)
    )
    plain, more, less_sure = (
        infer(equation, found, np.arange(300), extra=extra)
        for extra in (None, known, guessed)
    )
    inverse = np.linalg.inv(equation.x.T @ equation.x)
    for each in (more, less_sure):
        assert_allclose(each.covariance - plain.covariance, 0.25 * inverse)
    assert (less_sure.df < 0.6 * more.df).all()


def test_a_fixed_effect_of_each_cluster_is_no_obstacle() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(12), 25)
    x = np.column_stack([rng.normal(size=300), np.eye(12)[cluster]])
    target = x[:, 0] + rng.normal(size=300)
    equation = Moments(x, target, np.ones(300), np.zeros(300), np.arange(300))
    found = solve(equation, "linear")
    table = intervals(found.beta, infer(equation, found, cluster))
    assert table.loc[0, "low"] < 1 < table.loc[0, "high"]
    assert table.loc[0, "std_error"] < 0.2


def test_an_equation_without_a_solution_is_an_error() -> None:
    equation = moments(family="logistic")
    with pytest.raises(InputError, match="has no solution"):
        solve(equation._replace(target=np.full(300, -1.0)), "logistic")
