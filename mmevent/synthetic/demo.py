"""Small branches for the demo, made of scikit-learn alone, without a download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    from collections.abc import Sequence

_BINS = 8


class ImageStatistics(TransformerMixin, BaseEstimator):
    """Describe RGB images by a thumbnail and histograms of their colours.

    It learns nothing: the row of an image depends on that image alone.

    Parameters
    ----------
    side : int, default=8
        Width and height of the thumbnail, in pixels.

    Examples
    --------
    >>> from PIL import Image
    >>> from mmevent.synthetic import ImageStatistics
    >>> ImageStatistics().transform([Image.new("RGB", (32, 32), "red")]).shape
    (1, 216)
    """

    def __init__(self, *, side: int = 8) -> None:
        self.side = side

    def fit(self, X: Sequence[Image.Image], y: object = None) -> ImageStatistics:
        """Do nothing.

        Parameters
        ----------
        X : sequence of PIL.Image.Image
            RGB images; not used.
        y : object, default=None
            Ignored.

        Returns
        -------
        ImageStatistics
            The transformer itself.
        """
        return self

    def transform(self, X: Sequence[Image.Image]) -> np.ndarray:
        """Return one row of numbers in [0, 1] for each image.

        Parameters
        ----------
        X : sequence of PIL.Image.Image
            RGB images of any size; each is read once.

        Returns
        -------
        ndarray of shape (n_images, 3 * side**2 + 24)
            The pixels of the thumbnail, then eight bins of each colour.
        """
        rows = np.empty((len(X), 3 * (self.side**2 + _BINS)))
        for i in range(len(X)):
            rows[i] = self._describe(X[i])
        return rows

    def _describe(self, image: Image.Image) -> np.ndarray:
        size = (self.side, self.side)
        thumbnail = np.asarray(image.resize(size, Image.Resampling.BOX)) / 255
        counts = np.asarray(image.histogram(), dtype=float).reshape(3, _BINS, -1)
        shares = counts.sum(axis=2) / (image.width * image.height)
        return np.concatenate((thumbnail.ravel(), shares.ravel()))

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        return tags


def demo_branches() -> tuple[Pipeline, Pipeline]:
    """Return a text and an image branch that need no download.

    Returns
    -------
    text : sklearn.pipeline.Pipeline
        Word counts and a logistic regression; takes a sequence of `str`.
    image : sklearn.pipeline.Pipeline
        `ImageStatistics` and a logistic regression; takes a sequence of RGB images.

    Examples
    --------
    >>> from mmevent.synthetic import demo_branches
    >>> text, image = demo_branches()
    >>> text.fit(["a march", "cold soup"], [1, 0]).predict(["the march"])
    array([1])
    """
    text = make_pipeline(
        TfidfVectorizer(use_idf=False),
        LogisticRegression(class_weight="balanced"),
    )
    image = make_pipeline(
        ImageStatistics(),
        StandardScaler(),
        LogisticRegression(class_weight="balanced", C=0.01),
    )
    return text, image
