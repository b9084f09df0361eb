"""Values that a spreadsheet damaged, recognised and named as that."""

from __future__ import annotations

import re

import pandas as pd

from mmevent.exceptions import InputError

_SCIENTIFIC = re.compile(r"-?[0-9]+(?:[.,][0-9]+)?[eE]\+[0-9]+")
_LONG = re.compile(r"[1-9][0-9]{15,}")
_KEPT = 15  # digits of a number that spreadsheets keep


def check_undamaged(values: pd.Series, name: str) -> None:
    """Validate that no spreadsheet cut the digits of long numbers.

    Parameters
    ----------
    values : pandas.Series
        Ids, or other values that tell rows apart.
    name : str
        The name of the column, for the message.

    Raises
    ------
    InputError
        If a value is a whole number in scientific notation ("1.23457E+18"), or all
        numbers of over 15 digits have zeros from the 16th on.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.posts.damage import check_undamaged
    >>> check_undamaged(pd.Series(["1600000000000004419"]), "id")
    """
    if values.dtype.kind in "iu":
        digits = values[values >= 10**_KEPT]
        if not len(digits) or (digits % 10 != 0).any():
            return
    texts = [str(value) for value in values]
    damaged = [text for text in texts if "+" in text and _SCIENTIFIC.fullmatch(text)]
    if not damaged and not any(text[-1:] != "0" and _is_long(text) for text in texts):
        long = [text for text in texts if _is_long(text)]
        zeros = not any(text[_KEPT:].strip("0") for text in long)
        damaged = long if zeros and len(set(long)) > 1 else []
    if damaged:
        raise InputError(
            f"{name} of {len(damaged)} of {len(texts)} posts was damaged by a "
            f"spreadsheet: expected all digits of each number, and got {damaged[0]!r} "
            f"in the first, of which only the first digits are left. Take the table "
            f"as it was before the spreadsheet opened it; there, import the column as "
            f"text."
        )


def _is_long(text: str) -> bool:
    return len(text) > _KEPT and bool(_LONG.fullmatch(text))
