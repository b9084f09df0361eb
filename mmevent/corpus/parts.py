"""The parts of a run: Parquet files, each of which says which posts it holds."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mmevent._common import replaced_file
from mmevent.corpus.manifest import read_manifest
from mmevent.exceptions import InputError, StorageError
from mmevent.tables.cells import to_json, without_surrogates

_KEY = b"mmevent"
_NUMBERS = ("margin", "score", "p_text", "p_image", "p_text_2", "score_2")
_COUNTS = ("n_images", "n_usable", "stage")
_FLAGS = ("text_truncated", "seen_in_training")


def part_path(folder: Path, file: int, number: int) -> Path:
    """Return where a part lies; names sort in the order of the source."""
    return folder / f"part-{file:05d}-{number:07d}.parquet"


def part_paths(folder: Path) -> list[Path]:
    """Return the finished parts of a run, in the order of the source."""
    return sorted(folder.glob("part-*.parquet"))


def part_facts(path: Path) -> dict[str, Any] | None:
    """Return what a part says of itself; None if it is not there or is damaged."""
    import pyarrow
    from pyarrow import parquet

    try:
        metadata = parquet.read_schema(path).metadata or {}
        facts: dict[str, Any] = json.loads(metadata[_KEY])
    except (OSError, KeyError, ValueError, pyarrow.ArrowException):
        return None
    return facts


def write_part(frame: pd.DataFrame, path: Path, facts: dict[str, Any]) -> None:
    """Write a part, whole or not at all, and wait until it is on the disk.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    arrays, fields = [], []
    for name in frame:
        kind = _type(str(name), frame[name])
        values = frame[name]
        if kind == pyarrow.string():
            values = pd.Series([_as_text(value) for value in values], dtype=object)
        arrays.append(pyarrow.array(values, type=kind, from_pandas=True))
        fields.append(pyarrow.field(str(name), kind))
    schema = pyarrow.schema(fields, {_KEY: json.dumps(facts, sort_keys=True)})
    try:
        with replaced_file(path) as temporary:
            with temporary.open("wb") as stream:
                parquet.write_table(
                    pyarrow.Table.from_arrays(arrays, schema=schema), stream
                )
                stream.flush()
                os.fsync(stream.fileno())
    except OSError as error:
        raise _full(path, frame, error) from error


def _full(path: Path, frame: pd.DataFrame, error: OSError) -> StorageError:
    done = part_paths(path.parent)
    size = sum(one.stat().st_size for one in done)
    need = f" So far {len(done):,} parts take {size:,} bytes." if done else ""
    room = "Free some room" if error.errno == errno.ENOSPC else "Repair the cause"
    return StorageError(
        f"{str(path)!r} cannot be written: expected a place with room that you may "
        f"write to, and got {error.strerror or error}.{need} Finished parts stay. "
        f"{room}, and start the same command again: it goes on from there."
    )


def _type(name: str, column: pd.Series) -> Any:
    """Return the type of a column, the same in every part of a run."""
    import pyarrow

    if name in (*_NUMBERS, "probability"):
        return pyarrow.float64()
    if name in _COUNTS:
        return pyarrow.int64()
    if name in _FLAGS:
        return pyarrow.bool_()
    if name == "prediction" and column.dtype.kind in "iufb":
        return pyarrow.from_numpy_dtype(column.dtype)
    return pyarrow.string()


def _as_text(value: Any) -> str | None:
    if isinstance(value, list | dict):
        return to_json(value)
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    return without_surrogates(str(value))


def read_parts(
    folder: Path, columns: Iterable[str] | None = None
) -> Iterator[pd.DataFrame]:
    """Yield the predictions of a finished run, one part at a time.

    Raises
    ------
    InputError
        If the run is not finished, or has no such column.
    """
    from pyarrow import parquet

    wanted = None if columns is None else list(columns)
    content = read_manifest(folder)
    if not content.get("parts"):
        raise InputError(
            f"the run in {str(folder)!r} is not finished: expected all of its parts, "
            f"and got {len(part_paths(folder)):,} so far. Start the same command of "
            "mmevent predict again: it goes on from there."
        )
    for one in content["parts"]:
        path = folder / one["name"]
        if part_facts(path) is None:
            raise InputError(
                f"{str(path)!r} is missing or damaged: expected each part of the run. "
                "Start the same command of mmevent predict again, which makes it anew."
            )
        names = parquet.read_schema(path).names
        missing = [name for name in wanted or [] if name not in names]
        if missing:
            raise InputError(
                f"the run in {str(folder)!r} has no column {missing[0]!r}: expected "
                f"one of {', '.join(names)}. Name one of them, or keep the column in "
                "the run (--keep)."
            )
        with parquet.ParquetFile(path) as file:
            yield file.read(columns=wanted).to_pandas(integer_object_nulls=True)
