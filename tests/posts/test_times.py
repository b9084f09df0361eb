"""Dates by a format, and what is said of those that cannot be read."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import pytest

from mmevent.exceptions import InputError
from mmevent.posts import parse_created_at, to_posts
from mmevent.posts.times import to_iso, unix_to_iso


def message_for(*values: Any) -> str:
    posts = to_posts([{"text": "x", "created_at": value} for value in values])
    with pytest.raises(InputError) as caught:
        parse_created_at(posts)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "date_format", "expected"),
    [
        ("03/04/2024", "%d/%m/%Y", "2024-04-03T00:00:00"),
        ("03/04/2024", "%m/%d/%Y", "2024-03-04T00:00:00"),
        ("3.4.24 18:30", "%d.%m.%y %H:%M", "2024-04-03T18:30:00"),
        ("3.4.24 18:30 +0200", "%d.%m.%y %H:%M %z", "2024-04-03T18:30:00+02:00"),
        (1609459200, "unix", "2021-01-01T00:00:00+00:00"),
        ("1609459200.5", "unix", "2021-01-01T00:00:00.500000+00:00"),
        (1609459200000.0, "unix-ms", "2021-01-01T00:00:00+00:00"),
        (44562, "excel", "2022-01-01T00:00:00+00:00"),
        ("44562,75", "excel", "2022-01-01T18:00:00+00:00"),
        (20240309, "%Y%m%d", "2024-03-09T00:00:00"),
        (pd.Timestamp("2024-03-09 18:30"), "%d/%m/%Y", "2024-03-09T18:30:00"),
        (datetime(2024, 3, 9, tzinfo=UTC), "excel", "2024-03-09T00:00:00+00:00"),
        (date(2024, 3, 9), "unix", "2024-03-09"),
    ],
)
def test_a_format_reads_a_date(value: Any, date_format: str, expected: str) -> None:
    dates = pd.Series([value, None], index=["r", "s"], dtype=object)
    found = to_iso(dates, date_format, ["a", "b"])
    assert found.to_dict() == {"r": expected, "s": None}


def test_dates_of_another_form_are_counted() -> None:
    dates = pd.Series(["31/12/2024", "12/31/2024", "soon"], name="time")
    with pytest.raises(
        InputError,
        match=r"time of 2 of 3 posts \(first ids: 'b', 'c'\) does not fit "
        r"--date-format %d/%m/%Y: .* got '12/31/2024' in the first",
    ):
        to_iso(dates, "%d/%m/%Y", ["a", "b", "c"])


@pytest.mark.parametrize("date_format", ["iso", "", "dd/mm/yyyy"])
def test_a_format_without_codes_is_refused(date_format: str) -> None:
    with pytest.raises(InputError, match="is not known: expected codes such as %d/%m"):
        to_iso(pd.Series(["x"]), date_format, ["a"])


@pytest.mark.parametrize("date_format", ["%d/%m", "%H:%M", "%d.%m. %%Y"])
def test_a_format_without_a_year_is_refused(date_format: str) -> None:
    with pytest.raises(InputError, match="has no year: expected %Y"):
        to_iso(pd.Series(["03/04"]), date_format, ["a"])


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        (1609459200, "2021-01-01T00:00:00+00:00"),
        (1609459200.0, "2021-01-01T00:00:00+00:00"),
        *((cell, cell) for cell in (44562, "44562", True, "2021-01-01", None)),
        *((cell, cell) for cell in (1609459200000, "20240309", "١٦٠٩٤٥٩٢٠٠")),
    ],
)
def test_only_ten_digits_are_seconds(cell: Any, found: Any) -> None:
    assert unix_to_iso(cell) == found


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["03/04/2024"], "whether the day or the month is first: add --date-format"),
        (["03/04/2024"], "'%d/%m/%Y' for days first, '%m/%d/%Y' for months first"),
        (["3-4-24 18:30:00"], "'%d-%m-%y %H:%M:%S' for days first"),
        (["03/04/2024", "31/04/2024"], "'31/04/2024' can only have days first"),
        (["31.01.2024", "01.31.2024"], "have days first ('31.01.2024') and months"),
        ([44562, 44563.25], "are day numbers of a spreadsheet (44562 is 2022-01-01)"),
        ([1609459200, 1609459201.5], "seconds since 1970 (1609459200 is 2021-01-01)"),
        ([1609459200000], "milliseconds since 1970: add --date-format unix-ms"),
        ([None], "are empty: fill them"),
        (["soon"], "in a form that is not known: say which by --date-format"),
        (["soon", 44562, 44563], "2 ('44562' in the first) are day numbers"),
        (["soon", 44562, 44563], "1 ('soon' in the first) are in a form"),
    ],
)
def test_the_message_says_what_the_dates_are(values: list[Any], said: str) -> None:
    message = message_for("2024-01-01", *values)
    assert said in message
    assert f"created_at of {len(values)} of {len(values) + 1} posts" in message
    assert "first ids: 1" in message
