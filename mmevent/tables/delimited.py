"""CSV and TSV: which characters separate cells and rows, and every cell exact."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import IO, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmevent._common import warn_user
from mmevent.exceptions import MmeventWarning
from mmevent.tables.cells import exact_numbers, flat_columns

_SEPARATORS = (b",", b";", b"\t")
_LOOKED_AT = 20  # lines that tell the separator where the header has several
_STATED = re.compile(rb'"?sep=([,;\t])"?\r?\n')  # Excel's own first line
_LONE_CR = re.compile(rb"\r(?!\r*(?:\n|\Z))")


def read_delimited(data: bytes, usual: bytes) -> pd.DataFrame:
    """Read CSV or TSV in UTF-8, whose cells have this separator if nothing else.

    Raises
    ------
    ValueError
        If the rows cannot be told; the message begins with the line.
    """
    if _LONE_CR.search(data[: data.find(b"\n") + 1 or None]):
        data = data.replace(b"\r", b"\n")  # as programs for the Macintosh wrote
    data, separator = find_separator(data, usual)
    data, hidden = _hide(data)
    try:
        frame = _rows_of(data, separator)
    except pd.errors.EmptyDataError:
        raise
    except ValueError:
        if separator != b"\t" or (plain := _without_quoting(data)) is None:
            raise
        frame = plain
    for sign, stand_in in hidden.items():
        for name in frame:
            frame[name] = frame[name].str.replace(stand_in, sign, regex=False)
    header, rows = frame.iloc[0].tolist(), frame.iloc[1:].reset_index(drop=True)
    names = [
        name if isinstance(name, str) else f"Unnamed: {place}"
        for place, name in enumerate(header)
    ]
    rows.columns = pd.Index(names, dtype=object)
    columns = [exact_numbers(rows.iloc[:, place]) for place in range(len(names))]
    if not columns[0].size:
        return rows
    table = pd.concat(columns, axis=1)
    table.columns = rows.columns
    return table


def _rows_of(data: bytes, separator: bytes) -> pd.DataFrame:
    """Return all rows as text, the header among them."""
    quotes = _patterns(separator)
    _check_quotes(data, quotes)
    try:
        frame = _parsed(data, separator)
    except pd.errors.ParserError as error:
        rows = _rows(data, separator, quotes)
        if (mended := _without_empty_ends(data, separator, rows)) is not None:
            return _rows_of(mended, separator)
        raise ValueError(_uneven(data, separator, rows) or str(error)) from error
    _check_lengths(frame, data, separator, quotes)
    _check_swallowed(frame, data, separator, quotes)
    return frame


def _parsed(data: bytes, separator: bytes, *, quoted: bool = True) -> pd.DataFrame:
    return pd.read_csv(
        io.BytesIO(data),
        sep=separator.decode(),
        header=None,
        dtype=str,
        keep_default_na=False,
        na_values=[""],
        encoding="utf-8",
        compression=None,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )


def _without_quoting(data: bytes) -> pd.DataFrame | None:
    """Return the rows of a TSV in which quotes are plain characters; None of others.

    No text has a tab or a line end there, so that all lines have as many cells. A
    program that puts the cells of a column in quotes does so in all or in the header.
    """
    lines = [line for line in data.split(b"\n") if line.strip(b" \r")]
    if b'"' in lines[0] or len({line.count(b"\t") for line in lines}) > 1:
        return None
    frame = _parsed(data, b"\t", quoted=False)
    for name in frame:
        begins = frame[name].dropna().iloc[1:].str.startswith('"')
        if len(begins) and begins.all():
            return None
    return frame


def find_separator(data: bytes, usual: bytes) -> tuple[bytes, bytes]:
    """Return the data and what separates their cells."""
    if stated := _STATED.match(data):
        # Its line end stays, so that the lines below keep their numbers.
        return data[stated.end() - 1 :], stated[1]
    cut = data[: 1 << 20]
    bare = re.sub(rb'(?<![^,;\t\r\n])"[^"]*+(?:""[^"]*+)*+"?', b"", cut)
    lines = [line for line in bare.split(b"\n") if line.strip()][:_LOOKED_AT]
    if not lines:
        return data, usual
    found = sorted(
        (sign for sign in _SEPARATORS if sign in lines[0]), key=lambda s: s != usual
    )
    if len(found) > 1:
        even = [s for s in found if len({line.count(s) for line in lines}) == 1]
        found = sorted(even, key=lines[0].count, reverse=True) or found
    return data, found[0] if found else usual


def _hide(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Put other characters in place of those that pandas does not keep in a cell.

    pandas takes a lone CR for the end of a line, and a NUL for the end of a cell.
    """
    hidden = {}
    unused = (chr(code) for code in range(0xFDD0, 0x110000))
    for sign, pattern in (("\0", re.compile(rb"\0")), ("\r", _LONE_CR)):
        if not pattern.search(data):
            continue
        hidden[sign] = next(c for c in unused if c.encode() not in data)
        data = pattern.sub(hidden[sign].encode(), data)
    return data, hidden


