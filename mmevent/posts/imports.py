"""Exports of platforms and tools to a table of posts, with their pictures."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mmevent.exceptions import InputError
from mmevent.posts.codings import NO_POST_ID, TOOLS, without_post_ids
from mmevent.posts.exports import (
    PLATFORMS,
    Record,
    platform_of,
    read_json,
)
from mmevent.posts.finding import Pictures
from mmevent.posts.image_cells import CellReader, is_missing, number_as_text
from mmevent.posts.posts import parse_created_at
from mmevent.posts.records import check_columns, listed
from mmevent.posts.times import to_iso, unix_to_iso
from mmevent.tables.cells import clean, to_json, without_surrogates
from mmevent.tables.damage import check_undamaged
from mmevent.tables.tables import read_table

_READERS = PLATFORMS | TOOLS
SOURCES = ("4cat", *_READERS, "table")
"""What `import_posts` reads."""

_OURS = ("id", "text", "images", "created_at", "author", "lang")
# Their columns by ours, the first that a table has.
_COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "4cat": {
        "text": ("body",),
        "images": (
            *("images", "image_urls", "image_url", "media_urls", "media_url"),
            *("photo_urls", "image_file", "attachment_filename", "thumbnail_url"),
        ),
        "created_at": ("timestamp", "unix_timestamp"),
        "author": ("author", "author_name"),
        "lang": ("lang", "language", "language_guess"),
    },
    "twitter": {
        "text": ("text", "full_text", "tweet"),
        "images": ("attachments.media", "images", "media"),
        "author": ("author.username", "author_id"),
    },
    "labelstudio": {"id": ("post_id",), "coder": ("annotator",)},
    "doccano": {"id": ("post_id",), "text": ("data",)},
}
_URL = re.compile(r"https?://\S+\Z", re.IGNORECASE)
_UNCLEAR = re.compile(r"[|;,\s\[]")


class ImportedPosts(NamedTuple):
    """What an import found.

    Parameters
    ----------
    posts : pandas.DataFrame
        One row for each post, with the columns `id`, `text`, `images`, `created_at`,
        `author` and `lang`, and then the export's own.
    notes : list of str
        What was left out or not found, with counts.
    urls : list of str
        The pictures that are URLs still, each once.
    """

    posts: pd.DataFrame
    notes: list[str]
    urls: list[str]


def import_posts(
    path: str | os.PathLike[str],
    source: str,
    *,
    images: str | os.PathLike[str] | None = None,
    image_root: str | os.PathLike[str] | None = None,
    columns: Mapping[str, Hashable] | None = None,
    date_format: str | None = None,
    encoding: str | None = None,
) -> ImportedPosts:
    """Read an export of a platform or a tool as a table of posts.

    Nothing is fetched from a network.

    Parameters
    ----------
    path : str or path
        The export.
    source : {"4cat", "twitter", "telegram", "mastodon", "labelstudio", "doccano", \
            "table"}
        Where it is from. "4cat": CSV or NDJSON; "twitter": the API's JSON or JSON
        Lines, or twarc's CSV; "telegram": Telegram Desktop's result.json, or Telethon's
        messages in JSON; "mastodon": statuses of the API, or an outbox, in JSON;
        "labelstudio" and "doccano": codings, in JSON or CSV, with a row for each post
        and coder; "table": any table that :func:`read_table` reads.
    images : str or path, default=None
        Folder or zip with the pictures, which are found by their names.
    image_root : str or path, default=None
        Folder that the paths in the table shall start from; None is `images` itself.
    columns : mapping, default=None
        Of a table or a CSV: our names to yours, as in :func:`to_posts`.
    date_format : str, default=None
        How the times are written, such as "%d/%m/%Y"; or "unix", "unix-ms", "excel".
    encoding : str, default=None
        As for :func:`read_table`, of JSON too.

    Returns
    -------
    ImportedPosts
        The posts, notes, and URLs. Ids are text, exactly as they came. A cell of
        `images` has paths in the folder or zip, or what the export says where there is
        no such picture.

    Raises
    ------
    InputError
        If the file is no such export, or has no posts; if ids are missing, or those of
        an export of Label Studio are the numbers of its own tasks.

    See Also
    --------
    read_table : Read a table as it is.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from mmevent.posts import import_posts
    >>> status = {"id": "109", "content": "<p>We march</p>", "account": {"acct": "ana"}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "statuses.json")
    ...     written = path.write_text(json.dumps([status]))
    ...     posts, notes, urls = import_posts(path, "mastodon")
    >>> posts[["id", "text", "author"]].to_numpy().tolist()
    [['109', 'We march', 'ana']]
    """
    if source not in SOURCES:
        raise InputError(
            f"source={source!r} is not known: expected one of {', '.join(SOURCES)}. "
            "Use table for others, and name the columns."
        )
    path, seen = Path(path), Counter[str]()
    records = _read(path, source, columns, seen, encoding)
    if not records:
        raise InputError(
            f"{str(path)!r} has no posts of {source}: expected at least one. Check the "
            "file and where it is from."
        )
    records = _with_ids(records)
    if source in ("4cat", *PLATFORMS):
        records = _once(records, seen)
    notes = [f"{n:,} {what}" for what, n in seen.items() if n]
    pictures = None if images is None else Pictures(Path(images))
    notes += _place(records, pictures, images, image_root)
    urls = [one for record in records for one in record["images"] if _URL.match(one)]
    _date(records, source, date_format)
    posts = _to_table(records)
    notes += _times(posts)
    return ImportedPosts(posts, notes, list(dict.fromkeys(urls)))


def _read(
    path: Path,
    source: str,
    columns: Mapping[str, Hashable] | None,
    seen: Counter[str],
    encoding: str | None,
) -> list[Record]:
    is_json = path.suffix.lower() in (".json", ".jsonl", ".ndjson")
    if source == "table" or not is_json:
        if source not in _COLUMNS and source != "table":
            raise InputError(
                f"{str(path)!r} is no export of {source}: expected a file that ends in "
                f".json, .jsonl or .ndjson, got {path.suffix!r}. For a table use "
                "'table' in place of this platform."
            )
        frame = read_table(path, encoding=encoding)
        return _from_table(path, frame, source, columns, seen)
    if columns:
        raise InputError(
            f"names of columns do nothing for JSON of {source}, whose names are known: "
            f"expected none, and got {listed(columns)}. Leave them out."
        )
    items = read_json(path, encoding)
    platform = platform_of(items) if source == "4cat" else source
    if platform is None:
        raise InputError(
            f"{str(path)!r} has the form of a platform that is not known: expected "
            "tweets, Telegram messages or Mastodon statuses. Download the CSV of the "
            "same dataset from 4CAT, where all platforms have the same form."
        )
    return list(_READERS[platform](items, seen))


def _from_table(
    path: Path,
    frame: pd.DataFrame,
    source: str,
    columns: Mapping[str, Hashable] | None,
    seen: Counter[str],
) -> list[Record]:
    """Return the rows of a table, our columns first."""
    ours = _named(path, frame, source, columns)
    if source in TOOLS and "post_id" not in frame and "id" not in (columns or {}):
        if source == "labelstudio":
            raise without_post_ids(repr(str(path)))
        seen[NO_POST_ID] += len(frame)
    cells = {name: frame[theirs].tolist() for name, theirs in ours.items()}
    for name in frame:
        if name not in ours.values():
            kept = f"{name} (as it was)" if name in ours else name
            cells[kept] = frame[name].tolist()
    reader = CellReader(cells.get("images", []), path.parent)
    rows = zip(*cells.values(), strict=True)
    records = [dict(zip(cells, row, strict=True)) for row in rows]
    for number, record in enumerate(records):
        record.setdefault("id", number)
        for name in record.keys() & {"author", "coder"}:
            value = record[name]
            record[name] = None if is_missing(value) else number_as_text(value)
        record["images"] = _paths(record.get("images"), reader, seen)
    return records


def _named(
    path: Path,
    frame: pd.DataFrame,
    source: str,
    columns: Mapping[str, Hashable] | None,
) -> dict[str, Hashable]:
    """Return the table's columns by ours: as the caller names them, or as is known."""
    check_columns(columns)
    known, given = _COLUMNS.get(source, {}), columns or {}
    absent = [name for name in given.values() if name not in frame]
    named: dict[str, Hashable] = {}
    for ours in dict.fromkeys((*_OURS, *known, *given)):
        theirs = (given[ours],) if ours in given else (*known.get(ours, ()), ours)
        found = [name for name in theirs if name in frame]
        if found:
            named[ours] = found[0]
    if absent or not {"text", "images"} & named.keys():
        raise InputError(
            f"{str(path)!r} is no table of {source} with these columns: expected "
            f"{listed(absent) if absent else 'a text or images'}, and got "
            f"{listed(frame.columns)}. Name yours by columns, text=... and images=... "
            "(--columns on the command line)."
        )
    return named


