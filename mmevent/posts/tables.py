"""Read and write tables of posts and results, with every cell exact."""

from __future__ import annotations

import codecs
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from mmevent._common import replaced_file
from mmevent.exceptions import InputError

_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?")
_INT64 = range(-(2**63), 2**63)


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read a table of posts from CSV, TSV, Parquet or JSON Lines.

    No value is changed. In CSV only an empty cell is missing, so that the texts "NA",
    "None" and "null" stay texts. A CSV column becomes numbers (or True and False) only
    if writing the numbers would give the same text: "007" and "1e5" stay text, and ids
    of any length stay exact. No cell becomes a date.

    Parameters
    ----------
    path : str or path
        File that ends in .csv, .tsv, .parquet, .jsonl or .ndjson, in any case; text
        is UTF-8, with or without a byte order mark. A CSV has a header line.

    Returns
    -------
    pandas.DataFrame
        One row per record, with a `RangeIndex` unless Parquet stores another index.

    Raises
    ------
    InputError
        If the file does not exist, is empty, has another suffix or encoding, or is
        malformed.

    See Also
    --------
    write_table : Write a table.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from mmevent.posts import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "posts.csv")
    ...     written = path.write_text("id,text,event\n007,None,1\n008,,0\n")
    ...     posts = read_table(path)
    >>> posts["id"].tolist(), posts["event"].tolist()
    (['007', '008'], [1, 0])
    >>> posts["text"].isna().tolist()
    [False, True]
    """
    path = Path(path)
    suffix = _suffix(path)
    reader: Callable[[IO[bytes]], pd.DataFrame]
    if suffix == ".parquet":
        reader = _read_parquet
    elif suffix in (".jsonl", ".ndjson"):
        reader = _read_json_lines
    else:
        reader = _read_csv if suffix == ".csv" else _read_tsv
    try:
        with path.open("rb") as stream:
            if not os.fstat(stream.fileno()).st_size:
                raise _empty(path)
            return reader(stream)
    except UnicodeDecodeError as error:
        raise _wrong_encoding(path) from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _explain(path, error) from error


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as CSV, TSV, Parquet or JSON Lines, completely or not at all.

    The table is written to a temporary file in the same folder, which then replaces
    ``path``. The index is not written.

    Parameters
    ----------
    frame : pandas.DataFrame
        The table. A missing cell is empty in CSV and null in JSON Lines.
    path : str or path
        File that ends in .csv, .tsv, .parquet, .jsonl or .ndjson. CSV has the line
        ends of RFC 4180 (CR LF) and UTF-8 without a byte order mark. Cells are written
        exactly, so that a spreadsheet may read a cell that begins with "=" as a
        formula.

    Raises
    ------
    InputError
        If the suffix is another one, the folder does not exist, or the format cannot
        hold a column.

    See Also
    --------
    read_table : Read a table.

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
    suffix = _suffix(path)
    with replaced_file(path) as temporary, temporary.open("xb") as stream:
        if suffix == ".parquet":
            _write_parquet(frame, stream)
        elif suffix in (".jsonl", ".ndjson"):
            _write_json_lines(frame, stream)
        else:
            frame.to_csv(
                stream,
                index=False,
                sep="\t" if suffix == ".tsv" else ",",
                encoding="utf-8",
                # With "\n" alone, Python < 3.13 leaves a cell with "\r" unquoted.
                lineterminator="\r\n",
            )


def check_table_path(path: str | os.PathLike[str]) -> Path:
    """Validate that a table can be written to a path; call it before long work."""
    path = Path(path)
    _suffix(path)
    if path.is_dir():
        raise InputError(
            f"{str(path)!r} is a folder: expected the name of a file to write a table "
            "to. Add a file name, such as predictions.csv."
        )
    if not path.parent.is_dir():
        raise InputError(
            f"the folder {str(path.parent)!r} does not exist: expected an existing "
            f"folder for {path.name!r}. Create it, or write elsewhere."
        )
    return path


def without_surrogates(text: str) -> str:
    """Return the text with U+FFFD for halves of surrogate pairs, which UTF-8 lacks.

    Posts that were cut within an emoji have such halves, escaped in JSON.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(
            f"{str(path)!r} has no suffix that names a kind of table: expected one of "
            f"{', '.join(_SUFFIXES)}, and got {path.suffix!r}. Rename or convert it."
        )
    return suffix


def _empty(path: Path) -> InputError:
    return InputError(
        f"{str(path)!r} is empty: expected a table with a row for each post, and got "
        "no data. Check that the export was complete."
    )


def _explain(path: Path, error: Exception) -> InputError:
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
        f"{str(path)!r} is not well formed: expected {path.suffix.lower()[1:]} "
        f"content, and got: {str(error).strip()} Repair the file, or write it again "
        "from the program that made it."
    )


