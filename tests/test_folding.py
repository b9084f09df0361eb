"""Batch norms folded into convolutions, and activations in place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from torch import nn
from torch.nn import BatchNorm2d
from transformers.models.resnet.modeling_resnet import ResNetConvLayer

from mmevent._folding import folded, has_foldable
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


def test_activations_work_in_place_where_they_only_predict(
    encoder: ImageEncoder,
) -> None:
    (worker,) = encoder._workers(1)
    plain, lean = (
        [m.inplace for m in model.modules() if isinstance(m, nn.ReLU)]
        for model in (encoder.model, worker.model)
    )
    assert not any(plain)
    assert sum(lean) == 3  # two more follow a sum


def test_what_cannot_be_folded_runs_as_it_is(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    encoder = with_weights(load_encoder(ImageEncoder, tiny_image_model), {}, "float32")
    expected = encoder.encode(pictures[:2])
    other = with_weights(encoder, {}, "float32")
    layer = next(m for m in other.model.modules() if isinstance(m, ResNetConvLayer))
    layer.normalization.register_module("of_another_width", nn.Conv2d(3, 4, 1))
    layer.normalization.register_module("beside", BatchNorm2d(7))
    assert_allclose(other.encode(pictures[:2]), expected, atol=1e-5)
    assert all(norms(twin.model) for twin in other._twins)


def timm_network(name: str) -> Any:
    """Make a small network of timm."""
    return pytest.importorskip("timm").create_model(name, pretrained=False)


def clip_network() -> Any:
    """Make a small residual network of CLIP."""
    module = pytest.importorskip("open_clip.modified_resnet")
    return module.ModifiedResNet((1, 1, 1, 1), 8, 2, image_size=32, width=8)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(partial(timm_network, "test_resnet"), id="residual of timm"),
        # Its norms hold the activations.
        pytest.param(partial(timm_network, "test_efficientnet"), id="efficient"),
        pytest.param(clip_network, id="residual of CLIP"),
    ],
)
def test_networks_of_others_are_folded(make: Callable[[], Any]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().eval()
        for norm in norms(model):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        batch = torch.randn(2, 3, 32, 32)
    lean = folded(model)
    with torch.inference_mode():
        assert_allclose(lean(batch), model(batch), rtol=1e-3, atol=1e-4)
    assert len(norms(lean)) <= 1 < len(norms(model))  # one follows a whole stem
