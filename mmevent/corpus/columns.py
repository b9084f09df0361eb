"""Columns of predictions and coded samples, checked: there, complete, and numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent.exceptions import InputError
from mmevent.posts.keys import as_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

PREDICTIONS = (
    "table of predictions",
    "Pass what mmevent predict wrote; its --keep copies further columns into it.",
)
_DECIMAL_COMMA = re.compile(r"\s*[+-]?[0-9]+(?:,[0-9]+)?(?:[eE][+-]?[0-9]+)?\s*")
_TRUTH = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0}
_WORDS = {"yes": 1.0, "no": 0.0}


def need_columns(
    frame: pd.DataFrame, names: Sequence[str], what: str, advice: str
) -> None:
    """Validate that a table has these columns, each once."""
    missing = [name for name in names if name not in frame]
    if missing:
        raise InputError(
            f"the {what} has no column {', '.join(map(repr, missing))}: expected "
            f"{', '.join(map(repr, names))}, got {', '.join(map(repr, frame))}. "
            f"{advice}"
        )
    twice = [name for name in names if list(frame.columns).count(name) > 1]
    if twice:
        raise InputError(
            f"the {what} has more than one column {', '.join(map(repr, twice))}: "
            f"expected one of each name. Rename or drop the others."
        )


def number_column(
    frame: pd.DataFrame,
    name: str,
    what: str,
    *,
    least: float = -np.inf,
    most: float = np.inf,
) -> FloatArray:
    """Return a column as finite numbers from `least` to `most`, none of them missing.

    Text counts as its number, with a decimal comma too if the whole column has no
    decimal point, as spreadsheets in many languages write it.
    """
    values = _as_numbers(frame[name])
    wrong = ~(np.isfinite(values) & (values >= least) & (values <= most))
    if wrong.any():
        between = f" from {least:g} to {most:g}" if np.isfinite(most) else ""
        raise InputError(
            f"the {what} has no usable {name} in {_rows(frame, wrong)}: expected a "
            f"number{between} in each, got {_some(frame.loc[wrong, name])}. Correct "
            f"the column {name!r}, or make the table again."
        )
    return values


def flag_column(
    frame: pd.DataFrame, name: str, what: str, advice: str
) -> NDArray[np.bool_]:
    """Return a column of True and False, as files and spreadsheets write them."""
    found = truth(frame[name], name, _TRUTH | _WORDS)
    wrong = np.isnan(found)
    if wrong.any():
        raise InputError(
            f"the {what} does not say {name} in {_rows(frame, wrong)}: expected True "
            f"or False (1 or 0, yes or no) in each, got "
            f"{_some(frame.loc[wrong, name])}. {advice}"
        )
    return np.asarray(found == 1)


def truth(
    values: pd.Series, name: str, known: Mapping[str, float] = _TRUTH
) -> FloatArray:
    """Return 1 for true, 0 for false, and NaN for what is missing or neither."""
    if values.dtype == bool:
        return np.asarray(values, dtype=np.float64)
    keys = as_keys(values, f"the values of the column {name!r}")
    words = [(key or "").strip().casefold() for key in keys]
    return np.array([known.get(word, np.nan) for word in words], dtype=np.float64)


def _as_numbers(values: pd.Series) -> FloatArray:
    """Return values as numbers, NaN for what is none."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        numbers: FloatArray = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return numbers
    cells = values.tolist()
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    comma = all(map(_DECIMAL_COMMA.fullmatch, texts))
    return np.array([_as_number(cell, comma) for cell in cells], dtype=np.float64)


def _as_number(cell: Any, comma: bool) -> float:
    if isinstance(cell, str):
        cell = cell.replace("_", " ")  # which Python would take for digits
        cell = cell.replace(",", ".") if comma else cell
    try:
        return float(cell)
    except (TypeError, ValueError):
        return np.nan


def _rows(frame: pd.DataFrame, wrong: NDArray[np.bool_]) -> str:
    ids = frame["id"][wrong][:5].tolist()
    return f"{int(wrong.sum()):,} of {len(frame):,} rows (ids {ids})"


def _some(values: pd.Series) -> list[Any]:
    """Return the first different values."""
    return list({repr(value): value for value in values.tolist()}.values())[:5]
