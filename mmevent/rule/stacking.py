"""Stacking: a logistic regression fuses the probabilities of text and images.

It is the other way to a score, beside the alpha/beta rule of `fusion.py`. The rule
averages probabilities; stacking adds log odds, with weights from a regression on
out-of-fold probabilities and an intercept for each kind of post: with both, with text
alone, with images alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from mmevent.rule.cuts import FLAG_ALL, has_both
from mmevent.rule.fusion import IMAGE, Evidence, Rule
from mmevent.rule.smoothing import BEST_THRESHOLD

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["StackedRule"]

_EDGE = 1e-6  # the log odds of 0 and 1 are infinite


@dataclass(frozen=True)
class StackedRule:
    r"""The parameters of stacking, and the threshold on its score.

    ====  =============  =========  ===============================================
    text  usable images  rule       score
    ====  =============  =========  ===============================================
    yes   yes            ``both``   F(intercept_both + weight_text * L(p_text) +
                                    weight_image * L(p_image))
    yes   no             ``text``   F(intercept_text + weight_text * L(p_text))
    no    yes            ``image``  F(intercept_image + weight_image * L(p_image))
    no    no             ``none``   0, never an event
    ====  =============  =========  ===============================================

    L(p) = log(p / (1 - p)) are the log odds, of a p cut to [1e-6, 1 - 1e-6], and
    F(z) = 1 / (1 + exp(-z)).

    Parameters
    ----------
    weight_text, weight_image : float
        Weights of the log odds, 0 or greater.
    intercept_both, intercept_text, intercept_image : float
        What is added for each kind of post.
    pool : str
        As in :func:`mmevent.pool_images`.
    threshold : float
        A post is an event where its score reaches the threshold; above 0.
    image : str, default="image"
        Name of the image branch.

    References
    ----------
    Wolpert (1992), "Stacked Generalization", Neural Networks 5. Weights that are not
    negative: Breiman (1996), "Stacked Regressions", Machine Learning 24.

    Examples
    --------
    >>> from mmevent.rule import Evidence, StackedRule
    >>> evidence = Evidence.from_images([0.3, 0.4], [0.9], [0])
    >>> rule = StackedRule(weight_text=1.0, weight_image=1.0, intercept_both=0.0,
    ...                    intercept_text=0.0, intercept_image=0.0, pool="max",
    ...                    threshold=0.5)
    >>> rule.score(evidence).round(3)
    array([0.794, 0.4  ])
    """

    weight_text: float
    weight_image: float
    intercept_both: float
    intercept_text: float
    intercept_image: float
    pool: str
    threshold: float
    image: str = IMAGE

    kind: ClassVar[str] = "stacking"
    title: ClassVar[str] = "stacking, a logistic regression on both log odds"
    searched: ClassVar[tuple[str, ...]] = ("pool", "image")

    def score(self, evidence: Evidence) -> FloatArray:
        """Score of each post, to be compared with the threshold; from 0 to 1."""
        text, image = _log_odds(evidence, (self.image, self.pool))
        has_text, has_image = ~np.isnan(text), ~np.isnan(image)
        from_text, from_image = self.weight_text * text, self.weight_image * image
        z = np.select(
            [has_text & has_image, has_text, has_image],
            [
                self.intercept_both + from_text + from_image,
                self.intercept_text + from_text,
                self.intercept_image + from_image,
            ],
            -np.inf,
        )
        p: FloatArray = expit(z)
        return p

    def formulas(self) -> dict[str, str]:
        """Write the score of a post by the case of the rule, for people to read."""
        text = f" + {self.weight_text:.4g} × logit(p_text)"
        image = f" + {self.weight_image:.4g} × logit(p_image)"
        return {
            "both": f"logistic({self.intercept_both:.4g}{text}{image})",
            "text": f"logistic({self.intercept_text:.4g}{text})",
            "image": f"logistic({self.intercept_image:.4g}{image})",
        }

    def meanings(self, *, beta_identified: bool) -> list[tuple[str, str, str]]:
        """Return the name, the value and the meaning of each number."""
        said = "is added in a post"
        numbers = {
            "text": (self.weight_text, "times log(p_text / (1 - p_text))"),
            "image": (self.weight_image, "times log(p_image / (1 - p_image))"),
            "both": (self.intercept_both, f"{said} with text and images"),
            "no image": (self.intercept_text, f"{said} with text alone"),
            "no text": (self.intercept_image, f"{said} with images alone"),
        }
        return [(name, f"{x:.3g}", words) for name, (x, words) in numbers.items()]


FusionRule: TypeAlias = Rule | StackedRule
RULES: dict[str, type[Rule] | type[StackedRule]] = {
    rule.kind: rule for rule in (Rule, StackedRule)
}
"""Both ways from evidence to a score, by the name that a detector's `rule` gives."""


