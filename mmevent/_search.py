"""The settings of a search, what it chooses from, and Optuna's way through it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._cuts import FLAG_ALL, Side, best_cuts
from mmevent._evidence import Evidence, Rule
from mmevent._smooth import BEST_THRESHOLD, smoothed
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    import optuna
    from numpy.typing import NDArray

MIN_PER_SIDE = 20
N_WEIGHTS = 201
_GREATEST = 1e6


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
class Space:
    """What can be chosen on given probabilities, and the best rule at each point."""

    evidence: Evidence
    event: NDArray[np.bool_]
    weights: tuple[float, float]
    beta_bounds: tuple[float, float]
    beta_free: bool
    criterion: str

    @classmethod
    def of(cls, evidence: Evidence, event: NDArray[np.bool_], search: Search) -> Space:
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


def run_study(space: Space, search: Search) -> optuna.Study:
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
    if not minimum <= low <= high <= _GREATEST:
        raise InputError(
            f"{name}={bounds!r} bounds nothing: expected two numbers, {sign}, up to "
            f"{_GREATEST:.0e}, the smaller first. Pass another pair."
        )
