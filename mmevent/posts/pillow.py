"""Pillow as this package needs it, whatever the rest of the process does with it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from PIL import (
    GifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    TiffImagePlugin,
    features,
)

from mmevent._common import shared_context

MAX_PIXELS = 89_478_485
"""Most pixels of a picture: a quarter of a GiB as RGB, Pillow's own default."""

# Parts of Pillow that some builds lack; "heif" is a package of its own.
_PARTS = ("jpg", "libjpeg_turbo", "zlib", "libtiff", "jpg_2000", "webp", "avif")

_SETTINGS: tuple[tuple[Any, str, Any], ...] = (
    (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
    (Image, "MAX_IMAGE_PIXELS", MAX_PIXELS),
    (PngImagePlugin, "MAX_TEXT_CHUNK", 2**20),
    (PngImagePlugin, "MAX_TEXT_MEMORY", 2**26),
    (GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy(0)),
    (TiffImagePlugin, "READ_LIBTIFF", False),
)

# What `warnings.filterwarnings("ignore", module=...)` inserts, but for the cost.
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


@shared_context
def own_settings() -> Iterator[None]:
    """Use Pillow's defaults, and let no filter make an error of its warnings.

    What decodes would else depend on what another part of the process has set, and
    vectors of cut off pictures would stay in the cache for all others. What another
    thread sets in the meantime stays.
    """
    changed = []
    for module, name, wanted in _SETTINGS:
        before = getattr(module, name)
        if before != wanted:
            setattr(module, name, wanted)
            changed.append((module, name, wanted, before))
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    filters.insert(0, _QUIET)
    try:
        yield
    finally:
        if _QUIET in filters:
            filters.remove(_QUIET)
        for module, name, wanted, before in changed:
            if getattr(module, name) == wanted:
                setattr(module, name, before)


def decoders() -> dict[str, str]:
    """Return the versions of the decoders that this process has."""
    found = {name: str(features.version(name)) for name in _PARTS}
    try:
        found["heif"] = version("pillow_heif")
    except PackageNotFoundError:
        found["heif"] = "None"
    return found
