"""The text branch on CLIP: a head on the features of its text tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._clip_encoder import ClipTextEncoder
from mmevent._clip_names import (
    DEFAULT_CLIP_MODEL,
    DEFAULT_CLIP_PRETRAINED,
    clip_reference,
)
from mmevent.text import FrozenTextClassifier

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike

__all__ = ["ClipTextClassifier"]


class ClipTextClassifier(FrozenTextClassifier):
    """Classify texts by a scikit-learn head on CLIP's text features.

    CLIP learnt from captions, so it reads short, descriptive texts; of a long one it
    reads the first 77 tokens or so. `TextClassifier` is the better text branch for
    most posts. This one is of use with a multilingual CLIP, or where one model is to
    do both sides.

    Parameters
    ----------
    model : str, default="ViT-B-32"
        As in `ClipProbeClassifier`.
    pretrained : str or None, default="laion2b_s34b_b79k"
        As in `ClipProbeClassifier`.
    revision : str or None, default=None
        Branch, tag or commit of a hub model; None for its newest.
    head : classifier or None, default=None
        Any scikit-learn classifier of features; None for a logistic regression, as in
        `TextClassifier`.
    class_weight : "balanced", mapping or None, default="balanced"
        Weight of each class in the default head; a head of your own has its own.
    batch_size : int, default=32
        Number of texts encoded at a time; it changes the result by no more than
        rounding.
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
        What identifies the encoder, as in `TextClassifier`.

    See Also
    --------
    ClipProbeClassifier : The same on image features.
    TextClassifier : On an encoder of texts alone.

    References
    ----------
    Radford et al. (2021). Learning Transferable Visual Models From Natural Language
    Supervision. ICML.

    Examples
    --------
    >>> from mmevent import ClipTextClassifier
    >>> branch = ClipTextClassifier(model="RN50", pretrained="openai")
    >>> branch.get_params()["batch_size"]
    32
    """

    _encoder_class = ClipTextEncoder

    def __init__(
        self,
        *,
        model: str = DEFAULT_CLIP_MODEL,
        pretrained: str | None = DEFAULT_CLIP_PRETRAINED,
        revision: str | None = None,
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
        X: Sequence[str],
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> ClipTextClassifier:
        """Encode the texts and fit the head.

        Parameters
        ----------
        X : sequence of str
            Texts.
        y : array-like of shape (n_texts,)
            Labels, of two or more classes.
        groups : array-like of shape (n_texts,) or None, default=None
            Rows that the head's folds must not split; equal texts never are.
        sample_weight : array-like of shape (n_texts,) or None, default=None
            Weight of each row, at least 0.

        Returns
        -------
        ClipTextClassifier
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
            If the encoder's output for some texts is not finite; they are left out.
        """
        self._fit(X, y, groups, sample_weight)
        return self

    def _model(self) -> str:
        return clip_reference(self.model, self.pretrained)

    def _settings(self) -> dict[str, Any]:
        return {}
