"""The bytes of picture sources, or the status of those that cannot be read."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmevent.exceptions import InputError
from mmevent.posts.archives import (
    MAX_BYTES,
    OPEN_FLAGS,
    has_member,
    read_member,
    split_archive,
)
from mmevent.posts.decoding import decode, decoded
from mmevent.posts.pillow import MAX_PIXELS, decoders

STATUSES = (
    "ok",
    "missing file",
    "corrupt",
    "too large",
    "remote",
    "unsupported",
    "outside root",
)
"""What can be said of a source; only ``"ok"`` is a usable image."""

HOW_TO_DOWNLOAD = (
    "nothing is fetched from a network, so download them first: mmevent import-posts "
    "--urls urls.txt lists them, wget -nc -x -i urls.txt -P pictures fetches them, and "
    "--images pictures finds them"
)
"""What to do about pictures whose status is ``"remote"``."""

ENDS = (
    *(".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".jp2"),
    *(".avif", ".heic", ".heif", ".jfif"),
)
"""How names of pictures end."""

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image"
    " | Mapping[str, Any]"
)

T = TypeVar("T")
R = TypeVar("R")

# What is said of the bytes of a picture, and so of all sources with the same bytes.
_OF_CONTENT = ("ok", "corrupt", "too large", "unsupported")

# Whether a file decodes to its end is seen as well at an eighth of its size.
_SMALL = 1
_AT_ONCE = 1024  # files that wait for a thread

REMOTE = re.compile(
    r"\s*(?:[a-z][a-z0-9+.\-]+:[/\\]|(?:data|file|blob|cid|mailto):|[/\\]{2})",
    re.IGNORECASE,
)
"""How what is not on this machine begins."""


class Store:
    """Sources with what is known of them, shared by an `Images` and its selections."""

    def __init__(
        self, sources: list[Source], root: str, allow_outside_root: bool
    ) -> None:
        self.sources = sources
        self.root = root
        self.allow_outside_root = allow_outside_root
        self._found: dict[Hashable, tuple[str, str]] = {}  # digest and failure
        self.digests = np.zeros(len(sources), dtype="<U64")
        # What has no digest has its status here, and the others by their digest.
        self._failures = np.zeros(len(sources), dtype=f"<U{max(map(len, STATUSES))}")
        self._status: dict[str, str] = {}
        self._decoders: dict[str, str] = {}  # with which statuses were found

    def statuses(self, rows: NDArray[np.intp]) -> NDArray[np.str_]:
        """Return the statuses of some rows, empty where they are not known."""
        digests, failures = self.digests[rows], self._failures[rows]
        known = [self._status.get(digest, "") for digest in digests.tolist()]
        return np.where(digests == "", failures, np.array(known, failures.dtype))

    def read(
        self, rows: NDArray[np.intp], *, decoding: bool = False, verbose: bool = False
    ) -> None:
        """Find the digests of sources and, when decoding, their statuses."""
        from tqdm import tqdm

        if decoding:
            self._forget_unsupported()
        else:
            rows = rows[(self.digests[rows] == "") & (self._failures[rows] == "")]
        sources = [unwrap(self.sources[row]) for row in rows]
        keys = list(map(_key, sources))
        new = {
            key: source
            for key, source in zip(keys, sources, strict=True)
            if not self._is_known(key, decoding)
        }
        found = _in_threads(lambda source: self._inspect(source, decoding), new)
        hidden = not verbose or not decoding or not new
        bar = tqdm(found, "Reading images", len(new), unit="image", disable=hidden)
        with closing(found):  # an interrupt leaves nothing to its threads
            self._found |= zip(new, bar, strict=True)
        for row, key in zip(rows, keys, strict=True):
            self.digests[row], self._failures[row] = self._found[key]

    def _forget_unsupported(self) -> None:
        """Try formats again, if this process has got other decoders since."""
        found = decoders()
        if found != self._decoders:
            known = self._status.items()
            self._status = {k: v for k, v in known if v != "unsupported"}
            self._decoders = found

    def _is_known(self, key: Hashable, decoding: bool) -> bool:
        digest, failure = self._found.get(key, ("", ""))
        if decoding and digest:
            return digest in self._status
        return bool(digest or failure)

    def _inspect(self, source: Any, decoding: bool) -> tuple[str, str]:
        """Return a source's digest, or else why it has none."""
        if isinstance(source, Image.Image):
            image, status = decode(source, MAX_PIXELS)
            if image is None:
                return "", status
            digest = _digest_pixels(image)
            self._status[digest] = status
            return digest, ""
        content = _read(source, self.root, self.allow_outside_root)
        if isinstance(content, str):
            return "", content
        digest = hashlib.sha256(content).hexdigest()
        if decoding and digest not in self._status:
            self._status[digest] = decode(content, MAX_PIXELS, _SMALL)[1]
        return digest, ""

    def with_statuses(self, rows: NDArray[np.intp], statuses: list[str]) -> Store:
        """Return a copy that knows the statuses of some rows; "" says nothing."""
        self.read(rows)
        other = copy(self)
        other._found, other._status = dict(self._found), dict(self._status)
        other.digests, other._failures = self.digests.copy(), self._failures.copy()
        for row, status in zip(rows.tolist(), statuses, strict=True):
            digest = str(self.digests[row])
            if not digest or not status:
                continue
            if status in _OF_CONTENT:
                other._status.setdefault(digest, status)
            else:  # it went after its digest was taken: no word of others like it
                other._found[_key(unwrap(self.sources[row]))] = "", status
                other.digests[row], other._failures[row] = "", status
        return other

    def decode(
        self, row: int, least_side: int | None = None
    ) -> tuple[Image.Image | None, str]:
        """Decode one source, which is read again; nothing is kept."""
        with self.decoded(row, least_side) as found:
            return found

    @contextmanager
    def decoded(
        self, row: int, least_side: int | None
    ) -> Iterator[tuple[Image.Image | None, str]]:
        """Give what `decode` returns, with room in memory until the end."""
        source = unwrap(self.sources[row])
        if not isinstance(source, Image.Image):
            source = _read(source, self.root, self.allow_outside_root)
        if isinstance(source, str):
            yield None, source
            return
        with decoded(source, MAX_PIXELS, least_side) as found:
            yield found

    def load(self, row: int) -> Image.Image:
        """Decode one source, or raise an InputError that names it."""
        image, status = self.decode(row)
        if image is None:
            raise InputError(
                f"image {_describe(unwrap(self.sources[row]))} cannot be used, its "
                f"status is {status!r}: expected a picture that decodes. Select the "
                f"usable ones first, images[images.usable]."
            )
        return image


