"""Large tables in stretches, so that memory does not grow with a file."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

import pandas as pd

from mmevent.exceptions import InputError
from mmevent.tables.delimited import find_separator, read_delimited
from mmevent.tables.encodings import CONTROLS, to_utf8
from mmevent.tables.json_tables import read_json_lines
from mmevent.tables.tables import read_table, unspaced_names
from mmevent.tables.typed_tables import parquet_frame

TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_PACKED = (".gz", ".zst")
_LOOKED_AT = 1 << 20  # bytes that tell the encoding, line ends and separator
_LONE_CR = re.compile(rb"\r(?!\r*(?:\n|\Z))")


@dataclass(frozen=True)
class Stretch:
    """A part of a table: where it lies, and how to read it.

    Parameters
    ----------
    begin, end : int
        Bytes of the text in UTF-8 from the beginning of the file, unpacked; rows of
        other tables.
    read : callable
        Returns the rows as a `DataFrame`.
    """

    begin: int
    end: int
    read: Callable[[], pd.DataFrame]


def table_suffix(path: Path) -> str:
    """Return the suffix that names the kind of table, without .gz or .zst after it."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in _PACKED else suffix


def stretches(
    path: Path,
    n_rows: int,
    *,
    columns: Iterable[str] | None = None,
    encoding: str | None = None,
) -> Iterator[Stretch]:
    """Cut a table into stretches of a number of rows, in order.

    The cells are those of `read_table`, but checks that compare rows, such as those of
    quotes, compare the rows of one stretch. Text (.csv, .tsv, .jsonl, .ndjson, also
    with .gz or .zst) and Parquet are read a stretch at a time, others at once.

    Parameters
    ----------
    path : Path
        A file.
    n_rows : int
        Most rows of a stretch. A stretch of Parquet ends with its row group.
    columns : iterable of str or None, default=None
        The columns that are read of Parquet, where they are there; None for all.
    encoding : str or None, default=None
        As in `read_table`.

    Raises
    ------
    InputError
        If the file cannot be read; stretches that came before stay right.
    """
    suffix = table_suffix(path)
    try:
        if suffix in TEXT_SUFFIXES:
            yield from _of_text(path, suffix, n_rows, encoding)
        elif suffix == ".parquet":
            yield from _of_parquet(path, n_rows, columns)
        else:
            frame = read_table(path, encoding=encoding)
            for begin in range(0, len(frame), n_rows):
                rows = frame.iloc[begin : begin + n_rows].reset_index(drop=True)
                yield Stretch(begin, begin + len(rows), rows.copy)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception, where: str = "") -> InputError:
    said = str(error).strip() or type(error).__name__
    return InputError(
        f"{str(path)!r} cannot be read{where}: expected a well-formed table, and got: "
        f"{said} Repair the file, or write it again from the program that made it."
    )


def _of_parquet(
    path: Path, n_rows: int, columns: Iterable[str] | None
) -> Iterator[Stretch]:
    import pyarrow
    from pyarrow import parquet

    wanted = None if columns is None else set(columns)
    try:
        with parquet.ParquetFile(path) as file:
            names = [
                name
                for name in file.schema_arrow.names
                if wanted is None or name.strip() in wanted
            ]
            begin = 0
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(
                    n_rows, row_groups=[group], columns=names
                ):
                    end = begin + batch.num_rows

                    def read(batch: Any = batch) -> pd.DataFrame:
                        table = pyarrow.Table.from_batches([batch])
                        frame = parquet_frame(table).reset_index(drop=True)
                        frame.columns = unspaced_names(path, list(frame.columns))
                        return frame

                    yield Stretch(begin, end, _explained(path, read, f"row {begin}"))
                    begin = end
    except pyarrow.ArrowException as error:
        raise _unreadable(path, error) from error


def _of_text(
    path: Path, suffix: str, n_rows: int, encoding: str | None
) -> Iterator[Stretch]:
    with _unpacked(path) as stream:
        head = stream.read(_LOOKED_AT)
    if not head:
        raise InputError(
            f"{str(path)!r} is empty: expected a table with a row for each post, and "
            "got no data. Check that the export was complete."
        )
    name = _encoding(path, head, encoding)
    with _unpacked(path) as stream:
        lines = cast("Iterable[bytes]", stream)
        if name != "utf-8":
            text = io.TextIOWrapper(cast("Any", stream), name, newline="\n")
            lines = (_checked(path, line, name) for line in text)
        lines = _without_mark(lines)
        if suffix in (".jsonl", ".ndjson"):
            cuts, header = _cut(lines, n_rows, None, 0), b""
            reader: Callable[[bytes], pd.DataFrame] = read_json_lines
        else:
            usual = b"\t" if suffix == ".tsv" else b","
            header, separator, begin, lines = _header(lines, usual)
            cuts = _cut(lines, n_rows, separator, begin)

            def reader(data: bytes) -> pd.DataFrame:
                return read_delimited(data, usual)

        for begin, end, data in cuts:

            def read(data: bytes = data) -> pd.DataFrame:
                frame = reader(header + to_utf8(data, str(path)))
                frame.columns = unspaced_names(path, list(frame.columns))
                return frame

            yield Stretch(begin, end, _explained(path, read, f"byte {begin:,}"))


