from __future__ import annotations

import gc
import logging
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import Compose, Resize
from transformers.models.convnext import ConvNextImageProcessorPil
from transformers.models.mobilenet_v2 import MobileNetV2ImageProcessorPil
from transformers.models.vit import ViTImageProcessorPil

from mmevent.encoders.preprocessing import (
    checked,
    steps_of_settings,
    steps_of_transforms,
    to_picture,
    to_tensor,
)

PROCESSORS = {
    "shorter side, centre": MobileNetV2ImageProcessorPil(
        size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}
    ),
    "odd margins": MobileNetV2ImageProcessorPil(
        size={"shortest_edge": 41}, crop_size={"height": 32, "width": 32}
    ),
    "squeezed": ViTImageProcessorPil(size={"height": 32, "width": 24}),
    "shorter side by a share": ConvNextImageProcessorPil(size={"shortest_edge": 32}),
    "large, squeezed": ConvNextImageProcessorPil(size={"shortest_edge": 384}),
    "not normalised": ViTImageProcessorPil(
        size={"height": 32, "width": 32}, do_normalize=False
    ),
    "not rescaled": ViTImageProcessorPil(
        size={"height": 32, "width": 32},
        do_rescale=False,
        image_mean=[128, 100, 90],
        image_std=[64, 60, 70],
    ),
}
TRANSFORMS = {
    "open_clip": image_transform_v2(PreprocessCfg(size=(32, 32)), is_train=False),
    "open_clip, squeezed": image_transform_v2(
        PreprocessCfg(size=(32, 24), resize_mode="squash", interpolation="bilinear"),
        is_train=False,
    ),
    "timm": create_transform(input_size=33, crop_pct=0.875, interpolation="bicubic"),
}


@pytest.fixture
def photo() -> Image.Image:
    draw = np.random.default_rng(1)
    small = Image.fromarray(draw.integers(0, 256, (12, 17, 3), dtype=np.uint8))
    return small.resize((170, 120), Image.Resampling.BICUBIC)


def _floats(steps: Any, photo: Image.Image) -> Any:
    return steps.normalise(steps.cut(to_tensor(photo))[None])


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processor_of_transformers_is_followed(name: str, photo: Image.Image) -> None:
    processor = PROCESSORS[name]

    def slow(image: Image.Image) -> Any:
        return processor(image, return_tensors="pt")["pixel_values"]

    steps = checked(partial(steps_of_settings, processor.to_dict()), slow, "a model")
    assert steps is not None
    level = 1 / min(steps.std)  # one of 255
    assert_allclose(_floats(steps, photo), slow(photo), atol=2.01 * level)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_are_followed(name: str, photo: Image.Image) -> None:
    transform = TRANSFORMS[name]

    def slow(image: Image.Image) -> Any:
        return transform(image)[None]

    steps = checked(partial(steps_of_transforms, transform.transforms), slow, "a model")
    assert steps is not None
    level = 1 / min(steps.std)
    assert_allclose(_floats(steps, photo), slow(photo), atol=2.01 * level)


@pytest.mark.parametrize(
    "settings",
    [{}, {"do_resize": True}, {"do_resize": True, "size": {"longest_edge": 32}}],
    ids=str,
)
def test_settings_that_are_not_known_are_left_to_the_processor(settings: Any) -> None:
    assert steps_of_settings(settings) is None


def test_transforms_that_are_not_known_are_left_to_themselves() -> None:
    assert steps_of_transforms([Resize(32)]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"rescale_factor": 1 / 250},
        {"image_std": [0.4, 0.5, 0.5]},
        {"crop_size": {"height": 30, "width": 32}},
        {"size": {"shortest_edge": 38}},
    ],
    ids=str,
)
def test_steps_that_give_something_else_are_not_taken(change: Any) -> None:
    processor = PROCESSORS["shorter side, centre"]

    def slow(image: Image.Image) -> Any:
        return processor(image, return_tensors="pt", **change)["pixel_values"]

    assert (
        checked(partial(steps_of_settings, processor.to_dict()), slow, "a model")
        is None
    )


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (lambda: None, "it is of an unusual kind"),
        (lambda: steps_of_settings(PROCESSORS["squeezed"].to_dict()), "other pixels"),
        (lambda: steps_of_settings({"do_resize": 3, "size": 1}), "fails with"),
    ],
    ids=["unknown", "different", "failing"],
)
def test_the_slower_way_is_logged(
    read: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(image: Image.Image) -> Any:
        processor = PROCESSORS["shorter side, centre"]
        return processor(image, return_tensors="pt")["pixel_values"]

    caplog.set_level(logging.INFO, "mmevent")
    assert checked(read, slow, "a model") is None
    (record,) = caplog.records
    assert record.name == "mmevent.encoders.preprocessing"
    assert "preprocessing of a model itself is used" in record.getMessage()
    assert why in record.getMessage()


def test_decoding_may_leave_twice_the_pixels_that_resizing_asks_for() -> None:
    steps = steps_of_settings(PROCESSORS["shorter side, centre"].to_dict())
    assert steps is not None
    assert steps.least_side == 80


@pytest.mark.parametrize("size", [(170, 120), (1, 1), (6000, 3000)], ids=str)
def test_a_picture_comes_back_from_its_tensor(
    photo: Image.Image, size: tuple[int, int]
) -> None:
    picture = photo.resize(size)
    tensor = to_tensor(picture)
    assert tensor.dtype == torch.uint8
    assert tuple(tensor.shape) == (4, *size[::-1])
    assert np.array_equal(to_picture(tensor), picture)


def test_a_tensor_outlives_its_picture(photo: Image.Image) -> None:
    expected = np.array(photo)
    tensor = to_tensor(photo.copy())
    gc.collect()
    assert np.array_equal(to_picture(tensor), expected)


def test_other_transforms_than_the_usual_are_seen_by_their_result() -> None:
    transform = TRANSFORMS["open_clip"]
    dimmed = Compose([*transform.transforms, lambda pixels: pixels * 0.5])
    read = partial(steps_of_transforms, dimmed.transforms)
    assert checked(read, lambda image: dimmed(image)[None], "a model") is None
