"""A model's own preprocessing of pictures, as few operations on whole batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

# Decoding may leave this many times the pixels a side that resizing asks for, as
# Pillow's own thumbnails do.
_SPARE = 2
# What a channel may differ, of 255, from what the model's own code gives, at most and
# on average: Pillow and torch round differently. Another crop or size is far above.
_MOST, _MEAN = 8, 0.5
_SQUEEZED_FROM = 384  # pixels a side: ConvNeXt's processor cuts nothing off then
_SHAPES = ((300, 200), (201, 320), (64, 64), (37, 1000), (700, 500))

Slow = Callable[["Image"], Any]

_log = logging.getLogger(__name__)


class Steps(NamedTuple):
    """Resize, cut out the centre, then (x - mean) / std, with x from 0 to 255.

    `size` is the shorter side, or both; `interpolation` as Pillow numbers it.
    """

    size: int | tuple[int, int]
    interpolation: int
    crop: tuple[int, int] | None
    rounds: bool  # an odd margin's half, to the even number: torchvision's way
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def least_side(self) -> int:
        """Pixels that decoding must leave of the shorter side."""
        longest = self.size if isinstance(self.size, int) else max(self.size)
        return _SPARE * longest

    def cut(self, picture: Any) -> Any:
        """Resize and cut a picture; return its first three channels."""
        size = [self.size] if isinstance(self.size, int) else list(self.size)
        picture = resized(picture, size, self.interpolation)
        if self.crop is None:
            return picture[:3]
        top, left = (
            _half(have - want, self.rounds)
            for have, want in zip(picture.shape[-2:], self.crop, strict=True)
        )
        return picture[:3, top : top + self.crop[0], left : left + self.crop[1]]

    def normalise(self, batch: Any) -> Any:
        """Return a batch of cut 8-bit pictures as floats, on its own device."""
        import torch

        like = {"device": batch.device, "dtype": torch.float32}
        std = torch.tensor(self.std, **like).view(-1, 1, 1)
        mean = torch.tensor(self.mean, **like).view(-1, 1, 1)
        floats = batch.float()
        return torch.addcmul(-mean / std, floats, 1 / std, out=floats)


def _half(margin: int, rounds: bool) -> int:
    return round(margin / 2) if rounds else margin // 2


def to_tensor(image: Image) -> Any:
    """Return an RGB picture as 8-bit integers, (4, height, width); the last means none.

    The tensor is Pillow's own memory where it lies in one piece, with a byte of padding
    a pixel: a copy would take as long as resizing does.
    """
    import pyarrow as pa
    import torch

    try:
        values = torch.from_dlpack(pa.array(image).values)
    except ValueError:  # a large picture may lie in several pieces
        values = torch.from_numpy(np.array(image.convert("RGBX")))
    return values.view(image.height, image.width, 4).permute(2, 0, 1)


def stacked(pictures: Sequence[Any]) -> Any:
    """Return pictures of one shape as a batch, the channels of a pixel side by side."""
    import torch

    shape, dtype = (len(pictures), *pictures[0].shape), pictures[0].dtype
    batch = torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
    for place, picture in zip(batch, pictures, strict=True):
        place.copy_(picture)
    return batch


def to_picture(tensor: Any) -> Image:
    """Return the picture of a tensor of 3 channels or more, the first three of them."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(tensor[:3].permute(1, 2, 0).numpy()))


def resized(picture: Any, size: Sequence[int], interpolation: int) -> Any:
    """Resize a picture, with the weights that Pillow takes."""
    from torchvision.transforms.v2 import functional

    return functional.resize(
        picture, list(size), interpolation=interpolation, antialias=True
    )


def checked(read: Callable[[], Steps | None], slow: Slow, name: str) -> Steps | None:
    """Return steps that give what a model's own code gives, or else None."""
    draw, why = np.random.default_rng(0), "it is of an unusual kind"
    try:
        steps = read()
        if steps is not None:
            patterns = (_pattern(*shape, draw) for shape in _SHAPES)
            if all(_is_same(steps, slow, pattern) for pattern in patterns):
                return steps
            why = "ours gives other pixels"
    except Exception as error:  # settings that mean something else, a refused shape
        why = f"ours fails with {type(error).__name__}: {error}"
    _log.info("the slower preprocessing of %s itself is used: %s", name, why)
    return None


def _is_same(steps: Steps, slow: Slow, picture: Image) -> bool:
    expected = slow(picture)[0]
    found = steps.normalise(steps.cut(to_tensor(picture))[None])[0]
    if found.shape != expected.shape:
        return False
    std = np.reshape(steps.std, (-1, 1))
    levels = (found - expected).abs().flatten(1).numpy() * std
    return bool(levels.max() <= _MOST and levels.mean() <= _MEAN)


def _pattern(width: int, height: int, draw: np.random.Generator) -> Image:
    """Return a picture with slopes, edges and grain."""
    from PIL import Image

    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    edges = (x * 9 + y * 7) % 1 > 0.5
    layers = np.stack([x, y, 0.2 + 0.6 * edges], axis=2)
    grain = draw.normal(scale=0.04, size=layers.shape)
    return Image.fromarray(np.uint8(255 * np.clip(layers + grain, 0, 1)))


def steps_of_settings(settings: Mapping[str, Any]) -> Steps | None:
    """Read a transformers processor's settings; None where they say other things."""
    size, cut = settings.get("size") or {}, settings.get("crop_size") or {}
    sides = _sides(size) or size.get("shortest_edge")
    if not settings.get("do_resize") or sides is None:
        return None
    crop = _sides(cut) if settings.get("do_center_crop") else None
    if settings.get("crop_pct") and isinstance(sides, int):  # ConvNeXt's, ResNet's
        crop = (sides, sides)
        whole = sides >= _SQUEEZED_FROM
        sides = crop if whole else int(sides / settings["crop_pct"])
    scale = settings.get("rescale_factor", 1) if settings.get("do_rescale") else 1
    plain = not settings.get("do_normalize")
    mean = (0.0, 0.0, 0.0) if plain else settings["image_mean"]
    std = (1.0, 1.0, 1.0) if plain else settings["image_std"]
    return Steps(
        size=sides,
        interpolation=int(settings.get("resample", 2)),
        crop=crop,
        rounds=False,
        mean=tuple(value / scale for value in mean),
        std=tuple(value / scale for value in std),
    )


def _sides(size: Mapping[str, int]) -> tuple[int, int] | None:
    return (size["height"], size["width"]) if "height" in size else None


def steps_of_transforms(transforms: Sequence[Any]) -> Steps | None:
    """Read torchvision's transforms, as timm and open_clip make them.

    None where there are others than these: resize, cut, to a tensor, normalise.
    """
    from torchvision.transforms import CenterCrop, Normalize, Resize
    from torchvision.transforms.functional import pil_modes_mapping

    found = {type(step): step for step in transforms}
    if Resize not in found or Normalize not in found:
        return None
    resize, normalise = found[Resize], found[Normalize]
    size = resize.size
    if not isinstance(size, int):
        size = tuple(size) if len(size) == 2 else size[0]
    crop = found[CenterCrop].size if CenterCrop in found else None
    return Steps(
        size=size,
        interpolation=pil_modes_mapping[resize.interpolation],
        crop=None if crop is None else tuple(crop),
        rounds=True,
        mean=tuple(255 * float(value) for value in normalise.mean),
        std=tuple(255 * float(value) for value in normalise.std),
    )
