"""Image sources to RGB pictures, or a status that says why not."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import EllipsisType
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmevent._decoding import decode
from mmevent.exceptions import InputError

__all__ = ["MAX_BYTES", "MAX_PIXELS", "STATUSES", "Images", "Source", "load_image"]

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

MAX_PIXELS = 89_478_485
"""Most pixels of a picture: a quarter of a GiB as RGB, Pillow's own default."""

MAX_BYTES = 200_000_000
"""Most bytes of an encoded picture."""

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image"
    " | Mapping[str, Any]"
)

T = TypeVar("T")
R = TypeVar("R")

_Several: TypeAlias = slice | NDArray[Any] | Sequence[Any]

# Whether a file decodes to its end is seen as well at an eighth of its size.
_SMALL = 1
_AT_ONCE = 1024  # files that wait for a thread

_REMOTE = re.compile(
    r"\s*(?:[a-z][a-z0-9+.\-]+:/|(?:data|file|blob|cid|mailto):|//|\\\\)",
    re.IGNORECASE,
)

# O_NONBLOCK: a FIFO put there after the check must not hang; O_NOFOLLOW: the path
# that was checked has no links left. Windows lacks both.
_OPEN_FLAGS = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
    _OPEN_FLAGS |= getattr(os, _flag, 0)


def load_image(
    source: Source,
    *,
    image_root: str | os.PathLike[str] | None = None,
    allow_outside_root: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Image.Image | None, str]:
    """Read one source as an RGB image, or say why it cannot be used.

    No source raises an error, and none is fetched from a network.

    Parameters
    ----------
    source : str, path, bytes, PIL.Image.Image, or mapping
        A mapping has the keys ``"bytes"`` and ``"path"``, as in the package datasets;
        the bytes are used where they are not None.
    image_root : str or path, default=None
        Folder against which relative paths resolve; None is the working folder.
    allow_outside_root : bool, default=False
        Whether files whose real location, links followed, is outside ``image_root``
        may be opened.
    max_pixels : int, default=89478485
        Most pixels (width times height), judged from the header, before decoding.

    Returns
    -------
    image : PIL.Image.Image or None
        Mode RGB; None unless the status is ``"ok"``. Rotated as EXIF says,
        transparent parts on white, the first frame of an animation. 16 bits a channel
        are scaled to 8; other integers and floats from their own range to 0 to 255.
    status : str
        One of ``STATUSES``:

        - ``"ok"``
        - ``"missing file"``: no such file, or it cannot be opened
        - ``"corrupt"``: empty, or begins as an image and does not decode to its end
        - ``"too large"``: more than ``max_pixels`` or 200 MB, or a decompression bomb
          in Pillow's judgement
        - ``"remote"``: a URL of any scheme, ``data:`` and ``file:`` included, or a
          path on another machine (``//host/...``)
        - ``"unsupported"``: not a JPEG (or MPO), PNG, GIF, WebP, BMP, TIFF, JPEG 2000,
          AVIF, or, where the package pillow-heif is installed, HEIF image (an HTML
          page saved as .jpg, for instance); or not a file (a folder, a device)
        - ``"outside root"``: lies outside ``image_root``, and was not opened

    Raises
    ------
    InputError
        If ``image_root`` is not a folder, or ``max_pixels`` is not above 0.

    Notes
    -----
    Pillow's global settings are read but never changed: where
    ``ImageFile.LOAD_TRUNCATED_IMAGES`` was set elsewhere, truncated files decode, and
    ``Image.MAX_IMAGE_PIXELS`` is a limit beside ``max_pixels``.

    Examples
    --------
    >>> from PIL import Image
    >>> from mmevent.image_io import load_image
    >>> image, status = load_image(Image.new("CMYK", (4, 3)))
    >>> image.mode, image.size, status
    ('RGB', (4, 3), 'ok')
    >>> load_image("https://example.org/photo.jpg")
    (None, 'remote')
    >>> load_image(b"<html>Page not found</html>")
    (None, 'unsupported')
    """
    if not max_pixels > 0:
        raise InputError(
            f"max_pixels={max_pixels!r} is not a number of pixels: expected an integer "
            f"above 0. Leave it out for the default, {MAX_PIXELS}."
        )
    root = check_image_root(image_root)
    return _load(_unwrap(source), root, allow_outside_root, max_pixels)