def _in_threads(
    function: Callable[[T], R], values: Mapping[Hashable, T]
) -> Generator[R, None, None]:
    """Apply a function to values, in order; hashing and decoding run side by side."""
    n_threads = min(os.cpu_count() or 1, len(values))
    if n_threads <= 1:
        yield from map(function, values.values())
        return
    left = iter(values.values())
    with ThreadPoolExecutor(n_threads) as pool:
        while some := list(islice(left, _AT_ONCE)):
            yield from pool.map(function, some)


def load_source(
    source: Any, root: str, allow_outside_root: bool, max_pixels: int
) -> tuple[Image.Image | None, str]:
    """Decode one source, or say why it cannot be used."""
    if isinstance(source, Image.Image):
        return decode(source, max_pixels)
    content = _read(source, root, allow_outside_root)
    if isinstance(content, str):
        return None, content
    return decode(content, max_pixels)


def unwrap(source: Any) -> Any:
    """Return the bytes of a mapping of datasets, or else its path."""
    if not isinstance(source, Mapping) or not ("bytes" in source or "path" in source):
        return source
    content = source.get("bytes")
    return source.get("path") if content is None else content


def _key(source: Any) -> Hashable:
    """Return what two equal sources share; the store keeps the objects alive."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    return id(source)


def _describe(source: Any) -> str:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"of {len(source)} bytes"
    return repr(source)


def _digest_pixels(image: Image.Image) -> str:
    digest = hashlib.sha256(f"RGB {image.width}x{image.height}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _read(source: Any, root: str, allow_outside_root: bool) -> bytes | str:
    """Return the bytes of a source, or (a str) the status that it gets instead."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
        return "too large" if len(content) > MAX_BYTES else content
    if source is None:
        return "missing file"
    if not isinstance(source, (str, os.PathLike)):
        return "unsupported"
    path = os.fsdecode(source)
    if not path.strip():
        return "missing file"
    if REMOTE.match(path):
        return "remote"
    for spelled in _spellings(path, root):
        found = _read_path(spelled, root, allow_outside_root)
        if found != "missing file":
            return found
    return "missing file"


