"""Pictures in a folder or zip, found by the names that an export has for them."""

from __future__ import annotations

import json
import os
import re
import unicodedata
import zipfile
from collections import defaultdict
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from mmevent.exceptions import InputError
from mmevent.posts.archives import is_archive, names_in
from mmevent.posts.sources import ENDS, REMOTE

_METADATA = ".metadata.json"  # 4CAT: which URL is in which file of the zip
_SIZE = re.compile(r":(?:orig|large|medium|small|thumb)$")  # Twitter's, after the name


class Pictures:
    """The pictures in a folder, or in a zip, by name.

    Parameters
    ----------
    place : path
        The folder, with all folders in it, or the zip.

    Raises
    ------
    InputError
        If the place is neither.
    """

    def __init__(self, place: Path) -> None:
        if is_archive(place):
            names = names_in(str(place))
        elif place.is_dir():
            names = _files_in(place)
        else:
            raise InputError(
                f"{str(place)!r} holds no pictures: expected a folder or a .zip. "
                "Correct the path."
            )
        self._of_url = _metadata(place, names)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in names:
            name = _plain(PurePosixPath(path).name)
            stem, end = os.path.splitext(name)
            self._by_name[name].append(path)
            if end in ENDS:
                self._by_stem[stem].append(path)

    def find(self, source: str, post: str, number: int, n_images: int) -> str | None:
        """Return the path of the picture of a post; None where there is not one alone.

        It is looked for by the URL or path, by the last part of it, and by the post's
        id: ``id_1``, ``id_2`` for several, and ``id`` where it has one.
        """
        if (listed := self._of_url.get(source)) is not None:
            return listed
        for path in _names_of(source):
            name = _plain(path).rsplit("/")[-1]
            stem = os.path.splitext(name)[0]
            for found in (self._by_name[name], self._by_stem[stem]):
                if found:
                    return _nearest(path, found)
        stems = [f"{post}_{number}", f"{post}-{number}", *[post][: n_images == 1]]
        found = [path for stem in stems for path in self._by_stem[_plain(stem)]]
        return found[0] if len(found) == 1 else None


def _names_of(source: str) -> list[str]:
    """Return the paths under which a picture may have been saved."""
    source = source.replace("\\", "/")
    if not REMOTE.match(source):
        return [source]
    url = urlsplit(source)
    path = f"{url.netloc}{_SIZE.sub('', url.path)}"
    # wget saves a URL with its query; on Windows it writes "@" for "?".
    queried = [f"{path}{sign}{url.query}" for sign in "?@" if url.query]
    return [*queried, path, unquote(path)]


def _nearest(path: str, found: list[str]) -> str | None:
    """Return the file whose folders are most like those of a path; None for a tie."""
    wanted = _plain(path).split("/")[::-1]

    def likeness(file: str) -> int:
        parts = _plain(file).split("/")[::-1]
        same = [a == b for a, b in zip(parts, wanted, strict=False)]
        return same.index(False) if False in same else len(same)

    best = max(map(likeness, found))
    nearest = [file for file in found if likeness(file) == best]
    return nearest[0] if len(nearest) == 1 else None


def _files_in(folder: Path) -> list[str]:
    return [
        Path(where, name).relative_to(folder).as_posix()
        for where, _, names in os.walk(folder)
        for name in sorted(names)
    ]


def _metadata(place: Path, names: list[str]) -> dict[str, str]:
    """Return the file of each URL, as 4CAT writes it beside the pictures."""
    if _METADATA not in names:
        return {}
    try:
        if place.is_dir():
            content = (place / _METADATA).read_bytes()
        else:
            with zipfile.ZipFile(place) as file:
                content = file.read(_METADATA)
        listed, present = json.loads(content), set(names)
        return {
            url: one["filename"]
            for url, one in listed.items()
            if isinstance(one, dict) and one.get("filename") in present
        }
    except (ValueError, AttributeError, OSError, zipfile.BadZipFile):
        return {}  # names are left to find them by


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()
