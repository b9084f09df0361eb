"""What a run did so far, and its parts joined to one table."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import IO, Any

import pandas as pd

from mmevent._common import replaced_file, warn_user
from mmevent.corpus.manifest import read_manifest
from mmevent.corpus.parts import part_facts, part_paths, read_parts
from mmevent.exceptions import InputError, StorageError, UnusableInputWarning
from mmevent.tables.json_tables import write_json_lines
from mmevent.tables.tables import check_table_path

_FORMATS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")


def run_status(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return how far a run has come.

    Returns
    -------
    dict
        ``finished`` (bool), ``parts`` and ``posts`` that are done, ``files`` of the
        source, ``files_begun``, and ``failed``: the files that could not be read.

    Raises
    ------
    InputError
        If the folder is not that of a run.
    """
    root = Path(folder)
    content = read_manifest(root)
    found = [part_facts(path) for path in part_paths(root)]
    facts = [one for one in found if one is not None]
    return {
        "finished": bool(content.get("parts")) and not content.get("failed"),
        "parts": len(facts),
        "posts": sum(one["rows"] for one in facts),
        "files": len(content["source"]),
        "files_begun": len({one["file"] for one in facts}),
        "failed": sorted(content.get("failed", {})),
    }


def export_run(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> int:
    """Join the parts of a finished run to one table, and return the number of posts.

    Memory holds one part at a time.

    Parameters
    ----------
    folder : str or path
        Folder that `predict` wrote.
    path : str or path
        File that ends in .parquet, .csv, .tsv, .jsonl or .ndjson.

    Raises
    ------
    InputError
        If the run is not finished, or the file has another suffix.
    StorageError
        If the file cannot be written; nothing is left behind.

    Warns
    -----
    UnusableInputWarning
        If files of the source could not be read, whose posts are missing.
    """
    target = check_table_path(path)
    suffix = target.suffix.lower()
    if suffix not in _FORMATS:
        raise InputError(
            f"{str(path)!r} cannot be written in parts: expected a file that ends in "
            f"{', '.join(_FORMATS)}. Choose one of these."
        )
    _warn_of_failed(Path(folder))
    try:
        with replaced_file(target) as temporary:
            if suffix == ".parquet":
                return _to_parquet(Path(folder), temporary)
            with temporary.open("wb") as stream:
                return _to_text(Path(folder), stream, suffix)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{str(path)!r} cannot be written: expected a place with room that you may "
            f"write to, and got {error.strerror or error}. Nothing was left behind."
        ) from error


def _to_parquet(folder: Path, path: Path) -> int:
    from pyarrow import parquet

    content, n_posts = read_manifest(folder), 0
    for _ in read_parts(folder, []):
        pass  # refuses a run that is not finished, or lacks a part
    first = folder / content["parts"][0]["name"]
    schema = parquet.read_schema(first).remove_metadata()
    with parquet.ParquetWriter(path, schema) as writer:
        for one in content["parts"]:
            table = parquet.read_table(folder / one["name"])
            writer.write_table(table.cast(schema))
            n_posts += len(table)
    return n_posts


def _to_text(folder: Path, stream: IO[bytes], suffix: str) -> int:
    n_posts = 0
    for frame in read_parts(folder):
        if suffix in (".jsonl", ".ndjson"):
            write_json_lines(frame, stream)
        else:
            frame.to_csv(
                stream,
                header=not n_posts,
                index=False,
                sep="\t" if suffix == ".tsv" else ",",
                encoding="utf-8",
                lineterminator="\r\n",
                quoting=csv.QUOTE_ALL,  # no part says which lines of another are rows
            )
        n_posts += len(frame)
    return n_posts


def read_run(
    folder: str | os.PathLike[str], columns: list[str] | None = None
) -> pd.DataFrame:
    """Read the predictions of a finished run, or some columns of them.

    Raises
    ------
    InputError
        If the run is not finished, or has no such column.

    Warns
    -----
    UnusableInputWarning
        If files of the source could not be read, whose posts are missing.
    """
    _warn_of_failed(Path(folder))
    return pd.concat(list(read_parts(Path(folder), columns)), ignore_index=True)


def _warn_of_failed(folder: Path) -> None:
    """Say which files of the source the run could not read to their end."""
    failed = sorted(read_manifest(folder).get("failed", {}))
    if failed:
        warn_user(
            f"posts are missing: {len(failed):,} files could not be read to their end "
            f"({', '.join(failed[:5])}). Correct them, and start the run again.",
            UnusableInputWarning,
        )
