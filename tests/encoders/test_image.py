"""Images to the input of a network's classifying layer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmevent.encoders.base import embed
from mmevent.encoders.image import ImageModel
from mmevent.encoders.loading import load_model


def _keys(images: list[Image.Image]) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def test_images_become_the_input_of_the_classifying_layer(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    model = load_model(ImageModel, tiny_image_model)
    pixels = model.processor(pictures[0], return_tensors="pt")["pixel_values"]
    pooled = model.network.resnet(pixels).pooler_output.flatten()
    # Pillow resizes there and torch here, which round differently.
    np.testing.assert_allclose(model.encode(pictures[:1])[0], pooled, atol=1e-2)


def test_timm_images_become_the_input_of_the_classifying_layer(
    tiny_timm_model: str, pictures: list[Image.Image]
) -> None:
    model = load_model(ImageModel, tiny_timm_model)
    pixels = model.processor(pictures[0], return_tensors="pt")["pixel_values"]
    timm_model = model.network.timm_model
    pooled = timm_model.forward_head(
        timm_model.forward_features(pixels), pre_logits=True
    )
    np.testing.assert_allclose(model.encode(pictures[:1])[0], pooled[0], atol=1e-2)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 60])
def test_an_image_is_encoded_alike_in_any_batch_and_order(
    tiny_image_model: str,
    pictures: list[Image.Image],
    batch_size: int,
    n_threads: int,
    threads: Any,
) -> None:
    threads(n_threads)
    model = load_model(ImageModel, tiny_image_model)
    order = np.random.default_rng(0).permutation(len(pictures))
    alone = np.vstack([model.encode([picture]) for picture in pictures])
    rows = model.encode([pictures[i] for i in order], batch_size=batch_size)
    np.testing.assert_allclose(rows, alone[order], atol=1e-5)


@pytest.mark.parametrize("fixture", ["tiny_image_model", "tiny_timm_model"])
def test_a_saved_image_encoder_is_the_same_encoder(
    request: pytest.FixtureRequest,
    pictures: list[Image.Image],
    tmp_path: Path,
    fixture: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = load_model(ImageModel, request.getfixturevalue(fixture))
    capfd.readouterr()  # what the making of the model wrote
    model.save(tmp_path / "new")
    again = load_model(ImageModel, str(tmp_path / "new"))
    assert again.identity == model.identity
    rows = embed(again, pictures, _keys(pictures)).rows
    np.testing.assert_allclose(rows, model.encode(pictures), atol=1e-6)
    assert capfd.readouterr() == ("", "")