def check_image_root(image_root: str | os.PathLike[str] | None) -> str:
    """Return the real path of ``image_root`` (None: the working folder)."""
    if image_root is None:
        return os.path.realpath(os.getcwd())
    if not isinstance(image_root, (str, os.PathLike)):
        raise InputError(
            f"image_root={image_root!r} is not a path: expected a folder as str or "
            f"pathlib.Path, or None for the working folder, and got "
            f"{type(image_root).__name__}. Pass the folder that holds the images."
        )
    if not os.path.isdir(image_root):
        found = "a file" if os.path.exists(image_root) else "nothing"
        raise InputError(
            f"image_root={os.fspath(image_root)!r} is not an existing folder: expected "
            f"the folder against which image paths resolve, and found {found} there. "
            "Create it or correct the path; relative paths start at the working "
            f"folder, {os.getcwd()!r}."
        )
    return os.path.realpath(image_root)


class Images(Sequence[Image.Image]):
    """A lazy sequence of RGB images.

    A picture is decoded when it is asked for and is not kept, so that any number fits
    into memory. It can be indexed as an array of shape (n,): by a number, which
    decodes that image, or by a slice, a mask or an array of numbers, which gives
    another `Images` and decodes nothing.

    Parameters
    ----------
    sources : sequence of str, path, bytes, PIL.Image.Image or mapping
        As in `load_image`.
    image_root, allow_outside_root
        As in `load_image`; ``image_root`` is resolved at once, so that a later change
        of the working folder has no effect.

    Raises
    ------
    InputError
        If ``image_root`` is not a folder, or, when indexed by a number, if that image
        is not usable.

    See Also
    --------
    load_image : Read one source.

    Examples
    --------
    >>> from PIL import Image
    >>> from mmevent.image_io import Images
    >>> images = Images([Image.new("L", (2, 2)), b"", "https://example.org/a.png"])
    >>> images.statuses.tolist()
    ['ok', 'corrupt', 'remote']
    >>> usable = images[images.usable]
    >>> usable.shape, usable[0].mode
    ((1,), 'RGB')
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        image_root: str | os.PathLike[str] | None = None,
        allow_outside_root: bool = False,
    ) -> None:
        root = check_image_root(image_root)
        self._store = _Store(list(sources), root, allow_outside_root)
        self._rows: NDArray[np.intp] = np.arange(len(self._store.sources))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Image.Image: ...
    @overload
    def __getitem__(self, key: _Several | tuple[_Several, EllipsisType]) -> Images: ...
    def __getitem__(self, key: Any) -> Image.Image | Images:
        """Return the image at one position, or the `Images` at several."""
        if isinstance(key, tuple):
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(f"Images has one axis, and got an index of {len(key)}")
            key = key[0]
        if not isinstance(key, slice):
            key = np.asarray(key)
            if key.size == 0:
                key = key.astype(np.intp)
        rows = self._rows[key]
        if rows.ndim == 0:
            return self._store.load(int(rows))
        if rows.ndim > 1:
            raise IndexError(f"Images has one axis, and got an index of {rows.ndim}")
        subset = object.__new__(Images)
        subset._store = self._store
        subset._rows = rows
        return subset

    def __repr__(self) -> str:
        return f"<Images: {len(self)} sources, root {self._store.root!r}>"

    @property
    def shape(self) -> tuple[int]:
        """Shape of the sequence as an array, ``(n,)``."""
        return (len(self),)

    @property
    def sources(self) -> list[Source]:
        """The sources as they were given."""
        return [self._store.sources[row] for row in self._rows]

    @property
    def statuses(self) -> NDArray[np.str_]:
        """Status of each source, one of ``STATUSES``; shape (n,).

        The first use decodes each distinct source that was not decoded before.
        """
        self.scan()
        return self._store.statuses(self._rows)

    @property
    def digests(self) -> NDArray[np.str_]:
        """SHA-256 of each source's bytes, in hexadecimal; shape (n,).

        Empty where nothing was read. A ``PIL.Image`` has no file: its digest is that
        of its size and RGB pixels, and never equals a file's. The first use reads
        each distinct source once, and decodes no file.
        """
        self._store.read(self._rows)
        return self._store.digests[self._rows]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Whether the status is ``"ok"``; shape (n,)."""
        return np.equal(self.statuses, "ok")

    def scan(self, *, verbose: bool = False) -> Images:
        """Decode each distinct source whose status is not known yet.

        Parameters
        ----------
        verbose : bool, default=False
            Whether to show a progress bar on the standard error.

        Returns
        -------
        Images
            The same object.
        """
        self._store.read(self._rows, decoding=True, verbose=verbose)
        return self

    def _picture(
        self, position: int, *, least_side: int | None = None
    ) -> Image.Image | None:
        """Decode one image, and learn its status.

        Parameters
        ----------
        position : int
            Which image.
        least_side : int or None, default=None
            Where given, a JPEG may come back smaller, by 2, 4 or 8, as long as both
            its sides have that many pixels.

        Returns
        -------
        PIL.Image.Image or None
            None where the status is not ``"ok"``.
        """
        return self._store.picture(int(self._rows[position]), least_side)

    def _confirm(self, usable: NDArray[np.bool_]) -> None:
        """Take it as known that some images are usable, which are not decoded then.

        Parameters
        ----------
        usable : ndarray of shape (n,)
            Which images are known to decode: their bytes once did.
        """
        self._store.confirm(self._rows[usable])


