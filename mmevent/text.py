"""The text branch: a classifier of texts on a frozen transformer encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mmevent._frozen import FrozenClassifier
from mmevent._text_encoder import TextEncoder
from mmevent._trainable import TrainableClassifier
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

__all__ = ["DEFAULT_TEXT_MODEL", "TextClassifier"]

DEFAULT_TEXT_MODEL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
"""Name of the text encoder that is used where none is named."""


class FrozenTextClassifier(FrozenClassifier):
    """Base of the branches that see texts."""

    def is_truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which texts are longer than the encoder reads.

        Parameters
        ----------
        texts : sequence of str
            Texts.

        Returns
        -------
        ndarray of shape (n_texts,)
            True where tokens are cut off.

        Raises
        ------
        InputError
            If ``texts`` is not a sequence of strings.
        ModelUnavailableError
            If the encoder cannot be loaded, or is not the one of `fit`.
        """
        check_is_fitted(self)
        items = _texts(texts)
        truncated: NDArray[np.bool_] = self._fitted_encoder().is_truncated(items)
        return truncated

    def _items(self, X: Any) -> tuple[list[str], list[str], NDArray[np.bool_]]:
        texts = _texts(X)
        return texts, texts, np.ones(len(texts), dtype=bool)

    def __sklearn_tags__(self) -> Any:
        """Say that `X` holds strings."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags


class TextClassifier(TrainableClassifier, FrozenTextClassifier):
    """Classify texts by a head on an encoder, frozen or fine-tuned.

    Each distinct text is encoded once. Token embeddings are averaged and
    L2-normalised, unless the model's own sentence-transformers files say otherwise.

    Parameters
    ----------
    model : str, default="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
        Name on the Hugging Face hub, or folder, of a transformers encoder with
        safetensors weights. A folder is never looked for on the network.
    revision : str or None, default=None
        Branch, tag or commit of a hub model; None for its newest.
    max_length : int or None, default=None
        Number of tokens that are read of a text, the special ones included; the rest
        is cut off. None for the model's own.
    train : "head", "all" or int, default="head"
        What is trained: the head alone on the frozen encoder, the whole encoder with
        a linear head, or, of the encoder, the last so many of its blocks (a
        transformer's layers, a residual network's stages). See Notes.
    n_epochs : int, default=8
        Passes over the rows, at most, where the encoder is trained.
    learning_rate : float, default=5e-05
        Highest learning rate of AdamW, likewise. It rises over the first tenth of the
        steps, then falls to 0.
    train_batch_size : int, default=16
        Number of texts in a forward pass, likewise. It is halved, and the next
        parameter doubled, where the device's memory is too small.
    gradient_accumulation_steps : int, default=1
        Forward passes a step, likewise.
    head : classifier or None, default=None
        Any scikit-learn classifier of embeddings; it is cloned, and given the sample
        weights where its ``fit`` takes them. One without probabilities is calibrated
        by a sigmoid in grouped folds. None for a logistic regression on standardised
        embeddings whose ``C`` is chosen by log loss in 3 grouped folds of the rows
        given to `fit`, from 0.0001, 0.001, 0.01, 0.1, 1 and 10.
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
        ``preprocessing``, ``pooling``, ``max_length`` and ``dtype``. The encoder is
        loaded again by it when needed.
    pretrained_spec_ : dict
        The same of the encoder before it was fine-tuned; only then is it there.
    n_epochs_ : int
        Passes over the rows by which it was fine-tuned, 0 where its loss was not
        finite; only then is it there.

    See Also
    --------
    ImageClassifier : The same for images.

    Notes
    -----
    **Fine-tuning** starts from the pretrained weights in every fit, and from a head
    that was fitted on the frozen encoder, which keeps the first steps from distorting
    its features (Kumar et al. 2022). It is done twice: first without a seventh of the
    rows, groups left whole, until two epochs after the one that ordered these rows best
    (average precision; with more classes, its mean over them), then on all rows for as
    many epochs. The loss has the class weights and sample weights. It runs in bfloat16
    where the device computes in it; the result is float32. Checkpoints lie beside the
    cache's file, and the same fit on the same data goes on from them after an
    interruption; they are removed when it is done, and not found again with
    ``cache=None``. What was trained is part of the fitted object. A ``random_state`` of
    None is 0 here.

    Fitting needs the encoder's files: they are downloaded on first use, or found in
    the folder that ``model`` names. A frozen encoder's weights are no part of the
    fitted object: a copy, a pickle or a saved model refers to them by name and SHA-256.

    References
    ----------
    Kumar et al. (2022). Fine-Tuning can Distort Pretrained Features and Underperform
    Out-of-Distribution. ICLR.

    Examples
    --------
    >>> from mmevent import TextClassifier
    >>> branch = TextClassifier(model="intfloat/multilingual-e5-small", max_length=128)
    >>> branch.get_params()["max_length"]
    128
    """

    _encoder_class = TextEncoder

    def __init__(
        self,
        *,
        model: str = DEFAULT_TEXT_MODEL,
        revision: str | None = None,
        max_length: int | None = None,
        train: str | int = "head",
        n_epochs: int = 8,
        learning_rate: float = 5e-5,
        train_batch_size: int = 16,
        gradient_accumulation_steps: int = 1,
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
        self.max_length = max_length
        self.train = train
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.train_batch_size = train_batch_size
        self.gradient_accumulation_steps = gradient_accumulation_steps
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
    ) -> TextClassifier:
        """Encode the texts and fit the head, and train the encoder if asked to.

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
        TextClassifier
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
            If the encoder's output for some texts is not finite; they are left out.
        """
        self._fit(X, y, groups, sample_weight)
        return self

    def _settings(self) -> dict[str, Any]:
        return {"max_length": self.max_length}


def _texts(X: Any) -> list[str]:
    one = isinstance(X, (str, bytes, Mapping)) or getattr(X, "ndim", 1) != 1
    try:
        texts = [] if one else list(X)
    except TypeError:
        one = True
    if one:
        msg = (
            f"X must be a sequence of texts; got {type(X).__name__}. Pass a list of "
            f"str, such as posts['text']."
        )
        raise InputError(msg)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            msg = (
                f"X must hold one str a row; row {row} is {text!r}, of type "
                f"{type(text).__name__}. Leave rows without text out."
            )
            raise InputError(msg)
    return [str(text) for text in texts]