class _Patterns(NamedTuple):
    """Patterns of what lies in quotes and what does not."""

    quoted: re.Pattern[bytes]
    good: re.Pattern[bytes]  # cells that are closed where they end
    several: re.Pattern[bytes]  # all up to a cell in quotes of several lines


@cache
def _patterns(separator: bytes) -> _Patterns:
    edge = re.escape(separator) + rb"\r\n"
    opens, closes = rb'(?<![^%b])"' % edge, rb'"(?=[%b]|\Z)' % edge
    quoted = opens + rb'[^"]*+(?:""[^"]*+)*+' + closes
    one_line = opens + rb'[^"\n]*+(?:""[^"\n]*+)*+' + closes
    bare = rb'[^"]++|(?<=[^%b])"' % edge
    return _Patterns(
        re.compile(quoted),
        re.compile(rb"(?:%b|%b)*+" % (bare, quoted)),
        re.compile(rb"(?:%b|%b)*+(%b)" % (bare, one_line, quoted)),
    )


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def _check_quotes(data: bytes, patterns: _Patterns) -> None:
    """Validate that each cell that begins with a quote ends with one."""
    if b'"' not in data:
        return
    good = patterns.good.match(data)
    start = good.end() if good else 0
    if start == len(data):
        return
    first = _line(data, start)
    end = re.compile(rb'"[^"]*+(?:""[^"]*+)*+"?').match(data, start)
    assert end is not None
    if data[end.end() - 1 : end.end()] != b'"' or end.end() == start + 1:
        raise ValueError(
            f"line {first}: a quote opens a cell there and is never closed, so that "
            "the lines below belong to it. A quote that is part of a cell is written "
            'twice, and the cell in quotes: "They said ""go"""'
        )
    raise ValueError(
        f"line {first}: a quote opens a cell there, and after the quote that closes "
        f"it, in line {_line(data, end.end())}, the cell goes on. A quote that is part "
        'of a cell is written twice, and the cell in quotes: "They said ""go"""'
    )


class _Row(NamedTuple):
    """Where a row lies, and how many cells it has."""

    start: int
    end: int
    n_cells: int


def _rows(data: bytes, separator: bytes, patterns: _Patterns) -> list[_Row]:
    masked = patterns.quoted.sub(lambda found: b'"' * len(found[0]), data)
    rows, start = [], 0
    for line in masked.split(b"\n"):
        kept = line.rstrip(b"\r")
        if kept.strip(b" ") or separator in kept:
            n_cells = kept.count(separator) + 1
            rows.append(_Row(start, start + len(kept), n_cells))
        start += len(line) + 1
    return rows


def _without_empty_ends(
    data: bytes, separator: bytes, rows: list[_Row]
) -> bytes | None:
    """Return the data without the sign at the end of rows with one cell too many.

    None if no row is so, or one is too long in another way.
    """
    n_columns = rows[0].n_cells
    long = [row for row in rows if row.n_cells > n_columns]
    if not long or n_columns == 1:
        return None
    for row in long:
        if row.n_cells > n_columns + 1 or not data.endswith(separator, 0, row.end):
            return None
    begins = [0, *(row.end for row in long)]
    ends = [*(row.end - 1 for row in long), len(data)]
    parts = zip(begins, ends, strict=True)
    return b"".join(data[begin:end] for begin, end in parts)


def _uneven(data: bytes, separator: bytes, rows: list[_Row]) -> str | None:
    """Say which line has another number of cells than the header."""
    for row in rows:
        if row.n_cells != rows[0].n_cells:
            return (
                f"line {_line(data, row.start)}: {row.n_cells} cells where the header "
                f"has {rows[0].n_cells}, with {_NAMES[separator]} between cells. A "
                f"cell that has {_NAMES[separator]} or a line end in it is written in "
                f"quotes."
            )
    return None


_NAMES = {b",": "a comma", b";": "a semicolon", b"\t": "a tab"}


def _check_lengths(
    frame: pd.DataFrame, data: bytes, separator: bytes, patterns: _Patterns
) -> None:
    """Validate that rows shorter than the header lack nothing but empty last cells.

    Excel leaves out the separators before these; pandas fills such rows up.
    """
    n_columns = frame.shape[1]
    if n_columns == 1 or not frame.iloc[:, -1].isna().any():
        return
    n_separators = patterns.quoted.sub(b"", data).count(separator)
    if n_separators == len(frame) * (n_columns - 1):
        return
    rows = _rows(data, separator, patterns)
    is_short = np.array([row.n_cells < n_columns for row in rows])
    if not is_short.any():
        return
    short = [row for row in rows if row.n_cells < n_columns]
    if (
        len(rows) != len(frame)
        or any(b"\n" in data[row.start : row.end] for row in short)
        or not _begin_as_rows(frame, is_short, min(row.n_cells for row in short))
    ):
        raise ValueError(_uneven(data, separator, rows))
    warn_user(
        f"{len(short)} of {len(rows) - 1} rows have fewer cells than the header, the "
        f"first of them in line {_line(data, short[0].start)}: the last cells of these "
        f"are taken as empty.",
        MmeventWarning,
    )


