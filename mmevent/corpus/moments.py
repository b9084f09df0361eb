"""Estimating equations of generalised linear models with weights of either sign.

The equation of a coefficient is a sum over rows of x (target - total * mean). For one
row per post, target is its label and total is 1. A pseudo-outcome takes the label's
place and may lie below 0 or above 1, which libraries refuse as an outcome of a logistic
or a Poisson regression, though the equation and its solution are as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from mmevent._common import require
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

FAMILIES = {"linear": "Gaussian", "logistic": "Binomial", "poisson": "Poisson"}
_MOST_STEPS, _TOLERANCE = 100, 1e-9
_FEW_CLUSTERS = 1000  # up to which each is left out by itself


class Moments(NamedTuple):
    """Rows of an estimating equation."""

    x: FloatArray  # (n_rows, n_terms)
    target: FloatArray
    total: FloatArray
    offset: FloatArray
    post: IntArray  # row of the table that a row belongs to


class Solution(NamedTuple):
    """Coefficients, and each row's part in the equation at the solution."""

    beta: FloatArray
    score: FloatArray  # (n_rows, n_terms)
    mean: FloatArray
    weight: FloatArray  # of each row in the information
    information: FloatArray  # (n_terms, n_terms)


def solve(moments: Moments, family: str, start: FloatArray | None = None) -> Solution:
    """Solve the estimating equation by Newton's method, with halved steps."""
    link = _family(family).link
    x = moments.x
    beta = np.zeros(x.shape[1]) if start is None else start

    def at(beta: FloatArray) -> Solution:
        eta = np.clip(x @ beta + moments.offset, -500, 500)
        mean = np.asarray(link.inverse(eta), dtype=np.float64)
        weight = moments.total * np.asarray(link.inverse_deriv(eta), dtype=np.float64)
        score = x * (moments.target - moments.total * mean)[:, None]
        return Solution(beta, score, mean, weight, x.T @ (x * weight[:, None]))

    now = at(beta)
    scale = np.abs(x * moments.target[:, None]).sum(axis=0) + 1e-12
    for _ in range(_MOST_STEPS):
        distance = np.abs(now.score.sum(axis=0) / scale).max()
        if distance < _TOLERANCE:
            return now
        try:
            step = np.linalg.solve(now.information, now.score.sum(axis=0))
        except np.linalg.LinAlgError:
            break
        if not np.isfinite(step).all():
            break
        for _ in range(20):
            new = at(now.beta + step)
            if np.abs(new.score.sum(axis=0) / scale).max() < distance:
                break
            step = step / 2
        else:
            break
        now = new
    raise InputError(
        f"the {family} regression has no solution: expected events and others at all "
        f"values of the covariates, got a corrected number of events that is 0 or less "
        f"for some, or all of them events. Use fewer covariates or categories, a "
        f"linear regression, or code more posts."
    )


def _family(name: str) -> Any:
    families = require(
        "statsmodels.genmod.families", extra="regression", purpose="fit_regression"
    )
    return getattr(families, FAMILIES[name])()


class Extra(NamedTuple):
    """What is added to the variance of an equation, see `regression_table`."""

    part: FloatArray  # (n_rows, n_terms): of a post in the equation
    variance: FloatArray  # (n_rows,)
    square: FloatArray  # (n_rows,): in the variance of the variance


class Inference(NamedTuple):
    """Covariance of coefficients, and degrees of freedom of their intervals."""

    covariance: FloatArray
    df: FloatArray
    n_clusters: int


def infer(
    moments: Moments,
    solution: Solution,
    cluster: IntArray,
    *,
    extra: Extra | None = None,
    used: NDArray[np.bool_] | None = None,
) -> Inference:
    """Return a cluster-robust covariance.

    Parameters
    ----------
    moments, solution : Moments, Solution
        The equation and its solution.
    cluster : array of shape (n_posts,)
        Number of the cluster of each row of the table, from 0.
    extra : Extra or None, default=None
        Variance that is added to that of the clusters' scores.
    used : array of bool of shape (n_posts,) or None, default=None
        Rows of the table that take part, where not all do.

    Notes
    -----
    Up to 1,000 clusters: the jackknife over clusters (CR3), by one Newton step from the
    solution without each cluster. More clusters: the sandwich (CR1), which is then the
    same to 0.1%. Intervals are of Student's t with 2 V² / Var(V) degrees of freedom,
    where V is the variance and Var(V) its own, from the fourth powers of the clusters'
    parts: where few clusters, or few posts with large weights, make most of a variance,
    its estimate is uncertain and the interval wider.

    References
    ----------
    Bell and McCaffrey (2002), "Bias Reduction in Standard Errors for Linear Regression
    with Multi-Stage Samples", Survey Methodology 28. Hansen (2025), "Jackknife Standard
    Errors for Clustered Regression".
    """
    of_row = cluster[moments.post]
    n_clusters = int(cluster.max()) + 1
    active = n_clusters
    if used is not None:
        active = len(np.unique(cluster[used]))
    score = np.column_stack(
        [np.bincount(of_row, column, n_clusters) for column in solution.score.T]
    )
    whole = solution.information
    if n_clusters <= _FEW_CLUSTERS:
        parts = np.zeros((n_clusters, *whole.shape))
        order = np.argsort(of_row, kind="stable")
        ends = np.cumsum(np.bincount(of_row, minlength=n_clusters))[:-1]
        for k, rows in enumerate(np.split(order, ends)):
            x = moments.x[rows]
            parts[k] = x.T @ (x * solution.weight[rows, None])
        inverse = np.linalg.pinv(whole - parts, rcond=1e-10, hermitian=True)
        moves = np.einsum("gjk,gk->gj", inverse, score)
        factor = (active - 1) / active
    else:
        moves = np.linalg.solve(whole, score.T).T
        factor = active / (active - 1)
    covariance = factor * moves.T @ moves
    fourth = factor**2 * (moves**4).sum(axis=0)
    if extra is not None:
        added = np.linalg.solve(whole, extra.part.T).T
        covariance = covariance + added.T @ (added * extra.variance[:, None])
        fourth = fourth + extra.square @ added**4
    variance = np.diag(covariance)
    with np.errstate(divide="ignore", invalid="ignore"):
        uneven = fourth / variance**2 - 1 / active
        df = np.where(uneven > 0, 2 / uneven, np.inf)
    return Inference(covariance, np.clip(df, 1, max(active - 1, 1)), active)


def intervals(
    beta: FloatArray, inference: Inference, level: float = 0.95
) -> pd.DataFrame:
    """Return coefficients with standard errors, intervals and p-values."""
    error = np.sqrt(np.diag(inference.covariance))
    reach = student.ppf((1 + level) / 2, inference.df) * error
    return pd.DataFrame(
        {
            "estimate": beta,
            "std_error": error,
            "low": beta - reach,
            "high": beta + reach,
            "p_value": 2 * student.sf(np.abs(beta) / error, inference.df),
        }
    )
