"""Encoders of images, each seen in one view or more."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from copy import copy, deepcopy
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Resampling
from PIL.Image import new as new_image

from mmevent._encoding import Encoder, Spec, full_precision
from mmevent._folding import folded, has_foldable
from mmevent._hub import ModelSource, quiet_loading, unloadable
from mmevent._loading import LOADERS, encoder_spec, from_pretrained, incomplete, tried
from mmevent._pixels import (
    Steps,
    checked,
    resized,
    stacked,
    steps_of_settings,
    steps_of_transforms,
    to_picture,
    to_tensor,
)
from mmevent._precision import FLOAT32
from mmevent.image_io import Images

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Vectors = NDArray[np.float32]

# A longer side is cut to this many times the shorter one, about the centre: a picture
# of 1 x 5000 pixels would otherwise be enlarged to 256 x 1,280,000.
_MAX_ASPECT = 32
CENTRE, WHOLE = "centre", "whole"
VIEWS = (CENTRE, WHOLE)
# Pictures at a time on a processor. Of convolutions the activations of more would fall
# out of its caches: a MobileNetV2 takes three times as long in batches of 32 as in
# batches of 4. Transformers have less of them, and reuse weights better in more.
_CONVOLVED, _OTHERS = 4, 16
_SAME = 1e-4  # a difference of features, as a share of their length


class ViewEncoder(Encoder):
    """Images to the features of each of their views, side by side."""

    item = "image"
    trial = new_image("RGB", (32, 32))
    steps: Steps | None  # that preprocess; None where the model's own code has to

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
        """Return the model's own floats of an image, (1, channels, height, width)."""

    def _manner(self) -> Spec:
        read = None if self.steps is None else self.steps.least_side
        manner = super()._manner() | {"decoded to": read}
        return manner | {"batch norms": "folded"} if self._is_folded else manner

    def _lean(self) -> Encoder:
        twin = super()._lean()
        if self._is_folded:
            twin.model = folded(self.model)
        return twin

    @property
    def _is_folded(self) -> bool:
        return self.compiled is None and self._is_foldable

    @cached_property
    def _is_foldable(self) -> bool:
        """Whether a folded network gives the same features of a picture, in float32."""
        import torch

        if not has_foldable(self.model):
            return False
        plain, lean = copy(self), copy(self)
        try:
            example = [part.to(self.device) for part in self._example()]
            if self.dtype != FLOAT32:
                plain.model = deepcopy(self.model).float()
            lean.model = folded(plain.model)
            with torch.inference_mode(), full_precision():
                expected, found = plain._compute(*example), lean._compute(*example)
        except Exception:  # whatever else a network does with its norms
            return False
        difference = (found - expected).norm(dim=1)
        return bool((difference <= _SAME * expected.norm(dim=1)).all())

    @cached_property
    def is_convolutional(self) -> bool:
        """Whether it has more convolutions than the one that cuts up a picture."""
        from torch.nn import Conv2d

        convolutions = (isinstance(m, Conv2d) for m in self.model.modules())
        return sum(convolutions) > 1

    def _batches(self, items: Sequence[Any], batch_size: int) -> list[list[int]]:
        most = self._most_at_once(batch_size)
        return super()._batches(items, min(batch_size, most))

    def _most_at_once(self, wanted: int) -> int:
        if self.device != "cpu":
            return wanted
        return _CONVOLVED if self.is_convolutional else _OTHERS

    def picture(self, items: Sequence[Any], i: int) -> Image | None:
        """Return an image, decoded no larger than needed; None where it cannot be."""
        if not isinstance(items, Images):
            image: Image = items[i]
            return image
        least_side = None if self.steps is None else self.steps.least_side
        return items._picture(i, least_side=least_side)

    def _fetch(self, items: Sequence[Any], i: int) -> list[Any]:
        """Return what the model sees of an image, which is not kept itself."""
        image = self.picture(items, i)
        return [] if image is None else self._views(image)

    def _forward(self, items: list[list[Any]]) -> Vectors:
        # A square picture is its own squeezed one, and is encoded once.
        distinct = {id(view): view for views in items for view in views}
        found = self._encode_views(list(distinct.values()))
        place = {key: i for i, key in enumerate(distinct)}
        rows = np.full((len(items), self.width), np.nan, dtype=np.float32)
        for row, views in zip(rows, items, strict=True):
            if views:
                row[:] = found[[place[id(view)] for view in views]].ravel()
        return rows

    def _views(self, image: Image) -> list[Any]:
        """Return the cut views of an image; none where one cannot be made."""
        picture = _bounded(to_tensor(image))
        views = [_view(picture, name) for name in self.spec["pooling"]["views"]]
        cuts = {id(view): self._cut(view) for view in views}
        if any(cut is None for cut in cuts.values()):
            return []
        return [cuts[id(view)] for view in views]

    def _encode_views(self, views: list[Any]) -> Vectors:
        shape = len(views), self.width // self.n_views
        rows: Vectors = np.full(shape, np.nan, dtype=np.float32)
        by_shape: dict[Any, list[tuple[int, Any]]] = {}
        for i, view in enumerate(views):
            by_shape.setdefault(view.shape, []).append((i, view))
        step = self._most_at_once(len(views))
        for group in by_shape.values():
            for start in range(0, len(group), step):
                places, cuts = zip(*group[start : start + step], strict=True)
                with self.turn:
                    batch = self._floats(stacked(cuts).to(self.device))
                    rows[list(places)] = self._run(batch).numpy()
        return rows

    def _cut(self, view: Any) -> Any:
        """Return what the model sees of a view, or None where it cannot."""
        try:
            if self.steps is None:
                return self._preprocess(to_picture(view))[0]
            return self.steps.cut(view)
        except (ArithmeticError, OSError, RuntimeError, TypeError, ValueError):
            return None

    def _floats(self, batch: Any) -> Any:
        """Return a batch of cut views as the model takes them."""
        import torch

        floats = batch if self.steps is None else self.steps.normalise(batch)
        wide = self.compiled is not None
        dtype = torch.float32 if wide else getattr(torch, self.dtype)
        return floats.to(dtype, memory_format=torch.channels_last)

    def _example(self) -> tuple[Any, ...]:
        import torch

        picture = (torch.arange(3 * 64 * 64) % 251).to(torch.uint8).view(3, 64, 64)
        return (self._floats(stacked([self._cut(picture)] * 2)).float(),)


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
        of_timm = getattr(processor, "val_transforms", None)
        read = (
            partial(steps_of_settings, processor.to_dict())
            if of_timm is None
            else partial(steps_of_transforms, of_timm.transforms)
        )
        self.steps = checked(read, self._preprocess)

    def example(self, image: Image, *, augment: bool) -> Any:
        """Return a tensor of an image's views, or of one that is varied at random."""
        views = (
            [self._cut(_augmentation(self._side)(_bounded(to_tensor(image))[:3]))]
            if augment
            else self._views(image)
        )
        return self._floats(stacked(views))

    def collate(self, examples: list[Any]) -> dict[str, Any]:
        """Return the model's inputs for some images."""
        import torch

        return {"pixel_values": torch.cat(examples)}

    def features(self, inputs: dict[str, Any]) -> Any:
        """Return a tensor of one row a view."""
        return self._compute(inputs["pixel_values"])

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

    def _compute(self, *inputs: Any) -> Any:
        seen: list[Any] = []
        layer = self.model.get_submodule(self.spec["pooling"]["input_of"])
        hook = layer.register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
        try:
            self.model(pixel_values=inputs[0])
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


def _view(picture: Any, name: str) -> Any:
    """Return what the model's own preprocessing is given of a picture.

    It usually crops the centre of a picture, which loses the ends of a long one; of one
    that is squeezed to a square it crops a margin.
    """
    side = min(picture.shape[-2:])
    if name == CENTRE or picture.shape[-2:] == (side, side):
        return picture
    return resized(picture, (side, side), Resampling.BICUBIC)


def _bounded(picture: Any) -> Any:
    height, width = picture.shape[-2:]
    longest = _MAX_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return picture
    cut = min(width, longest), min(height, longest)
    left, top = (width - cut[0]) // 2, (height - cut[1]) // 2
    return picture[:, top : top + cut[1], left : left + cut[0]]


def _load(
    source: ModelSource,
    device: str,
    expected: Spec | None,
    *,
    dtype: str,
    views: Sequence[str] = (CENTRE,),
) -> ImageEncoder:
    from PIL import Image
    from transformers import AutoModelForImageClassification

    auto = AutoModelForImageClassification
    model, missing = from_pretrained(source, auto, dtype, device)
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
                # Another backend would need torchvision, and `steps` are quicker.
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
