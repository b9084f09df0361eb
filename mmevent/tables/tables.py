"""Read and write tables of posts and results, with every cell exact."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import pandas as pd

from mmevent._common import replaced_file
from mmevent.exceptions import InputError, StorageError
from mmevent.tables.delimited import read_delimited, write_delimited
from mmevent.tables.encodings import check_encoding, to_utf8
from mmevent.tables.json_tables import (
    read_json,
    read_json_lines,
    write_json,
    write_json_lines,
)
from mmevent.tables.sheets import check_size, read_xlsx, write_xlsx
from mmevent.tables.typed_tables import (
    read_parquet,
    read_spss,
    read_stata,
    write_parquet,
    write_spss,
    write_stata,
)

_TEXT: dict[str, Callable[[bytes], pd.DataFrame]] = {
    ".csv": lambda data: read_delimited(data, b","),
    ".tsv": lambda data: read_delimited(data, b"\t"),
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
}
_WRITERS: dict[str, Callable[[pd.DataFrame, IO[bytes]], None]] = {
    ".csv": lambda frame, stream: write_delimited(frame, stream, ","),
    ".tsv": lambda frame, stream: write_delimited(frame, stream, "\t"),
    ".jsonl": write_json_lines,
    ".ndjson": write_json_lines,
    ".json": write_json,
    ".parquet": write_parquet,
    ".xlsx": write_xlsx,
    ".dta": write_stata,
}
_SUFFIXES = (*_TEXT, ".csv.gz", ".parquet", ".xlsx", ".dta", ".sav")
_PROGRAMS = {
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".parquet": "Parquet",
    ".xlsx": "a sheet of Excel",
    ".dta": "Stata's .dta",
    ".sav": "SPSS's .sav",
}


def read_table(
    path: str | os.PathLike[str], *, encoding: str | None = None
) -> pd.DataFrame:
    r"""Read a table of posts from a file of text, Parquet, Excel, Stata or SPSS.

    No value is changed. In CSV only an empty cell is missing, so that the texts "NA",
    "None" and "null" stay texts. A CSV column becomes numbers (or True and False) only
    if writing the numbers would give the same text: "007" and "1e5" stay text, and ids
    of any length stay exact. No cell becomes a date.

    Parameters
    ----------
    path : str or path
        File that ends in .csv, .tsv, .jsonl, .ndjson, .json (an array of objects), one
        of these with .gz after it, .parquet, .xlsx (its first sheet), .dta or .sav, in
        any case. A CSV has a header line, and commas, semicolons or tabs between cells.
    encoding : str, default=None
        Encoding of a text file that is neither in UTF-8 nor begins with a byte order
        mark, such as "cp1252" or "latin-1"; None refuses such a file.

    Returns
    -------
    pandas.DataFrame
        One row per record, with a `RangeIndex` unless Parquet stores another index
        without a name. Names of columns have no spaces around them.

    Raises
    ------
    InputError
        If the file does not exist, is empty, has another suffix or encoding, or is
        malformed; if it cannot be told where a row ends; or if two columns have the
        same name.
    MissingPackageError
        If .xlsx or .sav is read without the extra ``tables``.

    Warns
    -----
    MmeventWarning
        If a workbook has further sheets, or rows of a CSV lack their last cells.

    See Also
    --------
    write_table : Write a table.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from mmevent.posts import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "posts.csv")
    ...     written = path.write_text("id;text;event\n007;None;1\n008;;0\n")
    ...     posts = read_table(path)
    >>> posts["id"].tolist(), posts["event"].tolist()
    (['007', '008'], [1, 0])
    >>> posts["text"].isna().tolist()
    [False, True]
    """
    path = Path(path)
    suffix, packed = _suffix(path)
    check_encoding(encoding)
    try:
        with path.open("rb") as stream:
            if not os.fstat(stream.fileno()).st_size:
                raise _empty(path)
        frame = _read(path, suffix, packed, encoding)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise _explain(path, suffix, error) from error
    frame.columns = unspaced_names(path, list(frame.columns))
    return frame


def _read(path: Path, suffix: str, packed: bool, encoding: str | None) -> pd.DataFrame:
    if suffix == ".sav":
        return read_spss(path, encoding)
    if suffix not in _TEXT:
        return {".parquet": read_parquet, ".xlsx": read_xlsx, ".dta": read_stata}[
            suffix
        ](path)
    data = path.read_bytes()
    data = to_utf8(gzip.decompress(data) if packed else data, str(path), encoding)
    return _TEXT[suffix](data)


def unspaced_names(path: Path, names: list[object]) -> pd.Index:
    """Return the names of columns without spaces around them, each of which is one."""
    stripped = [name.strip() if isinstance(name, str) else name for name in names]
    for place, name in enumerate(stripped):
        if name in stripped[:place]:
            both = [
                was for was, short in zip(names, stripped, strict=True) if short == name
            ]
            raise InputError(
                f"{str(path)!r} has {len(both)} columns of the name {name!r}: expected "
                f"each name once, without regard to spaces around it, and got "
                f"{', '.join(map(repr, both))}. Rename or delete the others."
            )
    return pd.Index(stripped, dtype=object)


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table in the format of the path's suffix, completely or not at all.

    The table is written to a temporary file in the same folder, which then replaces
    ``path``; where that is a link, the file that it leads to. The index is not written.

    Parameters
    ----------
    frame : pandas.DataFrame
        The table. A missing cell is empty in CSV and null in JSON.
    path : str or path
        File that ends as in `read_table`. CSV has the line ends of RFC 4180 (CR LF) and
        UTF-8 without a byte order mark. Cells are written exactly, so that a
        spreadsheet may read a cell of a CSV that begins with "=" as a formula.

    Raises
    ------
    InputError
        If the suffix is another one, the folder does not exist, or the format cannot
        hold a column.
    MissingPackageError
        If .xlsx or .sav is written without the extra ``tables``.
    StorageError
        If the file cannot be written, such as on a full disk.

    See Also
    --------
    read_table : Read a table.

    Notes
    -----
    In CSV, TSV, .xlsx, .dta and .sav, a list of texts is written with "|" between
    them, as `to_posts` reads images, and other lists and mappings as JSON. Half of a
    surrogate pair, which UTF-8 cannot hold, is written as U+FFFD. Integers that a
    format has no exact type for are written as text: over 64 bits in Parquet, over 15
    digits in .xlsx, over 2**53 in .dta and .sav.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from mmevent.posts import read_table, write_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "scores.jsonl")
    ...     write_table(pd.DataFrame({"id": ["a"], "score": [0.1]}), path)
    ...     read_table(path)["score"].tolist()
    [0.1]
    """
    path = check_table_path(path)
    suffix, packed = _suffix(path)
    try:
        names = [str(name) for name in frame.columns]
        if len(set(names)) < len(names):
            raise ValueError("two columns of the same name.")
        with replaced_file(path) as temporary:
            _write(frame, temporary, suffix, packed)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"the table does not fit into {_PROGRAMS.get(suffix, suffix)}: expected "
            "columns of one type each, with distinct names, and cells of text, finite "
            f"numbers, dates or lists of these, and got: {error} Rename or change the "
            "column, or write another format: .jsonl and .parquet hold most."
        ) from error
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} cannot be written: expected a place with room that you may "
            f"write to, and got {error.strerror or error}. Nothing was left behind. "
            f"Free some room, or write elsewhere."
        ) from error


