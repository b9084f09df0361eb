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
from sklearn.metrics import average_precision_score

from mmevent.evaluation.baselines import BOTH, STAGE_1
from mmevent.evaluation.metrics import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mmevent.evaluation.metrics import Factors
    from mmevent.evaluation.nested import Run

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]
    Figures = dict[str, FloatArray]

GIVEN_STAGE_1 = "stage 2 given stage 1"


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

    def take(self, rows: NDArray[np.bool_]) -> Choices:
        """Return what they say of some posts."""
        return Choices(self.score[:, rows], self.threshold)

    def flagged(self) -> BoolArray:
        """Return which posts each fold's parameters flag: (n_folds, n_posts)."""
        flagged: BoolArray = self.score >= self.threshold[:, None]
        return flagged

    def figures(
        self, event: BoolArray, factors: tuple[float, float] = (1.0, 1.0)
    ) -> dict[str, FloatArray]:
        """Return each figure of these posts by the parameters of each fold.

        `event` has the shape (n_posts,); `factors` weigh an event and another post.
        """
        found = ratios_by_fold(self.flagged(), event, factors)
        w = np.where(event, *factors)
        rows = self.score[:1] if (self.score == self.score[0]).all() else self.score
        area = np.full(len(self.score), np.nan)
        if event.any():
            area[:] = [average_precision_score(event, s, sample_weight=w) for s in rows]
        return found | {"average_precision": area}


def ratios_by_fold(
    flagged: BoolArray, event: BoolArray, factors: tuple[float, float] = (1.0, 1.0)
) -> dict[str, FloatArray]:
    """Return precision, recall and F1 by the parameters of each fold.

    Parameters
    ----------
    flagged : ndarray of bool of shape (n_folds, n_posts)
        Which posts they flag.
    event : ndarray of bool of shape (n_posts,) or (n_folds, n_posts)
        Which posts are events.
    factors : tuple of float, default=(1.0, 1.0)
        Weights of an event and of another post.
    """
    event = np.broadcast_to(event, flagged.shape)
    kinds = (flagged & event, flagged & ~event, event, ~event)
    sums = (kind.sum(axis=1).astype(np.float64) for kind in kinds)
    return Counts(*sums).weighted(factors).ratios()


class Added(NamedTuple):
    """Variance that is added to that of a figure over groups, from K folds.

    Parameters
    ----------
    variance : float
        0 if nothing is added.
    df : float
        Its degrees of freedom, K - 1.

    Examples
    --------
    >>> from mmevent.evaluation.spread import Added
    >>> Added(1.0, 4.0).degrees(1.0, 101.0)  # as much as over 101 groups
    15.384615384615383
    """

    variance: float
    df: float

    def degrees(self, variance: float, n_groups: float) -> float | None:
        """Return the degrees of freedom of the sum with a variance over groups.

        Welch (1947) and Satterthwaite (1946). None if nothing is added.
        """
        if self.variance == 0:
            return None
        own = max(n_groups - 1.0, 1.0)
        parts = variance**2 / own + self.variance**2 / self.df
        return (variance + self.variance) ** 2 / parts


def variance_of_choice(figures: Sequence[FloatArray]) -> Added:
    r"""Return the variance of a cross-validated figure that the choice adds.

    Parameters
    ----------
    figures : sequence of ndarray of shape (n_folds,)
        For each run of the folds: the figure of all tested posts by the parameters of
        each fold; NaN where it is undefined.

    Returns
    -------
    Added
        A variance of 0 where fewer than two folds have a figure.

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
    >>> added = variance_of_choice([np.array([0.70, 0.74, 0.72])])
    >>> round(added.variance, 6), added.df
    (0.000533, 2.0)
    """
    per_run = [kept for run in figures if len(kept := run[~np.isnan(run)]) > 1]
    if not per_run:
        return Added(0.0, np.inf)
    added = [run.var(ddof=1) * (1 + 1 / len(run)) for run in per_run]
    # The runs have the same posts: they do not add up to more degrees of freedom.
    return Added(float(np.mean(added)), min(map(len, per_run)) - 1.0)


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


class Spread:
    """What the choice of parameters adds to the variances of some posts' figures.

    Parameters
    ----------
    runs : sequence of Run
        Without `choices`, as for held-out posts, nothing is added.
    rows : ndarray of bool
        Which of all posts the figures are of, n_posts of them.
    event : ndarray of bool of shape (n_posts,)
        Which of them are events.
    factors : Factors, default=(1.0, 1.0)
        Weights of an event and of another post, in the sample first.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        rows: BoolArray,
        event: BoolArray,
        factors: Factors = (1.0, 1.0),
    ) -> None:
        first, other = (float(np.ravel(factor)[0]) for factor in factors)
        self._by_run = [
            _by_system(run.choices, rows, event, (first, other))
            for run in runs
            if run.choices
        ]

    def of_figure(self, system: str, figure: str) -> Added:
        """Return the variance to add to that of a system's figure."""
        found = [run[system][figure] for run in self._by_run if figure in run[system]]
        return variance_of_choice(found)

    def of_difference(self, one: str, other: str) -> Added:
        """Return the variance to add to that of the difference of two systems' F1."""
        found = [run[one]["f1"] - run[other]["f1"] for run in self._by_run]
        return variance_of_choice(found)


def _by_system(
    choices: dict[str, Choices],
    rows: BoolArray,
    event: BoolArray,
    factors: tuple[float, float],
) -> dict[str, Figures]:
    """Return, for each system, each figure by the parameters of each fold."""
    taken = {name: of.take(rows) for name, of in choices.items()}
    found = {name: of.figures(event, factors) for name, of in taken.items()}
    if BOTH in taken:
        first, both = (taken[name].flagged() for name in (STAGE_1, BOTH))
        found[GIVEN_STAGE_1] = ratios_by_fold(first & both, first & event, factors)
    return found
