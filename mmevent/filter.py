"""The second stage: what the first one flags, judged again.

Zhang and Pan (2019) found most of their gain here. A first stage that tells candidates
from random posts flags look-alikes too; a second classifier is trained on flagged posts
alone, and tells them apart. Its text probability is fused with the same image
probability as before, by an alpha and a beta of its own.

The whole has one score: below 1 for posts that the first stage does not flag, in the
order of their first score, and from 1 to 2 for the others, in that of their second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from mmevent._cuts import FLAG_ALL, has_both, midway, recalling
from mmevent._metrics import Resampling
from mmevent._smooth import BEST_THRESHOLD
from mmevent.tuning import Evidence, Rule, Search, f1_of, tune_rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mmevent._branches import Labels

    FloatArray = NDArray[np.float64]

__all__ = ["FalsePositiveFilter", "Mix", "TwoStageRule", "tune_two_stages"]

WIDEST = 0.99  # recall of the first stage at which the second one is trained
RECALLS = np.arange(90, 100) / 100
SCORES, IMAGES = "scores", "images"
_SHARE_OF_TRIALS = 10  # each recall gets a tenth of the search's trials


class FalsePositiveFilter(BaseEstimator):
    """A second classifier of texts, for posts that a detector's first stage flags.

    Pass it as ``second_stage=`` of :class:`mmevent.EventDetector`, which trains it on
    posts that were flagged out of fold at a recall of 0.99, and on those that the first
    stage was not to learn from.

    Parameters
    ----------
    text : classifier or "auto", default="auto"
        A scikit-learn classifier over strings. ``"auto"`` is a clone of the detector's
        text branch.
    features : sequence of {"scores", "images"}, default=()
        What judges flagged posts beside their text, in a logistic regression of
        out-of-fold logits: ``"scores"`` are the first stage's probabilities of text and
        images, ``"images"`` that of a clone of the image branch which learns from
        flagged posts. A frozen encoder's embeddings are those of the first stage.
    only_if_better : bool, default=False
        Whether to do without the second stage where it raises F1 on out-of-fold
        probabilities by no more than the standard error of the difference.

    References
    ----------
    Zhang and Pan (2019), "CASM: A Deep-Learning Approach for Identifying Collective
    Action Events with Text and Image Data from Social Media", Sociological
    Methodology 49.

    Examples
    --------
    >>> from mmevent import EventDetector, FalsePositiveFilter
    >>> from mmevent.synthetic import demo_branches
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image,
    ...                          second_stage=FalsePositiveFilter(text=text))
    >>> detector.second_stage.get_params()["text"] is text
    True
    """

    def __init__(
        self,
        *,
        text: Any = "auto",
        features: Sequence[str] = (),
        only_if_better: bool = False,
    ) -> None:
        self.text = text
        self.features = features
        self.only_if_better = only_if_better


class SecondStage(NamedTuple):
    """The branch of a second stage, its features, and whether it must prove itself."""

    branch: Any
    only_if_better: bool
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mix:
    """What judges flagged posts beside their text.

    Parameters
    ----------
    features : tuple of {"scores", "images"}
        See :class:`FalsePositiveFilter`.
    weights : tuple of float
        The intercept, and two for each probability: of its logit, and of its being
        missing. The probabilities are that of the second text classifier, with
        ``"scores"`` the first stage's of text and of images, with ``"images"`` that of
        the second image classifier.

    Examples
    --------
    >>> import numpy as np
    >>> from mmevent.filter import Mix
    >>> from mmevent.tuning import Evidence, Rule
    >>> evidence = Evidence.from_images([0.9, 0.1], [], [])
    >>> evidence = evidence.with_second(np.array([0.5, 0.5]))
    >>> rule = Rule(alpha=0.0, beta=1.0, pool="max", threshold=0.5)
    >>> mix = Mix(("scores",), (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0))
    >>> mix.predict(evidence, rule)
    array([0.9, 0.1])
    """

    features: tuple[str, ...]
    weights: tuple[float, ...]

    @classmethod
    def fit(
        cls,
        features: tuple[str, ...],
        evidence: Evidence,
        event: NDArray[np.bool_],
        first: Rule,
    ) -> Mix:
        """Learn the weights from posts that were flagged, out of fold."""
        table = cls(features, ())._table(evidence, first)
        model = LogisticRegression(class_weight="balanced").fit(table, event)
        return cls(features, (float(model.intercept_[0]), *model.coef_[0].tolist()))

    def predict(self, evidence: Evidence, first: Rule) -> FloatArray:
        """Probability of each post; missing where the second text classifier's is."""
        intercept, *weights = self.weights
        p: FloatArray = expit(intercept + self._table(evidence, first) @ weights)
        assert evidence.p_text_2 is not None
        return np.where(np.isnan(evidence.p_text_2), np.nan, p)

    def _table(self, evidence: Evidence, first: Rule) -> FloatArray:
        missing = np.full(len(evidence), np.nan)
        parts = [evidence.p_text_2]
        if SCORES in self.features:
            parts += [evidence.p_text, evidence.pooled[first.image, first.pool]]
        if IMAGES in self.features:
            parts.append(evidence.p_image_2)
        return logits([missing if p is None else p for p in parts])


