"""The search for a rule and its threshold on out-of-fold probabilities.

No branch is fitted here. For alpha and beta a trial costs one fusion and one sort:
Optuna samples the weight of the image, w = alpha / (1 + alpha), together with the
pooling and, where there are several, the image branch. The best beta and threshold for
them are then computed exactly (see :mod:`mmevent.rule.cuts`). Stacking needs no search:
see :mod:`mmevent.rule.stacking`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._common import as_whole
from mmevent._settings import with_own_settings
from mmevent.exceptions import InputError
from mmevent.rule.cuts import FLAG_ALL, TIE, Ranking, as_events, best_cuts
from mmevent.rule.fusion import Evidence, Rule
from mmevent.rule.guard import better_unsmoothed, groups_of
from mmevent.rule.smoothing import BEST_THRESHOLD, smoothed
from mmevent.rule.stacking import RULES, FusionRule, StackedRule, stack
from mmevent.rule.study import run_study

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Search", "TuningResult", "rethreshold", "tune_rule"]

MIN_PER_SIDE = 20
_GREATEST_BOUND = 1e6


@dataclass(frozen=True)
class Search:
    """Settings of a search.

    Parameters
    ----------
    rule : {"alpha-beta", "stacking"}, default="alpha-beta"
        How text and images are fused: by the rule of Zhang and Pan (2019), see
        :class:`mmevent.rule.Rule`, or by :class:`mmevent.rule.StackedRule`. Stacking
        has no use for trials, bounds and a storage.
    criterion : {"smooth", "f1"}, default="smooth"
        What is maximised: ``"f1"`` is F1 of the posts; ``"smooth"`` is F1 read off
        their smoothed ROC curves, which depends less on single posts, see
        :func:`mmevent.rule.smooth_threshold`. Where smoothing
        does worse on posts left out, beta and the threshold of the best trial are
        those of F1 itself, see :func:`mmevent.rule.choose_threshold`.
    n_trials : int, default=200
        Number of Optuna's trials, including those of a study that is resumed.
    alpha_bounds, beta_bounds : tuple of float, default=(0, 99) and (0.5, 2)
        Both ends included.
    storage : str, optuna.storages.BaseStorage or None, default=None
        An Optuna storage that keeps the study and resumes it. The study's name is
        a hash of the probabilities, the labels and the search space.
    random_state : int or None, default=None
        Seed of Optuna's sampler.
    verbose : bool, default=False
        Show a progress bar over the trials.

    Examples
    --------
    >>> from mmevent.rule import Search
    >>> Search(criterion="f1").n_trials
    200
    """

    rule: str = "alpha-beta"
    criterion: str = "smooth"
    n_trials: int = 200
    alpha_bounds: tuple[float, float] = (0.0, 99.0)
    beta_bounds: tuple[float, float] = (0.5, 2.0)
    storage: Any = None
    random_state: int | None = None
    verbose: bool = False

    def check(self) -> None:
        """Validate the settings; raise InputError for one that cannot be used."""
        if not isinstance(self.rule, str) or self.rule not in RULES:
            raise InputError(
                f"rule={self.rule!r} is not known: expected one of "
                f"{', '.join(map(repr, RULES))}. Choose one of them."
            )
        if self.rule == StackedRule.kind and self.storage is not None:
            raise InputError(
                "storage keeps the trials of alpha and beta: expected storage=None "
                "with rule='stacking', which has none. Leave one of them out."
            )
        if self.criterion not in BEST_THRESHOLD:
            raise InputError(
                f"criterion={self.criterion!r} is not known: expected one of "
                f"{', '.join(map(repr, BEST_THRESHOLD))}. Choose one of them."
            )
        if (as_whole(self.n_trials) or 0) < 1:
            raise InputError(
                f"n_trials={self.n_trials!r} is no number of trials: expected an "
                f"integer of 1 or more. The default is 200."
            )
        _check_bounds("alpha_bounds", self.alpha_bounds, minimum=0.0)
        _check_bounds("beta_bounds", self.beta_bounds, minimum=FLAG_ALL)


@dataclass(frozen=True)
class TuningResult:
    """Result of a search.

    Parameters
    ----------
    rule : Rule or StackedRule
        The best parameters with their threshold. They are those of the best trial, but
        for beta and the threshold where smoothing does worse, see `Search`.
    f1 : float
        F1 of the rule on the probabilities that chose it. It is too optimistic for new
        posts, see :func:`mmevent.evaluate`.
    beta_identified : bool
        False where beta was fixed at 1, since the posts with images or those without
        have fewer than 20 events or fewer than 20 other posts; and for stacking.
    rules : list of Rule or StackedRule
        The rule of each trial, in order. For stacking a trial is an image branch with
        a pooling.
    values : list of float
        The value of each trial, which chose the best: F1 or smoothed F1, and for
        stacking the mean log likelihood of the posts.
    study : optuna.Study or None
        The study that Optuna ran; None for stacking.

    Examples
    --------
    >>> from mmevent.rule import Evidence, Search, tune_rule
    >>> evidence = Evidence.from_images([0.9, 0.1], [0.8, 0.2], [0, 1])
    >>> result = tune_rule(evidence, [1, 0], search=Search(n_trials=5))
    >>> len(result.rules), result.beta_identified
    (5, False)
    """

    rule: FusionRule
    f1: float
    beta_identified: bool
    rules: Sequence[FusionRule] = field(repr=False)
    values: list[float] = field(repr=False)
    study: optuna.Study | None = field(repr=False)

    def parameters(self) -> dict[str, Any]:
        """Return what was chosen, by name, as a row of a table."""
        chosen = asdict(self.rule)
        if isinstance(self.rule, Rule):
            chosen["beta_identified"] = self.beta_identified
        return chosen


@with_own_settings
def tune_rule(
    evidence: Evidence,
    y: ArrayLike,
    *,
    search: Search | None = None,
    groups: ArrayLike | None = None,
) -> TuningResult:
    """Find the alpha, beta, pooling and threshold with the highest (smoothed) F1.

    With ``Search(rule="stacking")``, fit a logistic regression instead.

    Parameters
    ----------
    evidence : Evidence
        Out-of-fold probabilities of `n_posts` posts.
    y : array-like of shape (n_posts,)
        True or 1 for an event, False or 0 for another post.
    search : Search or None, default=None
        Settings of the search; None for ``Search()``.
    groups : array-like of shape (n_posts,) or None, default=None
        Groups of posts, drawn as a whole when both ways to a threshold are compared.

    Returns
    -------
    TuningResult
        Of trials whose values differ by less than 1e-12, the one with the smallest
        alpha is taken, then the one with beta nearest 1, then ``max`` before ``mean``
        before ``noisy-or``.

    Raises
    ------
    InputError
        If a setting of the search cannot be used, `y` has another length or other
        values, or `groups` has another length.

    Examples
    --------
    >>> from mmevent.rule import Evidence, Search, tune_rule
    >>> evidence = Evidence.from_images([0.9, 0.6, 0.7, 0.1], [0.9, 0.8, 0.1, 0.2],
    ...                                 [0, 1, 2, 3])
    >>> search = Search(criterion="f1", n_trials=30, random_state=0)
    >>> found = tune_rule(evidence, [1, 1, 0, 0], search=search)
    >>> found.f1, found.rule.alpha < 1
    (1.0, True)
    """
    search = search or Search()
    search.check()
    event = events_of(evidence, y)
    group = None if groups is None else groups_of(groups, len(event))
    tune = _tune_stacked if search.rule == StackedRule.kind else _tune_alpha_beta
    return tune(evidence, event, search, group)


def _tune_alpha_beta(
    evidence: Evidence,
    event: NDArray[np.bool_],
    search: Search,
    group: NDArray[np.intp] | None,
) -> TuningResult:
    space = Space.of(evidence, event, search)
    study = run_study(space, search)
    trials = [trial for trial in study.trials if trial.user_attrs]
    rules = [Rule(**trial.user_attrs["rule"]) for trial in trials]
    values = [float(trial.value or 0.0) for trial in trials]
    rule = space.guarded(best_of(rules, values), group)
    f1 = f1_of(rule.score(evidence) >= rule.threshold, event)
    return TuningResult(rule, f1, space.beta_free, rules, values, study)


def _tune_stacked(
    evidence: Evidence,
    event: NDArray[np.bool_],
    search: Search,
    group: NDArray[np.intp] | None,
) -> TuningResult:
    rules, values = stack(evidence, event, search.criterion)
    rule = rules[int(np.argmax(values))]
    score = rule.score(evidence)
    if search.criterion == "smooth":
        raw = better_unsmoothed(event, score, groups=group)
        rule = rule if raw is None else replace(rule, threshold=raw[0])
    f1 = f1_of(score >= rule.threshold, event)
    return TuningResult(rule, f1, False, rules, values, None)


def rethreshold(
    rule: FusionRule, evidence: Evidence, event: ArrayLike, search: Search
) -> FusionRule:
    """Find the best threshold for a rule on other posts, by the criterion alone.

    Parameters
    ----------
    rule : Rule or StackedRule
        All but its threshold stays as it is. Only a beta is 1 where these posts cannot
        identify it, see :class:`TuningResult`.
    evidence : Evidence
        Out-of-fold probabilities of `n_posts` posts.
    event : array-like of shape (n_posts,)
        True or 1 for an event, False or 0 for another post.
    search : Search
        Its criterion is used; both ways to a threshold are not compared.

    Returns
    -------
    Rule or StackedRule
        The rule with its new threshold.

    Raises
    ------
    InputError
        If a setting of the search cannot be used, or the labels have another length or
        other values.

    Examples
    --------
    >>> from mmevent.rule import Evidence, Rule, Search, rethreshold
    >>> evidence = Evidence.from_images([0.9, 0.6, 0.1], [], [])
    >>> rule = Rule(alpha=0.0, beta=1.0, pool="max", threshold=0.9)
    >>> rethreshold(rule, evidence, [1, 1, 0], Search()).threshold
    0.35
    """
    search.check()
    labels = events_of(evidence, event)
    if isinstance(rule, StackedRule):
        best = BEST_THRESHOLD[search.criterion]
        return replace(rule, threshold=best(rule.score(evidence), labels)[0])
    fixed = replace(
        search,
        alpha_bounds=(rule.alpha, rule.alpha),
        beta_bounds=(rule.beta, rule.beta),
    )
    space = Space.of(evidence, labels, fixed)
    return space.best(space.weights[0], rule.image, rule.pool)[0]


@dataclass(frozen=True)
class Space:
    """The search space on given probabilities, and the best rule at each point of it.

    `weights` are the bounds of the image's weight. `beta_free` says whether beta is
    searched or fixed at 1.
    """

    evidence: Evidence
    event: NDArray[np.bool_]
    weights: tuple[float, float]
    beta_bounds: tuple[float, float]
    beta_free: bool
    criterion: str

    @classmethod
    def of(cls, evidence: Evidence, event: NDArray[np.bool_], search: Search) -> Space:
        """Return the space of a search on these posts."""
        with_image = evidence.has_image
        text_only = evidence.has_text & ~with_image
        beta_free = all(
            (side & label).sum() >= MIN_PER_SIDE
            for side in (with_image, text_only)
            for label in (event, ~event)
        )
        low, high = (a / (1.0 + a) for a in search.alpha_bounds)
        if not (evidence.has_text & with_image).any():
            high = low
        return cls(
            evidence,
            event,
            (low, high),
            search.beta_bounds,
            beta_free,
            search.criterion,
        )

    @property
    def branches(self) -> list[tuple[str, str]]:
        """Pairs of an image branch and a pooling."""
        return list(self.evidence.pooled)

    @cached_property
    def _sides(self) -> dict[str, tuple[Ranking, Evidence, NDArray[np.bool_]]]:
        """For each image branch: the sorted posts without images, and those with.

        One branch may have a probability for an image where another has none.
        """
        sides = {}
        for (name, _), p_image in self.evidence.pooled.items():
            if name not in sides:
                rows = ~np.isnan(p_image)
                p_text = np.nan_to_num(self.evidence.p_text[~rows])
                text = self._counted(Ranking.of(p_text, self.event[~rows]))
                sides[name] = (text, self.evidence.take(rows), self.event[rows])
        return sides

    def _counted(self, side: Ranking) -> Ranking:
        """Return a side with its counts smoothed if the criterion asks for it."""
        return smoothed(side) if self.criterion == "smooth" else side

    def best(self, weight: float, image: str, pool: str) -> tuple[Rule, float]:
        """Return the best rule for a weight, image branch and pooling, and its F1."""
        rule = Rule(float(weight / (1.0 - weight)), 1.0, pool, FLAG_ALL, image)
        if not self.beta_free:
            score = rule.score(self.evidence)
            threshold, f1 = BEST_THRESHOLD[self.criterion](score, self.event)
            return replace(rule, threshold=threshold), f1
        text, with_image, event = self._sides[image]
        fused = self._counted(Ranking.of(rule.score(with_image), event))
        beta, threshold, f1 = best_cuts(
            text, fused, int(self.event.sum()), self.beta_bounds
        )
        return replace(rule, beta=beta, threshold=threshold), f1

    def guarded(self, rule: Rule, group: NDArray[np.intp] | None) -> Rule:
        """Return the rule, or that of the raw F1 at its weight if smoothing does worse.

        Both ways are compared at the same beta: a beta by the raw F1 has seen the posts
        that a resample leaves out.
        """
        if self.criterion != "smooth":
            return rule
        with_image = ~np.isnan(self.evidence.pooled[rule.image, rule.pool])
        better = better_unsmoothed(
            self.event,
            rule.score(self.evidence),
            side=with_image if self.beta_free else None,
            groups=group,
        )
        if better is None:
            return rule
        raw = replace(self, criterion="f1")
        return raw.best(rule.alpha / (1.0 + rule.alpha), rule.image, rule.pool)[0]

    def name(self) -> str:
        """Name of the study: a hash of the probabilities and the search space."""
        space = [
            *(self.weights, self.beta_bounds, self.beta_free, self.branches),
            self.criterion,
        ]
        digest = hashlib.sha256(json.dumps(space).encode())
        evidence = self.evidence
        for values in (evidence.p_text, self.event, *evidence.pooled.values()):
            digest.update(np.ascontiguousarray(values).tobytes())
        return f"mmevent-{digest.hexdigest()[:16]}"


def f1_of(flagged: NDArray[np.bool_], event: NDArray[np.bool_]) -> float:
    """F1 = 2 TP / (flagged + events); 0 where there are neither."""
    total = int(flagged.sum()) + int(event.sum())
    return 2.0 * int((flagged & event).sum()) / total if total else 0.0


def best_of(rules: list[Rule], values: list[float]) -> Rule:
    """Return the preferred one of the rules with the highest value."""
    ties = [
        rule for rule, f1 in zip(rules, values, strict=True) if f1 >= max(values) - TIE
    ]
    return min(ties, key=Rule.preference)


def events_of(evidence: Evidence, y: ArrayLike) -> NDArray[np.bool_]:
    """Return validated labels, one for each post of the evidence."""
    event = as_events(y)
    if event.shape != (len(evidence),):
        raise InputError(
            f"y does not fit the probabilities: expected one label for each of "
            f"{len(evidence)} posts, got shape {event.shape}. Pass both of the same "
            f"posts."
        )
    return event


def _check_bounds(name: str, bounds: tuple[float, float], *, minimum: float) -> None:
    sign = "0 or greater" if minimum == 0.0 else "greater than 0"
    try:
        low, high = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        low = high = np.nan
    if not minimum <= low <= high <= _GREATEST_BOUND:
        raise InputError(
            f"{name}={bounds!r} bounds nothing: expected two numbers, {sign}, up to "
            f"{_GREATEST_BOUND:.0e}, the smaller first. Pass another pair."
        )
