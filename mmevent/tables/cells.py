"""Values of cells: the exact type of a column, and how formats of text write a cell."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

_PLAIN = {str, int, bool, type(None)}
INT64 = range(-(2**63), 2**63)
MOST_EXACT = 2**53
"""Up to this number, every integer is exact as a float."""


def without_surrogates(text: str) -> str:
    """Return the text with U+FFFD for halves of surrogate pairs, which UTF-8 lacks.

    Posts that were cut within an emoji have such halves, escaped in JSON.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def exact_numbers(cells: pd.Series) -> pd.Series:
    """Return a column of text as numbers or booleans if that changes no value."""
    values = cells.tolist()
    known = [value for value in values if isinstance(value, str)]
    if not known or (found := _exact(known)) is None:
        return cells
    if len(known) < len(values):
        following = iter(found)
        found = [next(following) if isinstance(v, str) else None for v in values]
    return tidy(found)


def _exact(texts: list[str]) -> list[Any] | None:
    """Return what all texts are exactly: integers, finite floats or booleans."""
    for kind in (int, float):
        try:
            if repr(kind(texts[0])) != texts[0]:
                continue
            found = list(map(kind, texts))
        except ValueError:
            continue
        if list(map(repr, found)) == texts and _fits(kind, found):
            return found
    truth = {"True": True, "False": False}
    return [truth[text] for text in texts] if truth.keys() >= set(texts) else None


def _fits(kind: type, numbers: list[Any]) -> bool:
    if kind is float:
        return all(map(math.isfinite, numbers))
    return min(numbers) in INT64 and max(numbers) in INT64


def tidy(values: list[Any]) -> pd.Series:
    """Return a column of the narrowest dtype that keeps every value exact."""
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    missing = len(known) < len(values)
    if kinds == {int} and min(known) in INT64 and max(known) in INT64:
        return pd.Series(values, dtype="Int64" if missing else np.int64)
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean" if missing else np.bool_)
    if float in kinds and all(
        type(value) is float or (type(value) is int and abs(value) <= MOST_EXACT)
        for value in known
    ):
        return pd.Series(values, dtype=np.float64)
    return pd.Series(values, dtype=object)


def clean(value: Any) -> Any:
    """Return a value of JSON without halves of surrogate pairs; None for NaN."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def cleaned(values: list[Any]) -> list[Any]:
    """Return `clean` of each value; at once where there is nothing to do."""
    if _PLAIN.issuperset(map(type, values)) and encodes(values):
        return values
    return [clean(value) for value in values]


def encodes(values: list[Any]) -> bool:
    """Tell whether UTF-8 can hold all texts among the values."""
    try:
        "".join(value for value in values if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        return False
    return True


def plain(value: Any) -> Any:
    """Return a cell as a value of JSON."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {clean(str(key)): plain(item) for key, item in value.items()}
    return clean(None if pd.isna(value) else value)


def as_text(value: Any) -> str:
    """Return a date, a path or the like as text.

    Raises
    ------
    TypeError
        If the value has no form as text, such as a picture.
    """
    kind: Any = type(value)
    if kind.__str__ is object.__str__ or isinstance(
        value, bytes | bytearray | set | frozenset
    ):
        raise TypeError(f"{kind.__name__} in a cell.")
    return without_surrogates(str(value))


def to_json(value: Any) -> str:
    """Return a cell as JSON on one line."""
    return json.dumps(
        plain(value), ensure_ascii=False, allow_nan=False, default=as_text
    )


def flat(value: Any) -> Any:
    """Return a cell as one number or text, for formats without lists.

    A list of texts is written as `to_posts` reads images, "a.jpg|b.jpg"; other lists
    and mappings are written as JSON.
    """
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, list | tuple | np.ndarray):
        items = [plain(item) for item in value]
        if not items:
            return None
        if all(_stands_alone(item) for item in items) and items[0][0] != "[":
            return "|".join(items)
        return to_json(items)
    if isinstance(value, Mapping):
        return to_json(value)
    if isinstance(value, bool | int | float | np.generic) or pd.isna(value):
        return value
    return as_text(value)


def _stands_alone(item: Any) -> bool:
    """Tell whether a text comes back from between two "|"."""
    return (
        isinstance(item, str)
        and bool(item)
        and item.strip() == item
        and not any(sign in item for sign in '|;,"')
    )


def object_columns(frame: pd.DataFrame) -> list[Any]:
    """Return the names of the columns whose cells can be anything."""
    return [name for name in frame if frame[name].dtype == object]


def flat_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table each of whose cells is one number, text or date."""
    changed = {}
    for name in object_columns(frame):
        values = frame[name].tolist()
        if not ({*_PLAIN, float}.issuperset(map(type, values)) and encodes(values)):
            cells = [flat(value) for value in values]
            changed[name] = pd.Series(cells, frame.index, dtype=object)
    return frame.assign(**changed) if changed else frame
