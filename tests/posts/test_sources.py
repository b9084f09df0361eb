"""What becomes of each kind of source, and which files are never opened."""

from __future__ import annotations

import io
import os
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmevent.posts import sources as _sources
from mmevent.posts.images import load_image
from mmevent.posts.sources import STATUSES


def png(color: str = "red", size: tuple[int, int] = (4, 3)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "red.png").write_bytes(png())
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.jpg").write_text("<html>Not found</html>")
    (tmp_path / "outside.png").write_bytes(png("blue"))
    return folder


def status_of(source: Any, root: Path, **options: Any) -> str:
    image, status = load_image(source, image_root=root, **options)
    assert status in STATUSES
    assert (image is None) == (status != "ok")
    return status


@pytest.mark.parametrize(
    "make",
    [
        str,
        Path,
        lambda name: {"bytes": None, "path": name},
        lambda name: {"path": name},
        lambda name: {"bytes": png(), "path": "elsewhere.png"},
        lambda name: png(),
        lambda name: bytearray(png()),
        lambda name: memoryview(png()),
        lambda name: Image.new("L", (4, 3)),
    ],
    ids=[
        "str",
        "Path",
        "datasets path",
        "only path",
        "datasets bytes",
        "bytes",
        "bytearray",
        "memoryview",
        "PIL",
    ],
)
def test_every_kind_of_source_is_read(root: Path, make: Any) -> None:
    image, status = load_image(make("red.png"), image_root=root)
    assert status == "ok"
    assert image is not None
    assert (image.mode, image.size) == ("RGB", (4, 3))


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("none.png", "missing file"),
        ("", "missing file"),
        ("  ", "missing file"),
        (None, "missing file"),
        ({"bytes": None, "path": None}, "missing file"),
        ("red.png/below.png", "missing file"),
        ("nul\0.png", "missing file"),
        ("lone\ud800.png", "missing file"),
        ("x" * 5000, "missing file"),
        ("empty.png", "corrupt"),
        (b"", "corrupt"),
        ("page.jpg", "unsupported"),
        (".", "unsupported"),
        (5, "unsupported"),
        ({"url": "red.png"}, "unsupported"),
        ("../outside.png", "outside root"),
        ("../none.png", "outside root"),
        ("/etc/hostname", "outside root"),
    ],
)
def test_each_broken_source_has_its_status(
    root: Path, source: Any, status: str
) -> None:
    assert status_of(source, root) == status


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.jpg",
        "HTTPS://example.org/a.jpg",
        " https://example.org/a.jpg",
        "ftp://example.org/a.jpg",
        "s3://bucket/a.jpg",
        "gs://bucket/a.jpg",
        "file:///etc/hostname",
        "file:red.png",
        "data:image/png;base64,AAAA",
        "zip://a.jpg::https://example.org/a.zip",
        "//example.org/a.jpg",
        "\\\\host\\share\\a.jpg",
        "\\/host/share/a.jpg",
        "https:\\\\example.org\\a.jpg",
    ],
)
def test_urls_are_remote_and_nothing_is_opened(
    root: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> int:
        raise AssertionError("was opened")

    monkeypatch.setattr(os, "open", refuse)
    assert status_of(url, root) == "remote"
    assert status_of({"bytes": None, "path": url}, root) == "remote"
    assert status_of(url, root, allow_outside_root=True) == "remote"


def test_path_object_of_a_url_is_remote(root: Path) -> None:
    assert status_of(Path("https://example.org/a.jpg"), root) == "remote"


def test_link_out_of_the_root_is_outside(root: Path) -> None:
    (root / "link.png").symlink_to(root.parent / "outside.png")
    (root / "folder").symlink_to(root.parent)
    assert status_of("link.png", root) == "outside root"
    assert status_of("folder/outside.png", root) == "outside root"
    assert status_of("link.png", root, allow_outside_root=True) == "ok"
    assert status_of("../outside.png", root, allow_outside_root=True) == "ok"


def test_link_within_the_root_is_followed(root: Path) -> None:
    (root / "link.png").symlink_to("red.png")
    assert status_of("link.png", root) == "ok"


def test_root_that_is_a_link_holds_its_files(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert status_of("red.png", link) == "ok"
    assert status_of(str(link / "red.png"), root) == "ok"


def test_link_that_loops_is_missing(root: Path) -> None:
    (root / "a.png").symlink_to("b.png")
    (root / "b.png").symlink_to("a.png")
    assert status_of("a.png", root) == "missing file"


def test_absolute_path_within_the_root_is_read(root: Path) -> None:
    assert status_of(str(root / "red.png"), root) == "ok"


def test_folder_with_the_roots_name_as_prefix_is_outside(root: Path) -> None:
    other = root.parent / "root2"
    other.mkdir()
    (other / "red.png").write_bytes(png())
    assert status_of("../root2/red.png", root) == "outside root"


def test_fifo_and_device_do_not_hang(root: Path) -> None:
    os.mkfifo(root / "pipe.png")
    assert status_of("pipe.png", root) == "unsupported"
    assert status_of("/dev/zero", root, allow_outside_root=True) == "unsupported"


@pytest.mark.parametrize("swapped", ["fifo", "link"])
def test_file_that_is_swapped_after_the_check_is_not_read(
    root: Path, swapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = root / "red.png"
    real_open = os.open

    def swap(path: Any, flags: int) -> int:
        target.unlink()
        if swapped == "fifo":
            os.mkfifo(target)
        else:
            target.symlink_to(root.parent / "outside.png")
        return real_open(path, flags)

    monkeypatch.setattr(os, "open", swap)
    expected = "unsupported" if swapped == "fifo" else "missing file"
    assert status_of("red.png", root) == expected


def test_file_that_may_not_be_read_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert status_of("red.png", root) == "missing file"


def test_too_many_bytes_are_too_large(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sources, "MAX_BYTES", 20)
    assert status_of("red.png", root) == "too large"
    assert status_of(png(), root) == "too large"
    assert status_of("empty.png", root) == "corrupt"


def test_too_many_pixels_are_too_large(root: Path) -> None:
    assert status_of("red.png", root, max_pixels=11) == "too large"
    assert status_of("red.png", root, max_pixels=12) == "ok"
    assert status_of(Image.new("L", (4, 3)), root, max_pixels=11) == "too large"


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.recursive(
        st.none() | st.text() | st.binary() | st.integers() | st.floats(),
        lambda inner: (
            st.lists(inner) | st.fixed_dictionaries({"bytes": inner, "path": inner})
        ),
        max_leaves=3,
    )
)
def test_no_source_raises(root: Path, source: Any) -> None:
    status_of(source, root)


@pytest.mark.parametrize("path", ["in\\red.png", ".\\in\\red.png", "in/red", "in\\red"])
def test_paths_as_others_write_them_are_found(root: Path, path: str) -> None:
    (root / "in").mkdir()
    (root / "in" / "red.png").write_bytes(png())
    assert status_of(path, root) == "ok"


def test_a_path_out_of_the_root_by_backslashes_is_outside(root: Path) -> None:
    assert status_of("..\\outside.png", root) == "outside root"


def test_a_name_without_its_end_is_that_of_one_picture(root: Path) -> None:
    (root / "red").write_bytes(png())
    (root / "blue.jpg").write_bytes(png())
    assert status_of("red", root) == "ok"
    assert status_of("blue", root) == "ok"
    (root / "blue.gif").write_bytes(png())
    assert status_of("blue", root) == "missing file"
    assert status_of("page", root) == "unsupported"


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_accents_are_found_in_both_forms(root: Path, stored: str, asked: str) -> None:
    folder, name = (unicodedata.normalize(stored, word) for word in ("Málaga", "é.png"))
    (root / "\u00e9t\u00e9").mkdir()
    (root / "\u00e9t\u00e9" / folder).mkdir()
    (root / "\u00e9t\u00e9" / folder / name).write_bytes(png())
    path = f"\u00e9t\u00e9/{folder}/{name}"
    assert status_of(unicodedata.normalize(asked, path), root) == "ok"


def test_a_file_is_known_without_reading_it(root: Path) -> None:
    with zipfile.ZipFile(root / "a.zip", "w") as file:
        file.writestr("b.png", b"")
    there = ["red.png", ".\\red.png", "red", "a.zip/b.png", "a.zip"]
    assert all(_sources.is_file(path, str(root)) for path in there)
    others = ["blue.png", "a.zip/c.png", "nul\0", "x" * 5000, "file:red.png", "."]
    assert not any(_sources.is_file(path, str(root)) for path in others)
