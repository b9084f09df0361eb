"""Tasks for Label Studio, and codings from what it exports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent.corpus.draws import DRAW
from mmevent.corpus.strata import PROBABILITY, STRATUM
from mmevent.exceptions import InputError
from mmevent.posts.codings import check_questions, without_post_ids
from mmevent.posts.keys import as_keys
from mmevent.tables.cells import without_surrogates
from mmevent.tables.tables import read_table

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

__all__ = ["label_studio_tasks", "read_coded"]

POST_ID, ANNOTATOR = "post_id", "annotator"
# Columns that exports as JSON-MIN and CSV fill with what Label Studio knows itself,
# whatever a task has under these names. So is created_at, but coders want to see it.
_OF_EXPORTS = (
    *("id", ANNOTATOR, "annotation_id", "updated_at", "lead_time"),
    *("agreement", "history"),
)
_ONLY_OF_EXPORTS = {"annotation_id", "lead_time"}
_VALUES = ("choices", "text", "rating", "number", "taxonomy")


def label_studio_tasks(posts: pd.DataFrame) -> str:
    """Return tasks to import into Label Studio, without what the model thinks.

    Parameters
    ----------
    posts : DataFrame
        From `draw_sample`, with columns of the posts beside the ids.

    Returns
    -------
    str
        JSON. The id is text and named ``post_id``; other names that Label Studio fills
        itself in its exports get the prefix ``post_`` too. Dates, numbers that are not
        whole and long integers are text, so that no program changes them.

    See Also
    --------
    read_coded : Read the codings back.

    Examples
    --------
    >>> import json, pandas as pd
    >>> from mmevent.corpus import label_studio_tasks
    >>> posts = pd.DataFrame({"id": [7], "created_at": pd.to_datetime(["2024-03-09"])})
    >>> json.loads(label_studio_tasks(posts))[0]["data"]
    {'post_id': '7', 'created_at': '2024-03-09T00:00:00'}
    """
    cells: dict[str, list[Any]] = {POST_ID: as_keys(posts["id"], "ids").tolist()}
    for name in posts:
        if name not in ("id", STRATUM, PROBABILITY, DRAW):
            cells[_name_in_task(str(name), cells)] = [*map(_plain, posts[name])]
    rows = zip(*cells.values(), strict=True)
    tasks = [{"data": dict(zip(cells, row, strict=True))} for row in rows]
    return without_surrogates(json.dumps(tasks, indent=1, ensure_ascii=False))


def _name_in_task(name: str, taken: Iterable[str]) -> str:
    while name in _OF_EXPORTS or name in taken:
        name = f"post_{name}"
    return name


def _plain(value: Any) -> Any:
    """Return a cell as JSON that every program reads as it is."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if pd.isna(value):
        return None
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def read_coded(
    path: str | os.PathLike[str], *, encoding: str | None = None
) -> pd.DataFrame:
    r"""Read a table of codings, or what Label Studio exported.

    Parameters
    ----------
    path : str or path
        A table as for `read_table`, or an export of Label Studio: JSON, JSON-MIN, CSV
        or TSV. Its tasks were written by `label_studio_tasks`. In a table that has
        columns of Label Studio, or no column ``id``, a column ``post_id`` has the ids,
        unless there is a column ``stratum``.
    encoding : str or None, default=None
        As for `read_table`.

    Returns
    -------
    DataFrame
        One row per coding. Of an export: ``id``, the post's, ``annotator``, and a
        column for each question, besides columns of the posts. Annotations that were
        skipped are left out. In JSON-MIN and CSV, ``created_at`` is the time of the
        annotation.

    Raises
    ------
    InputError
        If the file cannot be read, an export does not have the posts' ids, or a
        question has the name of a column of the tasks.

    See Also
    --------
    estimate_corpus : Takes the codings of a sample.
    agreement : Compares coders.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from mmevent.corpus import read_coded
    >>> lines = "annotator,annotation_id,event,id,post_id\n2,9,yes,1,007\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "export.csv")
    ...     written = path.write_text(lines)
    ...     read_coded(path)[["id", "annotator", "event"]].values.tolist()
    [['007', 2, 'yes']]
    """
    path = Path(path)
    frame = read_table(path, encoding=encoding)
    if {"data", "annotations"} <= set(frame) and _are_lists(frame["annotations"]):
        return _from_tasks(path, frame)
    if STRATUM in frame:  # what was drawn, coded in the table itself
        return frame
    marks = {ANNOTATOR, *_ONLY_OF_EXPORTS} & set(frame)
    if POST_ID in frame and (marks or "id" not in frame):
        return frame.drop(columns="id", errors="ignore").rename(columns={POST_ID: "id"})
    if POST_ID not in frame and ANNOTATOR in marks and len(marks) > 1:
        raise without_post_ids(repr(path.name))
    return frame


def _are_lists(cells: pd.Series) -> bool:
    return all(isinstance(cell, list) for cell in cells)


def _from_tasks(path: Path, tasks: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each annotation of Label Studio's JSON."""
    pairs = zip(tasks["data"], tasks["annotations"], strict=True)
    try:
        rows = [row for data, done in pairs for row in _codings(data, done)]
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{str(path)!r} has tasks of another form: expected Label Studio's JSON, "
            f"and got: {error}. Export as JSON-MIN or CSV."
        ) from error
    names = dict.fromkeys(name for row in rows for name in row)
    cells = {name: [row.get(name) for row in rows] for name in names}
    return pd.DataFrame({name: pd.Series(v, dtype=object) for name, v in cells.items()})


def _codings(
    data: Mapping[str, Any], annotations: list[Any]
) -> Iterable[dict[str, Any]]:
    """Yield a row for each annotation of a task; nothing overwrites its data."""
    data = dict(data)
    identifier = data.pop(POST_ID, data.pop("id", None))
    for annotation in annotations:
        if annotation.get("was_cancelled"):
            continue
        coder = annotation.get("completed_by")
        if isinstance(coder, Mapping):
            coder = coder.get("email") or coder.get("id")
        answers: dict[str, list[Any]] = {}
        for result in annotation.get("result", ()):
            given = [result.get("value", {}).get(kind) for kind in _VALUES]
            for values in (value for value in given if value is not None):
                several = values if isinstance(values, list) else [values]
                answers.setdefault(str(result.get("from_name")), []).extend(several)
        check_questions(answers, data)
        labels = {k: v[0] if len(v) == 1 else v for k, v in answers.items()}
        yield {**data, **labels, "id": identifier, ANNOTATOR: coder}
