"""JSON Lines and JSON arrays of records, with every value exact."""

from __future__ import annotations

import io
import json
from typing import IO, Any

import pandas as pd

from mmevent.tables.cells import cleaned, tidy, to_json, without_surrogates


def read_json_lines(data: bytes) -> pd.DataFrame:
    """Read one object on each line; empty lines are passed over.

    Raises
    ------
    ValueError
        If a line is no object; the message begins with the line.
    """
    records = []
    for number, line in enumerate(io.BytesIO(data), start=1):
        if not line.strip():
            continue
        try:
            record = _loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}, which is not JSON ({error}).") from error
        if not isinstance(record, dict):
            raise ValueError(
                f"line {number}, which is a JSON {type(record).__name__} where each "
                "line is one object, {...}."
            )
        records.append(record)
    return _to_frame(records)


def read_json(data: bytes) -> pd.DataFrame:
    """Read an array of objects, or JSON Lines of several objects."""
    try:
        records = _loads(data.decode())
    except (ValueError, RecursionError) as error:
        if data.lstrip()[:1] == b"{" and data.strip().count(b"\n"):
            return read_json_lines(data)
        raise ValueError(f"what is not JSON ({error}).") from error
    if isinstance(records, dict):
        raise ValueError(
            f"one object with the keys {', '.join(map(repr, list(records)[:5]))}, "
            "where an array of objects is a table, [{...}, {...}]. Of the export of a "
            "platform, mmevent import-posts makes a table."
        )
    if not isinstance(records, list):
        raise ValueError(f"a JSON {type(records).__name__}.")
    for place, record in enumerate(records):
        if not isinstance(record, dict):
            raise ValueError(
                f"a JSON {type(record).__name__} in place {place} of the array (from "
                "0), where each is one object, {...}."
            )
    return _to_frame(records)


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object that has the name {twice!r} twice")
    return record


_loads = json.JSONDecoder(object_pairs_hook=_record).decode


def _to_frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    if not records:
        raise pd.errors.EmptyDataError
    names = dict.fromkeys(name for record in records for name in record)
    columns = [
        tidy(cleaned([record.get(name) for record in records])) for name in names
    ]
    frame = pd.DataFrame(dict(enumerate(columns)), index=range(len(records)))
    frame.columns = pd.Index([without_surrogates(n) for n in names], dtype=object)
    return frame


def write_json_lines(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    """Write one object per row and line; missing cells are null."""
    for line in _lines(frame):
        stream.write(line.encode() + b"\n")


def write_json(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    """Write an array with one object per row, each on a line of its own."""
    stream.write(b"[")
    for row, line in enumerate(_lines(frame)):
        stream.write((b",\n" if row else b"\n") + line.encode())
    stream.write(b"\n]\n")


def _lines(frame: pd.DataFrame) -> Any:
    names = [str(name) for name in frame.columns]
    columns = [frame.iloc[:, place].tolist() for place in range(len(names))]
    for cells in zip(*columns, strict=True):
        yield to_json(dict(zip(names, cells, strict=True)))
