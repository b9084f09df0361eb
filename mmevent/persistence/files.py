"""Files of a model folder that someone else made: kinds and sizes, before reading."""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

from mmevent.exceptions import ModelFolderError
from mmevent.posts.archives import OPEN_FLAGS

_MIB = 2**20
# Greatest sizes of what `save` writes, by suffix; a whole detector has far less.
_GREATEST = {
    ".json": 64 * _MIB,
    ".md": 16 * _MIB,
    ".parquet": 1024 * _MIB,
    ".skops": 4096 * _MIB,
    ".txt": 1024 * _MIB,
}
_GREATEST_ENCODER = 64 * 1024 * _MIB
# What a packed file may grow to, and how many values it may hold: so many times its
# size, or so much where it is small.
_GROWS, _SMALL = 100, 256 * _MIB
_VALUES_PER_BYTE, _FEW_VALUES = 0.5, 200_000
_SCHEMA = "schema.json"
_CELLS = 100_000_000


def read_file(root: Path, name: str) -> bytes:
    """Read a file of a model folder, if it is one, and no greater than `save` writes.

    Raises
    ------
    FileNotFoundError
        If there is nothing of this name.
    ModelFolderError
        If it is no regular file, or too large.
    """
    greatest = _GREATEST.get(PurePosixPath(name).suffix)
    if greatest is None:
        raise ModelFolderError(
            f"the model folder {str(root)!r} holds {name}, which mmevent does not "
            f"write: expected files that end in {', '.join(_GREATEST)}. Do not use "
            f"this folder unless you know who made it."
        )
    size = check_file(root, name, greatest)
    with open(os.open(root / name, OPEN_FLAGS), "rb") as stream:
        return stream.read(size)  # no more is asked for: room would be made for it


def check_file(root: Path, name: str, greatest: int = _GREATEST_ENCODER) -> int:
    """Validate the kind and the size of a file, without opening it; return the size."""
    found = (root / name).lstat()
    if stat.S_ISLNK(found.st_mode):
        raise ModelFolderError(
            f"the model folder {str(root)!r} holds a link, {name}: expected files "
            f"only. Copy the folder with its links followed, as cp -rL does."
        )
    if not stat.S_ISREG(found.st_mode):
        raise ModelFolderError(
            f"the model folder {str(root)!r} holds {name}, which is neither a file nor "
            f"a folder: expected regular files, got a pipe, a socket or a device. "
            f"Nothing was read. Do not use this folder."
        )
    if found.st_size > greatest:
        raise ModelFolderError(
            f"{name} in the model folder {str(root)!r} is too large: expected at most "
            f"{greatest:,} bytes, got {found.st_size:,}. Nothing was read. Do not use "
            f"this folder unless you know who made it."
        )
    return found.st_size


def check_growth(data: bytes, name: str) -> None:
    """Validate what a skops file becomes in memory, before it is unpacked.

    Raises
    ------
    ModelFolderError
        If it would grow beyond what a saved branch does.
    """
    with ZipFile(io.BytesIO(data)) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        schema = archive.getinfo(_SCHEMA)
        # Some lists of the schema hold nothing but text of a few letters.
        _check_size(schema.file_size, len(data), name)
        content = archive.read(_SCHEMA)
        n_values = content.count(b"{") + content.count(b"[")
        if n_values > max(_FEW_VALUES, _VALUES_PER_BYTE * schema.compress_size):
            raise _grows(name, f"{n_values:,} values in {len(data):,} bytes")
        read = list(_files_read(json.loads(content)))
        _check_size(sum(sizes.get(part, 0) for part in read), len(data), name)
        for part in {part for part in read if part.endswith(".npz")}:
            with ZipFile(io.BytesIO(archive.read(part))) as inner:
                total = sum(entry.file_size for entry in inner.infolist())
            _check_size(read.count(part) * total, len(data), name)


def _files_read(schema: Any) -> Iterator[str]:
    """Yield the files that a schema names, as often as each of them is read."""
    seen, left = set(), [schema]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left.extend(node)
        elif isinstance(node, dict):
            left.extend(node.values())
            part, known = node.get("file"), node.get("__id__")
            if isinstance(part, str) and (known is None or (known, part) not in seen):
                seen.add((known, part))
                yield part


def _check_size(size: int, packed: int, name: str) -> None:
    if size > max(_SMALL, _GROWS * packed):
        raise _grows(name, f"{size:,} bytes from {packed:,}")


def check_table(data: bytes, name: str) -> None:
    """Validate the size of a Parquet table, before it is unpacked.

    Raises
    ------
    ModelFolderError
        If it has more cells, or more bytes, than the tables of a detector.
    """
    from pyarrow.parquet import ParquetFile

    found = ParquetFile(io.BytesIO(data)).metadata
    groups = (found.row_group(i).total_byte_size for i in range(found.num_row_groups))
    _check_size(sum(groups), len(data), name)
    cells = found.num_rows * found.num_columns
    if cells > _CELLS:
        raise _grows(name, f"{cells:,} cells in {len(data):,} bytes")
    _check_size(_length_of_texts(data), len(data), name)


def _length_of_texts(data: bytes) -> int:
    """Return the bytes of all texts of a table; each different one is read once."""
    from pyarrow import compute, types
    from pyarrow.parquet import read_schema, read_table

    kinds = (types.is_string, types.is_large_string, types.is_binary)
    texts = [
        field.name
        for field in read_schema(io.BytesIO(data))
        if any(is_kind(field.type) for is_kind in kinds)
    ]
    table = read_table(io.BytesIO(data), columns=texts, read_dictionary=texts)
    total = 0
    for column in table.columns:
        for chunk in column.chunks:
            lengths = compute.binary_length(chunk.dictionary)
            total += compute.sum(lengths.take(chunk.indices)).as_py() or 0
    return total


def _grows(name: str, what: str) -> ModelFolderError:
    return ModelFolderError(
        f"{name} would fill the memory: expected a file that grows to at most {_GROWS} "
        f"times its size, as those of mmevent do, got {what}. Nothing was unpacked. "
        f"Do not use this folder unless you know who made it."
    )
