"""Figures of a corpus, with intervals from draws of the number of events.

Where the codes of a sample are known, the number k of events among n coded posts has
two confidence distributions of the share, Beta(k, n - k + 1) and Beta(k + 1, n - k):
their quantiles are the ends of the exact (Clopper-Pearson) interval. Draws from the
first lean low, from the second high. A figure that rises with the number of events has
its lower end at a quantile of the draws that lean low, and its upper end at one of
those that lean high (Fay, Proschan and Brittain 2015). Where the codes are not known
but drawn, as in `coder_error`, k is another number in each draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import rankdata

from mmevent.corpus.shares import Figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

TAIL = 0.025
FIGURES = ("n_events", "precision", "recall", "f1")
ERRORS = ("false_positive_rate", "false_negative_rate")

# Each figure from the numbers of flagged events, of other events, of flagged posts and
# of other posts; and whether it rises (1) or falls (-1) with each number of events.
_RULES: dict[str, tuple[Callable[..., FloatArray], int, int]] = {
    "n_events": (lambda f, u, nf, nu: f + u, 1, 1),
    "precision": (lambda f, u, nf, nu: _ratio(f, nf + 0 * f), 1, 1),
    "recall": (lambda f, u, nf, nu: _ratio(f, f + u), 1, -1),
    "f1": (lambda f, u, nf, nu: _ratio(2 * f, nf + f + u), 1, -1),
    "false_positive_rate": (
        lambda f, u, nf, nu: _ratio(nf - f, nf - f + nu - u),
        -1,
        1,
    ),
    "false_negative_rate": (lambda f, u, nf, nu: _ratio(u, f + u), -1, 1),
}


class Totals(NamedTuple):
    """Numbers of events in the strata of a group: estimates, and draws of them."""

    size: FloatArray  # strata: posts of the group
    coded: FloatArray  # strata: coded posts of the group
    flagged: NDArray[np.bool_]  # strata
    value: FloatArray  # strata: the estimate
    low: FloatArray  # draws x strata, leaning low
    high: FloatArray  # draws x strata, leaning high

    @classmethod
    def of(
        cls,
        size: FloatArray,
        coded: FloatArray,
        flagged: NDArray[np.bool_],
        value: FloatArray,
        events: NDArray[np.int_],
        rng: np.random.Generator,
    ) -> Totals:
        """Draw numbers of events, from draws of those among the coded posts."""
        left = (size - coded).astype(np.int64)
        some, rest = np.maximum(events, 1), np.maximum(coded - events, 1)
        low = np.where(events > 0, rng.beta(some, coded - events + 1), 0.0)
        high = np.where(events < coded, rng.beta(events + 1, rest), 1.0)
        return cls(
            *(size, coded, flagged, value),
            (events + rng.binomial(left, low)).astype(float),
            (events + rng.binomial(left, high)).astype(float),
        )

    def draws(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Return draws of a figure that lean low, and ones that lean high."""
        rule, *signs = _RULES[name]
        numbers = self._numbers()
        ends = []
        for lean, undefined in ((1, 0.0), (-1, 1.0)):
            parts = [self.low if sign == lean else self.high for sign in signs]
            flagged = parts[0][:, self.flagged].sum(axis=1)
            others = parts[1][:, ~self.flagged].sum(axis=1)
            found = rule(flagged, others, *numbers)
            ends.append(np.where(np.isnan(found), undefined, found))
        return ends[0], ends[1]

    def figure(self, name: str, tails: tuple[float, float] = (TAIL, TAIL)) -> Figure:
        """Return a figure with its interval, which has the figure inside."""
        flagged = np.array(self.value[self.flagged].sum())
        others = np.array(self.value[~self.flagged].sum())
        value = float(_RULES[name][0](flagged, others, *self._numbers()))
        if name == "precision" and not self.coded[self.flagged].sum():
            value = np.nan
        if name == "precision" and not self.size[self.flagged].sum():
            return Figure(name, np.nan, np.nan, np.nan)
        low, high = self.draws(name)
        return Figure(
            *(name, value),
            float(np.fmin(np.quantile(low, tails[0]), value)),
            float(np.fmax(np.quantile(high, 1 - tails[1]), value)),
        )

    def _numbers(self) -> tuple[float, float]:
        n_flagged = float(self.size[self.flagged].sum())
        return n_flagged, float(self.size.sum()) - n_flagged


def joint_tails(groups: Sequence[Totals], name: str) -> tuple[float, float]:
    """Return the tails that make the intervals of all groups hold at once, at 95%.

    In 97.5% of the draws no group lies below its lower end, and in as many none above
    its upper end. Between groups whose draws are independent this is Sidak's rule; the
    tail is never under Bonferroni's.
    """
    draws = [totals.draws(name) for totals in groups]
    n_draws = len(draws[0][0])
    tails = []
    for side, sign in ((0, 1), (1, -1)):
        ranks = [rankdata(sign * ends[side], method="max") for ends in draws]
        lowest = np.min(ranks, axis=0) / n_draws
        tail = float(np.quantile(lowest, TAIL))
        tails.append(min(max(tail, TAIL / len(groups)), TAIL))
    return tails[0], tails[1]


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Return a share, NaN where there is nothing to share."""
    known = whole > 0
    found: FloatArray = np.where(known, part / np.where(known, whole, 1), np.nan)
    return found
