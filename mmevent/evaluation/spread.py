"""How far the choice of parameters moves a figure: the spread between the folds.

The figures of an estimate by cross-validation are about the detector that was fitted on
all posts, but each fold's posts were flagged with the parameters of that fold. Two such
choices differ by chance, even on nearly the same posts: the best threshold is an
unsteady statistic. An interval that resamples the tested posts alone is too short by
this difference, most of all for precision and recall, which change with the threshold
while F1 is flat near its maximum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]


class Choices(NamedTuple):
    """What each fold's parameters say of all posts, not of its own test part alone.

    All use the same out-of-fold probabilities, so that two rows of `score`, of shape
    (n_folds, n_posts), differ by the choice of parameters only. `threshold` has the
    shape (n_folds,).
    """

    score: FloatArray
    threshold: FloatArray

    @classmethod
    def of(cls, folds: Sequence[tuple[FloatArray, float]]) -> Choices:
        """Join the scores and the threshold of each fold."""
        scores, thresholds = zip(*folds, strict=True)
        return cls(np.array(scores), np.array(thresholds))

    def flagged(self) -> NDArray[np.bool_]:
        """Return which posts each fold's parameters flag: (n_folds, n_posts)."""
        flagged: NDArray[np.bool_] = self.score >= self.threshold[:, None]
        return flagged


def variance_of_choice(figures: Sequence[FloatArray]) -> float:
    r"""Return the variance of a cross-validated figure that the choice adds.

    Parameters
    ----------
    figures : sequence of ndarray of shape (n_folds,)
        For each run of the folds: the figure of all tested posts by the parameters of
        each fold; NaN where it is undefined.

    Returns
    -------
    float
        0 where fewer than two folds have a figure.

    Notes
    -----
    The estimate is a mean over K folds; the fitted detector has one choice more. If the
    K + 1 choices differ from each other by chance, with a variance :math:`s^2` of the
    figure between them, then the figure of the fitted detector differs from that mean
    with the variance :math:`s^2 (1 + 1/K)`. Several runs do not make it smaller, since
    there is one fitted detector. This is about the detector that was fitted, as opposed
    to the procedure (Bates, Hastie and Tibshirani 2023, section 2), whose interval
    would need the whole variance of the choice over training samples, about three times
    as much with five folds.

    References
    ----------
    Bates, Hastie and Tibshirani (2023), "Cross-Validation: What Does It Estimate and
    How Well Does It Do It?", Journal of the American Statistical Association 119.
    Bengio and Grandvalet (2004), "No Unbiased Estimator of the Variance of K-Fold
    Cross-Validation", Journal of Machine Learning Research 5.

    Examples
    --------
    >>> import numpy as np
    >>> from mmevent.evaluation.spread import variance_of_choice
    >>> round(variance_of_choice([np.array([0.70, 0.74, 0.72])]), 6)
    0.000533
    """
    per_run = [run[~np.isnan(run)] for run in figures]
    added = [run.var(ddof=1) * (1 + 1 / len(run)) for run in per_run if len(run) > 1]
    return float(np.mean(added)) if added else 0.0


def comparable(
    score: FloatArray, fold: NDArray[np.intp], choices: Choices | None
) -> FloatArray:
    """Return scores that can be ranked across folds.

    Folds have different alpha and beta. A post's score is replaced by the number of
    posts, of all folds, that score lower by the parameters of its fold. No label is
    used. Where all folds chose alike, the order is that of the scores.

    Parameters
    ----------
    score, fold : ndarray of shape (n_posts,)
        The score by the parameters of the fold that tests a post, and this fold.
    choices : Choices or None
        What each fold's parameters say of these posts; None for held-out posts, whose
        scores are returned as they are.

    Returns
    -------
    ndarray of shape (n_posts,)
    """
    if choices is None:
        return score
    result = np.empty(len(score))
    for row, k in zip(choices.score, np.unique(fold), strict=True):
        result[fold == k] = np.searchsorted(np.sort(row), score[fold == k], side="left")
    return result
