"""Excel's .xlsx, of which the first sheet is the table; every cell exact."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from mmevent._common import require, warn_user
from mmevent.exceptions import MmeventWarning
from mmevent.tables.cells import flat_columns, tidy

MOST_ROWS, MOST_COLUMNS, MOST_CHARACTERS = 1_048_576, 16_384, 32_767
_DIGITS = 10**15
"""Excel keeps 15 digits of a number, and makes zeros of the others."""

# What openpyxl raises for parts that lack, and for styles of other programs.
_MALFORMED = (zipfile.BadZipFile, AttributeError, KeyError, SyntaxError, TypeError)

# XML cannot hold these, and makes "\n" of "\r"; Excel writes _x000D_ for it.
_NOT_IN_XML = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")


def read_xlsx(path: Path) -> pd.DataFrame:
    """Read the first sheet; empty rows at its end are left out.

    Raises
    ------
    ValueError
        If the file is malformed.
    """
    openpyxl = require("openpyxl", extra="tables", purpose="an .xlsx file")
    try:
        with closing(
            openpyxl.load_workbook(path, read_only=True, data_only=True)
        ) as book:
            sheets = [one for one in book.worksheets if hasattr(one, "iter_rows")]
            if not sheets:
                raise ValueError("no sheet with cells.")
            sheet, *others = sheets
            sheet.reset_dimensions()  # what a file says of its size can be wrong
            cells = sheet.iter_rows(values_only=True)
            rows = [list(map(_read, row)) for row in cells]
            filled = [other.title for other in others if _has_cells(other)]
    except _MALFORMED as error:
        raise ValueError(f"{type(error).__name__}: {error}.") from error
    if filled:
        warn_user(
            f"{str(path)!r} has several sheets: {sheet.title!r}, the first, is read, "
            f"and not {', '.join(map(repr, filled))}.",
            MmeventWarning,
        )
    return _to_frame(rows)


def _has_cells(sheet: Any) -> bool:
    rows = sheet.iter_rows(values_only=True)
    return any(cell is not None for row in rows for cell in row)


def _read(cell: Any) -> Any:
    if isinstance(cell, str):
        return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), cell) or None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _DIGITS:
        return int(cell)
    return cell


def _to_frame(rows: list[list[Any]]) -> pd.DataFrame:
    while rows and all(cell is None for cell in rows[-1]):
        rows.pop()
    if not rows:
        raise pd.errors.EmptyDataError
    width = max(map(len, rows))
    rows = [row + [None] * (width - len(row)) for row in rows]
    used = [
        place for place in range(width) if any(row[place] is not None for row in rows)
    ]
    columns = [_column([row[place] for row in rows[1:]]) for place in used]
    frame = pd.DataFrame(dict(enumerate(columns)), index=range(len(rows) - 1))
    names = [rows[0][place] for place in used]
    frame.columns = pd.Index(
        [
            f"Unnamed: {place}" if name is None else str(name)
            for place, name in zip(used, names, strict=True)
        ],
        dtype=object,
    )
    return frame


def _column(values: list[Any]) -> pd.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {datetime}:
        return pd.Series(pd.to_datetime(values))
    return tidy(values)


def write_xlsx(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    """Write one sheet, with text as text and integers of over 15 digits as text.

    Raises
    ------
    ValueError
        If a sheet cannot hold the table.
    """
    openpyxl = require("openpyxl", extra="tables", purpose="an .xlsx file")
    check_size(*frame.shape)
    frame = flat_columns(frame)
    rows = list(_rows(frame))  # checked before openpyxl makes a temporary file
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("posts")
    for row in rows:
        sheet.append([_cell(sheet, openpyxl.cell, value) for value in row])
    book.save(stream)


def check_size(n_rows: int, n_columns: int = 1) -> None:
    """Validate that a sheet has room for a table and its header."""
    if n_rows + 1 > MOST_ROWS or n_columns > MOST_COLUMNS:
        raise ValueError(
            f"{n_rows:,} rows below the header and {n_columns:,} columns; a sheet has "
            f"{MOST_ROWS:,} rows and {MOST_COLUMNS:,} columns."
        )


def _rows(frame: pd.DataFrame) -> Iterator[list[Any]]:
    yield [_written(str(name), "the header", str(name)) for name in frame]
    columns = [_whole_as_text(frame[name].tolist()) for name in frame]
    for place, cells in enumerate(zip(*columns, strict=True)):
        row = f"row {place + 1} below the header"
        yield [
            _written(value, row, name) for name, value in zip(frame, cells, strict=True)
        ]


def _whole_as_text(values: list[Any]) -> list[Any]:
    """Return a column of integers as text if Excel would cut the digits of some."""
    whole = [value for value in values if isinstance(value, int)]
    if not any(abs(value) >= _DIGITS for value in whole):
        return values
    return [str(value) if isinstance(value, int) else value for value in values]


def _written(value: Any, row: str, name: Any) -> Any:
    """Return what a cell is to hold: a number, a boolean or a text."""
    if isinstance(value, str):
        text = _NOT_IN_XML.sub(lambda found: f"_x{ord(found[0]):04X}_", value)
        if len(text.encode("utf-16-le", "replace")) // 2 > MOST_CHARACTERS:
            raise ValueError(
                f"{len(value):,} characters in {row}, column {name!r}; a cell of a "
                f"sheet has {MOST_CHARACTERS:,} at most."
            )
        return text or None
    if pd.isna(value):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if not np.isfinite(value):
            raise ValueError(f"{value} in {row}, column {name!r}.")
        return value
    if isinstance(value, date):
        return str(value)
    return _written(str(value), row, name)


def _cell(sheet: Any, cells: Any, value: Any) -> Any:
    """Return text as a cell of its own: openpyxl takes "=1+1" for a formula."""
    if not isinstance(value, str):
        return value
    cell = cells.WriteOnlyCell(sheet)
    cell._value, cell.data_type = value, "s"
    return cell
