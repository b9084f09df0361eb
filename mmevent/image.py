"""The image branch: a classifier of single images on a frozen encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._encoding import finite_rows
from mmevent._frozen import FrozenClassifier
from mmevent._image_encoder import VIEWS, ImageEncoder
from mmevent._trainable import TrainableClassifier
from mmevent.exceptions import InputError
from mmevent.image_io import Images

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray
    from PIL.Image import Image

__all__ = ["DEFAULT_IMAGE_MODEL", "ImageClassifier"]

DEFAULT_IMAGE_MODEL = "microsoft/resnet-50"
"""Name of the image encoder that is used where none is named."""


class FrozenImageClassifier(FrozenClassifier):
    """Base of the branches that see images, each in one view or more."""

    views: Sequence[str]

    def _settings(self) -> dict[str, Any]:
        views = self.views
        listed = isinstance(views, (list, tuple)) and len(views) > 0
        known = listed and all(view in VIEWS for view in views)
        if not known or len(set(views)) < len(views):
            msg = (
                f"`views` must be distinct names, one or more, from "
                f"{', '.join(map(repr, VIEWS))}; got {views!r}. Use "
                f"views=('centre', 'whole')."
            )
            raise InputError(msg)
        return {"views": tuple(views)}

    def _items(self, X: Any) -> tuple[Images, list[str], NDArray[np.bool_]]:
        images = as_images(X)
        readable = images.digests != ""
        chosen = images[readable]
        return chosen, chosen.digests.tolist(), readable

    def _embed(self, encoder: Any, items: Any, keys: list[str]) -> NDArray[np.float32]:
        rows = super()._embed(encoder, items, keys)
        items._confirm(finite_rows(rows))
        return rows

    def _encode_ahead(self, images: Images) -> None:
        """Encode images under the open memo, and learn on the way which are usable."""
        items, keys, _ = self._items(images)
        if keys:
            if hasattr(self, "head_"):
                encoder = self._fitted_encoder()
            else:
                self._check_parameters()
                encoder = self._load_unfitted()
            self._embed(encoder, items, keys)


class ImageClassifier(TrainableClassifier, FrozenImageClassifier):
    """Classify single images by a head on an encoder, frozen or fine-tuned.

    Each distinct image is encoded once, in each of its views. The embedding of a view
    is what the model's own last linear layer would be given.

    Parameters
    ----------
    model : str, default="microsoft/resnet-50"
        Name on the Hugging Face hub, or folder, of an image classification model of
        transformers or timm with safetensors weights. A folder is never looked for on
        the network.
    revision : str or None, default=None
        Branch, tag or commit of a hub model; None for its newest.
    views : tuple of {"centre", "whole"}, default=("centre", "whole")
        What the encoder sees of each image; the embeddings stand side by side.
        ``"centre"`` is the model's own preprocessing, which usually cuts off the ends
        of a picture that is not square; for ``"whole"`` the picture is squeezed to a
        square first, of which that crops a margin only. Each takes the encoder's time;
        those of a square picture are the same, and take it once.
    train : "head", "all" or int, default="head"
        What is trained: the head alone on the frozen encoder, the whole encoder with
        a linear head, or, of the encoder, the last so many of its blocks (a
        transformer's layers, a residual network's stages). See Notes.
    n_epochs : int, default=8
        Passes over the rows, at most, where the encoder is trained.
    learning_rate : float, default=3e-05
        Highest learning rate of AdamW, likewise. It rises over the first tenth of the
        steps, then falls to 0.
    train_batch_size : int, default=16
        Number of images in a forward pass, likewise. It is halved, and the next
        parameter doubled, where the device's memory is too small.
    gradient_accumulation_steps : int, default=1
        Forward passes a step, likewise.
    augment : bool, default=True
        Whether each training image is varied at random, likewise: a section of it, its
        side, its colours. Else all views are learnt from.
    head : classifier or None, default=None
        Any scikit-learn classifier of embeddings; it is cloned, and given the sample
        weights where its ``fit`` takes them. One without probabilities is calibrated
        by a sigmoid in grouped folds. None for a logistic regression on standardised
        embeddings whose ``C`` is chosen by log loss in 3 grouped folds of the rows
        given to `fit`, from 0.0001, 0.001, 0.01, 0.1, 1 and 10.
    class_weight : "balanced", mapping or None, default="balanced"
        Weight of each class in the default head; a head of your own has its own.
    batch_size : int, default=32
        Number of images, or views of them, encoded at a time; it changes the result
        by no more than rounding.
    device : str, default="auto"
        Torch device. "auto" takes the first there is of cuda, mps and cpu.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Number format of the encoder. "auto" is bfloat16 where the device computes in
        it and the encoder has a million weights or more, which is faster and moves
        scores a little; the guide on speed says how much.
    backend : {"torch", "openvino"}, default="torch"
        What runs the encoder on a processor. "openvino" needs the extra of that name,
        takes some seconds to compile the encoder, and is then faster.
    local_files_only : bool, default=False
        Whether to use only what is on this machine, and no network.
    cache : path, "auto" or None, default="auto"
        File that keeps embeddings for later calls and other processes. "auto" is what
        the environment variable MMEVENT_CACHE names ("off" for none), else
        ``~/.cache/mmevent/embeddings.sqlite``; None keeps none.
    random_state : int, RandomState or None, default=None
        Seed of the head's folds, and of a ``random_state`` that ``head`` leaves at
        None. With None the folds are not shuffled, so the default head is the same
        every time.
    verbose : bool, default=False
        Whether to show progress bars on the standard error.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    head_ : classifier
        The fitted head, a plain scikit-learn estimator.
    encoder_spec_ : dict
        What identifies the encoder: ``model``, ``revision``, ``weights_sha256``,
        ``preprocessing``, ``pooling``, ``max_length`` (None) and ``dtype``. The
        encoder is loaded again by it when needed.
    pretrained_spec_ : dict
        The same of the encoder before it was fine-tuned; only then is it there.
    n_epochs_ : int
        Passes over the rows by which it was fine-tuned, 0 where its loss was not
        finite; only then is it there.

    See Also
    --------
    ClipProbeClassifier : The same on image features of CLIP.
    TextClassifier : The same for texts.

    Notes
    -----
    **Fine-tuning** is that of `TextClassifier`. Batch norms keep their statistics.

    Images are resized by torch, as the model's own settings say, to within the rounding
    of Pillow; where its preprocessing is of an unusual kind, its own code does it. A
    large JPEG is decoded to the smallest size that leaves twice the pixels needed. An
    image that is more than 32 times as long as wide is cut to that shape first, about
    its centre.

    **Number format.** In bfloat16 weights and activations have 8 significant bits, so
    a probability moves by some thousandths, rarely by some hundredths, and decisions
    near the threshold may change; the page of benchmarks has how many. Results also
    depend a little on which items share a batch. The format is saved with a fitted
    branch and used after a load; a device that lacks it runs in float32, with a
    warning.

    Examples
    --------
    >>> from mmevent import ImageClassifier
    >>> branch = ImageClassifier(model="timm/mobilenetv3_small_100.lamb_in1k")
    >>> branch.get_params()["batch_size"]
    32
    """

    _encoder_class = ImageEncoder

    def __init__(
        self,
        *,
        model: str = DEFAULT_IMAGE_MODEL,
        revision: str | None = None,
        views: Sequence[str] = VIEWS,
        train: str | int = "head",
        n_epochs: int = 8,
        learning_rate: float = 3e-5,
        train_batch_size: int = 16,
        gradient_accumulation_steps: int = 1,
        augment: bool = True,
        head: Any = None,
        class_weight: Mapping[Any, float] | str | None = "balanced",
        batch_size: int = 32,
        device: str = "auto",
        dtype: str = "auto",
        backend: str = "torch",
        local_files_only: bool = False,
        cache: str | os.PathLike[str] | None = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.revision = revision
        self.views = views
        self.train = train
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.train_batch_size = train_batch_size
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.augment = augment
        self.head = head
        self.class_weight = class_weight
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.backend = backend
        self.local_files_only = local_files_only
        self.cache = cache
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Sequence[Image] | Images,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> ImageClassifier:
        """Encode the images and fit the head, and train the encoder if asked to.

        Parameters
        ----------
        X : sequence of PIL.Image.Image, or Images
            Images; they are treated as RGB.
        y : array-like of shape (n_images,)
            Labels, of two or more classes.
        groups : array-like of shape (n_images,) or None, default=None
            Rows that the head's folds must not split, such as the images of a post;
            equal images never are.
        sample_weight : array-like of shape (n_images,) or None, default=None
            Weight of each row, at least 0.

        Returns
        -------
        ImageClassifier
            The same object, fitted.

        Raises
        ------
        InputError
            If ``X``, ``y``, ``groups``, ``sample_weight`` or a parameter is not as
            described.
        ModelUnavailableError
            If the model cannot be found, reached or loaded.
        StorageError
            If there is no room for the checkpoints of a training.
        DeviceMemoryError
            If the device's memory is too small for one item at a time.

        Warns
        -----
        MmeventWarning
            If a training's loss is not finite, if its rows cannot be split or its
            checkpoints not be used, or if a batch is halved for lack of memory.
        UnusableInputWarning
            If some images cannot be read or encoded; they are left out.
        """
        self._fit(X, y, groups, sample_weight)
        return self


def as_images(X: Any) -> Images:
    """Return images as a lazy sequence."""
    from PIL.Image import Image

    if isinstance(X, Images):
        return X
    one = isinstance(X, (str, bytes, Mapping, Image))
    try:
        images = [] if one else list(X)
    except TypeError:
        one = True
    if one:
        msg = (
            f"X must be a sequence of images; got {type(X).__name__}. Pass a list of "
            f"PIL images, or Images(paths)."
        )
        raise InputError(msg)
    for row, image in enumerate(images):
        if not isinstance(image, Image):
            msg = (
                f"X must hold one PIL image a row; row {row} is of type "
                f"{type(image).__name__}. Pass paths and bytes as Images(paths)."
            )
            raise InputError(msg)
    return Images(images)
