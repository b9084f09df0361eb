"""The columns that may be meant by a name that no column has."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable
from difflib import get_close_matches

# What exports of other programs call our columns.
_ALIKE = {
    "text": (
        *("text", "tweet", "body", "message", "content", "caption", "post", "status"),
        *("selftext", "description", "comment", "title"),
    ),
    "images": (
        *("image", "photo", "picture", "pic", "img", "media", "attachment"),
        *("thumbnail", "filename", "file"),
    ),
    "id": ("id",),
    "created_at": ("created", "date", "time", "timestamp", "datetime", "published"),
    "group": ("group", "event", "author", "user"),
}
# A name with one of these words is about a text or an image, and is not it.
_ABOUT = {"id", "ids", "count", "lang", "language", "length", "type", "key", "keys"}
_MOST = 4


def near_columns(wanted: Hashable, came: Iterable[Hashable]) -> list[Hashable]:
    """Return the columns that may be meant by a name, the nearest first.

    Parameters
    ----------
    wanted : hashable
        A name that no column has: one of ours, or what the caller wrote.
    came : iterable of hashable
        The names of the columns.

    Returns
    -------
    list of hashable
        At most four: first those that differ by case or by signs alone, then those
        that other programs use for it, then those that are spelled nearly so.

    Examples
    --------
    >>> from mmevent.posts.naming import near_columns
    >>> near_columns("text", ["id", "full_text", "Text", "text_lang", "media"])
    ['Text', 'full_text']
    """
    names = {column: _words(column) for column in came}
    own = _words(wanted)
    same = [column for column, words in names.items() if words == own]
    if wanted in ("text", "images"):
        names = {c: words for c, words in names.items() if not _ABOUT & set(words)}
    alike = [
        column
        for word in _ALIKE.get(str(wanted), ())
        for column, words in names.items()
        if word in {w.removesuffix("s") for w in words}
    ]
    joined = {"".join(words): column for column, words in names.items()}
    spelled = [joined[name] for name in get_close_matches("".join(own), joined)]
    return list(dict.fromkeys([*same, *alike, *spelled]))[:_MOST]


def _words(name: Hashable) -> list[str]:
    """Return the words of a name: "fullText", "full_text" and "Full text" are alike."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(name))
    return re.sub(r"[\W_]+", " ", parted).casefold().split()


def meant(wanted: Hashable, came: Collection[Hashable]) -> str:
    """Return a sentence that proposes columns, or nothing where none is near."""
    if {"data", "annotations"} <= set(came):
        return (
            " It looks like an export of Label Studio: mmevent import-posts --from "
            "labelstudio makes a table of it."
        )
    near = near_columns(wanted, came)
    return f" Perhaps {' or '.join(map(repr, near))} is meant." if near else ""