def logits(probabilities: Sequence[FloatArray]) -> FloatArray:
    """Return the logit of each, 0 where it is missing, and whether it is."""
    columns: list[Any] = []
    for p in probabilities:
        missing = np.isnan(p)
        clipped = np.clip(np.where(missing, 0.5, p), 1e-6, 1.0 - 1e-6)
        columns += [logit(clipped), missing]
    return np.column_stack(columns)


@dataclass(frozen=True)
class TwoStageRule:
    """The rules of both stages.

    Parameters
    ----------
    first : Rule
        A post is flagged where its first score reaches this rule's threshold.
    second : Rule
        What flagged posts are scored by, with ``p_text_2`` in the place of ``p_text``.
    mix : Mix or None, default=None
        What makes ``p_text_2`` of further features.

    Examples
    --------
    >>> import numpy as np
    >>> from mmevent.filter import TwoStageRule
    >>> from mmevent.tuning import Evidence, Rule
    >>> evidence = Evidence.from_images([0.3, 0.8, 0.9], [], [])
    >>> evidence = evidence.with_second(np.array([0.5, 0.1, 0.6]))
    >>> rule = Rule(alpha=0.0, beta=1.0, pool="max", threshold=0.5)
    >>> both = TwoStageRule(rule, rule)
    >>> both.score(evidence).round(3)
    array([0.6  , 1.091, 1.375])
    >>> both.score(evidence) >= both.threshold
    array([False, False,  True])
    """

    first: Rule
    second: Rule
    mix: Mix | None = None

    def score(self, evidence: Evidence) -> FloatArray:
        """Score of each post; compare it with the threshold."""
        second = self.second.score(self.judged(evidence))
        with np.errstate(over="ignore"):
            below = self.first.score(evidence) / self.first.threshold
        flagged = self.flagged(evidence)
        return np.where(flagged, 1.0 + second / (1.0 + second), below)

    def flagged(self, evidence: Evidence) -> NDArray[np.bool_]:
        """Return which posts the first stage flags, for the second to judge."""
        return self.first.score(evidence) >= self.first.threshold

    def columns(self, evidence: Evidence) -> dict[str, FloatArray | None]:
        """Return the second stage's probabilities, by their names in tables."""
        table = {"p_text_2": evidence.p_text_2}
        if self.mix is not None and IMAGES in self.mix.features:
            table["p_image_2"] = evidence.p_image_2
        return table

    def judged(self, evidence: Evidence) -> Evidence:
        """Return what the second rule fuses."""
        second = evidence.second(self.first)
        if self.mix is None:
            return second
        return Evidence(self.mix.predict(evidence, self.first), second.pooled)

    @property
    def threshold(self) -> float:
        """The second rule's threshold on the score of the whole."""
        t = self.second.threshold
        return max(1.0 + t / (1.0 + t), float(np.nextafter(1.0, 2.0)))


