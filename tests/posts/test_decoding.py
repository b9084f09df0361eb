from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib
from contextlib import AbstractContextManager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile

from mmevent.exceptions import DeviceMemoryError
from mmevent.posts.bounds import Room
from mmevent.posts.decoding import decode, decoded

LIMIT = 10_000_000


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    return Image.fromarray(values.astype(np.uint8))


def usable(content: bytes | Image.Image) -> Image.Image:
    image, status = decode(content, LIMIT)
    assert status == "ok"
    assert image is not None
    assert image.mode == "RGB"
    return image


def status_of(content: bytes | Image.Image, max_pixels: int = LIMIT) -> str:
    image, status = decode(content, max_pixels)
    assert (image is None) == (status != "ok")
    return status


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF"]
)
def test_photo_formats_are_read(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow has no {kind}")
    image = usable(encoded(Image.new("RGB", (20, 10), (200, 30, 40)), kind))
    assert image.size == (20, 10)
    assert np.allclose(np.asarray(image)[5, 10], (200, 30, 40), atol=8)


@pytest.mark.parametrize("kind", ["EPS", "PPM", "ICO", "TGA", "PCX", "PDF"])
def test_other_formats_are_unsupported(kind: str) -> None:
    assert status_of(encoded(gradient(), kind)) == "unsupported"


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>404 Not Found</html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0" * 100,
        b"x",
    ],
    ids=["html", "svg", "zeros", "one byte"],
)
def test_what_is_no_image_is_unsupported(content: bytes) -> None:
    assert status_of(content) == "unsupported"


def test_zero_bytes_are_corrupt() -> None:
    assert status_of(b"") == "corrupt"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_corrupt(kind: str, share: float) -> None:
    content = encoded(gradient(200, 200), kind)
    assert status_of(content[: int(share * len(content))]) == "corrupt"


def test_only_a_signature_is_corrupt() -> None:
    assert status_of(encoded(gradient(), "PNG")[:12]) == "corrupt"


def test_animated_gif_gives_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert usable(content).getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize("transparency", [0, b"\0\xff"], ids=["index", "alphas"])
def test_transparent_palette_is_put_on_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = usable(encoded(image, "PNG", transparency=transparency))
    assert result.getpixel((0, 0)) == (255, 255, 255)
    assert result.getpixel((1, 0)) == (200, 100, 50)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_half_transparent_is_mixed_with_white(mode: str) -> None:
    color = (0, 0, 0, 128) if mode == "RGBA" else (0, 128)
    image = usable(encoded(Image.new(mode, (3, 3), color), "PNG"))
    assert image.getpixel((1, 1)) == (127, 127, 127)


def test_transparency_of_a_palette_image_leaves_the_callers_image() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.info["transparency"] = 0
    usable(image)
    assert image.mode == "P"
    assert image.getpalette("RGBA")[:4] == [10, 20, 30, 255]
    assert image.info == {"transparency": 0}


def test_cmyk_becomes_rgb() -> None:
    image = usable(encoded(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = image.getpixel((4, 4))
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    image = usable(encoded(Image.fromarray(values), kind))
    assert np.asarray(image)[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]


def test_transparent_value_of_sixteen_bits_is_white() -> None:
    image = Image.fromarray(np.array([[7, 257]], dtype=np.uint16))
    image.info["transparency"] = 7
    assert np.asarray(usable(image))[0, :, 0].tolist() == [255, 1]


def test_floats_are_scaled_from_their_own_range() -> None:
    image = Image.fromarray(np.array([[-1.0, 0.0, 1.0, np.nan]], dtype=np.float32))
    assert np.asarray(usable(image))[0, :, 0].tolist() == [0, 128, 255, 128]


def test_one_value_of_floats_is_no_error() -> None:
    image = Image.fromarray(np.full((2, 2), 0.5, dtype=np.float32))
    assert np.asarray(usable(image)).max() == 0


def test_integers_beyond_sixteen_bits_are_scaled_from_their_own_range() -> None:
    image = Image.fromarray(np.array([[-5, 100_000]], dtype=np.int32))
    assert np.asarray(usable(image))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(kind: str, orientation: int) -> None:
    # The corner that EXIF says is top left is the red one.
    corner = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1)} | {
        5: (0, 0),
        6: (0, 1),
        7: (1, 1),
        8: (1, 0),
    }
    image = Image.new("RGB", (64, 32), "black")
    across, down = corner[orientation]
    image.paste("red", (48 * across, 16 * down, 48 * across + 16, 16 * down + 16))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    result = usable(encoded(image, kind, exif=exif))
    assert result.size == ((64, 32) if orientation < 5 else (32, 64))
    assert result.getpixel((4, 4))[0] > 200
    assert not result.getexif()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # Pillow's remark, not ours
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_damaged_exif_leaves_the_picture_usable(exif: bytes) -> None:
    assert usable(encoded(gradient(), "JPEG", exif=exif)).size == (40, 30)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_thin_and_tiny_pictures_are_usable(size: tuple[int, int]) -> None:
    assert usable(encoded(Image.new("RGB", size), "PNG")).size == size


