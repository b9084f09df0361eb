"""The classifier of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mmevent._common import keep_parameters
from mmevent.branches.base import EncodedClassifier
from mmevent.encoders.text import DEFAULT_TEXT_MODEL, TextEncoder, read_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TextClassifier"]


class TextClassifier(EncodedClassifier):
    """Classify texts by a head on an encoder, frozen or fine-tuned.

    Parameters
    ----------
    encoder : str, default="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
        The name or folder of a model, for `TextEncoder` with its defaults; a
        `TextEncoder`, where device, number format, cache and the like are set; or any
        scikit-learn transformer of texts to a table of numbers. The last is cloned, and
        fitted on the rows of `fit`.
    head : classifier or None, default=None
        Any scikit-learn classifier of features; it is cloned, and given the sample
        weights where its ``fit`` takes them. One without probabilities is calibrated
        by a sigmoid in grouped folds. None for a logistic regression on standardised
        features whose ``C`` is chosen by log loss in 3 grouped folds of the rows given
        to `fit`, from 0.0001, 0.001, 0.01, 0.1, 1 and 10; fewer folds where a class has
        fewer groups, and 0.01 below two.
    class_weight : "balanced", mapping or None, default="balanced"
        Weight of each class in the default head; a head of your own has its own.
    train : "head", "all" or int, default="head"
        What is trained: the head alone on the frozen encoder, the whole encoder with
        a linear head, or, of the encoder, the last so many of its blocks (a
        transformer's layers, a residual network's stages). See Notes.
    n_epochs : int, default=8
        Of fine-tuning: passes over the rows, at most.
    learning_rate : float, default=5e-05
        Of fine-tuning: highest learning rate of AdamW. It rises over the first tenth of
        the steps, then falls to 0.
    train_batch_size : int, default=16
        Of fine-tuning: texts in a forward pass. It is halved, and the next parameter
        doubled, where the device's memory is too small.
    gradient_accumulation_steps : int, default=1
        Of fine-tuning: forward passes per step.
    random_state : int, RandomState or None, default=None
        Seed of the head's folds, and of a ``random_state`` that ``head`` or a
        transformer of your own leaves at None. With None the folds are not shuffled, so
        the default head is the same every time.
    verbose : bool, default=False
        Whether to show progress bars on the standard error.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    head_ : classifier
        The fitted head, a plain scikit-learn estimator.
    encoder_ : TextEncoder or transformer
        A copy of ``encoder`` that is pinned to the model that was used; its ``spec_``
        names the weights. Where the model was fine-tuned, it holds what was trained. A
        transformer of your own is fitted.
    n_epochs_ : int
        Passes over the rows by which the encoder was fine-tuned, 0 where its loss was
        not finite; only then is it there.

    See Also
    --------
    ImageClassifier : The same for images.
    TextEncoder : What it stands on.

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

    References
    ----------
    Kumar et al. (2022). Fine-Tuning can Distort Pretrained Features and Underperform
    Out-of-Distribution. ICLR.

    Examples
    --------
    >>> from mmevent import TextClassifier, TextEncoder
    >>> branch = TextClassifier("intfloat/multilingual-e5-small")
    >>> branch = TextClassifier(TextEncoder(max_length=64, device="cpu"))
    >>> branch.get_params()["encoder__max_length"]
    64

    Features that need no model:

    >>> from sklearn.decomposition import TruncatedSVD
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.pipeline import make_pipeline
    >>> words = make_pipeline(TfidfVectorizer(), TruncatedSVD(2, random_state=0))
    >>> texts = ["a march", "a protest march", "a dog", "a sunny day"]
    >>> TextClassifier(words).fit(texts, [1, 1, 0, 0]).predict(["march"]).tolist()
    [1]
    """

    item = "text"
    _encoder_base = _encoder_class = TextEncoder

    def __init__(
        self,
        encoder: Any = DEFAULT_TEXT_MODEL,
        *,
        head: Any = None,
        class_weight: Mapping[Any, float] | str | None = "balanced",
        train: str | int = "head",
        n_epochs: int = 8,
        learning_rate: float = 5e-5,
        train_batch_size: int = 16,
        gradient_accumulation_steps: int = 1,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        keep_parameters(self, locals())

    def is_truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which texts are longer than the encoder reads.

        Parameters
        ----------
        texts : sequence of str
            Texts.

        Returns
        -------
        ndarray of shape (n_texts,)
            True where tokens are cut off; False for a transformer of your own.

        Raises
        ------
        InputError
            If ``texts`` is not a sequence of strings.
        ModelUnavailableError
            If the encoder cannot be loaded, or is not the one of `fit`.
        """
        check_is_fitted(self)
        if isinstance(self.encoder_, TextEncoder):
            return self.encoder_.is_truncated(texts)
        return np.zeros(len(read_texts(texts)), dtype=bool)

    def _read(self, X: Any) -> tuple[list[str], list[str]]:
        texts = read_texts(X)
        return texts, texts

    def __sklearn_tags__(self) -> Any:
        """Say that `X` holds strings."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags
