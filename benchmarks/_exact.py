"""The exhaustive search over a grid of weights: the yardstick for Optuna's search."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmevent.rule.cuts import as_events
from mmevent.rule.fusion import Evidence, Rule
from mmevent.rule.search import Search, Space, best_of, f1_of

N_WEIGHTS = 201


class ExactResult(NamedTuple):
    """The best rule of the grid, and all that were tried."""

    rule: Rule
    f1: float
    beta_identified: bool
    rules: list[Rule]
    values: list[float]


def grid(space: Space) -> NDArray[np.float64]:
    """Give the weights of the image that are tried."""
    return np.unique(np.linspace(*space.weights, N_WEIGHTS))


def exact_search(
    evidence: Evidence, y: ArrayLike, *, search: Search | None = None
) -> ExactResult:
    """Try every weight of a grid with each image branch and pooling.

    Beta and the threshold are the best for each, as in `mmevent.rule.tune_rule`.
    """
    search = search or Search()
    search.check()
    event = as_events(y)
    space = Space.of(evidence, event, search)
    found = [space.best(w, *key) for w in grid(space) for key in space.branches]
    rules, values = [rule for rule, _ in found], [value for _, value in found]
    rule = best_of(rules, values)
    f1 = f1_of(rule.score(evidence) >= rule.threshold, event)
    return ExactResult(rule, f1, space.beta_free, rules, values)