@pytest.mark.parametrize("mode", ["1", "L", "YCbCr", "HSV", "LAB", "RGBX", "RGBa"])
def test_modes_of_pillow_become_rgb(mode: str) -> None:
    assert usable(Image.new(mode, (2, 2))).size == (2, 2)


def test_image_without_pixels_is_corrupt() -> None:
    assert status_of(Image.new("RGB", (0, 5))) == "corrupt"


def test_closed_image_is_corrupt() -> None:
    image = Image.open(io.BytesIO(encoded(gradient(), "PNG")))
    image.close()
    assert status_of(image) == "corrupt"


def test_image_that_cannot_become_rgb_is_unsupported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: Image.Image, *args: object) -> Image.Image:
        raise ValueError("conversion not supported")

    monkeypatch.setattr(Image.Image, "convert", refuse)
    assert status_of(gradient()) == "unsupported"


def test_the_result_is_independent_of_the_source() -> None:
    image = gradient()
    usable(image).paste("black", (0, 0, 40, 30))
    assert np.array_equal(np.asarray(image), np.asarray(gradient()))


def huge_png(side: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def test_decompression_bomb_is_too_large() -> None:
    assert status_of(huge_png(100_000)) == "too large"


def test_pixels_are_judged_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: ImageFile.ImageFile) -> None:
        raise AssertionError("was decoded")

    content = encoded(gradient(), "PNG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    assert status_of(content, max_pixels=1199) == "too large"
    assert status_of(content, max_pixels=1200) != "too large"


def exhaust(self: ImageFile.ImageFile) -> None:
    raise MemoryError


def test_image_that_asks_for_more_than_memory_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", exhaust)
    assert status_of(encoded(gradient(), "PNG")) == "too large"


def test_short_memory_is_an_error_and_no_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", exhaust)
    monkeypatch.setattr("mmevent.posts.decoding._BYTES_A_PIXEL", 2**30)
    with pytest.raises(DeviceMemoryError, match="memory is too small for decoding"):
        status_of(encoded(gradient(), "PNG"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "I;16", "I", "F"])
def test_strips_give_what_the_whole_gives(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (30, 40, 4)).astype(np.uint8)
    image = Image.fromarray(values)
    if mode in ("I;16", "I", "F"):
        wide = values[..., 0].astype(float) * 700
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray(wide.astype(np.uint16 if mode == "I;16" else kind))
    elif mode == "P":
        image = image.convert("RGB").convert("P")
        image.info["transparency"] = 3
    else:
        image = image.convert(mode)
    assert image.mode == mode
    whole = np.asarray(usable(image))
    monkeypatch.setattr("mmevent.posts.decoding._STRIP", 170)
    assert np.array_equal(np.asarray(usable(image)), whole)


def test_all_threads_share_the_room_for_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Watched(Room):
        def of(self, pixels: int) -> AbstractContextManager[None]:
            asked.append(pixels)
            return super().of(pixels)

    monkeypatch.setattr("mmevent.posts.decoding._room", Watched(1200))
    large = gradient(400, 300)
    with decoded(encoded(large, "JPEG"), LIMIT, 30) as (image, status):
        assert (status, image is not None and image.size) == ("ok", (50, 38))
    with decoded(encoded(large, "JPEG", progressive=True), LIMIT, 30) as (_, status):
        assert status == "ok"
    assert asked == [50 * 38, 400 * 300]


def test_heif_is_unsupported_without_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    header = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    assert status_of(header + bytes(100)) == "unsupported"


def test_heif_is_read_where_its_package_is_present() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 40))).save(stream)
    image = usable(stream.getvalue())
    assert image.size == (64, 48)
    assert np.allclose(np.asarray(image)[20, 20], (200, 30, 40), atol=8)
    assert "HEIF" not in Image.OPEN


def test_pillows_settings_stay_as_they_are() -> None:
    before = (
        ImageFile.LOAD_TRUNCATED_IMAGES,
        Image.MAX_IMAGE_PIXELS,
        list(warnings.filters),
    )
    status_of(encoded(gradient(), "JPEG")[:500])
    status_of(huge_png(100_000))
    usable(encoded(gradient(), "PNG"))
    assert before == (
        ImageFile.LOAD_TRUNCATED_IMAGES,
        Image.MAX_IMAGE_PIXELS,
        list(warnings.filters),
    )


WHOLE = {
    kind: encoded(gradient(), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF")
}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_images_never_raise(data: st.DataObject) -> None:
    content = bytearray(WHOLE[data.draw(st.sampled_from(sorted(WHOLE)))])
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    length = data.draw(st.integers(0, len(content)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on damaged metadata
        status = status_of(bytes(content[:length]), 100_000)
    assert status in ("ok", "corrupt", "too large", "unsupported")


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"]),
    st.binary(max_size=200),
)
def test_random_bytes_never_raise(signature: bytes, rest: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert status_of(signature + rest, 100_000) in (
            "ok",
            "corrupt",
            "too large",
            "unsupported",
        )