def _paths(cell: Any, reader: CellReader, seen: Counter[str]) -> list[str]:
    """Return the paths or URLs in a cell; twarc has media in JSON."""
    try:
        if isinstance(cell, str) and cell.lstrip().startswith("[{"):
            cell = [
                one.get("url")
                for one in json.loads(cell)
                if one.get("type", "photo") == "photo"
            ]
        return [str(one) for one in reader.read(cell)]
    except (TypeError, ValueError, AttributeError):
        seen["cells of images that cannot be read, left out"] += 1
        return []


def _with_ids(records: list[Record]) -> list[Record]:
    """Return records whose ids are text, with all their digits."""
    ids = [_id(record.get("id")) for record in records]
    wrong = [row for row, one in enumerate(ids) if one is None]
    if wrong:
        raise InputError(
            f"{len(wrong)} of {len(records)} posts have no exact id: expected text or "
            f"a whole number with all its digits, and got "
            f"{records[wrong[0]].get('id')!r} in row {wrong[0]}. Export the posts "
            "again, and open the file in no spreadsheet."
        )
    check_undamaged(pd.Series(ids, dtype=object))
    return [record | {"id": one} for record, one in zip(records, ids, strict=True)]


def _once(records: list[Record], seen: Counter[str]) -> list[Record]:
    """Return each post once, since pages of an export overlap."""
    versions: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        versions[record["id"]].append(record)
    other = {
        post: n
        for post, (first, *later) in versions.items()
        if (n := sum(_text(one) != _text(first) for one in later))
    }
    n_other = sum(other.values())
    seen["posts that came again, by their id, left out"] += (
        len(records) - len(versions) - n_other
    )
    seen[
        "posts that came again with another text, left out: the first text was kept "
        f"(first ids: {listed(list(other)[:5])})"
    ] += n_other
    return [first for first, *_ in versions.values()]


