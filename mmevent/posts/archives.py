"""Pictures in a zip, read without unpacking it."""

from __future__ import annotations

import io
import os
import stat
import threading
import unicodedata
import zipfile
import zlib
from functools import lru_cache
from pathlib import PurePath

from mmevent.exceptions import InputError

MAX_BYTES = 200_000_000
"""Most bytes of an encoded picture."""

# O_NONBLOCK: a FIFO put there after the check must not hang; O_NOFOLLOW: the path
# that was checked has no links left. Windows lacks both.
OPEN_FLAGS = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
    OPEN_FLAGS |= getattr(os, _flag, 0)

# Most bytes that are read at once: a zip's list of files is read whole, and one of 32
# MB names some 300,000 pictures.
_AT_ONCE = 1 << 25
_CHUNK = 1 << 20
_SAYS_UTF8 = 0x800
_LOCK = threading.Lock()
# The other methods take memory as the zip says, up to gigabytes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError)


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is that of a file whose name ends in .zip."""
    return PurePath(path).suffix.lower() == ".zip" and os.path.isfile(path)


def split_archive(path: str) -> tuple[str, str] | None:
    """Return the zip on a path and the name within it; None where there is no zip."""
    place = PurePath(path)
    for parent in place.parents:
        if is_archive(parent):
            return str(parent), place.relative_to(parent).as_posix()
    return None


def names_in(path: str) -> list[str]:
    """Return the names of the files in a zip, folders left out."""
    found = _find(path)
    if isinstance(found, str):
        raise InputError(
            f"{path!r} is no zip that can be read: expected a whole zip of at most "
            f"some 300,000 files, and got one that is {found}. Make it again, or "
            "unpack it and name the folder."
        )
    return [info.filename for info in found.infolist() if not info.is_dir()]


def has_member(path: str, name: str) -> bool:
    """Tell whether a zip has a file of this name."""
    found = _find(path)
    return not isinstance(found, str) and _member(found, name) is not None


def read_member(path: str, name: str) -> bytes | str:
    """Return the bytes of a file in a zip, or (a str) the status it gets instead.

    Nothing is written, so that a name in the zip can lead nowhere; a link in it is not
    followed.
    """
    try:
        found = _find(path)
        if isinstance(found, str):
            return found
        info = _member(found, name)
        if info is None:
            return "missing file"
        if (status := _refused(info)) is not None:
            return status
        content = bytearray()
        with found.open(info) as stream:
            while len(content) <= MAX_BYTES and (chunk := stream.read(_CHUNK)):
                content += chunk
    except FileNotFoundError:
        return "missing file"
    except (*_BROKEN, NotImplementedError, RuntimeError):
        return "corrupt"
    return "too large" if len(content) > MAX_BYTES else bytes(content)


def _member(found: _Zip, name: str) -> zipfile.ZipInfo | None:
    return found.by_name.get(name) or found.by_name.get(_plain(name))


def _refused(info: zipfile.ZipInfo) -> str | None:
    """Return the status of a file in a zip that is not even opened."""
    special = stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG)
    encrypted = info.flag_bits & 1
    if info.is_dir() or special or encrypted or info.compress_type not in _METHODS:
        return "unsupported"
    return "too large" if info.file_size > MAX_BYTES else None


class _TooLong(zipfile.BadZipFile):
    """The list of a zip's files is too long to be read."""


class _Bounded(io.BufferedReader):
    """A file of which only so much is read at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _AT_ONCE:
            raise _TooLong
        return super().read(size)


class _Zip(zipfile.ZipFile):
    """A zip that knows its files by several names, and closes itself."""

    def __init__(self, file: _Bounded) -> None:
        self._file = file
        super().__init__(file)
        self.by_name = _by_name(self.infolist())

    def close(self) -> None:
        super().close()
        self._file.close()


def _by_name(infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return what a zip holds by name, and by other ways to write the name."""
    found = {info.filename: info for info in infos}
    for info in infos:
        found.setdefault(_plain(info.filename), info)
        if not info.flag_bits & _SAYS_UTF8 and not info.filename.isascii():
            try:  # macOS writes UTF-8 without saying so
                name = info.filename.encode("cp437").decode()
            except UnicodeError:
                continue
            found.setdefault(_plain(name), info)
    return found


def _plain(name: str) -> str:
    """Return a name in one form: with slashes, and with accented letters whole."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _find(path: str) -> _Zip | str:
    """Return a zip that stays open for its many pictures, or else their status."""
    found = os.stat(path)
    # A zip that was written anew is another, and so is that of a forked process.
    with _LOCK:
        return _opened(path, found.st_mtime_ns, found.st_size, os.getpid())


@lru_cache(maxsize=4)
def _opened(path: str, *version: int) -> _Zip | str:
    file = _Bounded(io.FileIO(os.open(path, OPEN_FLAGS)))
    try:
        return _Zip(file)
    except (*_BROKEN, NotImplementedError) as error:
        file.close()
        return "too large" if isinstance(error, _TooLong) else "corrupt"
