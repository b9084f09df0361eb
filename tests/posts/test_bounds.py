"""Pictures that would take minutes or all memory, each refused at once."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from contextlib import nullcontext

import pytest
from PIL import Image

from mmevent.posts.bounds import (
    BoundedBytes,
    Room,
    TooMuchWorkError,
    check_header,
    check_opened,
)
from mmevent.posts.decoding import decode

LARGE = 9459  # pixels a side: nearly as many as a picture may have


def encoded(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 30, 90)).save(stream, kind, **options)
    return stream.getvalue()


def status_of(content: bytes) -> str:
    return decode(content, LARGE**2, 1)[1]


def scans(number: int, side: int, *, progressive: bool = True) -> bytes:
    """Return a JPEG with its last scan repeated, and another size in its header."""
    content = encoded("JPEG", progressive=progressive)
    last, end = content.rfind(b"\xff\xda"), content.rfind(b"\xff\xd9")
    more = content[:end] + content[last:end] * number + content[end:]
    changed = bytearray(more)
    place = changed.find(b"\xff\xc2" if progressive else b"\xff\xc0")
    changed[place + 5 : place + 9] = struct.pack(">HH", side, side)
    return bytes(changed)


@pytest.mark.parametrize("progressive", [True, False])
def test_a_jpeg_of_many_scans_is_too_large(progressive: bool) -> None:
    assert status_of(scans(30, LARGE, progressive=progressive)) == "too large"


def test_a_small_jpeg_may_have_some_more_scans() -> None:
    assert status_of(scans(90, 16)) == "ok"
    assert status_of(scans(1100, 16)) == "too large"


def test_scans_of_pictures_within_a_jpeg_are_not_its_own() -> None:
    content = encoded("JPEG", progressive=True)
    thumbnail = b"\xff\xda\0" * 3000
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert status_of(content[:2] + segment + content[2:] + thumbnail) == "ok"


@pytest.mark.parametrize(("number", "bad"), [(1_000, False), (200_001, True)])
def test_segments_among_scans_are_counted_too(number: int, bad: bool) -> None:
    content, empty = encoded("JPEG"), b"\xff\xfe\0\x02"
    thumbnail = b"\xff\xe1" + struct.pack(">H", 6002) + b"\xff\xda\0" * 2000
    whole = content[:2] + empty * number + thumbnail + content[2:]
    with pytest.raises(TooMuchWorkError) if bad else nullcontext():
        check_opened(whole, 256, None)


def chunk(name: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


def png(more: bytes = b"", within: bytes = b"") -> bytes:
    content = encoded("PNG")
    header, pixels = content[:33], content.find(b"IDAT") - 4
    return header + more + content[33:pixels] + within + content[pixels:]


def exif(count: int) -> bytes:
    """Return EXIF data whose resolution is said to be so many fractions."""
    head = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1)
    return head + struct.pack("<HHII", 282, 5, count, 26) + bytes(4 + 8 * count)


def jpeg_segments(*segments: bytes) -> bytes:
    content = encoded("JPEG")
    parts = [b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments]
    return content[:2] + b"".join(parts) + content[2:]


def long_exif() -> bytes:
    data = exif(150_000)
    pieces = [data[6 + i : 6 + i + 60_000] for i in range(0, len(data) - 6, 60_000)]
    return jpeg_segments(*(b"Exif\0\0" + piece for piece in pieces))


def tiff(kind: int, count: int, *, big: bool = False) -> bytes:
    tags = [(256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 1), (273, kind, count, 200), (278, 4, 1, 1)]
    tags += [(279, 4, count, 200)]
    form = "<HHQQ" if big else "<HHII"
    table = b"".join(struct.pack(form, *tag) for tag in tags)
    start = struct.pack("<HHQQ", 8, 0, 16, len(tags)) if big else b"\x08\0\0\0\x08\0"
    return (
        (b"II+\0" if big else b"II*\0")
        + start
        + table.ljust(300, b"\0")
        + bytes(4 * count)
    )


def bmp() -> bytes:
    side = 5000
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078, 0, 0, 1078) + head + bytes(1024 + 2000)


MANY = 210_000
ATTACKS: dict[str, Callable[[], bytes]] = {
    "empty segments of a JPEG": lambda: (
        encoded("JPEG")[:2] + b"\xff\xfe\0\2" * MANY + encoded("JPEG")[2:]
    ),
    "fill bytes of a JPEG": lambda: (
        encoded("JPEG")[:2] + b"\xff" * MANY + encoded("JPEG")[2:]
    ),
    "long EXIF of a JPEG": long_exif,
    "long EXIF of a WebP": lambda: encoded("WEBP", exif=exif(150_000)),
    "metadata of a JPEG": lambda: jpeg_segments(*[bytes(65_000)] * 310),
    "empty chunks of a PNG": lambda: png(chunk(b"teST", b"") * MANY),
    "empty pixels of a PNG": lambda: png(within=chunk(b"IDAT", b"") * MANY),
    "profiles of a PNG": lambda: png(
        chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10))) * 5
    ),
    "extensions of a GIF": lambda: (
        encoded("GIF")[:13] + b"!\xfe\0" * MANY + encoded("GIF")[13:]
    ),
    "strips of a TIFF": lambda: tiff(4, 70_000),
    "strips of a BigTIFF": lambda: tiff(4, 70_000, big=True),
    "fractions of a TIFF": lambda: tiff(5, 70_000),
    "runs of a BMP": bmp,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_work_without_end_is_too_large(name: str) -> None:
    assert status_of(ATTACKS[name]()) == "too large"


@pytest.mark.parametrize(
    "content",
    [
        png(chunk(b"tEXt", b"a\0b") * 500),
        jpeg_segments(*[bytes(60_000)] * 20),
        encoded("WEBP", exif=exif(100)),
        encoded("TIFF", compression="tiff_lzw"),
    ],
    ids=["texts", "segments", "EXIF", "TIFF"],
)
def test_usual_metadata_do_no_harm(content: bytes) -> None:
    assert status_of(content) == "ok"


def test_a_table_that_is_cut_off_is_left_to_pillow() -> None:
    assert status_of(tiff(4, 4)[:20]) == "corrupt"
    assert status_of(b"BM" + bytes(20)) == "corrupt"


def test_bytes_are_read_a_few_times_over_and_no_more() -> None:
    stream = BoundedBytes(bytes(2_000_000))
    stream.opened()
    for _ in range(4):
        stream.seek(0)
        stream.read()
    with pytest.raises(TooMuchWorkError):
        stream.seek(0) or stream.read()


def test_a_large_table_is_found_where_pillow_sees_it() -> None:
    table = struct.pack(">HHHII", 1, 273, 4, 70_000, 200)
    for mark in (b"MM\0*", b"MM\0+", b"MM*\0"):
        with pytest.raises(TooMuchWorkError):
            check_header(mark + struct.pack(">I", 8) + table)


def test_an_interrupt_keeps_no_room() -> None:
    class Interrupted:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            raise KeyboardInterrupt

    room = Room(10)
    door, room._door = room._door, Interrupted()
    with pytest.raises(KeyboardInterrupt), room.of(6):
        pass
    room._door = door
    assert room._free == 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows starts processes anew")
def test_a_forked_process_has_all_room() -> None:
    code = """
import os, signal
from mmevent.posts.decoding import _room
with _room.of(10**9):
    child = os.fork()
    if child == 0:
        signal.alarm(3)  # ends what waits for ever
        with _room.of(10**9):
            os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_room_is_given_in_turn() -> None:
    room, order = Room(10), []
    waiting = threading.Event()

    def ask(name: str, pixels: int) -> None:
        waiting.set()
        with room.of(pixels):
            order.append(name)

    with room.of(6):
        large = threading.Thread(target=ask, args=("large", 999))
        large.start()
        waiting.wait(10)
        while not room._door.locked():
            pass
        small = threading.Thread(target=ask, args=("small", 1))
        small.start()
        assert not order
    large.join(10)
    small.join(10)
    assert order == ["large", "small"]
    with room.of(10):
        pass
