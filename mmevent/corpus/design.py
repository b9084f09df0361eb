"""The covariates of a regression as numbers, from a formula or from columns."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mmevent._common import require
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

EVENT = "event"
_WHAT = "table for the regression"


class Model(NamedTuple):
    """What a regression explains, and by what."""

    outcome: str
    covariates: str  # right-hand side of a formula

    @property
    def explains_events(self) -> bool:
        """Whether events are the outcome; else they are a covariate."""
        return self.outcome == EVENT

    def __str__(self) -> str:
        return f"{self.outcome} ~ {self.covariates}"


class Design(NamedTuple):
    """Covariates as numbers, of all rows that are used."""

    names: list[str]
    without: FloatArray  # rows if no post were an event; as they are without `event`
    event: FloatArray | None  # rows if each post were an event


def read_model(model: str | Sequence[str], y: str) -> Model:
    """Return the model that a formula, or a list of columns, stands for."""
    if not isinstance(model, str):
        return Model(y, " + ".join(map(_quoted, model)) or "1")
    left, tilde, right = model.rpartition("~")
    outcome = left.strip() if tilde else ""
    if outcome and y not in (EVENT, outcome):
        raise InputError(
            f"the formula explains {outcome!r} and y={y!r}: expected the same column. "
            f"Leave one of them out."
        )
    if not right.strip() or "~" in left:
        raise InputError(
            f"the formula {model!r} has no covariates: expected one such as "
            f'"event ~ income", or "event ~ 1" for a mean. Write what explains.'
        )
    return Model(outcome or y, right.strip())


def _quoted(name: str) -> str:
    return name if str(name).isidentifier() else f"Q({str(name)!r})"


def columns_of(model: Model, table: pd.DataFrame) -> list[str]:
    """Return the columns of the table that a model uses; validate that they exist."""
    patsy = _patsy()
    try:
        terms = patsy.ModelDesc.from_formula(f"~ {model.covariates}").rhs_termlist
        codes = {factor.code for term in terms for factor in term.factors}
        trees = [ast.parse(code, mode="eval") for code in sorted(codes)]
    except (patsy.PatsyError, SyntaxError) as error:
        raise InputError(
            f"the formula {model!s} cannot be read: expected one such as "
            f'"event ~ income + C(region)", got: {error}. Correct it.'
        ) from error
    wanted = [model.outcome, *(name for tree in trees for name in _names(tree))]
    if EVENT in wanted[1:] and model.explains_events:
        raise InputError(
            f"the formula {model!s} explains events by events: expected 'event' on one "
            f"side. Take it out, or name another outcome."
        )
    if EVENT not in wanted:
        raise InputError(
            f"the formula {model!s} has no events: expected the name 'event' as the "
            f"outcome, or among the covariates. Name them so."
        )
    wanted = [name for name in dict.fromkeys(wanted) if name != EVENT]
    missing = [name for name in wanted if name not in table]
    if missing:
        raise InputError(
            f"the {_WHAT} has no column {', '.join(map(repr, missing))}: expected the "
            f"columns of the formula {model!s}, got {', '.join(map(repr, table))}. "
            f"Correct the formula, or merge the column into the table first "
            f"(mmevent predict --keep copies columns of the posts)."
        )
    return wanted


def _names(tree: ast.AST) -> list[str]:
    """Return the names of columns in an expression; functions are called, not used."""
    found, functions = [], {"np"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                functions.add(node.func.id)
                if node.func.id == "Q" and isinstance(node.args[0], ast.Constant):
                    found.append(str(node.args[0].value))
            values = [k.value for k in node.keywords]
            functions |= {value.id for value in values if isinstance(value, ast.Name)}
        elif isinstance(node, ast.Name):
            found.append(node.id)
    coding = {"Treatment", "Sum", "Helmert", "Diff", "Poly", "True", "False"}
    return [name for name in found if name not in functions | coding]


def complete_rows(
    table: pd.DataFrame, columns: Sequence[str], missing: str
) -> NDArray[np.bool_]:
    """Return which rows have all columns; refuse the table unless they may be dropped.

    The inclusion probabilities of the rows that are left stay as they are.
    """
    if missing not in ("raise", "drop"):
        raise InputError(
            f"missing={missing!r} is not known: expected 'raise' or 'drop'. Pass one."
        )
    empty = table[list(columns)].isna()
    lacking = empty.any(axis=1).to_numpy()
    if lacking.any() and missing == "raise":
        counts = ", ".join(f"{k!r}: {n:,}" for k, n in empty.sum().items() if n)
        raise InputError(
            f"{int(lacking.sum()):,} of {len(table):,} rows lack a value ({counts}): "
            f"expected one in each. Fill them in, or leave these rows out with "
            f'missing="drop"; the regression is then about the others only.'
        )
    if lacking.all():
        raise InputError(
            f"no row of the {_WHAT} has all of {', '.join(map(repr, columns))}: "
            f"expected some. Check how they were merged."
        )
    return np.asarray(~lacking)


def make_design(model: Model, table: pd.DataFrame) -> Design:
    """Return the covariates as numbers; validate that they can be told apart."""
    patsy = _patsy()
    rows, n = table, len(table)
    if not model.explains_events:  # both values of `event` in the same coding
        with_event = table.assign(**{EVENT: 1})
        rows = pd.concat([table.assign(**{EVENT: 0}), with_event], ignore_index=True)
    names = patsy.EvalEnvironment([{"np": np}])
    try:
        # Missing values are handled before, numbers that are not finite after.
        with np.errstate(all="ignore"):
            found = patsy.dmatrix(
                model.covariates, rows, names, NA_action=patsy.NAAction(NA_types=[])
            )
    except Exception as error:
        # patsy evaluates the formula: what fails in it can be of any kind
        raise InputError(
            f"the formula {model!s} cannot be computed on the table: {error}. Correct "
            f"it, or the columns."
        ) from error
    terms, values = list(found.design_info.column_names), np.asarray(found)
    _check_finite(terms, values, model)
    _check_different(terms, values, model)
    return Design(terms, values[:n], None if len(rows) == n else values[n:])


def _check_finite(terms: list[str], values: FloatArray, model: Model) -> None:
    wrong = ~np.isfinite(values)
    if wrong.any():
        where = [terms[column] for column in np.flatnonzero(wrong.any(axis=0))]
        raise InputError(
            f"{', '.join(map(repr, where))} of the formula {model!s} is no finite "
            f"number in {int(wrong.any(axis=1).sum()):,} rows: expected one in each, "
            f"such as of a logarithm of a number above 0. Correct the column."
        )


def _check_different(terms: list[str], values: FloatArray, model: Model) -> None:
    """Refuse covariates that are constant, or sums of others."""
    if values.shape[1] == 0 or len(values) < values.shape[1]:
        raise InputError(
            f"the formula {model!s} has {values.shape[1]} terms on {len(values)} rows: "
            f"expected at least one, and as many rows as terms. Use fewer covariates."
        )
    constant = [
        name
        for name, column in zip(terms, values.T, strict=True)
        if np.ptp(column) == 0 and name != "Intercept"
    ]
    alone = "Intercept" not in terms and len(constant) == 1 and values.any(axis=0).all()
    if constant and not alone:
        raise InputError(
            f"the covariate {', '.join(map(repr, constant))} is constant: expected "
            f"different values, since a constant explains nothing. Take it out of the "
            f"formula."
        )
    scale = np.sqrt((values**2).mean(axis=0))
    left = np.abs(np.diag(np.linalg.qr(values / scale, mode="r")))
    same = [terms[column] for column in np.flatnonzero(left < 1e-7 * left[0])]
    if same:
        raise InputError(
            f"the covariate {', '.join(map(repr, same))} is a sum of multiples of "
            f"others in the formula {model!s}: expected covariates that can be told "
            f"apart. Take one of them out."
        )


def _patsy() -> Any:
    return require("patsy", extra="regression", purpose="fit_regression")
