"""From the bytes of a text file to UTF-8, without a silent guess."""

from __future__ import annotations

import codecs
import re

from mmevent.exceptions import InputError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Their bytes can be UTF-8 by chance, with another meaning.
_LIKE_UTF8 = ("utf-16", "utf-32", "utf-7", "iso2022", "hz")
CONTROLS = re.compile("[\x80-\x9f]")


def check_encoding(encoding: str | None) -> None:
    """Validate that Python knows an encoding of text."""
    try:
        if encoding is not None and codecs.lookup(encoding)._is_text_encoding:
            return
    except LookupError:
        pass
    if encoding is not None:
        raise InputError(
            f"the encoding {encoding!r} is not known: expected a name such as utf-8, "
            "utf-16, latin-1, cp1252 (Western Europe, Windows), cp1251 (Cyrillic) or "
            "gb18030 (Chinese). Correct --encoding, or encoding= in Python."
        )


def to_utf8(data: bytes, path: str, encoding: str | None = None) -> bytes:
    """Return the bytes of a text file in UTF-8, without a byte order mark.

    A file with a byte order mark, or in UTF-8, is read as what it is. The encoding is
    that of other files.

    Raises
    ------
    InputError
        If the file is in neither.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _decoded(data, path, name)
    if data[1:2] == b"\0":
        return _decoded(data, path, "utf-16-le")
    if data[:1] == b"\0":
        return _decoded(data, path, "utf-16-be")
    if encoding is None or not codecs.lookup(encoding).name.startswith(_LIKE_UTF8):
        try:
            data.decode()
            return data
        except UnicodeDecodeError as error:
            if encoding is None:
                raise _not_utf8(data, path, error) from error
    return _decoded(data, path, encoding)


def _decoded(data: bytes, path: str, encoding: str) -> bytes:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8-sig":
            raise _not_utf8(data, path, error, len(codecs.BOM_UTF8)) from error
        raise InputError(
            f"{path!r} is not in the encoding {encoding}: expected text in it, and got "
            f"0x{data[error.start]:02x} at byte {error.start} (counted from 0), in "
            f"line {_line(data, error.start)}. Name another encoding by --encoding "
            "(encoding= in Python), or save the file again as UTF-8."
        ) from error
    if codecs.lookup(encoding).name == "iso8859-1" and (found := CONTROLS.search(text)):
        raise InputError(
            f"{path!r} is not in Latin-1: expected letters and signs, and got "
            f"0x{ord(found[0]):02x}, which has none there, in line "
            f"{_line(data, found.start())}. In the encoding of Windows it is "
            f"{found[0].encode('latin-1').decode('cp1252', 'replace')!r}: name cp1252 "
            "in place of latin-1."
        )
    return text.removeprefix("\ufeff").encode("utf-8", "replace")


def _not_utf8(
    data: bytes, path: str, error: UnicodeDecodeError, skipped: int = 0
) -> InputError:
    place = error.start + skipped
    return InputError(
        f"{path!r} is in another encoding: expected UTF-8, and got 0x{data[place]:02x} "
        f"at byte {place} (counted from 0), in line {_line(data, place)}, which is not "
        "UTF-8. Name its encoding by --encoding (encoding= in Python): cp1252 is usual "
        "in Western Europe on Windows, latin-1 elsewhere. Or save the file again as "
        'UTF-8 (in Excel: "CSV UTF-8").'
    )


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1
