"""Image branches on CLIP: by prompts, or by a head on its image features."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._clip_encoder import ClipEncoder
from mmevent._clip_names import (
    DEFAULT_CLIP_MODEL,
    DEFAULT_CLIP_PRETRAINED,
    clip_reference,
)
from mmevent._frozen import Examples
from mmevent._image_encoder import VIEWS
from mmevent._prompts import PromptHead, check_lengths, text_features
from mmevent._validation import check_labels
from mmevent.exceptions import MmeventWarning
from mmevent.image import FrozenImageClassifier, as_images
from mmevent.packs import choose_prompts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from PIL.Image import Image

    from mmevent.image_io import Images
    from mmevent.packs import Prompts

__all__ = [
    "DEFAULT_CLIP_MODEL",
    "DEFAULT_CLIP_PRETRAINED",
    "ClipProbeClassifier",
    "ClipZeroShotClassifier",
]


class ClipProbeClassifier(FrozenImageClassifier):
    """Classify single images by a scikit-learn head on CLIP's image features.

    The cheapest strong image branch where some images are labelled. Each distinct
    image is encoded once, in each of its views.

    Parameters
    ----------
    model : str, default="ViT-B-32"
        A name that open_clip knows; ``"hf-hub:ORGANISATION/NAME"`` for a model of the
        Hugging Face hub in its form; or a folder that holds ``open_clip_config.json``
        and ``open_clip_model.safetensors``, with ``local-dir:`` before it or not. A
        folder is never looked for on the network. Weights must be safetensors.
    pretrained : str or None, default="laion2b_s34b_b79k"
        Tag of the weights of a name that open_clip knows; not looked at for others.
    revision : str or None, default=None
        Branch, tag or commit of a hub model; None for its newest.
    views : tuple of {"centre", "whole"}, default=("centre", "whole")
        What the encoder sees of each image; the features stand side by side. See
        `ImageClassifier`.
    head : classifier or None, default=None
        Any scikit-learn classifier of features; None for a logistic regression on
        standardised features whose ``C`` is chosen by log loss in 3 grouped folds of
        the rows given to `fit`; fewer where a class has fewer groups, and 0.01 below
        two. See `ImageClassifier`.
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
        None. With None the folds are not shuffled.
    verbose : bool, default=False
        Whether to show progress bars on the standard error.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    head_ : classifier
        The fitted head, a plain scikit-learn estimator.
    encoder_spec_ : dict
        What identifies the encoder, as in `ImageClassifier`; the preprocessing is that
        of the model's own configuration.

    See Also
    --------
    ClipZeroShotClassifier : By descriptions of the event, with labels or without.
    ImageClassifier : The same on an image classification network.

    References
    ----------
    Radford et al. (2021). Learning Transferable Visual Models From Natural Language
    Supervision. ICML.

    Examples
    --------
    >>> from mmevent import ClipProbeClassifier
    >>> branch = ClipProbeClassifier(model="RN50", pretrained="openai")
    >>> branch.get_params()["views"]
    ('centre', 'whole')
    """

    _encoder_class = ClipEncoder

    def __init__(
        self,
        *,
        model: str = DEFAULT_CLIP_MODEL,
        pretrained: str | None = DEFAULT_CLIP_PRETRAINED,
        revision: str | None = None,
        views: Sequence[str] = VIEWS,
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
        self.pretrained = pretrained
        self.revision = revision
        self.views = views
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
    ) -> ClipProbeClassifier:
        """Encode the images and fit the head.

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
        ClipProbeClassifier
            The same object, fitted.

        Raises
        ------
        InputError
            If ``X``, ``y``, ``groups``, ``sample_weight`` or a parameter is not as
            described.
        ModelUnavailableError
            If the model or its tag is not known, or it cannot be reached or loaded.

        Warns
        -----
        UnusableInputWarning
            If some images cannot be read or encoded; they are left out.
        """
        self._fit(X, y, groups, sample_weight)
        return self

    def _model(self) -> str:
        return clip_reference(self.model, self.pretrained)


class ClipZeroShotClassifier(FrozenImageClassifier):
    """Score images by descriptions of an event, without labels or with some.

    An image is compared with descriptions of the event and with descriptions of what
    looks like it. Without labels its score says by how much it is nearer to the
    former. That is no probability: a model's cosines are scaled for its own training,
    so a score of 0.9 does not mean nine events in ten, and the share of events among
    your images does not enter. With labels, the score is calibrated on them.

    Parameters
    ----------
    event : str or list of str, default=None
        The name of an event pack (protest, flood or fire; see ``packs``), or
        descriptions of pictures of your event: one or, better, several. There is no
        default: None is refused by `fit`.
    negative : list of str or None, default=None
        Descriptions of what looks like the event and is none. They are needed beside
        descriptions of your own: a softmax over the event alone is 1 for every image.
        None for those of the pack.
    templates : list of str or None, default=None
        Sentences that each description is put into, in place of ``{}``; its features
        are averaged over them. In the language of the descriptions. None for those of
        the pack, and for descriptions of your own
        ``["a photo of {}.", "a picture of {}.", "{}"]``.
    packs : path or None, default=None
        A file of your own that ``event`` is looked up in. See `event_packs`.
    model : str, default="ViT-B-32"
        As in `ClipProbeClassifier`.
    pretrained : str or None, default="laion2b_s34b_b79k"
        As in `ClipProbeClassifier`.
    revision : str or None, default=None
        Branch, tag or commit of a hub model; None for its newest.
    views : tuple of {"centre", "whole"}, default=("centre", "whole")
        What the encoder sees of each image; the features are averaged. See
        `ImageClassifier`.
    pos_label : label or None, default=None
        The label of an event. None for the greater of two numbers or booleans.
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
        File that keeps embeddings; as in `ClipProbeClassifier`.
    verbose : bool, default=False
        Whether to show progress bars on the standard error.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Labels, sorted; 0 and 1, an event, where there were none.
    positive_, negative_, templates_ : tuple of str
        The descriptions and templates that were used.
    calibration_ : classifier or None
        What turns the logit of the score into a probability: a scikit-learn logistic
        regression; None without labels.
    encoder_spec_ : dict
        What identifies the encoder, as in `ImageClassifier`.

    See Also
    --------
    ClipProbeClassifier : Learns from labelled images alone; better with many.
    event_packs : The descriptions of each pack, with the reason for each contrast.

    Notes
    -----
    With s the model's own scale, f the features of an image (the mean over its views,
    of length 1) and t those of a description (the mean over templates, of length 1),
    the score is

    p = mean_P exp(s f·t) / (mean_P exp(s f·t) + mean_N exp(s f·t))

    over the positive descriptions P and the negative ones N: the softmax over all of
    them, summed over P, but for each side counting the same however many descriptions
    it has. This changes no order.

    With labels, a logistic regression of one variable, log p/(1 - p), is fitted. The
    score of an image never saw a label, its own included, so the calibration learns
    from scores that are out of fold as they are; its strength is chosen by log loss
    in 3 grouped folds, and with few labels it stays near the share of events among
    them. Its probabilities hold for images that are drawn as the labelled ones were.

    CLIP also reads: writing in a picture can move its score.

    References
    ----------
    Radford et al. (2021). Learning Transferable Visual Models From Natural Language
    Supervision. ICML. Platt (1999). Probabilistic Outputs for Support Vector Machines.

    Examples
    --------
    >>> from mmevent import ClipZeroShotClassifier
    >>> branch = ClipZeroShotClassifier("protest")
    >>> branch = ClipZeroShotClassifier(
    ...     ["a strike", "workers at a picket line"],
    ...     negative=["workers at work", "a queue in front of a shop"],
    ... )
    >>> branch.get_params()["model"]
    'ViT-B-32'
    """

    _encoder_class = ClipEncoder

    def __init__(
        self,
        event: str | Sequence[str] | None = None,
        negative: Sequence[str] | None = None,
        *,
        templates: Sequence[str] | None = None,
        packs: str | os.PathLike[str] | None = None,
        model: str = DEFAULT_CLIP_MODEL,
        pretrained: str | None = DEFAULT_CLIP_PRETRAINED,
        revision: str | None = None,
        views: Sequence[str] = VIEWS,
        pos_label: Any = None,
        batch_size: int = 32,
        device: str = "auto",
        dtype: str = "auto",
        backend: str = "torch",
        local_files_only: bool = False,
        cache: str | os.PathLike[str] | None = "auto",
        verbose: bool = False,
    ) -> None:
        self.event = event
        self.negative = negative
        self.templates = templates
        self.packs = packs
        self.model = model
        self.pretrained = pretrained
        self.revision = revision
        self.views = views
        self.pos_label = pos_label
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.backend = backend
        self.local_files_only = local_files_only
        self.cache = cache
        self.verbose = verbose

    def fit(
        self,
        X: Sequence[Image] | Images,
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> ClipZeroShotClassifier:
        """Encode the prompts and, with labels, calibrate the score.

        Parameters
        ----------
        X : sequence of PIL.Image.Image, or Images
            Images; they are treated as RGB. Without labels they are not encoded, and
            there may be none.
        y : array-like of shape (n_images,) or None, default=None
            Labels, of two classes.
        groups : array-like of shape (n_images,) or None, default=None
            With labels: rows that the calibration's folds must not split, such as the
            images of a post; equal images never are.
        sample_weight : array-like of shape (n_images,) or None, default=None
            With labels: weight of each row, at least 0.

        Returns
        -------
        ClipZeroShotClassifier
            The same object, fitted.

        Raises
        ------
        InputError
            If ``X``, ``y``, ``groups``, ``sample_weight`` or a parameter is not as
            described; if there is no contrast; if a prompt is too long.
        ModelUnavailableError
            If the model or its tag is not known, or it cannot be reached or loaded.

        Warns
        -----
        UnusableInputWarning
            If some images cannot be read or encoded; they are left out.
        MmeventWarning
            If events have lower scores than other images.
        """
        if y is None:
            self._check_parameters()
            as_images(X)
            encoder = self._load_unfitted()
            self._keep(encoder, self._uncalibrated(encoder))
            return self
        images = as_images(X)
        if len(images):
            check_labels(y, len(images), self.pos_label)
        self._fit(images, y, groups, sample_weight)
        return self

    def _model(self) -> str:
        return clip_reference(self.model, self.pretrained)

    def _check_head(self) -> None:
        self._prompts()

    def _prompts(self) -> Prompts:
        return choose_prompts(self.event, self.negative, self.templates, self.packs)

    def _load_unfitted(self) -> Any:
        encoder = super()._load_unfitted()
        positive, negative, templates = self._prompts()
        check_lengths(encoder, positive + negative, templates)
        return encoder

    def _uncalibrated(self, encoder: ClipEncoder) -> PromptHead:
        positive, negative, templates = self._prompts()
        return PromptHead(
            text_features(encoder, positive, templates),
            text_features(encoder, negative, templates),
            encoder.scale,
        )

    def _learn(self, encoder: Any, examples: Examples) -> tuple[Any, PromptHead]:
        _, rows, labels, weights, groups = examples[1:]
        _, classes, positive = check_labels(labels, len(labels), self.pos_label)
        head = self._uncalibrated(encoder).calibrate(rows, labels, weights, groups)
        if head.slope * (1 if classes[1] == positive else -1) < 0:
            label = np.asarray(positive).tolist()
            warnings.warn(
                f"the prompts run against the labels: images that are labelled "
                f"{label!r} are less like the event's descriptions than others. "
                f"The calibration turns the score round. Look at the descriptions, "
                f"and at some of the labels.",
                MmeventWarning,
                stacklevel=4,
            )
        return encoder, head

    def _keep(self, encoder: Any, head: Any) -> None:
        super()._keep(encoder, head)
        self.positive_, self.negative_, self.templates_ = self._prompts()
        self.calibration_ = head.calibration

    def __sklearn_tags__(self) -> Any:
        """Say that labels are not needed."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags
