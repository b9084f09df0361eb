"""Regressions with detected events, as outcome or as covariate, without their errors.

A detector that errs more often at some values of a covariate than at others biases the
regression on flagged posts, however good its F1. The coded sample takes this out:
design-based supervised learning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._common import as_html, require
from mmevent._settings import with_own_settings
from mmevent.corpus.columns import need_columns, number_column
from mmevent.corpus.design import (
    Design,
    Model,
    columns_of,
    complete_rows,
    make_design,
    read_model,
)
from mmevent.corpus.moments import (
    FAMILIES,
    Extra,
    Moments,
    Solution,
    infer,
    intervals,
    solve,
)
from mmevent.corpus.pseudo_outcomes import COUNTS, PSEUDO
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

__all__ = ["Regression", "fit_regression"]

CORRECTED, FLAGGED, CODED = "corrected", "flagged", "coded alone"
_EVENTS = {CORRECTED: PSEUDO, FLAGGED: "flagged", CODED: "coded_events"}
_FIGURES = ["estimate", "std_error", "low", "high", "p_value"]
_TABLE = ("table for the regression", "Pass what regression_table returned.")
_FEW = 10  # degrees of freedom under which an interval rests on few posts


@dataclass(frozen=True)
class Regression:
    """Coefficients of a regression with detected events.

    Parameters
    ----------
    table : DataFrame
        One row for each estimator (``corrected``, ``flagged``, ``coded alone``) and
        term, with ``estimate``, ``std_error``, ``low`` and ``high``, the ends of the
        95% interval, and ``p_value``. Only the first is corrected; the second shows
        what the errors of the detector do, and the third what the sample says without
        the detector. NaN where an estimator has no solution.
    covariance : DataFrame
        Covariance matrix of the corrected coefficients.
    formula, family : str
        The model.
    n_rows, n_posts, n_coded, n_clusters : int
        Number of rows of the table, of posts in them, of coded posts, and of clusters.
    notes : list of str
        What a reader must know in addition to the figures.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from mmevent.corpus import draw_sample, fit_regression, regression_table
    >>> audit = pd.DataFrame({"id": range(1000), "income": np.arange(1000) % 7})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> coded = draw_sample(audit, 200)
    >>> coded["event"] = coded["id"] > 880
    >>> table = regression_table(audit, coded, "event")
    >>> fit_regression("event ~ income", table).n_coded
    200
    """

    table: pd.DataFrame
    covariance: pd.DataFrame
    formula: str
    family: str
    n_rows: int
    n_posts: int
    n_coded: int
    n_clusters: int
    notes: list[str]

    def to_json(self) -> str:
        """Return everything as JSON; undefined figures are null."""
        frames = {
            "table": json.loads(
                self.table.to_json(orient="records", double_precision=15)
            ),
            "covariance": self.covariance.to_numpy().tolist(),
        }
        return json.dumps({**vars(self), **frames}, indent=2, allow_nan=False)

    def __str__(self) -> str:
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([_heading(self), _wide(self.table).to_string(), *notes])

    def __repr__(self) -> str:
        return (
            f"<Regression, {self.family}: {self.formula}; {self.n_posts:,} posts, "
            f"{self.n_coded:,} coded by hand>"
        )

    def _repr_html_(self) -> str:
        return as_html(_heading(self), [("", _wide(self.table))], self.notes)


@with_own_settings
def fit_regression(
    model: str | Sequence[str],
    table: pd.DataFrame,
    *,
    y: str = "event",
    family: str = "linear",
    cluster: str = "cluster",
    exposure: str | None = None,
    missing: str = "raise",
) -> Regression:
    """Fit a regression with events, corrected for the errors of the detector.

    Parameters
    ----------
    model : str or sequence of str
        A formula such as ``"event ~ income + C(region)"``, in which ``event`` is
        whether a post is an event, or, in a table by unit or period, the number of
        events. With ``"shares ~ event * followers"`` events are a covariate. A list has
        the columns of the covariates. A formula is Python code: take none from others.
    table : DataFrame
        From `regression_table`, with further columns that you merged into it.
    y : str, default="event"
        Column of the outcome, where `model` does not name it.
    family : {"linear", "logistic", "poisson"}, default="linear"
        Linear regression; logistic, of the share of posts that are events; or Poisson,
        with the logarithm as link.
    cluster : str, default="cluster"
        Column whose equal values are one cluster.
    exposure : str or None, default=None
        With ``"poisson"`` only: column whose logarithm is an offset, such as
        ``"n_posts"`` for the number of events per post.
    missing : {"raise", "drop"}, default="raise"
        What to do with rows that lack a value of a covariate or of `y`.

    Returns
    -------
    Regression

    Raises
    ------
    InputError
        If a column is missing or constant, covariates lack values or are sums of each
        other, or there is no solution.
    MissingPackageError
        If statsmodels is not installed.

    Notes
    -----
    Each post counts as an event with the weight of its pseudo-outcome, and as none with
    1 minus that weight. For the outcome this is design-based supervised learning
    (Egami et al. 2023); for a covariate it is that of Egami et al. (2024), with
    the expected value of the equation under the prediction in place of the equation at
    the prediction, which is the more precise one. The variance is that of `infer` in
    ``mmevent.corpus.moments``: robust to clusters, with the part of the sample raised
    by ``extra_variance``. Posts are thought of as drawn from a larger population.

    References
    ----------
    Egami, Hinck, Stewart and Wei (2023), "Using Imperfect Surrogates for Downstream
    Inference: Design-based Supervised Learning for Social Science Applications of
    Large Language Models", NeurIPS 36. The same (2024), "Using Large Language Model
    Annotations for the Social Sciences: A General Framework of Using Predicted
    Variables in Downstream Analyses".

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from mmevent.corpus import draw_sample, fit_regression, regression_table
    >>> audit = pd.DataFrame({"id": range(1000), "income": np.arange(1000) % 7})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> coded = draw_sample(audit, 200)
    >>> coded["event"] = coded["id"] > 880
    >>> table = regression_table(audit, coded, "event", features="income")
    >>> found = fit_regression("event ~ income", table).table.set_index("term")
    >>> low, high = found.loc["income", ["low", "high"]].iloc[0]
    >>> bool(low < 0 < high)
    True
    """
    require("statsmodels", extra="regression", purpose="fit_regression")
    if family not in FAMILIES:
        raise InputError(
            f"family={family!r} is not known: expected one of {', '.join(FAMILIES)}. "
            f"Pass one of them."
        )
    wanted = read_model(model, y)
    need_columns(table, [*COUNTS, cluster], *_TABLE)
    columns = columns_of(wanted, table)
    by_cell = "id" not in table
    if by_cell and not wanted.explains_events:
        raise InputError(
            f"{wanted} has numbers of events as a covariate: expected a table with one "
            f"row per post, since each number has an error, and a covariate with error "
            f"has a coefficient that is biased towards 0. Leave out unit= and period=, "
            f"and merge what belongs to units into the posts."
        )
    used = columns if exposure is None else [*columns, exposure]
    need_columns(table, used, *_TABLE)
    kept = complete_rows(table, used, missing)
    rows = table[kept].reset_index(drop=True)
    problem = _Problem(wanted, family, rows, make_design(wanted, rows), exposure)
    return _fitted(problem, cluster, int((~kept).sum()), by_cell)


class _Problem:
    """One regression on one table, whose events come from one of three sources."""

    def __init__(
        self,
        model: Model,
        family: str,
        rows: pd.DataFrame,
        design: Design,
        exposure: str | None,
    ) -> None:
        self.model, self.family, self.rows, self.design = model, family, rows, design
        self.number = {n: number_column(rows, n, _TABLE[0]) for n in COUNTS}
        self.by_cell = "id" not in rows
        self.offset = _offset(rows, family, exposure)
        self.y = np.zeros(0)
        if not model.explains_events:
            bounds = {"linear": (-np.inf, np.inf), "logistic": (0.0, 1.0)}
            least, most = bounds.get(family, (0.0, np.finfo(float).max))
            y = number_column(rows, model.outcome, _TABLE[0], least=least, most=most)
            self.y = y

    def moments(self, source: str) -> Moments:
        """Return the equation with the events of one source."""
        number = self.number
        events = number[_EVENTS[source]]
        total = np.ones(len(events))
        if not self.by_cell and source == CODED:
            total = number["coded_weight"]
        elif self.by_cell and self.family == "logistic":
            total = number["coded_weight" if source == CODED else "n_posts"]
        post = np.arange(len(events))
        if self.model.explains_events:
            return Moments(self.design.without, events, total, self.offset, post)
        assert self.design.event is not None
        others = total - events
        return Moments(
            np.vstack([self.design.event, self.design.without]),
            np.concatenate([events * self.y, others * self.y]),
            np.concatenate([events, others]),
            np.tile(self.offset, 2),
            np.tile(post, 2),
        )

    def extra(self, moments: Moments, solution: Solution) -> Extra:
        """Return the variance to be added."""
        part = self.design.without
        if not self.model.explains_events:
            change = moments.x * (np.tile(self.y, 2) - solution.mean)[:, None]
            n = len(self.y)
            part = change[:n] - change[n:]
        number = self.number
        return Extra(part, number["extra_variance"], number["extra_square"])


def _offset(rows: pd.DataFrame, family: str, exposure: str | None) -> FloatArray:
    if exposure is None:
        return np.zeros(len(rows))
    if family != "poisson":
        raise InputError(
            f"exposure={exposure!r} has no meaning with family={family!r}: expected "
            f'"poisson". Leave it out.'
        )
    values = number_column(rows, exposure, _TABLE[0], least=0)
    if (values == 0).any():
        raise InputError(
            f"the exposure {exposure!r} is 0 in {int((values == 0).sum()):,} rows: "
            f"expected a number above 0, since its logarithm is taken. Leave these "
            f"rows out of the table; nothing can happen in them."
        )
    return np.asarray(np.log(values))


def _fitted(
    problem: _Problem, cluster: str, n_dropped: int, by_cell: bool
) -> Regression:
    names, rows, number = problem.design.names, problem.rows, problem.number
    codes = pd.factorize(rows[cluster], use_na_sentinel=False)[0]
    n_coded = int(number["n_coded"].sum())
    _check_enough(codes, n_coded)
    tables = []
    covariance, n_clusters = np.empty((0, 0)), 0
    for source in (CORRECTED, FLAGGED, CODED):
        moments = problem.moments(source)
        used = number["n_coded"] > 0 if source == CODED and not by_cell else None
        try:
            solution = solve(moments, problem.family)
            extra = problem.extra(moments, solution) if source == CORRECTED else None
            inference = infer(moments, solution, codes, extra=extra, used=used)
        except InputError:
            if source == CORRECTED:
                raise
            figures = pd.DataFrame(np.nan, range(len(names)), _FIGURES)
        else:
            figures = intervals(solution.beta, inference)
            if source == CORRECTED:
                covariance, n_clusters = inference.covariance, inference.n_clusters
                df = inference.df
        tables.append(figures.assign(estimator=source, term=names))
    whole = pd.concat(tables, ignore_index=True)
    first = ["estimator", "term"]
    return Regression(
        table=whole[[*first, *(c for c in whole if c not in first)]],
        covariance=pd.DataFrame(covariance, index=names, columns=names),
        formula=str(problem.model),
        family=problem.family,
        n_rows=len(rows),
        n_posts=int(number["n_posts"].sum()),
        n_coded=n_coded,
        n_clusters=n_clusters,
        notes=_notes(problem, n_dropped, dict(zip(names, df, strict=True))),
    )


def _check_enough(codes: IntArray, n_coded: int) -> None:
    if codes.max() < 1:
        raise InputError(
            "all rows are in one cluster: expected two clusters or more, since their "
            "differences give the standard errors. Choose smaller clusters."
        )
    if n_coded == 0:
        raise InputError(
            "no row has a coded post: expected some, which correct the prediction. "
            "Check which rows were left out."
        )


def _notes(problem: _Problem, n_dropped: int, df: dict[str, float]) -> list[str]:
    notes = []
    if n_dropped:
        notes.append(
            f"{n_dropped:,} rows without a value of a covariate or the outcome were "
            f"left out."
        )
    few = [name for name, value in df.items() if value < _FEW]
    if few:
        notes.append(
            f"The intervals of {', '.join(few)} rest on few clusters, or on few coded "
            f"posts with large weights: they may be unreliable. Code more posts."
        )
    return notes


def _heading(found: Regression) -> str:
    rows = f"{found.n_rows:,} rows, " if found.n_rows != found.n_posts else ""
    return (
        f"{found.family.capitalize()} regression {found.formula}\n"
        f"{rows}{found.n_posts:,} posts, {found.n_coded:,} coded by hand, "
        f"{found.n_clusters:,} clusters; 95% intervals in brackets"
    )


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table for people to read: one row per term, one column per estimator."""
    wide: dict[str, dict[str, str]] = {}
    for row in table.itertuples():
        wide.setdefault(row.estimator, {})[row.term] = _readable(row)
    return pd.DataFrame(wide)


def _readable(row: Any) -> str:
    if np.isnan(row.estimate):
        return "–"
    return f"{row.estimate:.4g} [{row.low:.4g}, {row.high:.4g}]"
