"""Image sources to RGB pictures, or a status that says why not.

The status is decided in `sources.py`, for what cannot be read, and in `decoding.py`,
for what does not decode.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import EllipsisType
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from mmevent.exceptions import InputError
from mmevent.posts.archives import MAX_BYTES, is_archive
from mmevent.posts.pillow import MAX_PIXELS
from mmevent.posts.sources import (
    STATUSES,
    Source,
    Store,
    load_source,
    unwrap,
)

__all__ = ["MAX_BYTES", "MAX_PIXELS", "STATUSES", "Images", "Source", "load_image"]

_Several: TypeAlias = slice | NDArray[Any] | Sequence[Any]


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
        Folder, or zip, against which relative paths resolve; None is the working
        folder. A zip on the way of a path, as in ``photos.zip/a.jpg``, is read without
        unpacking it.
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
        - ``"too large"``: more than ``max_pixels`` or 200 MB, a decompression bomb in
          Pillow's judgement, or more work than any usual picture asks for, such as a
          JPEG of hundreds of scans
        - ``"remote"``: a URL of any scheme, ``data:`` and ``file:`` included, or a
          path on another machine (``//host/...``)
        - ``"unsupported"``: not a JPEG (or MPO), PNG, GIF, WebP, BMP, TIFF, JPEG 2000,
          AVIF, or, where the package pillow-heif is installed, HEIF image (an HTML
          page saved as .jpg, for instance); or not a file (a folder, a device, or in a
          zip a link); or encrypted in a zip
        - ``"outside root"``: lies outside ``image_root``, and was not opened

    Raises
    ------
    InputError
        If ``image_root`` is not a folder, or ``max_pixels`` is not above 0.

    Notes
    -----
    What decodes does not depend on Pillow's global settings: while a picture is
    decoded, ``ImageFile.LOAD_TRUNCATED_IMAGES`` and ``Image.MAX_IMAGE_PIXELS`` have
    Pillow's own values, and then again those that they had.

    Examples
    --------
    >>> from PIL import Image
    >>> from mmevent.posts import load_image
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
    return load_source(unwrap(source), root, allow_outside_root, max_pixels)


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
    if not os.path.isdir(image_root) and not is_archive(image_root):
        found = "a file" if os.path.exists(image_root) else "nothing"
        raise InputError(
            f"image_root={os.fspath(image_root)!r} is not an existing folder: expected "
            f"the folder (or the .zip) against which image paths resolve, and found "
            f"{found} there. "
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
    >>> from mmevent.posts import Images
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
        self._store = Store(list(sources), root, allow_outside_root)
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
    def root(self) -> str:
        """Real path of the folder against which relative paths resolve."""
        return self._store.root

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

    def decode(
        self, position: int, *, least_side: int | None = None
    ) -> tuple[Image.Image | None, str]:
        """Decode one image, or say why it cannot be used.

        Parameters
        ----------
        position : int
            Which image.
        least_side : int or None, default=None
            Where given, a JPEG may come back smaller, by 2, 4 or 8, as long as both
            its sides have that many pixels.

        Returns
        -------
        image : PIL.Image.Image or None
            None unless the status is ``"ok"``.
        status : str
            One of ``STATUSES``.
        """
        return self._store.decode(int(self._rows[position]), least_side)

    def decoded(
        self, position: int, *, least_side: int | None = None
    ) -> AbstractContextManager[tuple[Image.Image | None, str]]:
        """Give what `decode` returns, and keep room in memory for it until the end.

        All threads together have room for as many pixels as one picture may have, so
        that memory does not grow with the number of threads.

        Parameters
        ----------
        position, least_side
            As in `decode`.

        Returns
        -------
        context manager
            Of the image and its status. Decode nothing else within.
        """
        return self._store.decoded(int(self._rows[position]), least_side)

    def with_statuses(self, statuses: ArrayLike) -> Images:
        """Return the same images with statuses that are known from elsewhere.

        What is known is not decoded again when ``statuses`` or ``usable`` is asked for.

        Parameters
        ----------
        statuses : array-like of shape (n,)
            One of ``STATUSES`` for each image, or an empty string where nothing is
            known.

        Returns
        -------
        Images
            Others; these are left as they are.

        Raises
        ------
        InputError
            If there is not one status for each image, or one is not known.
        """
        known = np.asarray(statuses, dtype=np.str_)
        unknown = set(known.ravel().tolist()) - {"", *STATUSES}
        if known.shape != self.shape or unknown:
            raise InputError(
                f"statuses do not fit: expected {len(self)}, each one of "
                f"{', '.join(STATUSES)} or empty, got shape {known.shape} with "
                f"{sorted(unknown) or 'known statuses'}. Take them from "
                f"ImageEncoder.encode of the same images."
            )
        other = self[:]
        other._store = self._store.with_statuses(self._rows, known.tolist())
        return other