def _text(record: Record) -> str | None:
    text = record.get("text")
    return None if is_missing(text) else str(text)


def _id(value: Any) -> str | None:
    """Return an id as text; None where it is missing, or digits of it are lost."""
    if is_missing(value) or isinstance(value, bool | list | dict):
        return None
    if isinstance(value, float) and not (value.is_integer() and abs(value) < 2**53):
        return None
    text = number_as_text(value)
    return text if text.strip() else None


def _place(
    records: list[Record], pictures: Pictures | None, place: Any, root: Any
) -> list[str]:
    """Put the paths of pictures that are found into the records; say what is not."""
    n_named = sum(len(record["images"]) for record in records)
    if pictures is None or not n_named:
        return [f"{n_named:,} pictures named"]
    lost = []
    prefix = Path(os.path.relpath(place, place if root is None else root))
    for record in records:
        named = record["images"]
        for number, one in enumerate(named, 1):
            found = pictures.find(one, record["id"], number, len(named))
            if found is None:
                lost.append(f"{one!r} of the post {record['id']!r}")
            else:
                named[number - 1] = (prefix / found).as_posix()
    note = (
        f"{n_named:,} pictures named, {n_named - len(lost):,} found in {str(place)!r}"
    )
    return [f"{note}, {len(lost):,} not found, such as {lost[0]}" if lost else note]


def _to_table(records: list[Record]) -> pd.DataFrame:
    """Return records as a table that every format can hold."""
    names = dict.fromkeys([*_OURS, *(name for record in records for name in record)])
    for record in records:
        record["images"] = _cell(record["images"])
    columns = {
        without_surrogates(str(name)): _column([record.get(name) for record in records])
        for name in names
    }
    empty = [name for name in _OURS[1:] if columns[name].isna().all()]
    return pd.DataFrame(columns).drop(columns=empty)


def _cell(names: list[str]) -> str | None:
    """Return paths in one cell, as a list in JSON where "|" would not be clear."""
    if any(map(_UNCLEAR.search, names)):
        return json.dumps(names, ensure_ascii=False)
    return "|".join(names) or None


def _column(values: list[Any]) -> pd.Series:
    """Return values as a column of one type, as text where they have several."""
    values = [None if is_missing(value) else value for value in values]
    kinds = {type(value) for value in values if value is not None}
    if kinds & {list, dict}:
        values = _one_type(values)
    elif len(kinds) > 1 or any(type(v) is int and abs(v) >= 2**63 for v in values):
        values = [None if value is None else str(value) for value in values]
    values = [without_surrogates(v) if isinstance(v, str) else v for v in values]
    whole = pd.Series(values, dtype=object)
    return whole if None in values else whole.infer_objects()


def _one_type(values: list[Any]) -> list[Any]:
    """Return lists and mappings as they are, or as JSON where their types differ."""
    import pyarrow

    values = [clean(value) for value in values]
    try:
        pyarrow.array(values)
    except (pyarrow.ArrowException, TypeError, OverflowError):
        return [v if v is None or isinstance(v, str) else to_json(v) for v in values]
    return values


def _date(records: list[Record], source: str, date_format: str | None) -> None:
    """Rewrite the times of records by their format, or as the source has them."""
    cells = [record.get("created_at") for record in records]
    if date_format is not None:
        ids = [record["id"] for record in records]
        dates = pd.Series(cells, dtype=object, name="created_at")
        cells = to_iso(dates, date_format, ids).tolist()
    elif source in ("4cat", "telegram"):
        cells = [unix_to_iso(cell) for cell in cells]
    for record, cell in zip(records, cells, strict=True):
        record["created_at"] = cell


def _times(posts: pd.DataFrame) -> list[str]:
    """Say which times cannot be read."""
    if "created_at" not in posts:
        return ["no times"]
    try:
        parse_created_at(posts)
    except InputError as error:
        return [str(error)]
    return []
