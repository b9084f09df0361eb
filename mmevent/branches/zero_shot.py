"""Scores of images by descriptions of an event, calibrated where there are labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._common import warn_user
from mmevent.branches.base import Examples
from mmevent.branches.image import PictureClassifier
from mmevent.branches.packs import choose_prompts
from mmevent.branches.prompts import PromptHead, check_lengths, text_features
from mmevent.encoders.clip import DEFAULT_CLIP_MODEL, ClipEncoder
from mmevent.encoders.views import read_images
from mmevent.exceptions import InputError, MmeventWarning
from mmevent.posts.alignment import aligned
from mmevent.posts.labels import check_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from PIL.Image import Image

    from mmevent.branches.packs import Prompts
    from mmevent.encoders.base import Encoder
    from mmevent.encoders.clip import ClipModel
    from mmevent.posts.images import Images

__all__ = ["ClipZeroShotClassifier"]


class ClipZeroShotClassifier(PictureClassifier):
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
    encoder : str or ClipEncoder, default="ViT-B-32"
        The name or folder of a CLIP model, for `ClipEncoder` with its defaults; or a
        `ClipEncoder`, where weights, device, number format, cache and the like are set.
        The features of an image's views are averaged.
    pos_label : label or None, default=None
        The label of an event. None for 1 or True, where labels are 0 and 1, or
        booleans; other labels need it.
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
    encoder_ : ClipEncoder
        A copy of ``encoder`` that is pinned to the model that was used; its ``spec_``
        names the weights.

    See Also
    --------
    ImageClassifier : Learns from labelled images alone; better with many.
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
    >>> branch.get_params()["encoder"]
    'ViT-B-32'
    """

    _encoder_base = _encoder_class = ClipEncoder

    def __init__(
        self,
        event: str | Sequence[str] | None = None,
        negative: Sequence[str] | None = None,
        *,
        templates: Sequence[str] | None = None,
        packs: str | os.PathLike[str] | None = None,
        encoder: Any = DEFAULT_CLIP_MODEL,
        pos_label: Any = None,
        verbose: bool = False,
    ) -> None:
        self.event = event
        self.negative = negative
        self.templates = templates
        self.packs = packs
        self.encoder = encoder
        self.pos_label = pos_label
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
            encoder = self._checked_encoder()
            read_images(X)
            self._forget()
            self._keep(encoder, self._uncalibrated(self._pin(encoder)))
            return self
        y, groups = aligned(y, X, "y"), aligned(groups, X, "groups")
        sample_weight = aligned(sample_weight, X, "sample_weight")
        images = read_images(X)
        if len(images):
            check_labels(y, len(images), self.pos_label)
        self._fit(images, y, groups, sample_weight)
        return self

    def _check_learning(self, encoder: Any) -> None:
        if not isinstance(encoder, ClipEncoder):
            raise InputError(
                f"encoder={self.encoder!r} cannot compare pictures with words: "
                f"expected the name or the folder of a CLIP model, or a ClipEncoder, "
                f"got {type(encoder).__name__}. Use encoder=ClipEncoder()."
            )
        self._prompts()

    def _prompts(self) -> Prompts:
        return choose_prompts(self.event, self.negative, self.templates, self.packs)

    def _pin(self, encoder: Encoder) -> Any:
        model = super()._pin(encoder)
        positive, negative, templates = self._prompts()
        check_lengths(model, positive + negative, templates)
        return model

    def _uncalibrated(self, model: ClipModel) -> PromptHead:
        positive, negative, templates = self._prompts()
        return PromptHead(
            text_features(model, positive, templates),
            text_features(model, negative, templates),
            model.scale,
        )

    def _learn(self, encoder: Any, examples: Examples) -> PromptHead:
        _, rows, labels, weights, groups = examples[1:]
        _, classes, positive = check_labels(labels, len(labels), self.pos_label)
        head = self._uncalibrated(encoder.load())
        head.calibrate(rows, labels, weights, groups)
        if head.slope * (1 if classes[1] == positive else -1) < 0:
            label = np.asarray(positive).tolist()
            warn_user(
                f"the prompts run against the labels: images that are labelled "
                f"{label!r} are less like the event's descriptions than others. "
                f"The calibration turns the score round. Look at the descriptions, "
                f"and at some of the labels.",
                MmeventWarning,
            )
        return head

    def _keep(self, encoder: Any, head: Any) -> None:
        super()._keep(encoder, head)
        self.positive_, self.negative_, self.templates_ = self._prompts()
        self.calibration_ = head.calibration

    def __sklearn_tags__(self) -> Any:
        """Say that labels are not needed."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags
