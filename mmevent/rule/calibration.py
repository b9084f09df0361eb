"""From scores to calibrated probabilities, with one map for each case of the rule.

A score is not a probability: a weighted mean of two probabilities is not calibrated,
and branches with balanced classes do not estimate the prevalence. A map from
out-of-fold scores to the share of events turns scores into probabilities. Posts with
text only, images only, both, and posts that a second stage judged have separate maps,
since the same score means different things for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mmevent.exceptions import InputError
from mmevent.rule.cuts import has_both, scores_and_events
from mmevent.rule.fusion import applied_rule
from mmevent.rule.two_stage import TwoStageRule, first_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mmevent.rule.fusion import Evidence
    from mmevent.rule.stacking import FusionRule

    FloatArray = NDArray[np.float64]

__all__ = ["Calibration", "fit_calibration"]

METHODS = ("sigmoid", "isotonic")
MIN_POSTS = 1000  # for an isotonic map, which has a step wherever the posts have one
MIN_A_CASE = 200
_POOLED = "all"


@dataclass(frozen=True)
class Calibration:
    """Maps from scores to probabilities.

    Parameters
    ----------
    maps : dict of str to dict of str to list of float
        One map per case, and ``"all"`` for cases with too few posts: ``slope`` and
        ``intercept`` of a sigmoid, or ``score`` and ``probability`` of the corners of
        an isotonic map.

    Examples
    --------
    >>> from mmevent.rule import Calibration
    >>> calibration = Calibration({"all": {"slope": [4.0], "intercept": [-2.0]}})
    >>> calibration.predict([0.5, 0.9], ["text", "both"]).round(2)
    array([0.5 , 0.83])
    """

    maps: dict[str, dict[str, list[float]]]

    def __repr__(self) -> str:
        return f"<Calibration: maps for {', '.join(self.maps)}>"

    def predict(self, score: ArrayLike, case: ArrayLike) -> FloatArray:
        """Probability of an event for each score, from the map of its case."""
        s = np.asarray(score, dtype=np.float64)
        cases = _cases_of(s, case)
        p = np.empty(len(s))
        for name in np.unique(cases):
            rows = cases == name
            p[rows] = _apply(self.maps.get(name, self.maps[_POOLED]), s[rows])
        return p


def _cases_of(score: FloatArray, case: ArrayLike) -> NDArray[Any]:
    """Return the case of each score, as text."""
    cases = np.asarray(case, dtype=object).astype(str)
    if cases.shape != score.shape:
        raise InputError(
            f"case does not fit the scores: expected one for each of {len(score)} "
            f"posts, got shape {cases.shape}. Pass both of the same posts."
        )
    return cases


def fit_calibration(
    method: str, score: ArrayLike, y: ArrayLike, case: ArrayLike
) -> Calibration:
    """Fit maps from out-of-fold scores to probabilities.

    Parameters
    ----------
    method : {"sigmoid", "isotonic"}
        A logistic curve fitted with Platt's targets (Platt 1999, section 2), or any
        rising curve (Zadrozny and Elkan 2002), which needs 1,000 posts.
    score : array-like of shape (n_posts,)
        Out-of-fold scores.
    y : array-like of shape (n_posts,)
        True or 1 for an event, False or 0 for another post.
    case : array-like of shape (n_posts,)
        Case of the rule for each post. A case with fewer than 200 posts (1,000 for an
        isotonic map), or with posts of one class, uses the map of all posts.

    Returns
    -------
    Calibration
        One map for each case, and one for all posts.

    Raises
    ------
    InputError
        If the method is not known or needs more posts, a score is not finite, a label
        is not 0 or 1, or all posts are of one class.

    References
    ----------
    Platt (1999), "Probabilistic Outputs for Support Vector Machines and Comparisons to
    Regularized Likelihood Methods", Advances in Large Margin Classifiers. Zadrozny and
    Elkan (2002), "Transforming Classifier Scores into Accurate Multiclass Probability
    Estimates", KDD.

    Examples
    --------
    >>> import numpy as np
    >>> from mmevent.rule import fit_calibration
    >>> score = np.linspace(0, 1, 400)
    >>> y = np.arange(400) % 4 < score * 4
    >>> found = fit_calibration("sigmoid", score, y, ["text"] * 400)
    >>> found.predict([0.1, 0.9], ["text", "text"]).round(1)
    array([0.2, 0.9])
    """
    check_calibration(method)
    s, event = scores_and_events(score, y)
    check_enough(method, len(s))
    cases = _cases_of(s, case)
    if not has_both(event):
        raise InputError(
            f"y has one class only: expected events and other posts, got "
            f"{int(event.sum())} events of {len(event)} posts. Calibrate on posts of "
            f"both classes."
        )
    return fit_maps(method, s, event, cases)


def fit_maps(
    method: str, score: FloatArray, event: NDArray[np.bool_], case: NDArray[Any]
) -> Calibration:
    """Fit the maps without validation, for folds, which have fewer posts."""
    cases = case.astype(str)
    maps = {_POOLED: _fit(method, score, event)}
    least = MIN_A_CASE if method == "sigmoid" else MIN_POSTS
    for name in np.unique(cases):
        rows = cases == name
        if rows.sum() >= least and has_both(event[rows]):
            maps[str(name)] = _fit(method, score[rows], event[rows])
    return Calibration(maps)


def check_calibration(method: object) -> None:
    """Validate the name of a method."""
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(
            f"calibration={method!r} is not known: expected None or one of "
            f"{', '.join(map(repr, METHODS))}. Pass one of them."
        )


def check_enough(method: str | None, n_posts: int) -> None:
    """Check that there are enough posts for an isotonic map."""
    if method == "isotonic" and n_posts < MIN_POSTS:
        raise InputError(
            f"calibration='isotonic' needs more posts: expected {MIN_POSTS:,} or more, "
            f"got {n_posts:,}, since single posts would shape the curve. Use "
            f"'sigmoid', or label more posts."
        )


def cases_of(evidence: Evidence, rule: FusionRule | TwoStageRule) -> NDArray[Any]:
    """Return the case of the rule for each post, and whether stage 2 judged it."""
    first = first_of(rule)
    cases = applied_rule(evidence.p_text, evidence.pooled[first.image, first.pool])
    if isinstance(rule, TwoStageRule):
        cases = np.where(rule.flagged(evidence), cases + ", stage 2", cases)
    return cases


def _fit(
    method: str, score: FloatArray, event: NDArray[np.bool_]
) -> dict[str, list[float]]:
    if method == "sigmoid":
        slope, intercept = _platt(score, event)
        return {"slope": [slope], "intercept": [intercept]}
    curve = IsotonicRegression(y_min=0.0, y_max=1.0).fit(score, event.astype(float))
    return {
        "score": curve.X_thresholds_.tolist(),
        "probability": curve.y_thresholds_.tolist(),
    }


def _platt(score: FloatArray, event: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and intercept of the logistic curve with Platt's targets.

    The target is (P + 1) / (P + 2) for each of P events and 1 / (M + 2) for each of M
    other posts, instead of 1 and 0. The slope stays finite where scores separate them.
    """
    n_events = int(event.sum())
    n_others = len(event) - n_events
    target = np.where(event, (n_events + 1) / (n_events + 2), 1 / (n_others + 2))
    centre = float(score.mean())
    width = float(score.std()) if np.ptp(score) > 0 else 1.0
    standard = (score - centre) / width
    # Each post once as an event and once as another post, weighted by its target.
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        np.concatenate([standard, standard])[:, None],
        np.repeat([True, False], len(score)),
        np.concatenate([target, 1.0 - target]),
    )
    slope = float(model.coef_[0, 0]) / width
    return slope, float(model.intercept_[0]) - slope * centre


def _apply(curve: dict[str, list[float]], score: FloatArray) -> FloatArray:
    if "slope" in curve:
        p: FloatArray = expit(curve["slope"][0] * score + curve["intercept"][0])
        return p
    return np.interp(score, curve["score"], curve["probability"])
