"""Tables that know the types of their columns: Parquet, Stata and SPSS."""

from __future__ import annotations

import os
import re
import struct
import warnings
from pathlib import Path
from typing import IO, Any

import pandas as pd

from mmevent._common import require
from mmevent.tables.cells import (
    INT64,
    MOST_EXACT,
    clean,
    flat_columns,
    object_columns,
    tidy,
)

_STATA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
_SPSS_NAME = re.compile(r"[A-Za-z@][A-Za-z0-9_.@$#]{0,63}")


def read_parquet(path: Path) -> pd.DataFrame:
    """Read Parquet; an index that has a name becomes a column.

    Raises
    ------
    ValueError
        If the file is malformed, or has text that is not UTF-8.
    """
    import pyarrow.parquet

    try:
        with path.open("rb") as stream:
            table = pyarrow.parquet.read_table(stream)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(error) from error
    return parquet_frame(table)


def parquet_frame(table: Any) -> pd.DataFrame:
    """Return a table of Arrow as a data frame, every cell exact.

    Raises
    ------
    ValueError
        If text is not UTF-8.
    """
    for name, column in zip(table.column_names, table.columns, strict=True):
        _validate(name, column)
    # Integers with missing values would become floats, which cut long ids.
    frame = table.to_pandas(integer_object_nulls=True)
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(level=named, allow_duplicates=True) if named else frame


def _validate(name: str, column: Any) -> None:
    """Validate that all text in a column is UTF-8; pandas would fail much later."""
    import pyarrow

    try:
        column.validate(full=True)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"in the column {name!r}: {error}") from error


def write_parquet(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    """Write Parquet; integers beyond 64 bits are written as text."""
    import pyarrow

    try:
        _with_text(frame).to_parquet(stream, engine="pyarrow", index=False)
    except pyarrow.ArrowException as error:
        raise ValueError(error) from error


def _with_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with text for integers beyond 64 bits, and UTF-8 in all text."""
    changed = {}
    for name in object_columns(frame):
        values = frame[name].tolist()
        if _are_long([value for value in values if not _is_missing(value)]):
            values = [None if _is_missing(value) else str(value) for value in values]
        elif any(isinstance(value, str | list | dict) for value in values):
            values = [clean(value) for value in values]
        changed[name] = pd.Series(values, frame.index, dtype=object)
    return frame.assign(**changed) if changed else frame


def _is_missing(value: Any) -> bool:
    return (
        value is None or value is pd.NA or (isinstance(value, float) and value != value)
    )


def _are_long(known: list[Any], allowed: range = INT64) -> bool:
    """Tell whether values are integers of which some are outside a range."""
    return (
        bool(known)
        and all(isinstance(value, int) for value in known)
        and not (min(known) in allowed and max(known) in allowed)
    )


def read_stata(path: Path) -> pd.DataFrame:
    """Read Stata's .dta; a column with value labels gives its values.

    Raises
    ------
    ValueError
        If the file is malformed.
    """
    try:
        frame = pd.read_stata(path, convert_categoricals=False)
    except (KeyError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return _with_integers(frame)


def read_spss(path: Path, encoding: str | None = None) -> pd.DataFrame:
    """Read SPSS's .sav; a column with value labels gives its values.

    Raises
    ------
    ValueError
        If the file is malformed.
    """
    pyreadstat = require("pyreadstat", extra="tables", purpose="a .sav file")
    try:
        frame, _ = pyreadstat.read_sav(os.fspath(path), encoding=encoding)
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError) as error:
        raise ValueError(error) from error
    return _with_integers(frame)


def _with_integers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with integers where all numbers of a column are whole.

    Stata and SPSS store most integers as floating-point numbers.
    """
    for name in frame.select_dtypes("floating"):
        known = frame[name].dropna()
        if len(known) and ((known % 1 == 0) & (known.abs() <= MOST_EXACT)).all():
            values = [None if v != v else int(v) for v in frame[name].tolist()]
            frame[name] = tidy(values).set_axis(frame.index)
    return frame


def write_stata(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    """Write Stata's .dta; whole numbers that it has no type for are written as text."""
    table = _for_statistics(
        frame, _STATA_NAME, "a letter first, then letters, digits and _, 32 at most"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pandas would rename columns, and go on
        try:
            table.to_stata(stream, write_index=False, version=118)
        except Warning as error:
            raise ValueError(error) from error


def write_spss(frame: pd.DataFrame, path: Path) -> None:
    """Write SPSS's .sav; whole numbers that it has no type for are written as text."""
    pyreadstat = require("pyreadstat", extra="tables", purpose="a .sav file")
    table = _for_statistics(
        frame, _SPSS_NAME, "a letter first, then letters, digits, _ and ., 64 at most"
    )
    if len({str(name).lower() for name in table}) < table.shape[1]:
        raise ValueError("names of columns that differ by capital letters alone.")
    try:
        pyreadstat.write_sav(table, os.fspath(path))
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError) as error:
        raise ValueError(error) from error


def _for_statistics(
    frame: pd.DataFrame, pattern: re.Pattern[str], rule: str
) -> pd.DataFrame:
    """Return a table whose columns are numbers, times or text without gaps."""
    wrong = [name for name in frame if not pattern.fullmatch(str(name))]
    if wrong:
        raise ValueError(f"the column {wrong[0]!r}, where a name has {rule}.")
    table = flat_columns(frame).copy()
    for name in table:
        column = table[name]
        if pd.api.types.is_integer_dtype(column.dtype):
            values = [value for value in column.tolist() if value is not pd.NA]
            if _are_long(values, range(-MOST_EXACT, MOST_EXACT + 1)):
                table[name] = column.astype("string").fillna("").astype(object)
        elif (
            not pd.api.types.is_numeric_dtype(column.dtype) and column.dtype.kind != "M"
        ):
            table[name] = pd.Series(_texts(name, column), table.index, dtype=object)
        elif getattr(column.dtype, "tz", None) is not None:
            table[name] = column.astype("string").fillna("").astype(object)
    return table


def _texts(name: Any, column: pd.Series) -> list[str]:
    """Return a column as texts, "" where one is missing."""
    values = ["" if _is_missing(value) else value for value in column.tolist()]
    kinds = {type(value) for value in values if value != ""}
    if len(kinds) > 1 or not kinds <= {str, int}:
        raise ValueError(
            f"the column {name!r}, which has values of several types, or of one that "
            f"the format lacks: {', '.join(sorted(kind.__name__ for kind in kinds))}."
        )
    values = list(map(str, values))
    if any("\0" in value for value in values):
        raise ValueError(f"a NUL in a cell of the column {name!r}.")
    return values
