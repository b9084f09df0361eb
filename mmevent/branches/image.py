"""The classifiers of single images."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmevent._common import keep_parameters
from mmevent.branches.base import EncodedClassifier
from mmevent.encoders.image import DEFAULT_IMAGE_MODEL, ImageEncoder
from mmevent.encoders.views import ViewEncoder, read_images
from mmevent.posts.images import Images

__all__ = ["ImageClassifier"]


class PictureClassifier(EncodedClassifier, ABC):
    """Base of the classifiers that see images."""

    item = "image"
    _encoder_base: type[ViewEncoder] = ViewEncoder

    def _read(self, X: Any) -> tuple[Images, list[str]]:
        images = read_images(X)
        return images, images.digests.tolist()


class ImageClassifier(PictureClassifier):
    """Classify single images by a head on an encoder, frozen or fine-tuned.

    Parameters
    ----------
    encoder : str, encoder or transformer, default="microsoft/resnet-50"
        The name or folder of a model, for `ImageEncoder` with its defaults; an
        `ImageEncoder` or a `ClipEncoder`, where device, number format, cache and the
        like are set; or any scikit-learn transformer of RGB pictures to a table of
        numbers. The last is cloned, and fitted on the rows of `fit`.
    head : classifier or None, default=None
        As in `TextClassifier`.
    class_weight : "balanced", mapping or None, default="balanced"
        As in `TextClassifier`.
    train : "head", "all" or int, default="head"
        What is trained: the head alone on the frozen encoder, the whole encoder with
        a linear head, or, of the encoder, the last so many of its blocks (a
        transformer's layers, a residual network's stages). See Notes. A `ClipEncoder`
        cannot be trained.
    n_epochs : int, default=8
        Of fine-tuning: passes over the rows, at most.
    learning_rate : float, default=3e-05
        Of fine-tuning: as in `TextClassifier`.
    train_batch_size : int, default=16
        Of fine-tuning: images in a forward pass. It is halved, and the next parameter
        doubled, where the device's memory is too small.
    gradient_accumulation_steps : int, default=1
        Of fine-tuning: forward passes per step.
    augment : bool, default=True
        Of fine-tuning: whether each image is varied by random crop, flip and colour
        jitter. Otherwise all views are learnt from.
    random_state : int, RandomState or None, default=None
        As in `TextClassifier`.
    verbose : bool, default=False
        As in `TextClassifier`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    head_ : classifier
        As in `TextClassifier`.
    encoder_ : ImageEncoder, ClipEncoder or transformer
        A copy of ``encoder`` that is pinned to the model that was used; its ``spec_``
        names the weights. Where the model was fine-tuned, it holds what was trained. A
        transformer of your own is fitted.
    n_epochs_ : int
        As in `TextClassifier`.

    See Also
    --------
    ClipZeroShotClassifier : By descriptions of the event, with labels or without.
    TextClassifier : The same for texts.
    ImageEncoder, ClipEncoder : What it stands on.

    Notes
    -----
    **A linear probe on CLIP**, ``ImageClassifier(ClipEncoder())``, is the cheapest
    strong image branch where some images are labelled.

    **Fine-tuning** is that of `TextClassifier`. Batch norms keep their statistics.

    Examples
    --------
    >>> from mmevent import ClipEncoder, ImageClassifier
    >>> branch = ImageClassifier("timm/mobilenetv3_small_100.lamb_in1k")
    >>> probe = ImageClassifier(ClipEncoder("RN50", pretrained="openai"))
    >>> probe.get_params()["encoder__batch_size"]
    32
    """

    _encoder_class = ImageEncoder

    def __init__(
        self,
        encoder: Any = DEFAULT_IMAGE_MODEL,
        *,
        head: Any = None,
        class_weight: Mapping[Any, float] | str | None = "balanced",
        train: str | int = "head",
        n_epochs: int = 8,
        learning_rate: float = 3e-5,
        train_batch_size: int = 16,
        gradient_accumulation_steps: int = 1,
        augment: bool = True,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        keep_parameters(self, locals())
