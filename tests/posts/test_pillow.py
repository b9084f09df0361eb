"""What decodes, whatever the process has set for Pillow."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, ImageFile, PngImagePlugin

from mmevent.posts import pillow
from mmevent.posts.decoding import decode
from mmevent.posts.images import Images
from mmevent.posts.pillow import decoders, own_settings


def encoded(kind: str, **options: object) -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (30, 40, 3))
    stream = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


def status_of(content: bytes) -> str:
    return decode(content, 10_000)[1]


@pytest.mark.parametrize(
    ("module", "name", "value", "content", "status"),
    [
        (ImageFile, "LOAD_TRUNCATED_IMAGES", True, encoded("JPEG")[:900], "corrupt"),
        (Image, "MAX_IMAGE_PIXELS", 100, encoded("PNG"), "ok"),
        (
            PngImagePlugin,
            "MAX_TEXT_CHUNK",
            1,
            encoded("PNG", icc_profile=b"a" * 99),
            "ok",
        ),
    ],
    ids=["truncated", "pixels", "chunks"],
)
def test_a_status_does_not_depend_on_settings_of_others(
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    value: Any,
    content: bytes,
    status: str,
) -> None:
    monkeypatch.setattr(module, name, value)
    assert status_of(content) == status
    assert getattr(module, name) == value


@pytest.mark.parametrize("action", ["error", "default", "ignore"])
def test_warnings_of_pillow_decide_nothing(action: Any) -> None:
    content = encoded("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter(action)
        filters = list(warnings.filters)
        assert status_of(content) == "ok"
        assert filters == warnings.filters
    assert not seen


def test_what_another_thread_sets_meanwhile_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    monkeypatch.setattr(GifImagePlugin, "LOADING_STRATEGY", 1)
    with own_settings():
        Image.MAX_IMAGE_PIXELS = 2
    assert Image.MAX_IMAGE_PIXELS == 2
    assert GifImagePlugin.LOADING_STRATEGY == 1


def test_a_format_is_tried_again_once_its_decoder_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = encoded("WEBP")
    images = Images([content, b"<html>"])
    opened = dict(Image.OPEN)
    monkeypatch.setattr(Image, "OPEN", {"PNG": opened["PNG"]})
    monkeypatch.setattr(pillow, "_PARTS", ())
    assert images.statuses.tolist() == ["unsupported"] * 2
    monkeypatch.undo()
    assert images.statuses.tolist() == ["ok", "unsupported"]


def test_heif_is_a_decoder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    without = decoders()
    monkeypatch.setattr(pillow, "version", lambda name: "9.9")
    assert decoders() == without | {"heif": "9.9"}