def _wrong_encoding(path: Path) -> InputError:
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0
    with path.open("rb") as stream:
        while True:
            chunk = stream.read(1 << 20)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                position += error.start - pending
                break
            if not chunk:
                break
            position += len(chunk)
        stream.seek(position)
        byte = stream.read(1)
    return InputError(
        f"{str(path)!r} is in another encoding: expected UTF-8, and got 0x{byte.hex()} "
        f"at byte {position} (counted from 0), which is not UTF-8. Re-save the file as "
        'UTF-8 (in Excel: "CSV UTF-8").'
    )


def _read_tsv(stream: IO[bytes]) -> pd.DataFrame:
    return _read_csv(stream, separator="\t")


def _read_csv(stream: IO[bytes], separator: str = ",") -> pd.DataFrame:
    # pandas before 3 cuts a cell at a NUL without a warning.
    for text in codecs.iterdecode(iter(lambda: stream.read(1 << 20), b""), "utf-8"):
        if "\0" in text:
            raise ValueError("a NUL character, as in UTF-16; re-save it as UTF-8.")
    stream.seek(0)
    frame = pd.read_csv(
        stream,
        sep=separator,
        dtype=str,
        keep_default_na=False,
        na_values=[""],
        encoding="utf-8-sig",
        compression=None,
    )
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError("rows that have more cells than the header has names.")
    return pd.DataFrame({name: _exact_numbers(frame[name]) for name in frame})


def _exact_numbers(cells: pd.Series) -> pd.Series:
    """Return the column as numbers or booleans if that changes no value."""
    known = cells.dropna()
    if not len(known):
        return cells
    for convert in (_exact_int, _exact_float, _exact_bool):
        if convert(known.iloc[0]) is None:
            continue
        values = [convert(cell) for cell in known]
        if all(value is not None for value in values):
            full = pd.Series(None, index=cells.index, dtype=object)
            full[known.index] = values
            return _tidy(full.tolist())
    return cells


def _exact_int(cell: str) -> int | None:
    if not _INTEGER.fullmatch(cell):
        return None
    value = int(cell)
    return value if str(value) == cell and value in _INT64 else None


def _exact_float(cell: str) -> float | None:
    if not _DECIMAL.fullmatch(cell):
        return None
    value = float(cell)
    return value if repr(value) == cell else None


def _exact_bool(cell: str) -> bool | None:
    return {"True": True, "False": False}.get(cell)


def _tidy(values: list[Any]) -> pd.Series:
    """Return a column of the narrowest dtype that keeps every value exact."""
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    missing = len(known) < len(values)
    if kinds == {int} and all(value in _INT64 for value in known):
        return pd.Series(values, dtype="Int64" if missing else np.int64)
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean" if missing else np.bool_)
    # An integer up to 2**53 is exact as a float.
    if float in kinds and all(
        type(value) is float or (type(value) is int and abs(value) <= 2**53)
        for value in known
    ):
        return pd.Series(values, dtype=np.float64)
    return pd.Series(values, dtype=object)


def _read_parquet(stream: IO[bytes]) -> pd.DataFrame:
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(stream)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(error) from error
    # Integers with missing values would become floats, which cut long ids.
    return table.to_pandas(integer_object_nulls=True)


def _read_json_lines(stream: IO[bytes]) -> pd.DataFrame:
    records: list[Mapping[str, Any]] = []
    for number, line in enumerate(stream, start=1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}, which is not JSON ({error}).") from error
        if not isinstance(record, dict):
            raise ValueError(
                f"line {number}, which is a JSON {type(record).__name__} where each "
                "line is one object, {...}."
            )
        records.append(record)
    if not records:
        raise pd.errors.EmptyDataError
    names = dict.fromkeys(name for record in records for name in record)
    return pd.DataFrame(
        {
            without_surrogates(name): _tidy(
                [_clean(record.get(name)) for record in records]
            )
            for name in names
        }
    )


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _write_parquet(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    import pyarrow

    try:
        frame.to_parquet(stream, engine="pyarrow", index=False)
    except (pyarrow.ArrowException, ValueError) as error:
        raise InputError(
            "the table does not fit into Parquet: expected columns of one type each, "
            f"with distinct names that are str, and got: {error} Make each column one "
            "type, or write .csv or .jsonl."
        ) from error


def _write_json_lines(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    names = [str(name) for name in frame.columns]
    try:
        if len(set(names)) < len(names):
            raise ValueError("two columns of the same name.")
        columns = [frame.iloc[:, place].tolist() for place in range(len(names))]
        for cells in zip(*columns, strict=True):
            record = dict(zip(names, map(_plain, cells), strict=True))
            line = json.dumps(
                record, ensure_ascii=False, allow_nan=False, default=_as_text
            )
            stream.write(line.encode() + b"\n")
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the table does not fit into JSON Lines: expected columns with distinct "
            f"names, and cells of text, finite numbers, dates or lists of these, and "
            f"got: {error} Rename or change the column."
        ) from error


def _as_text(value: Any) -> str:
    """Return a date, a path or the like as text."""
    if isinstance(value, (bytes, bytearray, set, frozenset)):
        raise TypeError(f"{type(value).__name__} in a cell.")
    return str(value)


def _plain(value: Any) -> Any:
    """Return the cell as a JSON value."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return None if pd.isna(value) else value
