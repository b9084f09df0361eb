"""One form for posts from tables, lists and datasets; times and duplicate groups."""

from __future__ import annotations

import numbers
import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmevent.exceptions import InputError
from mmevent.posts.duplicates import duplicates
from mmevent.posts.image_cells import EXPECTED, CellReader, is_missing
from mmevent.posts.images import Images
from mmevent.posts.keys import as_keys
from mmevent.posts.records import (
    POST_COLUMNS,
    check_columns,
    check_given,
    column,
    listed,
    rows_named,
    to_frame,
)
from mmevent.posts.sources import Source
from mmevent.posts.texts import is_visible
from mmevent.posts.times import why_unread
from mmevent.tables.cells import encodes, without_surrogates
from mmevent.tables.damage import check_undamaged

__all__ = [
    "duplicate_groups",
    "flatten_images",
    "parse_created_at",
    "to_posts",
]

_WITH_FRACTIONS = "mixed-integer-float"  # pandas' name for integers and floats
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
# "Sat Mar 09 17:30:00 +0000 2024". The names of months that `strptime` reads are those
# of the process's language.
_TWITTER_TIME = re.compile(
    rf"\s*(?:mon|tue|wed|thu|fri|sat|sun) +({'|'.join(_MONTHS)}) +([0-9]{{1,2}}) +"
    r"([0-9:]{5,8}) +([+-][0-9]{4}) +([0-9]{4})\s*",
    re.IGNORECASE,
)


