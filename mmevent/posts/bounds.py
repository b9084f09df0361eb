"""Bounds on what one picture may ask for: reads, scans, tables, and memory."""

from __future__ import annotations

import io
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_READS = 200_000  # of Pillow, each with some microseconds of Python
_HEADER = 20_000_000  # bytes of a JPEG or PNG before its pixels
_MOST_EXIF = 1_000_000  # bytes
_MOST_SEGMENTS = 16  # of 64 kB, that EXIF data of a JPEG is cut into
_MOST_PROFILES = 4  # colour profiles of a PNG, which has one
_MOST_VALUES = 65_536  # numbers of one tag of a TIFF, such as its strips
_MOST_MARKERS = 200_000  # of a JPEG, each gone over in Python
_MOST_WORK = 2_000_000_000  # pixels that the scans of a JPEG go over
_LEAST_PIXELS = 2_000_000  # which a scan takes the time of
_MOST_RLE_PIXELS = 16_000_000  # of a BMP, which Pillow unpacks in Python

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_BYTE_TYPES = (1, 2, 6, 7)  # of a TIFF's tags, which cost nothing to read
_read = io.BytesIO.read  # quicker than to look for it at each call


class TooMuchWorkError(Exception):
    """A picture asks for more work than its size is worth."""


class BoundedBytes(io.BytesIO):
    """A picture's bytes, which may be read in so many pieces only.

    Pillow goes through chunks, segments and tables in Python, one read at a time. Of
    200 MB that are nothing but empty ones it would take minutes, in which no interrupt
    reaches it.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._reads = _READS
        self._most = 4 * len(content) + _MOST_EXIF
        self._bytes = self._most
        if content.startswith((_JPEG, _PNG)):
            self._bytes = _HEADER

    def opened(self) -> None:
        """Say that the header was read, so that the rest of the file may be."""
        self._bytes = self._most

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, if there was not too much of it."""
        found = _read(self, size)
        self._reads -= 1
        self._bytes -= len(found)
        if self._reads < 0 or self._bytes < 0:
            raise TooMuchWorkError
        return found


def is_bounded(content: bytes) -> bool:
    """Whether a file is too short for many reads, each of which goes on in it."""
    return len(content) < _READS and content.startswith((_JPEG, _PNG))


def check_header(content: bytes) -> None:
    """Refuse a file with parts that Pillow would take minutes for, before it opens it.

    Raises
    ------
    TooMuchWorkError
        If there are too many of them.
    """
    if content.startswith(_JPEG):
        large = len(content) > _MOST_EXIF
        bad = large and content.count(b"Exif\0\0", 0, _HEADER) > _MOST_SEGMENTS
    elif content.startswith(_PNG):
        bad = content.count(b"iCCP") > _MOST_PROFILES
    elif content.startswith(b"BM"):
        bad = _has_large_runs(content)
    else:
        bad = content[:2] in (b"II", b"MM") and _has_large_tables(content)
    if bad:
        raise TooMuchWorkError


def check_opened(content: bytes, pixels: int, exif: object) -> None:
    """Refuse a file whose pixels or EXIF data would take too long.

    Raises
    ------
    TooMuchWorkError
        If they would.
    """
    if isinstance(exif, bytes) and len(exif) > _MOST_EXIF:
        raise TooMuchWorkError
    if content.startswith(_JPEG):
        most = _MOST_WORK // max(pixels, _LEAST_PIXELS)
        # Pictures within the picture are counted too, at first.
        # A scan has ten bytes at least, and its header is shorter than 256.
        # To look for one byte is ten times as quick as to look for three.
        possible = len(content) > 10 * most and content.count(b"\xda") > most
        if (
            possible
            and content.count(b"\xff\xda\0") > most
            and _has_more_scans(content, most)
        ):
            raise TooMuchWorkError


def _has_more_scans(content: bytes, most: int) -> bool:
    """Whether a JPEG has more scans than a number, or too many parts to tell."""
    place, n_scans = len(_JPEG) - 1, 0
    for _ in range(_MOST_MARKERS):
        found = _MARKER.search(content, place)
        if found is None:
            return False
        place, code = found.end(), content[found.end() - 1]
        if code == _END_OF_IMAGE:
            return False
        n_scans += code == _START_OF_SCAN
        if n_scans > most:
            return True
        place += int.from_bytes(content[place : place + 2])
    return True


def _has_large_runs(content: bytes) -> bool:
    """Whether a BMP is compressed and large."""
    if len(content) < 34:
        return False
    width, height, _, compression = struct.unpack_from("<iiII", content, 18)
    return compression in (1, 2) and abs(width * height) > _MOST_RLE_PIXELS


def _has_large_tables(content: bytes) -> bool:
    """Whether a tag of a TIFF's first directory has too many numbers."""
    order = "<" if content.startswith(b"II") else ">"
    big = content[2:3] == b"+"  # as Pillow has it: in "MM\0+" it reads 32 bits
    offset, number, entry = ("Q", "Q", "HHQ8x") if big else ("I", "H", "HHI4x")
    try:
        (start,) = struct.unpack_from(order + offset, content, 8 if big else 4)
        (n_entries,) = struct.unpack_from(order + number, content, start)
        first = start + struct.calcsize(order + number)
        size = struct.calcsize(order + entry) * n_entries
        entries = struct.iter_unpack(order + entry, content[first : first + size])
        return any(
            count > _MOST_VALUES and kind not in _BYTE_TYPES
            for _, kind, count in entries
        )
    except struct.error:  # cut off: Pillow says so too
        return False


class Room:
    """Pixels that all threads together may hold at a time.

    Who asks first gets room first, so that small pictures do not keep a large one
    waiting. A single picture may be as large as all the room.
    """

    def __init__(self, pixels: int) -> None:
        self._all = pixels
        self.renew()

    def renew(self) -> None:
        """Have all room free, as in a forked process: the threads stayed behind."""
        self._free = self._all
        self._door, self._changed = threading.Lock(), threading.Condition()

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """Wait for room, and give it back at the end."""
        pixels, taken = min(pixels, self._all), 0
        try:
            with self._door, self._changed:
                self._changed.wait_for(lambda: self._free >= pixels)
                # At once, so that no interrupt comes between.
                self._free, taken = self._free - pixels, pixels
            yield
        finally:
            with self._changed:
                # A fork may have freed it.
                self._free = min(self._free + taken, self._all)
                self._changed.notify_all()
