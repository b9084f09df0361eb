"""Dates as tables have them: by a format that is named, or why they cannot be read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmevent.exceptions import InputError
from mmevent.posts.image_cells import is_missing, number_as_text
from mmevent.posts.records import rows_named

_DAY_ZERO = datetime(
    1899, 12, 30, tzinfo=UTC
)  # of Excel's day numbers, from 1 March 1900
_DAY_AND_MONTH = re.compile(
    r"(?P<first>\d{1,2})(?P<sign>[/.\-])(?P<second>\d{1,2})(?P=sign)"
    r"(?P<year>\d{4}|\d{2})(?:(?P<between>,? |T)(?P<time>\d{1,2}:\d{2}(?::\d{2})?))?"
)
# From 1954 to 2091, from 2001 to 2030, and the same in thousandths.
_KINDS = {
    "excel": re.compile(r"[2-6]\d{4}(?:[.,]\d+)?"),
    "unix": re.compile(r"1[0-8]\d{8}(?:\.\d+)?"),
    "unix-ms": re.compile(r"1[0-8]\d{11}(?:\.0*)?"),
}
_ADVICE = {
    "excel": "are day numbers of a spreadsheet (44562 is 2022-01-01): add "
    "--date-format excel",
    "unix": "are seconds since 1970 (1609459200 is 2021-01-01): add --date-format unix",
    "unix-ms": "are milliseconds since 1970: add --date-format unix-ms",
    "missing": "are empty: fill them, or leave these posts out",
    "other": "are in a form that is not known: say which by --date-format, such as "
    "--date-format '%d %B %Y %H:%M', or leave these posts out",
}


_SECONDS = re.compile(r"[1-9][0-9]{9}")  # from 2001 to 2286
_WITH_YEAR = re.compile("%[YyGcx]")


def unix_to_iso(cell: Any) -> Any:
    """Return seconds since 1970, of ten digits, in ISO 8601; other cells as they are.

    Examples
    --------
    >>> from mmevent.posts.times import unix_to_iso
    >>> unix_to_iso("1609459200"), unix_to_iso(44562)
    ('2021-01-01T00:00:00+00:00', 44562)
    """
    if not isinstance(cell, str | int | float):
        return cell
    text = number_as_text(cell).strip()
    if not _SECONDS.fullmatch(text):
        return cell
    return datetime.fromtimestamp(int(text), UTC).isoformat()


def to_iso(cells: pd.Series, date_format: str, ids: Iterable[Any]) -> pd.Series:
    """Write dates of one form in ISO 8601, each with its own offset if it has one.

    Parameters
    ----------
    cells : pandas.Series
        The dates; missing ones stay missing. Dates and times of Python or pandas are
        no text, and need no format.
    date_format : str
        As Python's ``strptime`` takes it, such as "%d/%m/%Y"; or "unix" and "unix-ms"
        for seconds and milliseconds since 1970, "excel" for day numbers.
    ids : iterable
        The post of each, for messages.

    Raises
    ------
    InputError
        If the format is none, or has no year, or a date does not have it.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.posts.times import to_iso
    >>> to_iso(pd.Series(["31/12/2024", None]), "%d/%m/%Y", ["a", "b"]).tolist()
    ['2024-12-31T00:00:00', None]
    >>> to_iso(pd.Series([44562.5]), "excel", ["a"]).tolist()
    ['2022-01-01T12:00:00+00:00']
    """
    read = _reader(date_format)
    written: list[str | None] = []
    wrong = []
    for cell in cells.tolist():
        if isinstance(cell, date) and not is_missing(cell):
            written.append(cell.isoformat())
            continue
        text = _as_text(cell)
        try:
            written.append(read(text).isoformat() if text else None)
        except (ValueError, OverflowError, OSError):
            written.append(None)
            wrong.append(len(written) - 1)
    if wrong:
        rows = np.isin(np.arange(len(cells)), wrong)
        raise InputError(
            f"{cells.name or 'created_at'} of {rows_named(rows, list(ids))} does not "
            f"fit --date-format {date_format}: expected dates of this form, and got "
            f"{_as_text(cells.iloc[wrong[0]])!r} in the first. Correct the format, or "
            "these cells."
        )
    return pd.Series(written, index=cells.index, name=cells.name, dtype=object)


def _reader(date_format: str) -> Callable[[str], datetime]:
    if date_format == "excel":
        return lambda text: (
            _DAY_ZERO + timedelta(seconds=round(86400 * float(text.replace(",", "."))))
        )
    if date_format in ("unix", "unix-ms"):
        unit = 1000 if date_format == "unix-ms" else 1
        return lambda text: datetime.fromtimestamp(float(text) / unit, UTC)
    if "%" not in date_format:
        raise InputError(
            f"the date format {date_format!r} is not known: expected codes such as "
            "%d/%m/%Y, or one of unix, unix-ms, excel. Correct --date-format."
        )
    if not _WITH_YEAR.search(date_format.replace("%%", "")):
        raise InputError(
            f"the date format {date_format!r} has no year: expected %Y (2024) or %y "
            "(24) among its codes, since dates without one would all be of 1900. Add "
            "the year to the cells and to --date-format."
        )
    return lambda text: datetime.strptime(text, date_format)


def why_unread(cells: pd.Series, unread: NDArray[np.bool_], ids: Any) -> str:
    """Return the message about times that cannot be read: how many, which, and why."""
    wrong = [_as_text(cell) for cell in cells[unread].tolist()]
    kinds = Counter(map(_kind, wrong))
    if len(kinds) == 1:
        advice = f"They {_advice(next(iter(kinds)), wrong)}"
    else:
        counts = [
            f"{n} ({next(text for text in wrong if _kind(text) == kind)!r} in the "
            f"first) {_advice(kind, wrong)}"
            for kind, n in kinds.most_common()
        ]
        advice = "They are written in several ways; write them in one. Of them, "
        advice += "; ".join(counts)
    return (
        f"created_at of {rows_named(unread, ids)} cannot be read: expected ISO 8601, "
        f'such as "2024-03-09T18:30:00+01:00", and got '
        f"{cells[unread].tolist()[0]!r} in the first. {advice}. (In Python, "
        "pandas.to_datetime reads a column by a format.)"
    )


def _as_text(cell: Any) -> str:
    """Return a cell as it stood in a table; a missing one is empty."""
    if is_missing(cell):
        return ""
    number = isinstance(cell, float | np.floating)
    return number_as_text(cell) if number else str(cell).strip()


def _kind(text: str) -> str:
    if not text:
        return "missing"
    if _DAY_AND_MONTH.fullmatch(text):
        return "day and month"
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(text):
            return kind
    return "other"


def _advice(kind: str, texts: list[str]) -> str:
    if kind != "day and month":
        return _ADVICE[kind]
    dates = [found for text in texts if (found := _DAY_AND_MONTH.fullmatch(text))]
    days, months = (
        next((one[0] for one in dates if int(one[place]) > 12), None)
        for place in ("first", "second")
    )
    formats = [_format(dates[0], order) for order in ("%d{0}%m", "%m{0}%d")]
    if days and months:
        return (
            f"have days first ({days!r}) and months first ({months!r}): write them in "
            "one way"
        )
    seen = ""
    if days or months:
        order = "days" if days else "months"
        seen = f"; {days or months!r} can only have {order} first"
    return (
        f"do not say whether the day or the month is first{seen}: add --date-format "
        f"'{formats[0]}' for days first, '{formats[1]}' for months first"
    )


def _format(date: re.Match[str], order: str) -> str:
    """Return the format of a date, its day and month in this order."""
    year = "%Y" if len(date["year"]) == 4 else "%y"
    form = f"{order.format(date['sign'])}{date['sign']}{year}"
    if date["time"]:
        seconds = ":%S" if date["time"].count(":") == 2 else ""
        form += f"{date['between']}%H:%M{seconds}"
    return form
