"""From posts in the caller's form to a data frame with the columns that are used."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmevent.exceptions import InputError
from mmevent.posts.naming import meant

POST_COLUMNS = ("id", "text", "images", "created_at", "place", "author", "group")
"""The columns of a post; `to_posts` leaves others out."""


def check_columns(columns: Mapping[str, Hashable] | None) -> dict[str, Hashable]:
    """Validate `columns`; return the caller's column for each name of ours."""
    wanted: dict[str, Hashable] = {name: name for name in POST_COLUMNS}
    if columns is None:
        return wanted
    if not isinstance(columns, Mapping):
        raise InputError(
            f"columns={columns!r} is not a mapping: expected our names to yours, and "
            f"got {type(columns).__name__}. Write it as "
            'columns={"text": "tweet", "images": "photos"}.'
        )
    unknown = [name for name in columns if name not in wanted]
    if unknown:
        raise InputError(
            f"columns has unknown keys {listed(unknown)}: expected keys among "
            f"{listed(POST_COLUMNS)}. Our name comes first, yours second: "
            'columns={"text": "tweet"}.'
        )
    return wanted | dict(columns)


def to_frame(data: Any, wanted: list[Hashable]) -> tuple[pd.DataFrame, list[Hashable]]:
    """Return a frame with the wanted columns, and the names of all given columns."""
    if isinstance(data, pd.DataFrame):
        return data, list(data.columns)
    datasets = sys.modules.get("datasets")
    if datasets is not None and isinstance(data, datasets.Dataset):
        came = list(data.column_names)
        kept = data.select_columns([name for name in came if name in wanted])
        table = kept.with_format("arrow")[:]
        return table.to_pandas(integer_object_nulls=True), came
    if isinstance(data, Mapping):
        raise InputError(
            f"posts are a {type(data).__name__}: expected a DataFrame or a list with a "
            f"mapping for each post, and got keys {listed(data)}. For a dict of "
            "columns pass pandas.DataFrame(data), for one post [data], and for a "
            "DatasetDict one of its splits."
        )
    if isinstance(data, np.ndarray) and data.ndim == 1:
        data = data.tolist()
    if not isinstance(data, Sequence) or isinstance(data, str | bytes):
        raise InputError(
            f"posts are of type {type(data).__name__}: expected a pandas.DataFrame, a "
            "list of mappings or a datasets.Dataset. Convert them, for instance "
            "list(posts) for a generator, or read a file with "
            "mmevent.posts.read_table(path)."
        )
    return _records_to_frame(data, wanted)


def _records_to_frame(
    posts: Sequence[Any], wanted: list[Hashable]
) -> tuple[pd.DataFrame, list[Hashable]]:
    for row, post in enumerate(posts):
        if not isinstance(post, Mapping):
            raise InputError(
                f"the post in row {row} is not a mapping: expected a dict with the "
                f"keys 'text' or 'images', and got {type(post).__name__}. Write each "
                'post as {"text": ..., "images": ...}.'
            )
    came = list(dict.fromkeys(name for post in posts for name in post))
    # As objects: a column of integers with a gap would become floats.
    cells = {
        name: pd.Series([post.get(name) for post in posts], dtype=object)
        for name in came
        if name in wanted
    }
    return pd.DataFrame(cells, index=pd.RangeIndex(len(posts))), came


def check_given(
    given: Mapping[str, Hashable],
    columns: Mapping[str, Hashable],
    came: list[Hashable],
) -> None:
    """Validate that the columns that the caller names exist, and text or images."""
    absent = [column for name, column in columns.items() if name not in given]
    if absent:
        raise InputError(
            f"posts have no column {listed(absent)}, which columns={dict(columns)!r} "
            f"names: expected it among the columns that came, {listed(came)}."
            f"{meant(absent[0], came)} Correct the name; ours come first, yours second."
        )
    if "text" not in given and "images" not in given:
        raise InputError(
            "posts have neither a column 'text' nor 'images': expected at least one, "
            f"and got {listed(came)}.{meant('text', came)} Name yours with "
            'columns={"text": ..., "images": ...}.'
        )


def column(frame: pd.DataFrame, name: Hashable) -> pd.Series:
    """Return a column, of which there must be only one."""
    column = frame[name]
    if isinstance(column, pd.DataFrame):
        raise InputError(
            f"posts have {column.shape[1]} columns named {name!r}: expected one. "
            "Rename or drop the others."
        )
    return column


def listed(values: Iterable[Any]) -> str:
    """Return values as text with commas between them, for messages."""
    return ", ".join(map(repr, values)) or "none"


def rows_named(rows: NDArray[np.bool_], ids: Any) -> str:
    """Return how many rows are meant, and their first ids, for messages."""
    named = listed(pd.Series(ids).to_numpy()[rows][:5].tolist())
    return f"{rows.sum()} of {len(rows)} posts (first ids: {named})"
