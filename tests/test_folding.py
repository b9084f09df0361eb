"""Batch norms folded into convolutions, and activations in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from torch.nn import BatchNorm2d
from transformers.models.resnet.modeling_resnet import ResNetConvLayer

from mmevent._folding import has_foldable
from mmevent._image_encoder import ImageEncoder
from mmevent._loading import load_encoder, with_weights


@pytest.fixture
def encoder(tiny_image_model: str) -> ImageEncoder:
    """An encoder whose batch norms have seen something."""
    encoder = with_weights(load_encoder(ImageEncoder, tiny_image_model), {}, "float32")
    draw = torch.Generator().manual_seed(0)
    for norm in norms(encoder.model):
        norm.running_mean.normal_(generator=draw)
        norm.running_var.uniform_(0.5, 2, generator=draw)
    return encoder


def norms(model: Any) -> list[BatchNorm2d]:
    """Find a model's batch norms."""
    return [module for module in model.modules() if isinstance(module, BatchNorm2d)]


def plain(encoder: ImageEncoder, picture: Image.Image) -> np.ndarray:
    """Return the features that the model itself gives."""
    with torch.inference_mode():
        batch = encoder._floats(torch.stack(encoder._views(picture)))
        return encoder._compute(batch).ravel().numpy()


def test_folded_norms_give_the_same_features(
    encoder: ImageEncoder, pictures: list[Image.Image]
) -> None:
    rows = encoder.encode(pictures[:3], batch_size=1)
    for row, picture in zip(rows, pictures, strict=False):
        assert_allclose(row, plain(encoder, picture), rtol=1e-4, atol=1e-5)
    assert encoder._twins
    assert not any(norms(twin.model) for twin in encoder._twins)
    assert norms(encoder.model)


def test_a_norm_that_does_not_follow_its_neighbour_is_not_folded(
    encoder: ImageEncoder, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    def otherwise(layer: Any, pixels: torch.Tensor) -> torch.Tensor:
        return layer.normalization(layer.activation(layer.convolution(pixels)))

    monkeypatch.setattr(ResNetConvLayer, "forward", otherwise)
    (row,) = encoder.encode(pictures[:1])
    assert_allclose(row, plain(encoder, pictures[0]), rtol=1e-5)
    assert all(norms(twin.model) for twin in encoder._twins)


def test_features_of_folded_norms_are_others_in_the_cache(
    encoder: ImageEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = encoder.identity
    monkeypatch.setitem(vars(encoder), "_is_foldable", False)
    assert encoder.identity != before


def test_a_transformer_has_none(tiny_timm_model: str) -> None:
    assert not has_foldable(load_encoder(ImageEncoder, tiny_timm_model).model)
