"""The clock that a post was written by."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest

from mmevent.exceptions import InputError
from mmevent.posts.local_times import local_times

WEST = timezone(timedelta(hours=-5))


def one(value: Any, zone: str | None = None) -> str:
    posts = pd.DataFrame({"id": ["p"], "created_at": pd.Series([value], dtype=object)})
    return str(local_times(posts, zone)[0])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-03-31T23:30:00-05:00", "2024-03-31 23:30:00"),
        ("2024-04-01T06:00:00+09:00", "2024-04-01 06:00:00"),
        ("2024-04-01 06:00+0930", "2024-04-01 06:00:00"),
        ("2024-04-01T06:00:00.25+02", "2024-04-01 06:00:00.250000"),
        ("2024-04-01T06:00:00Z", "2024-04-01 06:00:00"),
        ("2024-04-01T06:00", "2024-04-01 06:00:00"),
        ("2024-04-01", "2024-04-01 00:00:00"),
        ("Sat Mar 09 23:30:00 -0500 2024", "2024-03-09 23:30:00"),
        (datetime(2024, 3, 31, 23, tzinfo=WEST), "2024-03-31 23:00:00"),
        (pd.Timestamp("2024-03-31 23:00"), "2024-03-31 23:00:00"),
    ],
    ids=str,
)
def test_a_time_stays_as_it_was_written(value: Any, expected: str) -> None:
    assert one(value) == expected


@pytest.mark.parametrize("zone", ["Europe/Berlin", None])
def test_a_column_with_a_zone_keeps_its_clock(zone: str | None) -> None:
    times = pd.to_datetime(["2024-03-31 23:30", "2024-12-31 23:30"])
    given = times.tz_localize(zone) if zone else times
    posts = pd.DataFrame({"id": ["p", "q"], "created_at": given}, index=[5, 5])
    assert local_times(posts).tolist() == times.tolist()


def test_a_named_zone_has_its_summer_time() -> None:
    assert one("2024-03-30T23:30:00Z", "Europe/Berlin") == "2024-03-31 00:30:00"
    assert one("2024-03-31T23:30:00Z", "Europe/Berlin") == "2024-04-01 01:30:00"


def test_an_unknown_zone_is_refused_with_a_near_one() -> None:
    with pytest.raises(InputError, match="timezone='berlin' .*'Europe/Berlin'"):
        one("2024-03-31", "berlin")
