"""Cells of a column of pictures to lists of sources, by one rule for the table."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mmevent.posts.images import check_image_root
from mmevent.posts.sources import ENDS, REMOTE, Source, is_file

EXPECTED = (
    'a path, paths with "|" between, a list of paths in JSON, bytes, a PIL.Image, a '
    'mapping with "bytes" and "path", or a list of these'
)
"""What a cell may hold, for messages."""

# "|" always stands between names, and so does a new line; other signs may be in a name.
_ALWAYS = re.compile(r"[|\r\n]")
_SOMETIMES = (";", ",", "\t", " ")
_UNCLEAR = (*_SOMETIMES, "\r", "\n", "[", '"')
_QUOTED = r"""(?:'[^']*'|"[^"]*")"""
# Lists as Python and numpy print them.
_LIST = re.compile(rf"\[\s*{_QUOTED}(?:\s*,?\s*{_QUOTED})*\s*\]")
_VIDEO_ENDS = (".mp4", ".mov", ".webm", ".m4v", ".avi", ".mkv")
_IN_QUOTES = re.compile(r'"[^"]*"(?:[;,\s]+"[^"]*")*')
_EXAMPLES = 100  # cells that are looked at to see what stands between names


class CellReader:
    """Reads the cells of one column of pictures.

    Several names in one cell are told apart by what stands between them. "|" always
    does. Where all parts between ";", ",", tabs or spaces are URLs, or end as names of
    pictures or videos do, these are several too, unless a file has the whole name.
    Names without such an end are several where a cell of the column has parts that are
    all files. Names in double quotes are taken out of them.

    Parameters
    ----------
    cells : iterable
        The whole column, so that what separates names is the same for all rows.
    image_root : str, path or None
        Where files are looked for, as in :func:`load_image`.
    """

    def __init__(
        self, cells: Iterable[Any], image_root: str | os.PathLike[str] | None
    ) -> None:
        written = [cell for cell in cells if isinstance(cell, str)]
        whole = "|".join(written)  # searched once, which is quick
        self._is_plain = not any(sign in whole for sign in _UNCLEAR)
        self._root = "" if self._is_plain else check_image_root(image_root)
        used = (sign for sign in _SOMETIMES if sign in whole)
        self._signs = [sign for sign in used if self._is_used(sign, written)]

    def _is_used(self, sign: str, cells: list[str]) -> bool:
        """Tell whether a sign stands between names that do not end as pictures do."""
        examples = (cell for cell in cells if sign in cell.strip())
        return any(
            len(parts := _between(sign, cell)) > 1
            and not any(map(_ends_as_media, parts))
            and not is_file(cell, self._root)
            and all(is_file(part, self._root) for part in parts)
            for cell in islice(examples, _EXAMPLES)
        )

    def read(self, cell: Any) -> list[Source]:
        """Return the sources in a cell; raise TypeError if it cannot hold any."""
        if isinstance(cell, str):
            if self._is_plain:
                return [name for name in cell.split("|") if name]
            listed = _listed(cell)
            cell = self._names(cell) if listed is None else listed
        elif is_missing(cell):
            return []
        if isinstance(cell, list | tuple) or (
            isinstance(cell, np.ndarray) and cell.ndim == 1
        ):
            found = [_source(item) for item in cell]
        else:
            found = [_source(cell)]
        return [source for source in found if source is not None]

    def _names(self, cell: str) -> list[str]:
        """Return the names in a cell that is no list in brackets."""
        parts = [part.strip() for part in _ALWAYS.split(cell)]
        return [name for part in parts for name in self._split(part)]

    def _split(self, text: str) -> list[str]:
        if _IN_QUOTES.fullmatch(text) and not is_file(text, self._root):
            return [name for name in re.findall(r'"([^"]*)"', text) if name.strip()]
        for sign in _SOMETIMES:
            if sign not in text:
                continue
            parts = _between(sign, text.removeprefix("[").removesuffix("]"))
            if not parts:
                return []
            pictures = sum(map(_ends_as_media, parts))
            several = pictures == len(parts) if pictures else sign in self._signs
            if several and not _is_one_url(parts) and not is_file(text, self._root):
                return [name for part in parts for name in self._split(part)]
        return [text] if text else []


def _between(sign: str, text: str) -> list[str]:
    parts = [part.strip() for part in text.split(sign)]
    return [part for part in parts if part]


def _ends_as_media(name: str) -> bool:
    return bool(REMOTE.match(name)) or name.lower().endswith((*ENDS, *_VIDEO_ENDS))


def _is_one_url(parts: list[str]) -> bool:
    """Tell whether text is one URL that holds the sign: the other parts are none."""
    remote = [bool(REMOTE.match(part)) for part in parts]
    return any(remote) and not all(remote)


def _listed(cell: str) -> list[Any] | None:
    """Return the list that a cell is in JSON, or as Python or numpy print it."""
    cell = cell.strip()
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        if not _LIST.fullmatch(cell):
            return None
        found = [quoted[1:-1] for quoted in re.findall(_QUOTED, cell)]
    return found if isinstance(found, list) else None


def _source(item: Any) -> Source | None:
    """Return one source, or None where it is missing."""
    if is_missing(item) or (isinstance(item, str) and not item.strip()):
        return None
    if isinstance(
        item, str | os.PathLike | bytes | bytearray | memoryview | Image.Image
    ):
        return item
    if _is_whole_number(item):
        return number_as_text(item)  # names of digits, which a table holds as numbers
    if isinstance(item, Mapping) and ("bytes" in item or "path" in item):
        content, path = item.get("bytes"), item.get("path")
        if content is None and (path is None or not str(path).strip()):
            return None
        if isinstance(content, bytes | None) and isinstance(path, str | None):
            return item
    if isinstance(item, Mapping) and ("media_key" in item or "url" in item):
        raise TypeError(
            "media as a platform exports them (bring the export into a table first, "
            "by mmevent import-posts)"
        )
    raise TypeError(type(item).__name__)


def _is_whole_number(item: Any) -> bool:
    number = isinstance(item, int | float | np.integer | np.floating)
    return number and not isinstance(item, bool) and item % 1 == 0


def is_missing(value: Any) -> bool:
    """Tell whether a cell is None, NaN, NA or NaT."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def number_as_text(number: Any) -> str:
    """Return a number as it stood in a table: integers with a gap became floats."""
    whole = isinstance(number, float | np.floating) and number.is_integer()
    return f"{number:.0f}" if whole else str(number)
