"""The day and the hour of posts on the clock where they were written."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pandas as pd

from mmevent.exceptions import InputError
from mmevent.posts.posts import parse_created_at

# After a time of day: "T18:30:00.5+01:00", "18:30 -0500", "17:30:00 +0000 2024".
_OFFSET = re.compile(
    r"[T ]\d\d(?::?\d\d)*(?:[.,]\d+)?\s*(?P<sign>[+-])(?P<hours>\d\d)"
    r"(?::?(?P<minutes>\d\d))?(?:\s+\d{4})?\s*$",
    re.ASCII,
)


def local_times(posts: pd.DataFrame, timezone: str | None = None) -> pd.Series:
    """Return the times of posts as a clock showed them, for counts by day or month.

    Parameters
    ----------
    posts : DataFrame
        Posts with a column ``created_at``, as for `parse_created_at`.
    timezone : str or None, default=None
        Name of the time zone of the clock, such as "America/New_York". None for the
        clock that each ``created_at`` was written by: "2024-03-31T23:30:00-05:00" is on
        31 March, and a time without an offset stays as it is.

    Returns
    -------
    Series of datetime without a zone

    Raises
    ------
    InputError
        If a time cannot be read, or no zone has this name.
    """
    times = parse_created_at(posts)
    if timezone is not None:
        return times.dt.tz_convert(check_timezone(timezone)).dt.tz_localize(None)
    given = posts["created_at"]
    if isinstance(given.dtype, pd.DatetimeTZDtype):
        return given.dt.tz_localize(None)
    plain = times.dt.tz_localize(None)
    if pd.api.types.is_datetime64_any_dtype(given.dtype):
        return plain
    offsets = [_offset(value) for value in given]
    return plain + pd.Series(pd.to_timedelta(offsets), index=plain.index)


def check_timezone(name: str) -> ZoneInfo:
    """Validate the name of a time zone, and return the zone."""
    name, known = str(name), available_timezones()
    if name in known:
        return ZoneInfo(name)
    folded = {zone.casefold(): zone for zone in known}
    near = get_close_matches(str(name).casefold(), folded, cutoff=0.5)
    named = " or ".join(repr(folded[zone]) for zone in near) or "'Europe/Berlin'"
    raise InputError(
        f"timezone={name!r} is not known: expected a name of the time zone database, "
        f"such as {named}, or 'UTC'. Correct the name."
    )


def _offset(value: Any) -> timedelta:
    """Return how far the clock of a time is ahead of UTC; none if it does not say."""
    if isinstance(value, datetime):
        return value.utcoffset() or timedelta(0)
    found = _OFFSET.search(value) if isinstance(value, str) else None
    if found is None:
        return timedelta(0)
    ahead = timedelta(hours=int(found["hours"]), minutes=int(found["minutes"] or 0))
    return -ahead if found["sign"] == "-" else ahead
