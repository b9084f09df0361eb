"""The search for alpha, beta, pool and threshold on out-of-fold probabilities.

No branch is fitted here: a trial costs one fusion and one sort. A trial is a weight of
the image, w = alpha / (1 + alpha), a way to pool and, where there are several, an image
branch; the best beta and threshold for it are found exactly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._cuts import FLAG_ALL, TIE, Side, best_cuts, best_threshold
from mmevent._smooth import BEST_THRESHOLD, smooth_threshold, smoothed
from mmevent.exceptions import InputError
from mmevent.fusion import POOLS, fuse, pool_images

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Evidence",
    "Rule",
    "Search",
    "TuningResult",
    "best_threshold",
    "smooth_threshold",
    "tune_rule",
]

MIN_PER_SIDE = 20
N_WEIGHTS = 201
GREATEST = 1e6
IMAGE = "image"


@dataclass(frozen=True)
class Evidence:
    """Probabilities of a set of posts, one row a post.

    Parameters
    ----------
    p_text : ndarray of shape (n_posts,)
        NaN where a post has no text.
    pooled : dict of (name, pool) to ndarray of shape (n_posts,)
        Pooled image probability for each image branch and way to pool; NaN where
        a post has no usable image.
    p_text_2, p_image_2 : ndarray of shape (n_posts,) or None, default=None
        The second stage's probabilities.

    Examples
    --------
    >>> from mmevent.tuning import Evidence
    >>> evidence = Evidence.from_images([0.3, 0.4], [0.9, 0.1], [0, 0], pool="max")
    >>> evidence.pooled["image", "max"]
    array([0.9, nan])
    """

    p_text: NDArray[np.float64]
    pooled: Mapping[tuple[str, str], NDArray[np.float64]]
    p_text_2: NDArray[np.float64] | None = None
    p_image_2: NDArray[np.float64] | None = None

    @classmethod
    def from_images(
        cls,
        p_text: ArrayLike,
        p_image: ArrayLike | Mapping[str, ArrayLike],
        post: ArrayLike,
        *,
        pool: str = "auto",
    ) -> Evidence:
        """Pool one probability per image, of one branch or of several by name.

        ``pool="auto"`` pools in every way where a post has two images, and by
        ``max`` where none has; else in the one way that is named.
        """
        text = np.asarray(p_text, dtype=np.float64)
        branches: Mapping[str, Any] = (
            p_image if isinstance(p_image, Mapping) else {IMAGE: p_image}
        )
        several = len(np.unique(post)) < len(np.asarray(post))
        pools = (POOLS if several else POOLS[:1]) if pool == "auto" else (pool,)
        pooled = {
            (name, how): pool_images(p, post, len(text), pool=how)
            for name, p in branches.items()
            for how in pools
        }
        return cls(text, pooled)

    def __len__(self) -> int:
        return len(self.p_text)

    def take(self, rows: NDArray[Any]) -> Evidence:
        """Keep some posts, by row number or mask."""
        pooled = {key: p[rows] for key, p in self.pooled.items()}
        second = [None if p is None else p[rows] for p in self._of_second]
        return Evidence(self.p_text[rows], pooled, *second)

    @property
    def _of_second(self) -> tuple[NDArray[np.float64] | None, ...]:
        return self.p_text_2, self.p_image_2

    def with_second(
        self,
        p_text_2: NDArray[np.float64] | None,
        p_image_2: NDArray[np.float64] | None = None,
    ) -> Evidence:
        """Return the same with the second stage's probabilities."""
        return Evidence(self.p_text, self.pooled, p_text_2, p_image_2)

    def second(self, first: Rule) -> Evidence:
        """Return what the second stage fuses: its texts, and the images as before."""
        assert self.p_text_2 is not None
        key = (first.image, first.pool)
        return Evidence(self.p_text_2, {key: self.pooled[key]})

    @cached_property
    def has_text(self) -> NDArray[np.bool_]:
        """Which posts have a text probability."""
        return ~np.isnan(self.p_text)

    @cached_property
    def has_image(self) -> NDArray[np.bool_]:
        """Which posts have an image probability, from any branch."""
        has = np.zeros(len(self), dtype=bool)
        for p in self.pooled.values():
            has |= ~np.isnan(p)
        return has


