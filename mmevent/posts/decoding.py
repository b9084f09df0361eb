"""Encoded bytes to an RGB picture, or a status that says what is wrong."""

from __future__ import annotations

import importlib
import io
from typing import Any, cast

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

# Raster formats only: others (EPS, WMF, ...) start programs or have no fixed size.
# MPO is opened as JPEG, HEIF in `_open`.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF")
_AVIF_BRANDS = (b"avif", b"avis")

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
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source, max_pixels)
        with _open(source) as image:
            return _to_rgb(image, max_pixels, least_side)
    except UnidentifiedImageError:
        begins_as_image = not isinstance(source, Image.Image) and _has_signature(source)
        return None, "corrupt" if begins_as_image or not source else "unsupported"
    # The warning is an error where the caller's filters make it one.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        return None, "too large"
    except Exception:  # damaged files make decoders raise almost anything
        return None, "corrupt"


def _open(content: bytes) -> Image.Image:
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        return Image.open(io.BytesIO(content), formats=formats)
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
    image: Image.Image, max_pixels: int, least_side: int | None = None
) -> tuple[Image.Image | None, str]:
    if image.width * image.height > max_pixels:
        return None, "too large"
    if 0 in image.size:
        return None, "corrupt"
    if least_side is not None:
        image.draft("RGB", (least_side, least_side))
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
    if image.mode in ("P", "PA"):
        image = image.copy()  # its palette is changed by the conversion
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _scale(image: Image.Image) -> Image.Image:
    """Scale one channel of more than 8 bits to 8."""
    values = np.asarray(image)
    if image.mode != "F" and values.min() >= 0 and values.max() <= 65535:
        scaled = (values.astype(np.uint32) + 128) // 257
    else:
        known = np.nan_to_num(values.astype(np.float64))
        low, high = known.min(), known.max()
        scaled = np.rint(255 * (known - low) / ((high - low) or 1.0))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[values == transparent] = 255
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")