def first_of(rule: Rule | TwoStageRule) -> Rule:
    """Return the first stage's rule, which is the rule itself if it has no second."""
    return rule.first if isinstance(rule, TwoStageRule) else rule


def tune_two_stages(
    evidence: Evidence,
    event: NDArray[np.bool_],
    first: Rule,
    search: Search,
    features: tuple[str, ...] = (),
) -> TwoStageRule | None:
    """Find the first stage's threshold and the second stage's rule, by F1 of the whole.

    Parameters
    ----------
    evidence : Evidence
        Out-of-fold probabilities of both stages.
    event : ndarray of bool of shape (n_posts,)
        Which posts are events.
    first : Rule
        Its alpha, beta and pool are kept; its threshold is chosen from those of
        recalls of 0.90, 0.91, ..., 0.99.
    search : Search
        How the second rule is searched, at each recall with a tenth of the trials.
    features : tuple of {"scores", "images"}, default=()
        What judges flagged posts beside their text.

    Returns
    -------
    TwoStageRule or None
        None where flagged posts are of one class at every recall.
    """
    score = first.score(evidence)
    trials = max(search.n_trials // _SHARE_OF_TRIALS, 10)
    search = replace(search, n_trials=trials, storage=None, verbose=False)
    mix = None
    if features:
        widest = score >= threshold_of(WIDEST, score, event)
        if not has_both(event[widest]):
            return None
        mix = Mix.fit(features, evidence.take(widest), event[widest], first)
    second = TwoStageRule(first, first, mix).judged(evidence)
    best, highest = None, -1.0
    for threshold in sorted({threshold_of(r, score, event) for r in RECALLS}):
        flagged = score >= threshold
        if not has_both(event[flagged]):
            continue
        found = tune_rule(second.take(flagged), event[flagged], search=search)
        rule = TwoStageRule(replace(first, threshold=threshold), found.rule, mix)
        f1 = f1_of(rule.score(evidence) >= rule.threshold, event)
        if f1 > highest:
            best, highest = rule, f1
    return best


def choose_stages(
    evidence: Evidence,
    labels: Labels,
    search: Search,
    first: Rule,
    second: SecondStage,
) -> TwoStageRule | None:
    """Tune both stages; None where that cannot be done, or does not help.

    It helps where F1 is higher than the first stage's own by more than the standard
    error of the difference, over resamples of groups.
    """
    if evidence.p_text_2 is None:
        return None
    event = labels.event
    both = tune_two_stages(evidence, event, first, search, second.features)
    if both is None or not second.only_if_better:
        return both
    score = first.score(evidence)
    alone = score >= BEST_THRESHOLD[search.criterion](score, event)[0]
    whole = both.score(evidence) >= both.threshold
    resampling = Resampling(labels.group)
    gain = resampling.ratios(whole, event)["f1"] - resampling.ratios(alone, event)["f1"]
    return both if gain[0] > resampling.standard_error(gain) else None


def candidates(
    evidence: Evidence, labels: Labels, rows: NDArray[np.intp], first: Rule
) -> NDArray[np.intp]:
    """Return which rows train the second stage.

    They are flagged out of fold at a recall of 0.99, or unknown to the first stage.
    """
    score, event = first.score(evidence.take(rows)), labels.event[rows]
    flagged = score >= threshold_of(WIDEST, score, event)
    return rows[flagged | ~labels.known[rows]]


def threshold_of(recall: float, score: FloatArray, event: NDArray[np.bool_]) -> float:
    """Return the greatest threshold that flags at least this share of the events."""
    edge = recalling(score[event], recall)
    if edge <= 0:
        return FLAG_ALL
    return midway(float(score[score < edge].max(initial=0.0)), edge)