def _read_path(path: str, root: str, allow_outside_root: bool) -> bytes | str:
    """Return the bytes of a file, in a folder or in a zip, or the status instead."""
    try:
        real = os.path.realpath(os.path.join(root, path))
    except (OSError, ValueError):  # ValueError: NUL or lone surrogate in the path
        return "missing file"
    if not allow_outside_root and not Path(real).is_relative_to(root):
        return "outside root"
    try:
        if not stat.S_ISREG(os.stat(real).st_mode):
            return "unsupported"
        descriptor = os.open(real, OPEN_FLAGS)
    except (OSError, ValueError):
        in_zip = split_archive(real) if ".zip" in real.lower() else None
        return read_member(*in_zip) if in_zip else "missing file"
    return _read_descriptor(descriptor)


def is_file(path: str, root: str) -> bool:
    """Tell whether a path names a file in a folder or in a zip, which is not read."""
    if REMOTE.match(path):
        return False
    for spelled in _spellings(path, root):
        with suppress(OSError, ValueError):
            real = os.path.realpath(os.path.join(root, spelled))
            if os.path.isfile(real):
                return True
            in_zip = split_archive(real) if ".zip" in real.lower() else None
            if in_zip and has_member(*in_zip):
                return True
    return False


def _spellings(path: str, root: str) -> Iterator[str]:
    """Yield a path as it is written, and as others would write the same path.

    Windows separates folders by backslashes; macOS writes "é" as two characters (NFD)
    where others write one (NFC); and some tables leave the end of the name out.
    """
    yield path
    if "\\" in path:
        yield (path := path.replace("\\", "/"))
    if not path.isascii():
        yield _as_on_disk(path, root)
    if not os.path.splitext(path)[1]:
        yield from _with_end(path, root)


def _as_on_disk(path: str, root: str) -> str:
    """Return a path whose folders and name have their accents as the disk has them."""
    found = ""
    for part in path.split("/"):
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        tried = [f"{found}{form}" for form in forms]
        exists = [one for one in tried if os.path.lexists(os.path.join(root, one))]
        found = f"{(exists or tried)[0]}/"
    return found[:-1]


def _with_end(path: str, root: str) -> Iterator[str]:
    """Yield the one picture whose name is this path with an end such as .jpg."""
    found = {}
    for end in ENDS:
        for written in (end, end.upper()):
            with suppress(OSError, ValueError):
                file = os.stat(os.path.join(root, f"{path}{written}"))
                found[file.st_dev, file.st_ino] = f"{path}{written}"
    if len(found) == 1:
        yield from found.values()


def _read_descriptor(descriptor: int) -> bytes | str:
    with open(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return "unsupported"
        if found.st_size > MAX_BYTES:
            return "too large"
        try:
            # No more than needed is asked for: room for it would be made first.
            content = stream.read(found.st_size + 1)
            if len(content) > found.st_size:  # it has grown
                content += stream.read(MAX_BYTES)
        except OSError:
            return "corrupt"
    return "too large" if len(content) > MAX_BYTES else content