class _Store:
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

    def statuses(self, rows: NDArray[np.intp]) -> NDArray[np.str_]:
        digests, failures = self.digests[rows], self._failures[rows]
        known = [self._status.get(digest, "") for digest in digests.tolist()]
        return np.where(digests == "", failures, np.array(known, failures.dtype))

    def read(
        self, rows: NDArray[np.intp], *, decoding: bool = False, verbose: bool = False
    ) -> None:
        """Find the digests of sources and, when decoding, their statuses."""
        from tqdm import tqdm

        if not decoding:
            rows = rows[(self.digests[rows] == "") & (self._failures[rows] == "")]
        sources = [_unwrap(self.sources[row]) for row in rows]
        keys = list(map(_key, sources))
        new = {
            key: source
            for key, source in zip(keys, sources, strict=True)
            if not self._is_known(key, decoding)
        }
        found = _in_threads(lambda source: self._inspect(source, decoding), new)
        hidden = not verbose or not decoding or not new
        bar = tqdm(found, "Reading images", len(new), unit="image", disable=hidden)
        self._found |= zip(new, bar, strict=True)
        for row, key in zip(rows, keys, strict=True):
            self.digests[row], self._failures[row] = self._found[key]

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

    def picture(self, row: int, least_side: int | None) -> Image.Image | None:
        if not self.digests[row]:
            self.read(np.array([row]))
        source, digest = _unwrap(self.sources[row]), str(self.digests[row])
        if not digest:
            return None
        content: Any = source
        if not isinstance(source, Image.Image):
            content = _read(source, self.root, self.allow_outside_root)
            if isinstance(content, str):  # it is gone: no word of others like it
                self._found[_key(source)] = "", content
                self.digests[row], self._failures[row] = "", content
                return None
        image, self._status[digest] = decode(content, MAX_PIXELS, least_side)
        return image

    def load(self, row: int) -> Image.Image:
        source = _unwrap(self.sources[row])
        image, status = _load(source, self.root, self.allow_outside_root, MAX_PIXELS)
        if image is None:
            raise InputError(
                f"image {_describe(source)} cannot be used, its status is {status!r}: "
                "expected a picture that decodes. Select the usable ones first, "
                "images[images.usable]."
            )
        return image

    def confirm(self, rows: NDArray[np.intp]) -> None:
        for digest in self.digests[rows].tolist():
            self._status.setdefault(digest, "ok")


def _in_threads(
    function: Callable[[T], R], values: Mapping[Hashable, T]
) -> Iterator[R]:
    """Apply a function to values, in order; hashing and decoding run side by side."""
    n_threads = min(os.cpu_count() or 1, len(values))
    if n_threads <= 1:
        yield from map(function, values.values())
        return
    left = iter(values.values())
    with ThreadPoolExecutor(n_threads) as pool:
        while some := list(islice(left, _AT_ONCE)):
            yield from pool.map(function, some)


def _load(
    source: Any, root: str, allow_outside_root: bool, max_pixels: int
) -> tuple[Image.Image | None, str]:
    if isinstance(source, Image.Image):
        return decode(source, max_pixels)
    content = _read(source, root, allow_outside_root)
    if isinstance(content, str):
        return None, content
    return decode(content, max_pixels)


def _unwrap(source: Any) -> Any:
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
    if _REMOTE.match(path):
        return "remote"
    try:
        real = os.path.realpath(os.path.join(root, path))
        if not allow_outside_root and not Path(real).is_relative_to(root):
            return "outside root"
        if not stat.S_ISREG(os.stat(real).st_mode):
            return "unsupported"
        descriptor = os.open(real, _OPEN_FLAGS)
    except (OSError, ValueError):  # ValueError: NUL or lone surrogate in the path
        return "missing file"
    return _read_descriptor(descriptor)


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
