"""The search for alpha, beta, pool and threshold on out-of-fold probabilities.

No branch is fitted here: a trial costs one fusion and one sort. A trial is a weight of
the image, w = alpha / (1 + alpha), a way to pool and, where there are several, an image
branch; the best beta and threshold for it are found exactly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._cuts import TIE, best_threshold
from mmevent._evidence import Evidence, Rule
from mmevent._search import Search, Space, run_study
from mmevent._smooth import smooth_threshold
from mmevent.exceptions import InputError

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
    space = Space.of(evidence, event, search)
    study = None
    if search.method == "exact":
        found = [space.best(w, *key) for w in space.grid() for key in space.branches]
    else:
        study = run_study(space, search)
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