def _explained(
    path: Path, read: Callable[[], pd.DataFrame], begin: str
) -> Callable[[], pd.DataFrame]:
    def explained() -> pd.DataFrame:
        try:
            return read()
        except pd.errors.EmptyDataError:
            return pd.DataFrame()
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            where = f" in the part that begins at {begin} (from 0)"
            raise _unreadable(path, error, where) from error

    return explained


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix.lower() == ".zst":
        import pyarrow

        with pyarrow.input_stream(str(path), compression="zstd") as packed:
            yield cast("IO[bytes]", io.BufferedReader(packed))
        return
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as stream:
        yield cast("IO[bytes]", stream)


def _encoding(path: Path, head: bytes, encoding: str | None) -> str:
    """Return the encoding of a file, by the rules of `to_utf8`."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head[1:2] == b"\0":
        return "utf-16-le"
    if head[:1] == b"\0":
        return "utf-16-be"
    if encoding is None or head.startswith(codecs.BOM_UTF8):
        return "utf-8"
    if codecs.lookup(encoding).name.startswith(
        ("utf-16", "utf-32", "utf-7", "iso2022")
    ):
        return encoding
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _unpacked(path) as stream:
        try:
            while block := stream.read(_LOOKED_AT):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return encoding
    return "utf-8"


def _checked(path: Path, line: str, encoding: str) -> bytes:
    if codecs.lookup(encoding).name == "iso8859-1" and CONTROLS.search(line):
        to_utf8(line.encode(encoding), str(path), encoding)  # says what is wrong
    return line.encode("utf-8", "replace")


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    for place, line in enumerate(lines):
        yield line if place else line.removeprefix(codecs.BOM_UTF8)


def _header(
    lines: Iterable[bytes], usual: bytes
) -> tuple[bytes, bytes, int, Iterator[bytes]]:
    """Return the header with its separator stated, and the lines below it."""
    left, looked, size = iter(lines), [], 0
    for line in left:
        looked.append(line)
        size += len(line)
        if size >= _LOOKED_AT:
            break
    if _LONE_CR.search(looked[0]):  # as programs for the Macintosh wrote
        every = chain(looked, left)
        left = (
            part + b"\n" for line in every for part in line.rstrip(b"\r\n").split(b"\r")
        )
        looked = [line for line, _ in zip(left, range(1000), strict=False)]
    head, separator = find_separator(b"".join(looked), usual)
    lines = chain(looked, left)
    begin = 0
    if len(head) < sum(map(len, looked)):  # Excel's own first line
        begin += len(next(lines))
    header = b""
    for _, end, data in _cut(lines, 1, separator, begin):
        header, begin = data, end
        break
    else:
        raise pd.errors.EmptyDataError("no header.")
    if not header.endswith(b"\n"):
        header += b"\n"
    return b"sep=%b\n" % separator + header, separator, begin, lines


def _cut(
    lines: Iterable[bytes], n_rows: int, separator: bytes | None, begin: int
) -> Iterator[tuple[int, int, bytes]]:
    """Cut lines after a number of rows; a row ends outside of quotes.

    A CSV has a separator, JSON Lines have none and every line is a row.
    """
    opens = (
        None if separator is None else re.compile(rb'(?:\A|%b)"' % re.escape(separator))
    )
    kept: list[bytes] = []
    count, end, is_open = 0, begin, False
    for line in lines:
        kept.append(line)
        end += len(line)
        if opens is not None and (is_open or b'"' in line):
            is_open = _stays_open(line, opens, is_open)
        if is_open or not line.strip():
            continue
        count += 1
        if count == n_rows:
            yield begin, end, b"".join(kept)
            kept, count, begin = [], 0, end
    if count or is_open:
        yield begin, end, b"".join(kept)


_CLOSES = re.compile(rb'[^"]*+(?:""[^"]*+)*+"')


def _stays_open(line: bytes, opens: re.Pattern[bytes], is_open: bool) -> bool:
    """Return whether a cell in quotes goes on in the next line."""
    place = 0
    while True:
        if is_open:
            if (found := _CLOSES.match(line, place)) is None:
                return True
        elif (found := opens.search(line, place)) is None:
            return False
        place, is_open = found.end(), not is_open
