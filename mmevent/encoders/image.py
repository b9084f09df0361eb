"""The encoder of images: the features of an image classification network."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmevent._common import keep_parameters
from mmevent.encoders.hub import ModelSource, quiet_loading, unloadable
from mmevent.encoders.identity import picture_config
from mmevent.encoders.loading import from_pretrained, incomplete, model_spec, tried
from mmevent.encoders.model import Spec
from mmevent.encoders.preprocessing import (
    checked,
    stacked,
    steps_of_settings,
    steps_of_transforms,
    to_tensor,
)
from mmevent.encoders.views import CENTRE, VIEWS, ViewEncoder, ViewModel, bounded

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_IMAGE_MODEL = "microsoft/resnet-50"
"""Name of the image model that is used where none is named."""


class ImageModel(ViewModel):
    """Images to what an image classifier's last linear layer is given.

    Each view of an image gives as many numbers as that layer has inputs.
    """

    kind = "image"
    trainable = True

    def __init__(
        self,
        network: Any,
        processor: Any,
        spec: Spec,
        *,
        device: str,
        missing: frozenset[str] = frozenset(),
    ) -> None:
        width = network.get_submodule(spec["pooling"]["input_of"]).in_features
        super().__init__(network, spec, device=device, width=width, missing=missing)
        self.processor = processor
        of_timm = getattr(processor, "val_transforms", None)
        read = (
            partial(steps_of_settings, processor.to_dict())
            if of_timm is None
            else partial(steps_of_transforms, of_timm.transforms)
        )
        self.steps = checked(read, self._preprocess, spec["model"])

    @classmethod
    def from_source(
        cls,
        source: ModelSource,
        device: str,
        expected: Spec | None,
        *,
        dtype: str,
        views: Sequence[str] = (CENTRE,),
    ) -> ImageModel:
        """Load the model from its folder; with `expected`, by that spec."""
        from transformers import AutoModelForImageClassification

        auto = AutoModelForImageClassification
        network, missing = from_pretrained(source, auto, dtype, device, expected)
        preprocessing: Spec | None = None
        if expected is None:
            pooling = {"input_of": _last_linear(source, network), "views": list(views)}
        else:
            pooling, preprocessing = expected["pooling"], expected["preprocessing"]
        layer = pooling["input_of"]
        surplus = {name for name in missing if not name.startswith(f"{layer}.")}
        if surplus:
            raise incomplete(source, surplus)
        processor = image_processor(source, preprocessing)
        if preprocessing is None:
            preprocessing = {"class": type(processor).__name__, **_plain(processor)}
        config = picture_config(network)
        spec = model_spec(
            source, network, missing, config, preprocessing, pooling, None, expected
        )
        model = cls(network, processor, spec, device=device, missing=missing)
        return tried(source, model)

    def example(self, image: Image, *, augment: bool) -> Any:
        """Return a tensor of an image's views, or of one that is varied at random."""
        views = (
            [self._cut(_augmentation(self._side)(bounded(to_tensor(image))[:3]))]
            if augment
            else self._views(image)
        )
        return self._floats(stacked(views))

    def collate(self, examples: list[Any]) -> dict[str, Any]:
        """Return the network's inputs for some images."""
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
        layer = self.network.get_submodule(self.spec["pooling"]["input_of"])
        hook = layer.register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
        try:
            self.network(pixel_values=inputs[0])
        finally:
            hook.remove()
        return seen[0].flatten(1)


class ImageEncoder(ViewEncoder):
    """Images to the features of a pretrained image classification network.

    The features of a view are what the network's own last linear layer would be given.
    Each distinct image is encoded once, in each of its views. A scikit-learn
    transformer that needs no fit.

    Parameters
    ----------
    model : str, default="microsoft/resnet-50"
        Name on the Hugging Face hub, or folder, of an image classification model of
        transformers or timm with safetensors weights. A folder is never looked for on
        the network.
    revision : str or None, default=None
        As in `TextEncoder`.
    views : tuple of {"centre", "whole"}, default=("centre", "whole")
        What the network sees of each image; the features stand side by side.
        ``"centre"`` is the model's own preprocessing, which usually cuts off the ends
        of a picture that is not square; for ``"whole"`` the picture is squeezed to a
        square first, of which that crops a margin only. Each takes the network's time;
        those of a square picture are the same, and take it once.
    device : str, default="auto"
        As in `TextEncoder`.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        As in `TextEncoder`; see Notes.
    backend : {"torch", "openvino"}, default="torch"
        As in `TextEncoder`.
    batch_size : int, default=32
        Number of images, or views of them, encoded at a time.
    local_files_only : bool, default=False
        As in `TextEncoder`.
    cache : path, "auto" or None, default="auto"
        As in `TextEncoder`.
    verbose : bool, default=False
        As in `TextEncoder`.

    Attributes
    ----------
    spec_ : dict
        As in `TextEncoder`; ``max_length`` is None.
    pretrained_spec_ : dict
        As in `TextEncoder`.

    See Also
    --------
    ImageClassifier : A classifier of images on such an encoder.
    ClipEncoder : The image features of a CLIP model.
    TextEncoder : The same for texts.

    Notes
    -----
    The model is loaded when it is first needed, see `TextEncoder`.

    Images are resized by torch, as the model's own settings say, to within the rounding
    of Pillow; where its preprocessing is of an unusual kind, its own code does it. A
    large JPEG is decoded to the smallest size that leaves twice the pixels needed. An
    image that is more than 32 times as long as wide is cut to that shape first, about
    its centre.

    **Number format.** In bfloat16 weights and activations have 8 significant bits, so
    a probability moves by some thousandths, rarely by some hundredths, and decisions
    near the threshold may change; the page of benchmarks has how many. Results also
    depend a little on which items share a batch. The format is saved with a fitted
    classifier and used after a load; a device that lacks it runs in float32, with a
    warning.

    Examples
    --------
    >>> from mmevent import ImageEncoder
    >>> encoder = ImageEncoder("timm/mobilenetv3_small_100.lamb_in1k")
    >>> encoder.get_params()["batch_size"]
    32
    """

    model_class = ImageModel

    views: Sequence[str]

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_IMAGE_MODEL,
        *,
        revision: str | None = None,
        views: Sequence[str] = VIEWS,
        device: str = "auto",
        dtype: str = "auto",
        backend: str = "torch",
        batch_size: int = 32,
        local_files_only: bool = False,
        cache: str | os.PathLike[str] | None = "auto",
        verbose: bool = False,
    ) -> None:
        keep_parameters(self, locals())


@cache
def _augmentation(side: int) -> Any:
    """Return what varies a training picture: random crop, flip and colour jitter."""
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(side, scale=(0.4, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        ]
    )


def _last_linear(source: ModelSource, network: Any) -> str:
    """Return the name of the classifying layer, whose input is the embedding."""
    from torch.nn import Linear

    n_labels = network.config.num_labels
    names = [
        name
        for name, module in network.named_modules()
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
