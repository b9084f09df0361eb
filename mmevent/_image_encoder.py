"""Encoders of images, each seen in one view or more."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Resampling

from mmevent._encoding import Encoder, Spec
from mmevent._hub import ModelSource, quiet_loading, unloadable
from mmevent._loading import LOADERS, encoder_spec, from_pretrained, incomplete, tried

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Vectors = NDArray[np.float32]

# A longer side is cut to this many times the shorter one, about the centre: a picture
# of 1 x 5000 pixels would otherwise be enlarged to 256 x 1,280,000.
_MAX_ASPECT = 32
CENTRE, WHOLE = "centre", "whole"
VIEWS = (CENTRE, WHOLE)
# Activations of more pictures than this fall out of a processor's caches: a
# MobileNetV2 takes three times as long in batches of 32 as in batches of 4.
_CPU_BATCH = 4


class ViewEncoder(Encoder):
    """Images to the features of each of their views, side by side."""

    item = "image"

    def __init__(
        self,
        model: Any,
        spec: Spec,
        *,
        device: str,
        width: int,
        missing: frozenset[str] = frozenset(),
    ) -> None:
        import torch

        self.n_views = len(spec["pooling"]["views"])
        super().__init__(
            model, spec, device=device, width=width * self.n_views, missing=missing
        )
        self.model.to(memory_format=torch.channels_last)

    @abstractmethod
    def _preprocess(self, image: Image) -> Any:
        """Return one image's tensor of shape (1, channels, height, width)."""

    @abstractmethod
    def _features(self, batch: Any) -> Any:
        """Return a tensor of one row a preprocessed image."""

    def _pixels(self, image: Image) -> Any:
        """Return one image's tensor, or None where it cannot be preprocessed."""
        try:
            return self._preprocess(image)
        except (ArithmeticError, OSError, RuntimeError, TypeError, ValueError):
            return None

    def _forward(self, items: list[Image]) -> Vectors:
        views = [self._views(image) for image in items]
        # A square picture is its own squeezed one, and is encoded once.
        distinct = list({id(view): view for row in views for view in row}.values())
        place = {id(view): i for i, view in enumerate(distinct)}
        chosen = [[place[id(view)] for view in row] for row in views]
        return self._encode_views(distinct, len(items))[chosen].reshape(
            len(items), self.width
        )

    def _views(self, image: Image) -> list[Image]:
        bounded = _bounded(image)
        return [_view(bounded, name) for name in self.spec["pooling"]["views"]]

    def _encode_views(self, items: list[Image], batch_size: int) -> Vectors:
        import torch

        rows = np.full(
            (len(items), self.width // self.n_views), np.nan, dtype=np.float32
        )
        by_shape: dict[Any, list[tuple[int, Any]]] = {}
        for i, image in enumerate(items):
            pixels = self._pixels(image)
            if pixels is not None:
                by_shape.setdefault(pixels.shape, []).append((i, pixels))
        step = _CPU_BATCH if self.device == "cpu" else batch_size
        for group in by_shape.values():
            for start in range(0, len(group), step):
                places, pixels = zip(*group[start : start + step], strict=True)
                batch = torch.cat(pixels).to(self.device, torch.float32)
                rows[list(places)] = self._features(batch).float().cpu().numpy()
        return rows


class ImageEncoder(ViewEncoder):
    """Images to what an image classifier's last linear layer is given.

    Each view of an image gives as many numbers as that layer has inputs.
    """

    kind = "image"

    def __init__(
        self,
        model: Any,
        processor: Any,
        spec: Spec,
        *,
        device: str,
        missing: frozenset[str] = frozenset(),
    ) -> None:
        width = model.get_submodule(spec["pooling"]["input_of"]).in_features
        super().__init__(model, spec, device=device, width=width, missing=missing)
        self.processor = processor

    def example(self, image: Image, *, augment: bool) -> Any:
        """Return a tensor of an image's views, or of one that is varied at random."""
        import torch

        if augment:
            varied = _augmentation(self._side)(_bounded(image))
            return self._preprocess(varied)
        return torch.cat([self._preprocess(view) for view in self._views(image)])

    def collate(self, examples: list[Any]) -> dict[str, Any]:
        """Return the model's inputs for some images."""
        import torch

        return {"pixel_values": torch.cat(examples)}

    def features(self, inputs: dict[str, Any]) -> Any:
        """Return a tensor of one row a view."""
        return self._features(inputs["pixel_values"])

    @property
    def has_one_size(self) -> bool:  # type: ignore[override]
        """Whether the model sees pictures of any shape in one."""
        return len({self._shape(32, 32), self._shape(48, 32), self._shape(32, 48)}) == 1

    def _shape(self, width: int, height: int) -> tuple[int, ...]:
        from PIL import Image

        return tuple(self._preprocess(Image.new("RGB", (width, height))).shape)

    @cached_property
    def _side(self) -> int:
        """Pixels of the model's input."""
        return self._shape(32, 32)[-1]

    def _save_preprocessing(self, folder: Path) -> None:
        self.processor.save_pretrained(folder)

    def _preprocess(self, image: Image) -> Any:
        return self.processor(image, return_tensors="pt")["pixel_values"]

    def _features(self, batch: Any) -> Any:
        seen: list[Any] = []
        layer = self.model.get_submodule(self.spec["pooling"]["input_of"])
        hook = layer.register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
        try:
            self.model(pixel_values=batch)
        finally:
            hook.remove()
        return seen[0].flatten(1)


@cache
def _augmentation(side: int) -> Any:
    """Return what varies a training picture: its section, its side, its colours."""
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(side, scale=(0.4, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        ]
    )


def _view(image: Image, name: str) -> Image:
    """Return what the model's own preprocessing is given of an image.

    It usually crops the centre of a picture, which loses the ends of a long one; of one
    that is squeezed to a square it crops a margin.
    """
    side = min(image.size)
    if name == CENTRE or image.size == (side, side):
        return image
    return image.resize((side, side), Resampling.BICUBIC)


def _bounded(image: Image) -> Image:
    width, height = image.size
    longest = _MAX_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return image
    cut = min(width, longest), min(height, longest)
    left, top = (width - cut[0]) // 2, (height - cut[1]) // 2
    return image.crop((left, top, left + cut[0], top + cut[1]))


def _load(
    source: ModelSource,
    device: str,
    expected: Spec | None,
    *,
    views: Sequence[str] = (CENTRE,),
) -> ImageEncoder:
    from PIL import Image
    from transformers import AutoModelForImageClassification

    model, missing = from_pretrained(source, AutoModelForImageClassification)
    if expected is None:
        pooling = {"input_of": _last_linear(source, model), "views": list(views)}
    else:
        pooling = expected["pooling"]
    layer = pooling["input_of"]
    surplus = {name for name in missing if not name.startswith(f"{layer}.")}
    if surplus:
        raise incomplete(source, surplus)
    preprocessing = expected["preprocessing"] if expected is not None else None
    processor = image_processor(source, preprocessing)
    if preprocessing is None:
        preprocessing = {"class": type(processor).__name__, **_plain(processor)}
    spec = encoder_spec(source, model, missing, preprocessing, pooling, None, expected)
    encoder = ImageEncoder(model, processor, spec, device=device, missing=missing)
    return tried(source, encoder, Image.new("RGB", (32, 32)))


LOADERS[ImageEncoder] = _load


def _last_linear(source: ModelSource, model: Any) -> str:
    """Return the name of the classifying layer, whose input is the embedding."""
    from torch.nn import Linear

    n_labels = model.config.num_labels
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, Linear) and module.out_features == n_labels
    ]
    if not names:
        problem = (
            f"it has no linear layer with {n_labels} outputs (its labels), whose "
            f"input would be the embedding"
        )
        raise unloadable(source, ValueError(problem))
    return str(names[-1])


def image_processor(source: ModelSource, preprocessing: Spec | None) -> Any:
    """Load an image processor, or rebuild the one that `preprocessing` describes."""
    import transformers
    from transformers.image_processing_utils import BaseImageProcessor

    try:
        with quiet_loading():
            if preprocessing is None:
                # Pillow's results do not depend on whether torchvision is installed.
                return transformers.AutoImageProcessor.from_pretrained(
                    source.folder,
                    backend="pil",
                    local_files_only=True,
                    trust_remote_code=False,
                )
            made = getattr(transformers, str(preprocessing["class"]))
            if not issubclass(made, BaseImageProcessor):
                raise TypeError(f"{preprocessing['class']} is no image processor")
            config = {k: v for k, v in preprocessing.items() if k != "class"}
            if "data_config" in config:  # timm's, which takes it under another name
                config["pretrained_cfg"] = config.pop("data_config")
            return made(**config)
    except Exception as error:
        raise unloadable(source, error) from error


def _plain(processor: Any) -> Spec:
    """Return a processor's settings as plain JSON."""
    settings: Spec = json.loads(processor.to_json_string())
    return settings