def _begin_as_rows(
    frame: pd.DataFrame, is_short: NDArray[np.bool_], n_cells: int
) -> bool:
    """Tell whether short rows look like the others, not like the rest of a text.

    A text with a line end in it, and no quotes around, ends a row too early; the next
    then begins with words of the text.
    """
    if n_cells < 2:
        return False
    full, short = frame[~is_short].iloc[1:], frame[is_short]
    for place in range(frame.shape[1] - 1):
        known = _shapes(full.iloc[:, place])
        is_free = 4 * len(known) > len(full)  # as texts are
        if not place or not is_free:
            cells = short.iloc[:, place].dropna()
            if not _shapes(cells) <= known or (not place and len(cells) < len(short)):
                return False
    return True


def _check_swallowed(
    frame: pd.DataFrame, data: bytes, separator: bytes, patterns: _Patterns
) -> None:
    """Validate that no cell in quotes holds rows.

    In a file whose quotes are plain characters, one that begins a cell and another
    that ends one make a single cell of all between. It shows by lines that would each
    be a row like the others.
    """
    n_columns = frame.shape[1]
    if n_columns == 1 or b'"' not in data or data.count(b"\n") <= len(frame):
        return
    shapes = cache(lambda place: _shapes(frame.iloc[1:, place]))
    for start, end in _long_rows(data, patterns):
        record = data[start:end]
        lines = [line.rstrip(b"\r").split(separator) for line in record.split(b"\n")]
        if any(len(cells) != n_columns for cells in lines):
            continue
        if record.replace(b'""', b"").count(b'"') == 2 and _all_rows(lines, shapes):
            first = _line(data, start)
            raise ValueError(
                f"line {first}: rows that cannot be told, since a quote opens a cell "
                f"there and the next is in line {first + len(lines) - 1}, while each "
                "line between them looks like a row. If the quotes are part of the "
                'texts, write them twice and the cells in quotes: "They said ""go"""'
            )


def _long_rows(data: bytes, patterns: _Patterns) -> Iterator[tuple[int, int]]:
    """Yield where the lines of a cell of several lines begin and end."""
    for found in patterns.several.finditer(data):
        start = data.rfind(b"\n", 0, found.start(1)) + 1
        end = data.find(b"\n", found.end())
        yield start, end if end >= 0 else len(data)


def _all_rows(
    lines: list[list[bytes]], shapes: Callable[[int], frozenset[str]]
) -> bool:
    """Tell whether all lines look like rows, by the columns that have no quotes."""
    compared = [
        place
        for place in range(len(lines[0]))
        if not any(b'"' in cells[place] for cells in lines)
    ]
    return bool(compared) and all(
        _shape(cells[place].decode()) in shapes(place)
        for place in compared
        for cells in lines
    )


def _shapes(cells: pd.Series) -> frozenset[str]:
    known = cells.fillna("").drop_duplicates()
    return frozenset(_shape(cell) for cell in known if "\n" not in cell)


def _shape(cell: str) -> str:
    """Return what a cell is made of: "9" for "17", "a9" for "post17"."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"[0-9]+", "9", cell))


def write_delimited(frame: pd.DataFrame, stream: IO[bytes], separator: str) -> None:
    """Write a table so that `read_delimited` gives the same cells."""
    frame = flat_columns(frame)
    all_quoted = _needs_quotes(frame, separator)
    frame.to_csv(
        stream,
        index=False,
        sep=separator,
        encoding="utf-8",
        # With "\n" alone, Python < 3.13 leaves a cell with "\r" unquoted.
        lineterminator="\r\n",
        quoting=csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL,
    )


def _needs_quotes(frame: pd.DataFrame, separator: str) -> bool:
    """Tell whether cells without quotes would leave it open which lines are rows."""
    n_columns = frame.shape[1]
    if n_columns == 1:
        return True  # a cell of spaces would be an empty line
    return any(
        _looks_like_rows(cell, place, n_columns, separator)
        for place in range(n_columns)
        if not pd.api.types.is_numeric_dtype(frame.dtypes.iloc[place])
        for cell in frame.iloc[:, place].tolist()
    )


def _looks_like_rows(cell: Any, place: int, n_columns: int, separator: str) -> bool:
    """Tell whether the lines of a cell complete a row at both ends."""
    if not isinstance(cell, str) or "\n" not in cell:
        return False
    counts = [line.count(separator) for line in cell.split("\n")]
    between = set(counts[1:-1]) <= {n_columns - 1}
    return between and counts[0] == n_columns - 1 - place and counts[-1] == place