def to_posts(
    data: pd.DataFrame | Sequence[Mapping[str, Any]] | Any,
    *,
    columns: Mapping[str, Hashable] | None = None,
    image_root: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Bring posts into the form that mmevent works on.

    Parameters
    ----------
    data : pandas.DataFrame, sequence of mappings, or datasets.Dataset
        One row, or one mapping, for each post, with at least one of the columns
        ``text`` and ``images``. The data are not changed.
    columns : mapping, default=None
        From names in mmevent to the caller's names, such as ``{"text": "tweet"}``. The
        names in mmevent are `id`, `text`, `images`, `created_at`, `place`, `author` and
        `group`. A name that is left out stands for itself.
    image_root : str or path, default=None
        As in `load_image`: where a file is looked for whose whole name is a cell that
        else holds several names.

    Returns
    -------
    pandas.DataFrame, shape (n_posts, 3 to 7)
        The index is that of a DataFrame, else a `RangeIndex`. The columns are

        - ``id``: as given, or the row number from 0
        - ``text``: str, or None where the post has no text
        - ``images``: list of sources (see `load_image`), empty where there is none
        - ``created_at``, ``place``, ``author``, ``group``: as given, only if given

    Raises
    ------
    InputError
        If the data are of another type, a post is not a mapping, a column is missing,
        ids are missing, occur twice or lost digits in a spreadsheet, or a cell has a
        type that cannot be used.

    See Also
    --------
    read_table : Posts from CSV, Parquet and JSON Lines.

    Notes
    -----
    A `text` cell that is missing, or in which nothing can be seen, is no text: white
    space, control and format characters (a zero-width space, a byte order mark), and
    fillers that are drawn as a blank. Numbers, True and False become text.

    An `images` cell may be missing (None, NaN, NA or an empty string), a path, several
    paths in one string, bytes, a ``PIL.Image``, a mapping with ``"bytes"`` and
    ``"path"``, or a list of these. In a string, "|" and line ends always separate
    paths, and a list in JSON is a list. ";", ",", tabs and spaces separate where each
    part is a URL or ends as the name of a picture or video does, such as in .jpg, and
    no file has the whole name. Names without such an end are separated by them where in
    some row each part is a file. Double quotes around names are left out. Paths in a
    list are not split: put a path that contains "|" into a list. The images of a
    ``datasets.Dataset`` are taken as they are stored, not decoded.

    The result can be passed to `to_posts` again and does not change.

    Examples
    --------
    >>> from mmevent import to_posts
    >>> posts = to_posts(
    ...     [{"tweet": "They march", "images": "a.jpg|b.jpg"}, {"tweet": " "}],
    ...     columns={"text": "tweet"},
    ... )
    >>> posts["images"].tolist()
    [['a.jpg', 'b.jpg'], []]
    >>> posts["text"].tolist(), posts["id"].tolist()
    (['They march', None], [0, 1])
    """
    wanted = check_columns(columns)
    frame, came = to_frame(data, list(wanted.values()))
    given = {name: theirs for name, theirs in wanted.items() if theirs in came}
    if len(frame) or came:
        check_given(given, columns or {}, came)
    found = {name: column(frame, theirs) for name, theirs in given.items()}
    for name in found.keys() - {"text", "images"}:
        found[name] = _in_utf8(found[name])

    ids = _ids(found.get("id"), len(frame))
    empty = [None] * len(frame)
    texts = found["text"].tolist() if "text" in found else empty
    images = found["images"].tolist() if "images" in found else empty
    cells: dict[str, Any] = {
        "id": ids,
        "text": _convert(texts, _text, "text", "a string", ids),
        "images": _convert(
            images, CellReader(images, image_root).read, "images", EXPECTED, ids
        ),
    }
    for name in POST_COLUMNS[3:]:
        if name in found:
            cells[name] = found[name].reset_index(drop=True)
    posts = pd.DataFrame(cells, index=pd.RangeIndex(len(frame)))
    posts.index = frame.index
    return posts


def flatten_images(posts: pd.DataFrame) -> tuple[list[Source], NDArray[np.intp]]:
    """Return the images of all posts in one list, with the post of each.

    Parameters
    ----------
    posts : pandas.DataFrame
        From `to_posts`.

    Returns
    -------
    sources : list of length n_images
        In the order of the posts, then of each post's images.
    post : ndarray of int, shape (n_images,)
        Row number of the post, from 0.

    Examples
    --------
    >>> from mmevent.posts import flatten_images, to_posts
    >>> posts = to_posts([{"images": "a.jpg|b.jpg"}, {}, {"images": "c.jpg"}])
    >>> sources, post = flatten_images(posts)
    >>> sources, post.tolist()
    (['a.jpg', 'b.jpg', 'c.jpg'], [0, 0, 2])
    """
    cells = posts["images"].tolist()
    counts = [len(cell) for cell in cells]
    sources = [source for cell in cells for source in cell]
    return sources, np.repeat(np.arange(len(cells)), counts)


def duplicate_groups(
    posts: pd.DataFrame | Sequence[Mapping[str, Any]] | Any,
    *,
    columns: Mapping[str, Hashable] | None = None,
    image_root: str | os.PathLike[str] | None = None,
    allow_outside_root: bool = False,
) -> NDArray[np.intp]:
    """Group posts with the same text or a common image.

    Two posts are linked if their normalised texts are equal and not empty, if one text
    was cut and the other begins as it does, or if they have an image with the same
    bytes. The groups are the connected components of these links.

    Parameters
    ----------
    posts : pandas.DataFrame, sequence of mappings, or datasets.Dataset
        As in `to_posts`.
    columns : mapping, default=None
        As in `to_posts`.
    image_root : str or path, default=None
        As in `load_image`. Images that cannot be used do not link posts.
    allow_outside_root : bool, default=False
        As in `load_image`.

    Returns
    -------
    ndarray of int, shape (n_posts,)
        Group numbers from 0, in order of first appearance.

    Raises
    ------
    InputError
        As in `to_posts`, or if ``image_root`` is not a folder.

    See Also
    --------
    connected_groups : Join these groups with groups of your own.

    Notes
    -----
    A text is normalised by NFKC and case folding; HTML entities (``&amp;``) become
    what they stand for; links, mentions (``@name``) and a leading "RT" are removed;
    punctuation, symbols (including emoji), white space and control characters become
    single spaces. Letters, digits and marks on letters stay, in every script. Of more
    than 30 marks in a row, a long text keeps 30.

    A text was cut if it ends in an ellipsis ("…" or "..."), which links may follow, as
    Twitter cuts a retweet. Without the last word, which may be half a word, it must
    have at least 40 normalised characters: unrelated posts can share a shorter
    beginning. It is linked to every text that begins so, and thereby joins texts that
    go on differently after this beginning.

    Examples
    --------
    >>> from mmevent import duplicate_groups
    >>> posts = [
    ...     {"text": "We march today! https://t.co/a"},
    ...     {"text": "A quiet day"},
    ...     {"text": "RT @ana: We march today"},
    ... ]
    >>> duplicate_groups(posts).tolist()
    [0, 1, 0]
    """
    posts = to_posts(posts, columns=columns, image_root=image_root)
    sources, post = flatten_images(posts)
    images = Images(
        sources, image_root=image_root, allow_outside_root=allow_outside_root
    )
    return duplicates(posts["text"].tolist(), images, post)


def parse_created_at(posts: pd.DataFrame) -> pd.Series:
    """Read the times of posts.

    Parameters
    ----------
    posts : pandas.DataFrame
        From `to_posts`, with the column `created_at`: dates or times of Python, numpy
        or pandas, strings in ISO 8601 ("2024-03-09T18:30:00+01:00", "2024-03-09"), or
        in Twitter's form ("Sat Mar 09 17:30:00 +0000 2024"). A time without a zone is
        taken as UTC.

    Returns
    -------
    pandas.Series of datetime, shape (n_posts,)
        In UTC, with the index of the posts.

    Raises
    ------
    InputError
        If there is no such column, or a time is missing or in another form. Forms that
        can be read in two ways (03/09/2024, seconds since 1970) are not accepted.

    Examples
    --------
    >>> from mmevent.posts import parse_created_at, to_posts
    >>> posts = to_posts([{"text": "now", "created_at": "2024-03-09T18:30:00+01:00"}])
    >>> parse_created_at(posts)[0].isoformat()
    '2024-03-09T17:30:00+00:00'
    """
    if "created_at" not in posts:
        raise InputError(
            "posts have no times: expected a column 'created_at', and got "
            f"{listed(posts.columns)}. Add it, or name yours with "
            'columns={"created_at": ...}.'
        )
    given = posts["created_at"]
    if not pd.api.types.is_datetime64_any_dtype(given.dtype):
        given = given.astype(object).map(_readable_time)
    times = pd.to_datetime(given, utc=True, errors="coerce", format="ISO8601")
    unread = times.isna().to_numpy()
    if unread.any():
        raise InputError(why_unread(posts["created_at"], unread, posts["id"]))
    return times


def _readable_time(value: Any) -> Any:
    """Return what pandas can read as a fixed time, or None."""
    if isinstance(value, str):
        if value.strip().casefold() in ("now", "today"):
            return None
        twitter = _TWITTER_TIME.fullmatch(value)
        if twitter:
            name, day, time, zone, year = twitter.groups()
            month = _MONTHS.index(name.casefold()) + 1
            return f"{year}-{month:02}-{int(day):02}T{time}{zone}"
    # A CSV column of 20240309 was read as numbers; pandas would count from 1970.
    return str(value) if isinstance(value, numbers.Number) else value


def _in_utf8(given: pd.Series) -> pd.Series:
    """Return a column without halves of surrogate pairs, which pandas cannot convert.

    Images keep theirs: they stand for bytes of file names.
    """
    if given.dtype != object or encodes(values := given.tolist()):
        return given
    cells = [without_surrogates(v) if isinstance(v, str) else v for v in values]
    return pd.Series(cells, given.index, dtype=object)


def _ids(given: pd.Series | None, n_posts: int) -> Any:
    if given is None:
        return np.arange(n_posts)
    # Beside a fraction, infer_objects would make long integers inexact.
    if given.dtype == object and pd.api.types.infer_dtype(given) != _WITH_FRACTIONS:
        given = given.infer_objects()
    check_undamaged(given)
    keys = pd.Series(as_keys(given, "ids"), dtype=object)
    missing = np.flatnonzero(keys.isna())
    if len(missing):
        raise InputError(
            f"{len(missing)} of {n_posts} posts have no id: expected one for each "
            f"post, and got none in rows {listed(missing[:5].tolist())}. Fill the "
            "column, or leave it out to use row numbers."
        )
    twice = given[keys.duplicated().to_numpy()].drop_duplicates()
    if len(twice):
        raise InputError(
            f"{len(twice)} ids occur more than once: expected another id for each "
            f"post, and got {listed(twice.tolist()[:5])} repeatedly (1, 1.0 and '1' "
            "are the same id). Drop the copies, or leave the column out to use row "
            "numbers."
        )
    return given.reset_index(drop=True)


def _convert(
    cells: Iterable[Any],
    convert: Callable[[Any], Any],
    name: str,
    expected: str,
    ids: Any,
) -> pd.Series:
    """Return the converted cells, as objects."""
    try:
        return pd.Series(list(map(convert, cells)), dtype=object)
    except TypeError:
        unknown = list(_unknown(cells, convert))
        bad = np.isin(np.arange(len(ids)), [row for row, _ in unknown])
        raise InputError(
            f"{name} of {rows_named(bad, ids)} cannot be used: expected {expected}, "
            f"or a missing value, and got {unknown[0][1]} in the first. Convert or "
            "empty these cells."
        ) from None


def _unknown(
    cells: Iterable[Any], convert: Callable[[Any], Any]
) -> Iterator[tuple[int, str]]:
    """Yield the rows of cells that cannot be converted, and why."""
    for row, cell in enumerate(cells):
        try:
            convert(cell)
        except TypeError as error:
            yield row, str(error)


def _text(cell: Any) -> str | None:
    if isinstance(cell, str):
        text = str(cell) if cell.isascii() else without_surrogates(str(cell))
    elif is_missing(cell):
        return None
    elif isinstance(cell, numbers.Number | np.bool_):
        text = str(cell)
    else:
        raise TypeError(type(cell).__name__)
    return text if is_visible(text) else None
