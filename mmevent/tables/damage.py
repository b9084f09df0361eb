"""Ids that a spreadsheet damaged, recognised and named as that."""

from __future__ import annotations

import re

import pandas as pd

from mmevent._common import warn_user
from mmevent.exceptions import InputError, MmeventWarning

_KEPT = 15  # digits of a number that spreadsheets keep
_SCIENTIFIC = re.compile(r"-?[0-9][.,]([0-9]+)[eE]\+([0-9]{2,})")
_LONG = re.compile(r"\n([1-9][0-9]{15,})(?=\n)")
_WHOLE = re.compile(r"\n[1-9][0-9]{15,}(?<!000)\n")
_CUT = re.compile(r"[1-9][0-9]{14}0{3,}")
_FEWEST = 20  # ids that do not all end in zeros by chance


def check_undamaged(ids: pd.Series) -> None:
    """Validate that no spreadsheet cut the digits of long ids.

    Parameters
    ----------
    ids : pandas.Series
        The ids of all posts: those of a few may all be round by chance.

    Raises
    ------
    InputError
        If an id lost digits in scientific notation ("1.23457E+18"), or if all of 20
        or more ids of over 15 digits have zeros from the 16th on.

    Warns
    -----
    MmeventWarning
        If all of fewer than 20 such ids have these zeros.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.tables.damage import check_undamaged
    >>> check_undamaged(pd.Series(["1600000000000004419"]))
    """
    texts = _suspects(ids)
    if not texts:
        return
    joined = "\n".join(["", *texts, ""])
    damaged = _in_scientific_notation(texts, joined)
    if not damaged and "000\n" in joined:
        damaged = _cut(joined)
    if not damaged:
        return
    message = (
        f"id of {len(damaged)} of {len(ids)} posts was damaged by a spreadsheet: "
        f"expected all digits of each number, and got {damaged[0]!r} in the first, of "
        f"which only the first digits are left. Take the table as it was before the "
        f"spreadsheet opened it; there, import the column as text."
    )
    if len(damaged) >= _FEWEST or _SCIENTIFIC.fullmatch(damaged[0]):
        raise InputError(message)
    warn_user(message.replace(" was ", " may have been ", 1), MmeventWarning)


def _suspects(ids: pd.Series) -> list[str]:
    """Return all ids as text if some are long; most tables have none."""
    if ids.dtype.kind in "iuf":
        known = ids.dropna()
        long = known[known >= 10**_KEPT]
        return [] if (long % 1000 != 0).any() else list(map(str, long.tolist()))
    if ids.dtype.kind in "mMb":
        return []
    values = ids.tolist()
    try:
        longest = max(map(len, values), default=0)
    except TypeError:  # not all are text
        values = list(map(str, values))
        longest = max(map(len, values))
    # The shortest in scientific notation is "1.2E+10".
    return values if longest >= 7 else []


def _in_scientific_notation(texts: list[str], joined: str) -> list[str]:
    """Return the numbers with more digits than are written.

    A column that has powers below 1 as well holds measurements, not ids that were cut.
    """
    if "E+" not in joined and "e+" not in joined:
        return []
    if re.search(r"\n-?[0-9.,]+[eE]-[0-9]+\n", joined):
        return []
    found = [(text, _SCIENTIFIC.fullmatch(text)) for text in texts]
    return [
        text
        for text, parts in found
        if parts and int(parts[2]) >= 10 and int(parts[2]) > len(parts[1])
    ]


def _cut(joined: str) -> list[str]:
    """Return the long numbers if all have zeros after the digits that are kept.

    Times in milliseconds or nanoseconds have zeros before these as well.
    """
    if _WHOLE.search(joined):
        return []
    long = list(dict.fromkeys(_LONG.findall(joined)))
    rounded = sum(text[_KEPT - 1] == "0" for text in long)
    if len(long) < 2 or 2 * rounded > len(long):
        return []
    return long if all(map(_CUT.fullmatch, long)) else []
