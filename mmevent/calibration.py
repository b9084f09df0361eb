"""From scores to probabilities of an event, one map for each case of the rule.

A score is no probability: a mean of two probabilities is not one, and branches with
balanced classes do not aim at the prevalence. A map from out-of-fold scores to the
share of events makes one. Posts with text alone, with images alone, with both, and
those that a second stage judged have maps of their own, since the same score means
other things.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mmevent._cuts import has_both
from mmevent.exceptions import InputError
from mmevent.filter import TwoStageRule, first_of
from mmevent.fusion import applied_rule

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mmevent.tuning import Evidence, Rule

    FloatArray = NDArray[np.float64]

__all__ = ["Calibration", "fit_calibration"]

METHODS = ("sigmoid", "isotonic", "isotonic-forced")
MIN_POSTS = 1000  # for an isotonic map, which has a step wherever the posts have one
MIN_A_CASE = 200
_POOLED = "all"
_C = 1000.0  # hardly any penalty: it only bounds the slope where the classes separate


@dataclass(frozen=True)
class Calibration:
    """Maps of scores to probabilities.

    Parameters
    ----------
    maps : dict of str to dict of str to list of float
        By case, and ``"all"`` for cases that had too few posts: ``slope`` and
        ``intercept`` of a sigmoid, or ``score`` and ``probability`` of the corners of
        an isotonic map.

    Examples
    --------
    >>> from mmevent.calibration import Calibration
    >>> calibration = Calibration({"all": {"slope": [4.0], "intercept": [-2.0]}})
    >>> calibration.predict([0.5, 0.9], ["text", "both"]).round(2)
    array([0.5 , 0.83])
    """

    maps: dict[str, dict[str, list[float]]]

    def predict(self, score: ArrayLike, case: ArrayLike) -> FloatArray:
        """Probability of an event for each score, by the map of its case."""
        s, cases = np.asarray(score, dtype=np.float64), np.asarray(case, dtype=object)
        p = np.empty(len(s))
        for name in np.unique(cases.astype(str)):
            rows = cases == name
            p[rows] = _apply(self.maps.get(name, self.maps[_POOLED]), s[rows])
        return p


def fit_calibration(
    method: str, score: ArrayLike, y: ArrayLike, case: ArrayLike
) -> Calibration:
    """Fit the maps on out-of-fold scores.

    Parameters
    ----------
    method : {"sigmoid", "isotonic", "isotonic-forced"}
        A logistic curve (Platt 1999), or any curve that rises (Zadrozny and Elkan
        2002), which is refused under 1,000 posts unless it is forced.
    score : array-like of shape (n_posts,)
        Out-of-fold scores.
    y : array-like of shape (n_posts,)
        1 or True for an event.
    case : array-like of shape (n_posts,)
        Case of the rule that applied to each post. One with fewer than 200 posts
        (1,000 where the map is isotonic), or with posts of one class, has the map of
        all posts.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        If the method is not known, or there are too few posts for it.

    References
    ----------
    Platt (1999), "Probabilistic Outputs for Support Vector Machines and Comparisons to
    Regularized Likelihood Methods", Advances in Large Margin Classifiers. Zadrozny and
    Elkan (2002), "Transforming Classifier Scores into Accurate Multiclass Probability
    Estimates", KDD.

    Examples
    --------
    >>> import numpy as np
    >>> from mmevent.calibration import fit_calibration
    >>> score = np.linspace(0, 1, 400)
    >>> y = np.arange(400) % 4 < score * 4
    >>> found = fit_calibration("sigmoid", score, y, ["text"] * 400)
    >>> found.predict([0.1, 0.9], ["text", "text"]).round(1)
    array([0.2, 0.9])
    """
    check_calibration(method)
    s, event = np.asarray(score, dtype=np.float64), np.asarray(y, dtype=bool)
    cases = np.asarray(case, dtype=object).astype(str)
    check_enough(method, len(s))
    maps = {_POOLED: _fit(method, s, event)}
    least = MIN_A_CASE if method == "sigmoid" else MIN_POSTS
    for name in np.unique(cases):
        rows = cases == name
        if rows.sum() >= least and has_both(event[rows]):
            maps[str(name)] = _fit(method, s[rows], event[rows])
    return Calibration(maps)


def check_calibration(method: object) -> None:
    """Refuse what is no method with an InputError."""
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(
            f"calibration={method!r} is not known: expected None or one of "
            f"{', '.join(map(repr, METHODS))}. Pass one of them."
        )


def check_enough(method: str | None, n_posts: int) -> None:
    """Refuse an isotonic map of few posts."""
    if method == "isotonic" and n_posts < MIN_POSTS:
        raise InputError(
            f"calibration='isotonic' needs more posts: expected {MIN_POSTS:,} or more, "
            f"got {n_posts:,}, of which single posts would make its steps. Use "
            f"'sigmoid', or 'isotonic-forced'."
        )


def cases_of(evidence: Evidence, rule: Rule | TwoStageRule) -> NDArray[Any]:
    """Name the case of the rule that applies to each post, and the second stage."""
    first = first_of(rule)
    cases = applied_rule(evidence.p_text, evidence.pooled[first.image, first.pool])
    if isinstance(rule, TwoStageRule):
        cases = np.where(rule.flagged(evidence), cases + ", stage 2", cases)
    return cases


def _fit(
    method: str, score: FloatArray, event: NDArray[np.bool_]
) -> dict[str, list[float]]:
    if method == "sigmoid":
        model = LogisticRegression(C=_C).fit(score[:, None], event)
        return {
            "slope": model.coef_.ravel().tolist(),
            "intercept": model.intercept_.tolist(),
        }
    curve = IsotonicRegression(y_min=0.0, y_max=1.0).fit(score, event.astype(float))
    return {
        "score": curve.X_thresholds_.tolist(),
        "probability": curve.y_thresholds_.tolist(),
    }


def _apply(curve: dict[str, list[float]], score: FloatArray) -> FloatArray:
    if "slope" in curve:
        p: FloatArray = expit(curve["slope"][0] * score + curve["intercept"][0])
        return p
    return np.interp(score, curve["score"], curve["probability"])
