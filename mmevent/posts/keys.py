"""One way to compare ids, groups and other values of cells: as exact text.

The same value is read as a number from one file and as text from another, as the rest
of its column has it. So 1, 1.0 and "1" are one value everywhere, whatever the kind of
file, and "007" is another one than 7.
"""

from __future__ import annotations

import numbers
from collections.abc import Container
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent.exceptions import InputError
from mmevent.tables.cells import without_surrogates

if TYPE_CHECKING:
    from numpy.typing import NDArray


def as_keys(
    values: pd.Series | pd.Index | NDArray[Any] | list[Any], what: str
) -> NDArray[Any]:
    """Return text for each value, the same for equal values; None where one is missing.

    A value is missing where it is None, NaN, NA, or only white space.

    Parameters
    ----------
    values : Series, Index, array or list
        One value for each row.
    what : str
        Name of the values for messages, in the plural.

    Returns
    -------
    ndarray of object

    Raises
    ------
    InputError
        If a value is a list or the like, or a floating-point number so large that
        several integers are stored as this number.
    """
    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "iu":
        return np.asarray(values).astype(str).astype(object)
    keys = np.empty(len(values), dtype=object)
    value: Any
    for row, value in enumerate(values):
        try:
            keys[row] = as_key(value)
        except TypeError as error:
            raise InputError(
                f"{what} cannot be compared: expected one number or text each, and got "
                f"in row {row}: {error}. Make each one number or text."
            ) from error
        except OverflowError as error:
            raise InputError(
                f"{what} are not exact: expected whole numbers or text, and got "
                f"{value!r} in row {row}, a floating-point number for which several "
                f"integers are stored. pandas makes these of whole numbers where one "
                f'is missing: read the column as text (dtype="string"), or the table '
                f"with mmevent.posts.read_table."
            ) from error
    return keys


def as_key(value: Any) -> str | None:
    """Return the text of one value as in `as_keys`; None where it is missing.

    Raises
    ------
    TypeError
        If it is a list or the like.
    OverflowError
        If it is a floating-point number that stands for several integers.
    """
    if isinstance(value, str):
        return without_surrogates(str(value)) if value.strip() else None
    hash(value)
    if pd.isna(value) is True:
        return None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, float | np.floating):
        if not abs(value) < 2 ** (np.finfo(type(value)).nmant + 1):
            raise OverflowError
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return str(int(value))
    return str(value)


def free_name(name: str, taken: Container[str]) -> str:
    """Return the name in as many brackets as it takes to be no other's."""
    while name in taken:
        name = f"({name})"
    return name