def stack(
    evidence: Evidence, event: NDArray[np.bool_], criterion: str
) -> tuple[list[StackedRule], list[float]]:
    """Fit a stacked rule for each image branch and pooling.

    Returns
    -------
    rules : list of StackedRule
        Each with its best threshold by the criterion alone.
    values : list of float
        The mean log likelihood of each on these posts, which chooses one of them. It
        depends less on single posts than F1.
    """
    rules, values = [], []
    for image, pool in evidence.pooled:
        rule = _fit(evidence, event, image, pool)
        score = rule.score(evidence)
        p = np.clip(np.where(event, score, 1.0 - score), _EDGE, 1.0)
        values.append(float(np.log(p).mean()) if len(p) else 0.0)
        threshold = BEST_THRESHOLD[criterion](score, event)[0]
        rules.append(replace(rule, threshold=threshold))
    return rules, values


def _fit(
    evidence: Evidence, event: NDArray[np.bool_], image: str, pool: str
) -> StackedRule:
    """Fit the regression, with an L2 penalty of 1 on the weights (C=1).

    Log odds count from their mean, and 0 where one is missing, with an indicator: a
    kind of post that is rare here is judged as one whose missing side is as usual. A
    negative weight is set to 0. Out-of-fold probabilities of a branch that knows
    nothing are a little lower for events, which leave fewer events to learn from.
    """
    sides = np.array(_log_odds(evidence, (image, pool)))
    missing = np.isnan(sides)
    rows = ~missing.all(axis=0)
    there = (~missing).sum(axis=1)
    centre = np.where(missing, 0.0, sides).sum(axis=1) / np.maximum(there, 1)
    x = np.vstack([np.where(missing, 0.0, sides - centre[:, None]), missing])
    x, y = x.T[rows], event[rows]
    intercept = float(logit((y.sum() + 0.5) / (len(y) + 1.0)))
    weights = np.zeros(4)
    model = LogisticRegression(solver="newton-cholesky", tol=1e-8)
    while has_both(y):
        model.fit(x, y)
        intercept, weights = float(model.intercept_[0]), model.coef_[0]
        least = int(np.argmin(weights[:2]))
        if weights[least] >= 0.0:
            break
        x[:, least] = 0.0
    moved = weights[:2] * centre
    text_missing, image_missing = weights[2:]
    return StackedRule(
        weight_text=float(weights[0]),
        weight_image=float(weights[1]),
        intercept_both=float(intercept - moved.sum()),
        intercept_text=float(intercept - moved[0] + image_missing),
        intercept_image=float(intercept - moved[1] + text_missing),
        pool=pool,
        threshold=FLAG_ALL,
        image=image,
    )


def _log_odds(
    evidence: Evidence, key: tuple[str, str]
) -> tuple[FloatArray, FloatArray]:
    """Return the log odds of each post's text and images; NaN where missing."""

    def of(p: ArrayLike) -> FloatArray:
        odds: FloatArray = logit(np.clip(p, _EDGE, 1.0 - _EDGE))
        return odds

    return of(evidence.p_text), of(evidence.pooled[key])
