"""Pictures in a zip: which are read, and what a zip cannot do."""

from __future__ import annotations

import io
import stat
import unicodedata
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from mmevent.exceptions import InputError
from mmevent.posts import Images, archives, load_image


def png(color: str = "red") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 3), color).save(stream, "PNG")
    return stream.getvalue()


def write_zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def status_of(name: str, root: Path) -> str:
    return load_image(name, image_root=root)[1]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    members = {"in/a.png": png(), "../up.png": png("blue"), "page.jpg": b"<html>"}
    write_zip(folder / "photos.zip", **members)
    return folder


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("photos.zip/in/a.png", "ok"),
        ("photos.zip\\in\\a.png", "ok"),
        ("./photos.zip/in/../in/a.png", "ok"),
        ("photos.zip/none.png", "missing file"),
        ("photos.zip/page.jpg", "unsupported"),
        ("photos.zip/up.png", "missing file"),
        ("photos.zip/../up.png", "missing file"),
        ("photos.zip/../../up.png", "outside root"),
        ("photos.zip", "unsupported"),
        ("none.zip/a.png", "missing file"),
    ],
)
def test_a_zip_on_the_way_of_a_path_is_read(root: Path, name: str, status: str) -> None:
    assert status_of(name, root) == status


def test_a_zip_is_the_root(root: Path) -> None:
    images = Images(["in/a.png", "b.png"], image_root=root / "photos.zip")
    assert images.statuses.tolist() == ["ok", "missing file"]
    assert images[0].size == (4, 3)
    outside = status_of("../other.png", root / "photos.zip")
    assert outside == "outside root"


def test_the_same_bytes_are_the_same_picture_in_a_zip_and_beside_it(
    root: Path,
) -> None:
    (root / "a.png").write_bytes(png())
    images = Images(["a.png", "photos.zip/in/a.png"], image_root=root)
    assert len(set(images.digests.tolist())) == 1


def test_a_zip_that_is_written_anew_is_read_anew(root: Path) -> None:
    assert status_of("new.zip/b.png", root) == "missing file"
    for color in ("red", "blue"):
        write_zip(root / "new.zip", **{"b.png": png(color), color: b""})
        image, _ = load_image("new.zip/b.png", image_root=root)
        assert image is not None
        assert image.getpixel((0, 0)) == (
            (255, 0, 0) if color == "red" else (0, 0, 255)
        )


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_names_with_accents_are_found_in_both_forms(
    root: Path, stored: str, asked: str
) -> None:
    forms = [unicodedata.normalize(form, "été/é.png") for form in (stored, asked)]
    write_zip(root / f"{stored}{asked}.zip", **{forms[0]: png()})
    assert status_of(f"{stored}{asked}.zip/{forms[1]}", root) == "ok"


def test_utf8_names_that_do_not_say_so_are_found(root: Path) -> None:
    path = write_zip(root / "mac.zip", **{"xx.png": png()})
    content = path.read_bytes().replace(b"xx.png", "é.png".encode())
    path.write_bytes(content)
    assert status_of("mac.zip/é.png", root) == "ok"


def test_links_folders_and_locked_files_in_a_zip_are_not_opened(root: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(root / "odd.zip", "w") as file:
        file.writestr(link, "/etc/hostname")
        file.mkdir("folder")
        file.writestr("lzma.png", png(), zipfile.ZIP_LZMA)
        file.writestr("locked.png", png())
    content = bytearray((root / "odd.zip").read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 8] |= 1  # of the last file in the list: it is encrypted
    (root / "odd.zip").write_bytes(bytes(content))
    for name in ("link.png", "folder", "folder/", "lzma.png", "locked.png"):
        expected = "missing file" if name == "folder" else "unsupported"
        assert status_of(f"odd.zip/{name}", root) in (expected, "missing file"), name
    assert status_of("odd.zip/locked.png", root) == "unsupported"
    assert status_of("odd.zip/link.png", root) == "unsupported"


def test_a_link_to_a_zip_outside_is_not_followed(root: Path, tmp_path: Path) -> None:
    write_zip(tmp_path / "outside.zip", **{"a.png": png()})
    (root / "link.zip").symlink_to(tmp_path / "outside.zip")
    assert status_of("link.zip/a.png", root) == "outside root"


def test_a_bomb_is_too_large_before_it_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 100_000)
    write_zip(root / "bomb.zip", **{"a.png": b"\0" * 200_000})
    assert status_of("bomb.zip/a.png", root) == "too large"
    content = (root / "bomb.zip").read_bytes()
    lie = (200_000).to_bytes(4, "little"), (99_999).to_bytes(4, "little")
    (root / "lies.zip").write_bytes(content.replace(*lie))
    assert status_of("lies.zip/a.png", root) == "corrupt"


def test_a_list_of_files_without_end_is_not_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {f"{i:05}.png": b"" for i in range(200)}
    write_zip(root / "many.zip", **{"a.png": png()}, **members)
    assert status_of("many.zip/a.png", root) == "ok"
    archives._opened.cache_clear()
    monkeypatch.setattr(archives, "_AT_ONCE", 5_000)
    assert status_of("many.zip/a.png", root) == "too large"
    with pytest.raises(InputError, match="300,000 files, and got one that is too lar"):
        archives.names_in(str(root / "many.zip"))
    archives._opened.cache_clear()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"PK\x05\x06"])
def test_a_broken_zip_makes_its_pictures_corrupt(root: Path, content: bytes) -> None:
    (root / "broken.zip").write_bytes(content)
    assert status_of("broken.zip/a.png", root) == "corrupt"
    with pytest.raises(InputError, match=r"broken\.zip' is no zip that can be read"):
        archives.names_in(str(root / "broken.zip"))


def test_a_changed_byte_in_a_zip_makes_the_picture_corrupt(root: Path) -> None:
    content = bytearray((root / "photos.zip").read_bytes())
    content[content.index(b"in/a.png") + 20] ^= 255
    (root / "photos.zip").write_bytes(bytes(content))
    assert status_of("photos.zip/in/a.png", root) == "corrupt"


def test_the_files_of_a_zip_are_named(root: Path) -> None:
    found = archives.names_in(str(root / "photos.zip"))
    assert found == ["in/a.png", "../up.png", "page.jpg"]
