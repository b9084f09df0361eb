"""Pictures in one view or more, of any shape, decoded once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from mmevent.encoders.image import ImageModel
from mmevent.encoders.loading import load_model
from mmevent.posts.images import Images


@pytest.mark.parametrize("fixture", ["tiny_image_model", "tiny_timm_model"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 3)])
def test_pictures_of_odd_shape_are_encoded(
    request: pytest.FixtureRequest,
    pictures: list[Image.Image],
    fixture: str,
    size: tuple[int, int],
) -> None:
    model = load_model(ImageModel, request.getfixturevalue(fixture))
    rows = model.encode([pictures[0], Image.new("RGB", size), pictures[1]])
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows[::2], model.encode(pictures[:2]), atol=1e-5)


def test_a_very_long_picture_is_cut_about_its_centre(tiny_image_model: str) -> None:
    model = load_model(ImageModel, tiny_image_model)
    long = Image.new("RGB", (1, 5000))
    middle = Image.new("RGB", (1, 32), (255, 0, 0))
    long.paste(middle, (0, 2484))
    rows = model.encode([long, middle])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_a_picture_that_the_processor_refuses_changes_its_own_row_only(
    tiny_image_model: str,
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = load_model(ImageModel, tiny_image_model)
    monkeypatch.setattr(model, "steps", None)
    monkeypatch.setattr(model, "_twins", [])
    expected = model.encode(pictures[:3])
    process = model.processor

    def choosy(image: Image.Image, **kwargs: Any) -> Any:
        if image.size == (7, 7):
            raise ValueError("cannot take it")
        return process(image, **kwargs)

    monkeypatch.setattr(model, "processor", choosy)
    model._twins.clear()
    rows = model.encode([*pictures[:2], Image.new("RGB", (7, 7)), pictures[2]])
    assert np.isnan(rows[2]).all()
    np.testing.assert_allclose(rows[[0, 1, 3]], expected, atol=1e-5)


def test_status_and_row_come_from_one_look(
    tiny_image_model: str, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(ImageModel, tiny_image_model)
    images = Images([pictures[0], b"", pictures[1], b"<html>"])
    decoded: list[int] = []
    decode = Images.decoded

    def watched(self: Images, position: int, **options: Any) -> Any:
        decoded.append(position)
        return decode(self, position, **options)

    monkeypatch.setattr(Images, "decoded", watched)
    rows, statuses = model.examine(images)
    assert sorted(decoded) == [0, 1, 2, 3]
    assert statuses.tolist() == ["ok", "corrupt", "ok", "unsupported"]
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False, True]


def test_views_stand_side_by_side(tiny_image_model: str) -> None:
    picture = Image.new("RGB", (90, 40), "white")
    picture.paste("red", (0, 0, 20, 40))
    both, centre, whole = (
        load_model(ImageModel, tiny_image_model, views=views).encode([picture])
        for views in (("centre", "whole"), ("centre",), ("whole",))
    )
    assert_allclose(both, np.hstack([centre, whole]), atol=1e-6)
    assert not np.allclose(centre, whole)


def test_both_views_of_a_square_picture_are_encoded_once(
    tiny_image_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_model(ImageModel, tiny_image_model, views=("centre", "whole"))
    given: list[int] = []
    encode_views = encoder._encode_views
    monkeypatch.setattr(
        encoder,
        "_encode_views",
        lambda views: given.append(len(views)) or encode_views(views),
    )
    monkeypatch.setattr(encoder, "_twins", [])
    square, long = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (90, 40), "red")
    rows = encoder.encode([square, long])
    assert given == [3]
    assert_array_equal(*np.split(rows[0], 2))