def _write(frame: pd.DataFrame, path: Path, suffix: str, packed: bool) -> None:
    if suffix == ".sav":
        return write_spss(frame, path)
    with path.open("wb") as stream:
        if not packed:
            return _WRITERS[suffix](frame, stream)
        # Neither name nor time in the header: the same table gives the same bytes.
        with gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packing:
            return _WRITERS[suffix](frame, cast("IO[bytes]", packing))


def check_table_path(path: str | os.PathLike[str], n_rows: int = 0) -> Path:
    """Validate that a table can be written to a path; call it before long work."""
    path = Path(path)
    suffix, _ = _suffix(path)
    if path.is_dir():
        raise InputError(
            f"{str(path)!r} is a folder: expected the name of a file to write a table "
            "to. Add a file name, such as predictions.csv."
        )
    if not path.resolve().parent.is_dir():
        raise InputError(
            f"the folder {str(path.parent)!r} does not exist: expected an existing "
            f"folder for {path.name!r}. Create it, or write elsewhere."
        )
    if suffix == ".xlsx":
        try:
            check_size(n_rows)
        except ValueError as error:
            raise InputError(
                f"{str(path)!r} cannot hold the table: {error} Write .csv or .parquet."
            ) from error
    return path


def _suffix(path: Path) -> tuple[str, bool]:
    """Return the suffix that names the kind of table, and whether it is packed."""
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower()
    if suffix == ".gz" and inner in _TEXT:
        return inner, True
    if suffix not in _SUFFIXES:
        raise InputError(
            f"{str(path)!r} has no suffix that names a kind of table: expected one of "
            f"{', '.join(_SUFFIXES)}, and got {path.suffix!r}. Rename or convert it."
        )
    return suffix, False


def _empty(path: Path) -> InputError:
    return InputError(
        f"{str(path)!r} is empty: expected a table with a row for each post, and got "
        "no data. Check that the export was complete."
    )


def _explain(path: Path, suffix: str, error: Exception) -> InputError:
    if isinstance(error, pd.errors.EmptyDataError):
        return _empty(path)
    if isinstance(error, FileNotFoundError):
        return InputError(
            f"{str(path)!r} does not exist: expected a table of posts. Correct the "
            f"path; relative paths start at the working folder, {os.getcwd()!r}."
        )
    if isinstance(error, OSError) and error.errno is not None:
        return InputError(
            f"{str(path)!r} cannot be read: expected a file with a table of posts, and "
            f"got {error.strerror!r}. Check that it is a file that you may read."
        )
    return InputError(
        f"{str(path)!r} is not well formed: expected {suffix[1:]} content, and got: "
        f"{str(error).strip()} Repair the file, or write it again from the program "
        "that made it."
    )