@dataclass(frozen=True)
class Rule:
    """The parameters of the alpha/beta rule, and the threshold on its score.

    Parameters
    ----------
    alpha, beta : float
        As in :func:`mmevent.fuse`.
    pool : str
        As in :func:`mmevent.pool_images`.
    threshold : float
        A post is an event where its score reaches the threshold; above 0.
    image : str
        Name of the image branch, where there are several.

    Examples
    --------
    >>> import numpy as np
    >>> from mmevent.tuning import Evidence, Rule
    >>> evidence = Evidence.from_images([0.3, 0.4], [0.9], [0])
    >>> Rule(alpha=1.0, beta=1.0, pool="max", threshold=0.5).score(evidence)
    array([0.6, 0.4])
    """

    alpha: float
    beta: float
    pool: str
    threshold: float
    image: str = IMAGE

    def score(self, evidence: Evidence) -> NDArray[np.float64]:
        """Score of each post; compare it with the threshold."""
        p_image = evidence.pooled[self.image, self.pool]
        return fuse(evidence.p_text, p_image, alpha=self.alpha, beta=self.beta)

    @property
    def weight(self) -> float:
        """Weight of the image, alpha / (1 + alpha)."""
        return self.alpha / (1.0 + self.alpha)

    def preference(self) -> tuple[float, float, int]:
        """Order of preference between rules that do equally well: least first."""
        return (self.alpha, abs(np.log(self.beta)), POOLS.index(self.pool))


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Parameters
    ----------
    method : {"optuna", "exact"}, default="optuna"
        ``"exact"`` enumerates 201 weights of the image instead of sampling them.
    criterion : {"smooth", "f1"}, default="smooth"
        What is maximised: F1, or F1 by the smoothed ROC curve of the posts with and
        of those without images, which follows single posts less, see
        :func:`mmevent.tuning.smooth_threshold`.
    n_trials : int, default=200
        Optuna's trials in all, those of a resumed study included.
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
    >>> from mmevent.tuning import Search
    >>> Search(method="exact").n_trials
    200
    """

    method: str = "optuna"
    criterion: str = "smooth"
    n_trials: int = 200
    alpha_bounds: tuple[float, float] = (0.0, 99.0)
    beta_bounds: tuple[float, float] = (0.5, 2.0)
    storage: Any = None
    random_state: int | None = None
    verbose: bool = False

    def check(self) -> None:
        """Refuse settings that cannot be searched with an InputError."""
        _check_choice("search", self.method, ("optuna", "exact"))
        _check_choice("criterion", self.criterion, tuple(BEST_THRESHOLD))
        if not isinstance(self.n_trials, (int, np.integer)) or self.n_trials < 1:
            raise InputError(
                f"n_trials={self.n_trials!r} is no number of trials: expected an "
                f"integer of 1 or more. The default is 200."
            )
        _check_bounds("alpha_bounds", self.alpha_bounds, minimum=0.0)
        _check_bounds("beta_bounds", self.beta_bounds, minimum=FLAG_ALL)


@dataclass(frozen=True)
class TuningResult:
    """What the search found.

    Parameters
    ----------
    rule : Rule
        The chosen parameters with their threshold.
    f1 : float
        F1 of the rule on the probabilities that chose it: too high, see
        :func:`mmevent.evaluate`.
    beta_identified : bool
        False where beta was fixed at 1 because either side, posts with and posts
        without images, has fewer than 20 positives or 20 negatives.
    rules : list of Rule
        One for each trial, in order.
    values : list of float
        What the criterion gives each trial: F1, or smoothed F1.
    study : optuna.Study or None
        None for the exact search.

    Examples
    --------
    >>> from mmevent.tuning import Rule, TuningResult
    >>> rule = Rule(alpha=1.0, beta=1.0, pool="max", threshold=0.5)
    >>> TuningResult(rule, 0.8, False, [rule], [0.8], None).rule.alpha
    1.0
    """

    rule: Rule
    f1: float
    beta_identified: bool
    rules: list[Rule]
    values: list[float]
    study: optuna.Study | None


def tune_rule(
    evidence: Evidence,
    y: ArrayLike,
    *,
    search: Search | None = None,
) -> TuningResult:
    """Find the alpha, beta, pool and threshold that maximise a criterion, as F1.

    Parameters
    ----------
    evidence : Evidence
        Out-of-fold probabilities of `n_posts` posts.
    y : array-like of shape (n_posts,)
        1 or True for an event.
    search : Search or None, default=None
        None for ``Search()``.

    Returns
    -------
    TuningResult
        Of trials whose values differ by less than 1e-12, the one with the smaller
        alpha, then beta nearest 1, then ``max``, ``mean``, ``noisy-or``.

    Raises
    ------
    InputError
        If a setting of the search cannot be used, or `y` is of another length.

    Examples
    --------
    >>> from mmevent.tuning import Evidence, Search, tune_rule
    >>> evidence = Evidence.from_images([0.9, 0.6, 0.7, 0.1], [0.9, 0.8, 0.1, 0.2],
    ...                                 [0, 1, 2, 3])
    >>> search = Search(method="exact", criterion="f1")
    >>> found = tune_rule(evidence, [1, 1, 0, 0], search=search)
    >>> found.f1, round(found.rule.alpha, 2)
    (1.0, 0.15)
    """
    search = search or Search()
    search.check()
    event = np.asarray(y, dtype=bool)
    if event.shape != (len(evidence),):
        raise InputError(
            f"y does not fit the probabilities: expected one label for each of "
            f"{len(evidence)} posts, got shape {event.shape}. Pass both of the same "
            f"posts."
        )
    space = _Space.of(evidence, event, search)
    study = None
    if search.method == "exact":
        found = [space.best(w, *key) for w in space.grid() for key in space.branches]
    else:
        study = _run_study(space, search)
        found = [
            (Rule(**trial.user_attrs["rule"]), float(trial.value or 0.0))
            for trial in study.trials
            if trial.user_attrs
        ]
    rules, values = [rule for rule, _ in found], [value for _, value in found]
    rule = _best_of(rules, values)
    f1 = f1_of(rule.score(evidence) >= rule.threshold, event)
    return TuningResult(rule, f1, space.beta_free, rules, values, study)


def trials_frame(result: TuningResult) -> pd.DataFrame:
    """Tabulate the trials of a search, one row a trial."""
    import pandas as pd

    frame = pd.DataFrame([asdict(rule) for rule in result.rules])
    frame.insert(0, "trial", np.arange(len(frame)))
    return frame.assign(value=result.values)


def cv_results(
    result: TuningResult, evidence: Evidence, y: ArrayLike, fold: NDArray[np.intp]
) -> dict[str, Any]:
    """Lay the trials out as scikit-learn's ``cv_results_``.

    A split's score is F1 of its posts at the trial's one threshold.
    """
    event = np.asarray(y, dtype=bool)
    names = ("alpha", "beta", "pool", "image")
    params = [{name: getattr(rule, name) for name in names} for rule in result.rules]
    splits = np.unique(fold[fold >= 0])
    per_split = np.empty((len(params), len(splits)))
    for i, rule in enumerate(result.rules):
        flagged = rule.score(evidence) >= rule.threshold
        for j, split in enumerate(splits):
            rows = fold == split
            per_split[i, j] = f1_of(flagged[rows], event[rows])
    results: dict[str, Any] = {"params": params}
    results |= {
        f"param_{name}": np.ma.MaskedArray([p[name] for p in params]) for name in names
    }
    results |= {f"split{j}_test_score": per_split[:, j] for j in range(len(splits))}
    results["mean_test_score"] = per_split.mean(axis=1)
    results["std_test_score"] = per_split.std(axis=1)
    order = np.unique(-results["mean_test_score"], return_inverse=True)[1]
    results["rank_test_score"] = (
        np.searchsorted(np.sort(order), order, side="left") + 1
    ).astype(np.int32)
    return results


def f1_of(flagged: NDArray[np.bool_], event: NDArray[np.bool_]) -> float:
    """F1 = 2 TP / (flagged + positives); 0 where there is neither."""
    total = int(flagged.sum()) + int(event.sum())
    return 2.0 * int((flagged & event).sum()) / total if total else 0.0


def _best_of(rules: list[Rule], values: list[float]) -> Rule:
    ties = [
        rule for rule, f1 in zip(rules, values, strict=True) if f1 >= max(values) - TIE
    ]
    return min(ties, key=Rule.preference)


@dataclass(frozen=True)
class _Space:
    """What can be chosen on given probabilities, and the best rule at each point."""

    evidence: Evidence
    event: NDArray[np.bool_]
    weights: tuple[float, float]
    beta_bounds: tuple[float, float]
    beta_free: bool
    criterion: str

    @classmethod
    def of(cls, evidence: Evidence, event: NDArray[np.bool_], search: Search) -> _Space:
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
            *(evidence, event, (low, high), search.beta_bounds, beta_free),
            search.criterion,
        )

    @property
    def branches(self) -> list[tuple[str, str]]:
        return list(self.evidence.pooled)

    def grid(self) -> NDArray[np.float64]:
        return np.unique(np.linspace(*self.weights, N_WEIGHTS))

    @cached_property
    def _sides(self) -> dict[str, tuple[Side, Evidence, NDArray[np.bool_]]]:
        """By branch: posts without images, already sorted, and those with.

        An image can be of use to one branch and not to another.
        """
        sides = {}
        for (name, _), p_image in self.evidence.pooled.items():
            if name not in sides:
                rows = ~np.isnan(p_image)
                p_text = np.nan_to_num(self.evidence.p_text[~rows])
                text = self._counted(Side.of(p_text, self.event[~rows]))
                sides[name] = (text, self.evidence.take(rows), self.event[rows])
        return sides

    def _counted(self, side: Side) -> Side:
        """Return a side with its counts as the criterion takes them."""
        return smoothed(side) if self.criterion == "smooth" else side

    def best(self, weight: float, image: str, pool: str) -> tuple[Rule, float]:
        """Best beta and threshold for one weight, image branch and pool, and F1."""
        rule = Rule(float(weight / (1.0 - weight)), 1.0, pool, FLAG_ALL, image)
        if not self.beta_free:
            score = rule.score(self.evidence)
            threshold, f1 = BEST_THRESHOLD[self.criterion](score, self.event)
            return replace(rule, threshold=threshold), f1
        text, with_image, event = self._sides[image]
        fused = self._counted(Side.of(rule.score(with_image), event))
        beta, threshold, f1 = best_cuts(
            text, fused, int(self.event.sum()), self.beta_bounds
        )
        return replace(rule, beta=beta, threshold=threshold), f1

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


def _run_study(space: _Space, search: Search) -> optuna.Study:
    import optuna

    low, high = space.weights
    choices = [json.dumps(key) for key in space.branches]

    def objective(trial: optuna.Trial) -> float:
        weight = trial.suggest_float("weight", low, high)
        image, pool = json.loads(trial.suggest_categorical("branch", choices))
        rule, f1 = space.best(weight, image, pool)
        trial.set_user_attr("rule", asdict(rule))
        return f1

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=search.random_state),
            storage=search.storage,
            study_name=space.name(),
            load_if_exists=True,
        )
        if not study.trials:
            for weight in sorted({low, float(np.clip(0.5, low, high)), high}):
                for choice in choices:
                    study.enqueue_trial({"weight": weight, "branch": choice})
        single = low == high and len(choices) == 1
        done = sum(bool(trial.user_attrs) for trial in study.trials)
        study.optimize(
            objective,
            n_trials=max((1 if single else search.n_trials) - done, 0),
            show_progress_bar=search.verbose,
        )
    finally:
        optuna.logging.set_verbosity(verbosity)
    return study


def _check_choice(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise InputError(
            f"{name}={value!r} is not known: expected one of "
            f"{', '.join(map(repr, valid))}. Choose one of them."
        )


def _check_bounds(name: str, bounds: tuple[float, float], *, minimum: float) -> None:
    sign = "0 or greater" if minimum == 0.0 else "greater than 0"
    try:
        low, high = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        low = high = np.nan
    if not minimum <= low <= high <= GREATEST:
        raise InputError(
            f"{name}={bounds!r} bounds nothing: expected two numbers, {sign}, up to "
            f"{GREATEST:.0e}, the smaller first. Pass another pair."
        )
