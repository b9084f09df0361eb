"""Encoded bytes to an RGB picture, or a status that says what is wrong."""

from __future__ import annotations

import importlib
import io
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from mmevent.exceptions import DeviceMemoryError
from mmevent.posts.bounds import (
    BoundedBytes,
    Room,
    TooMuchWorkError,
    check_header,
    check_opened,
    is_bounded,
)
from mmevent.posts.pillow import MAX_PIXELS, own_settings

# Raster formats only: others (EPS, WMF, ...) start programs or have no fixed size.
# MPO is opened as JPEG, HEIF in `_open`.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF")
_AVIF_BRANDS = (b"avif", b"avis")

_BYTES_A_PIXEL = 24  # that decoding takes at most; JPEG 2000 takes most
_STRIP = 1_000_000  # pixels that are converted at a time
_room = Room(MAX_PIXELS)  # of all pictures that are decoded at the same time
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_room.renew)

_TRANSPOSE: dict[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(
    source: bytes | Image.Image, max_pixels: int, least_side: int | None = None
) -> tuple[Image.Image | None, str]:
    """Return an RGB image and ``"ok"``, or None and the status of the source.

    With `least_side` an encoded JPEG may come back smaller, by 2, 4 or 8, as long as
    both its sides have that many pixels: it then takes half the time.
    """
    with decoded(source, max_pixels, least_side) as found:
        return found


@contextmanager
def decoded(
    source: bytes | Image.Image, max_pixels: int, least_side: int | None = None
) -> Iterator[tuple[Image.Image | None, str]]:
    """Give what `decode` returns, and keep room in memory for it until the end.

    All threads together have room for as many pixels as one picture may have.
    """
    with ExitStack() as held:
        with own_settings():
            found = _attempt(source, max_pixels, least_side, held)
        yield found


def _attempt(
    source: bytes | Image.Image,
    max_pixels: int,
    least_side: int | None,
    held: ExitStack,
) -> tuple[Image.Image | None, str]:
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source, max_pixels, None, held)
        check_header(source)
        with _open(source) as image:
            check_opened(source, image.width * image.height, image.info.get("exif"))
            return _to_rgb(image, max_pixels, least_side, held)
    except UnidentifiedImageError:
        begins_as_image = not isinstance(source, Image.Image) and _has_signature(source)
        return None, "corrupt" if begins_as_image or not source else "unsupported"
    except (Image.DecompressionBombError, TooMuchWorkError):
        return None, "too large"
    except MemoryError:
        _check_memory()
        return None, "too large"
    except Exception:  # damaged files make decoders raise almost anything
        return None, "corrupt"


def _check_memory() -> None:
    """Raise an error if memory is short, so that no status depends on what is free.

    Where it is not, the picture asks for more than any sound one does.
    """
    needed = _BYTES_A_PIXEL * MAX_PIXELS
    try:
        mmap.mmap(-1, needed).close()  # which reserves it and touches none
    except (OSError, MemoryError):
        raise DeviceMemoryError(
            f"the memory is too small for decoding a picture: expected room for the "
            f"largest, {needed / 2**30:.1f} GiB, and there is less. Close other "
            f"programs, or use a machine with more memory."
        ) from None


def _open(content: bytes) -> Image.Image:
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        if is_bounded(content):
            return Image.open(io.BytesIO(content), formats=formats)
        stream = BoundedBytes(content)
        image = Image.open(stream, formats=formats)
        stream.opened()
        return image
    except UnidentifiedImageError:
        if content[4:8] != b"ftyp" or content[8:12] in _AVIF_BRANDS:
            raise
        try:
            pillow_heif = importlib.import_module("pillow_heif")
        except ImportError:
            raise UnidentifiedImageError("HEIF needs pillow-heif") from None
        # Its class, not register_heif_opener(), which would change Pillow's registry.
        return cast(Image.Image, pillow_heif.HeifImageFile(io.BytesIO(content)))


def _has_signature(content: bytes) -> bool:
    """Whether the content begins as one of our formats does."""
    prefix = content[:16]
    if prefix[4:8] == b"ftyp" and prefix[8:12] not in _AVIF_BRANDS:
        return False
    for name in _FORMATS:
        accept = Image.OPEN[name][1] if name in Image.OPEN else None
        # A str is the reason why this build of Pillow lacks the format.
        if accept is not None and accept(prefix) is True:
            return True
    return False


def _to_rgb(
    image: Image.Image,
    max_pixels: int,
    least_side: int | None,
    held: ExitStack,
) -> tuple[Image.Image | None, str]:
    pixels = image.width * image.height
    if pixels > max_pixels:
        return None, "too large"
    if 0 in image.size:
        return None, "corrupt"
    if least_side is not None:
        image.draft("RGB", (least_side, least_side))
    if not image.info.get("progressive"):  # of which all pixels are kept until the end
        pixels = image.width * image.height
    held.enter_context(_room.of(pixels))
    image.load()
    try:
        # Where the caller wants pixels alone, no copy is made of them.
        plain = image.mode == "RGB" and not image.has_transparency_data
        rgb = image if plain and least_side is not None else _flatten(image)
    except (ImportError, KeyError, TypeError, ValueError):
        return None, "unsupported"
    method = _orientation(image)
    if method is not None:
        rgb = rgb.transpose(method)
    # EXIF left here would make a later exif_transpose rotate again.
    rgb.info = {}
    return rgb, "ok"


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TRANSPOSE.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # damaged EXIF does not make the picture unusable
        return None


def _flatten(image: Image.Image) -> Image.Image:
    """Return the loaded image as RGB, transparent parts on white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _scale(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    return _in_strips(image, _on_white)


def _in_strips(
    image: Image.Image, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Convert an image to RGB, a large one in parts that need little room."""
    boxes = _strips(image)
    if len(boxes) == 1:
        return convert(image)
    rgb = Image.new("RGB", image.size)
    for box in boxes:
        rgb.paste(convert(image.crop(box)), box)
    return rgb


def _strips(image: Image.Image) -> list[tuple[int, int, int, int]]:
    step = max(1, _STRIP // image.width)
    tops = range(0, image.height, step)
    return [(0, y, image.width, min(y + step, image.height)) for y in tops]


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("P", "PA"):
        image = image.copy()  # its palette is changed by the conversion
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _scale(image: Image.Image) -> Image.Image:
    """Scale one channel of more than 8 bits to 8."""
    with np.errstate(all="ignore"):
        ranges = [_range(image.crop(box)) for box in _strips(image)]
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        return _in_strips(image, partial(_scaled, low=low, high=high))


def _range(image: Image.Image) -> tuple[float, float]:
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    return float(values.min()), float(values.max())


def _scaled(image: Image.Image, *, low: float, high: float) -> Image.Image:
    values = np.asarray(image)
    if image.mode != "F" and low >= 0 and high <= 65535:
        scaled = (values.astype(np.uint32) + 128) // 257
    else:
        known = np.nan_to_num(values.astype(np.float64))
        scaled = np.rint(255 * (known - low) / ((high - low) or 1.0))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[values == transparent] = 255
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")
