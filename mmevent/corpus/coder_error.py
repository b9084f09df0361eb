"""Estimates that allow for errors of coders: what is true of a post is drawn.

A coder finds an event with a chance, the sensitivity, and calls another post none with
a chance, the specificity. With rare events a specificity of 0.99 alone gives more
wrong codings than there are events. Both rates are estimated from posts with several
codings, or given, and the truth of each coded post is drawn from what they imply.
Start reading at `read_correction`.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mmevent.corpus.codings import Codings, read_codings
from mmevent.corpus.melded import FIGURES, TAIL, Totals
from mmevent.corpus.shares import Figure
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]
    Counts = NDArray[np.int_]

N_DRAWS, N_REPEATS = 1000, 4
_STEPS, _STEPS_KNOWN = 100, 40  # of each chain; the last one is kept
_MOST_STEPS, _ENOUGH = 1000, 1e-7  # of the search for the likeliest rates
_EDGE = 1e-9
_HALF = 0.5  # a coder is right about more than half of the events, and of the others
_HALVINGS = 40  # of the interval [0, 1]
_SHOWN = 5  # coders in a note
_EXAMPLES = ((1.0, 0.99), (0.9, 1.0))  # sensitivity and specificity of "what if"


class Rates(NamedTuple):
    """Chances that a coder says "event" of events, and of other posts."""

    sensitivity: FloatArray  # draws x coders
    false_positive: FloatArray  # draws x coders


class Cells(NamedTuple):
    """Coded posts, counted by stratum and pattern of their codings."""

    stratum: IntArray
    positive: FloatArray  # cells x coders
    negative: FloatArray  # cells x coders
    truth: FloatArray
    n_posts: Counts
    place: IntArray  # posts: the cell of each

    @classmethod
    def of(cls, codings: Codings, posts: IntArray, stratum: IntArray) -> Cells:
        """Count some of the posts; `stratum` has a value for each of them."""
        pairs = np.column_stack([stratum, codings.pattern[posts]]).astype(np.intp)
        cells, place, count = np.unique(
            pairs, axis=0, return_inverse=True, return_counts=True
        )
        pattern = cells[:, 1]
        return cls(
            *(cells[:, 0], codings.positive[pattern], codings.negative[pattern]),
            *(codings.truth[pattern], count, place.ravel()),
        )

    def in_strata(self, n_strata: int) -> FloatArray:
        """Return cells x strata, 1 where the cell is of the stratum."""
        found: FloatArray = np.eye(n_strata)[self.stratum]
        return found

    def chances(self, rates: Rates, share: FloatArray) -> FloatArray:
        """Chance that a post of each cell is an event; draws x cells."""
        one, other = (
            np.log(p) @ self.positive.T + np.log1p(-p) @ self.negative.T for p in rates
        )
        p = share[:, self.stratum]
        odds = np.log(p) - np.log1p(-p) + one - other
        found = 1 / (1 + np.exp(-np.clip(odds, -700, 700)))
        return np.where(np.isnan(self.truth), found, self.truth)


@dataclass(frozen=True)
class Correction:
    """Coded posts of a sample with the error rates of their coders.

    Parameters
    ----------
    codings : Codings
    stratum : ndarray, n_coded
        Stratum of each coded post.
    share : ndarray, n_strata
        Estimated share of events.
    value : Rates
        Estimated, or given.
    drawn : Rates
        Draws of them; all alike where they are given.
    chance : ndarray, n_coded
        Chance that each coded post is an event, the mean of its draws.
    notes : list of str
        What was assumed.
    table : DataFrame
        One row per coder: ``coder``, ``sensitivity`` and ``specificity``, each with
        ``_low`` and ``_high``, and ``n_posts``, the number that the coder coded.
    """

    codings: Codings
    stratum: IntArray
    share: FloatArray
    value: Rates
    drawn: Rates
    chance: FloatArray
    notes: list[str]
    table: pd.DataFrame

    def totals(
        self, size: FloatArray, flagged: NDArray[np.bool_], inside: NDArray[np.bool_]
    ) -> Totals:
        """Return the numbers of events of a group.

        `size` counts its posts in each stratum, and `inside` says which of the coded
        posts are of it.
        """
        posts, n_strata = np.flatnonzero(inside), len(size)
        # Each group has draws of its own: the same ones would make groups alike.
        rng = np.random.default_rng(posts[:1])
        cells = Cells.of(self.codings, posts, self.stratum[posts])
        coded = _in_strata(cells, n_strata)
        share = np.where(
            coded > 0, likeliest_shares(cells, n_strata, self.value), np.nan
        )
        drawn = draw_events(cells, n_strata, rng, self.drawn)[0]
        events = (drawn @ cells.in_strata(n_strata)).astype(int)
        return Totals.of(
            *(size, coded, flagged),
            size * np.where(coded > 0, share, self.share),
            np.repeat(events, N_REPEATS, axis=0),
            rng,
        )

    def figures(
        self, size: FloatArray, flagged: NDArray[np.bool_], inside: NDArray[np.bool_]
    ) -> list[Figure]:
        """Return the figures of a group, as for `totals`."""
        totals = self.totals(size, flagged, inside)
        return [totals.figure(name) for name in FIGURES]


def read_correction(
    ids: pd.Series,
    stratum: IntArray,
    size: FloatArray,
    coded: pd.DataFrame | Sequence[pd.DataFrame],
    label: str,
    *,
    pos_label: Any = None,
    coder: str | None = None,
    sensitivity: float | None = None,
    specificity: float | None = None,
    adjudicated: pd.DataFrame | None = None,
) -> tuple[Correction | None, list[str]]:
    """Return the correction of a coded sample, if one is possible, and notes on it.

    `ids` and `stratum` are those of the coded posts, `size` that of the strata; the
    others are as for `estimate_corpus`.
    """
    known = None
    if sensitivity is not None or specificity is not None:
        known = checked_rates(sensitivity, specificity)
    codings = read_codings(
        *(ids, coded, label), coder=coder, pos_label=pos_label, adjudicated=adjudicated
    )
    found = correct(codings, stratum, len(size), known)
    if found is None:
        return None, [blind_note(codings, stratum, size)]
    return found, found.notes


def correct(
    codings: Codings,
    stratum: IntArray,
    n_strata: int,
    known: tuple[float, float] | None = None,
) -> Correction | None:
    """Estimate how often coders err; None where nothing shows it.

    Parameters
    ----------
    codings : Codings, n_coded posts
    stratum : ndarray, n_coded
        Stratum of each coded post.
    n_strata : int
    known : (float, float) or None, default=None
        Sensitivity and specificity, where they are known; else they are estimated
        from posts with several codings or an adjudicated one.

    Returns
    -------
    Correction or None

    Raises
    ------
    InputError
        If both rates are 1 and codings differ.

    Notes
    -----
    The strata differ in their share of events, and coders err in each alike, given what
    is true of a post, and independently of each other. With two coders and two strata
    this identifies all rates (Hui and Walter 1980). The estimates maximise the
    likelihood (Dawid and Skene 1979). The draws are from the posterior distribution
    by Gibbs sampling, with uniform priors of sensitivity and specificity, from 1/2 to
    1, and Beta(1/2, 1/2) of the shares (Joseph, Gyorkos and Coupal 1995). Without the
    bound, codings in which no event is sure would leave open that coders see none.

    References
    ----------
    Hui and Walter (1980), "Estimating the Error Rates of Diagnostic Tests", Biometrics
    36. Dawid and Skene (1979), "Maximum Likelihood Estimation of Observer Error-Rates
    Using the EM Algorithm", Applied Statistics 28. Rogan and Gladen (1978), "Estimating
    Prevalence from the Results of a Screening Test", American Journal of Epidemiology
    107. Joseph, Gyorkos and Coupal (1995), "Bayesian Estimation of Disease Prevalence
    and the Parameters of Diagnostic Tests in the Absence of a Gold Standard", American
    Journal of Epidemiology 141.
    """
    if known is None and not codings.n_several:
        return None
    if known == (1.0, 1.0) and codings.n_differ:
        raise InputError(
            f"sensitivity=1 and specificity=1 say that no coder errs, but "
            f"{codings.n_differ} posts have codings that differ: expected lower rates, "
            f"or one coding for each post. Leave both out to estimate them."
        )
    cells = Cells.of(codings, np.arange(len(stratum)), stratum)
    n_coders = len(codings.coders)
    given = None
    if known is None:
        share, value = likeliest(cells, n_strata)
    else:
        value = _constant(known, (1, n_coders))
        share = likeliest_shares(cells, n_strata, value)
        given = _constant(known, (N_DRAWS, n_coders))
    events, drawn = draw_events(cells, n_strata, np.random.default_rng(0), given)
    chance = (events.mean(axis=0) / cells.n_posts)[cells.place]
    table = _table(codings, value, drawn)
    notes = _notes(codings, table, known)
    return Correction(codings, stratum, share, value, drawn, chance, notes, table)


def draw_events(
    cells: Cells, n_strata: int, rng: np.random.Generator, rates: Rates | None = None
) -> tuple[Counts, Rates]:
    """Draw the numbers of events among the coded posts of each cell.

    Each draw is the last step of its own chain of a Gibbs sampler. Rates that are not
    given are drawn too.
    """
    n_coders = cells.positive.shape[1]
    shape = (N_DRAWS, n_coders)
    learnt = rates is None
    if rates is None:
        rates = Rates(rng.uniform(_HALF, 1, shape), rng.uniform(0, _HALF, shape))
    coded = _in_strata(cells, n_strata)
    member = cells.in_strata(n_strata)
    share = rng.beta(0.5, 0.5, (N_DRAWS, n_strata)).clip(_EDGE, 1 - _EDGE)
    events = np.zeros((N_DRAWS, len(cells.n_posts)), dtype=int)
    for _ in range(_STEPS if learnt else _STEPS_KNOWN):
        events = rng.binomial(cells.n_posts, cells.chances(rates, share))
        found = events @ member
        share = rng.beta(0.5 + found, 0.5 + coded - found).clip(_EDGE, 1 - _EDGE)
        if learnt:
            rates = _drawn_rates(cells, events, rates, rng)
    return events, rates


def _drawn_rates(
    cells: Cells, events: Counts, rates: Rates, rng: np.random.Generator
) -> Rates:
    """Draw rates, given what is true; a draw beyond their bounds is not taken."""
    drawn = []
    for count in (events, cells.n_posts - events):
        a, b = 1 + count @ cells.positive, 1 + count @ cells.negative
        drawn.append(rng.beta(a, b).clip(_EDGE, 1 - _EDGE))
    high = np.where(drawn[0] > _HALF, drawn[0], rates.sensitivity)
    low = np.where(drawn[1] < _HALF, drawn[1], rates.false_positive)
    return Rates(high, low)


def likeliest(cells: Cells, n_strata: int) -> tuple[FloatArray, Rates]:
    """Return the likeliest shares of events, and rates of the coders, by EM."""
    coded = np.maximum(_in_strata(cells, n_strata), 1)
    n_codings = cells.positive + cells.negative
    said = _sums(cells, cells.n_posts * cells.positive.sum(axis=1), n_strata)
    asked = _sums(cells, cells.n_posts * n_codings.sum(axis=1), n_strata)
    share = (said / np.maximum(asked, 1)).clip(_EDGE, 1 - _EDGE)
    rates = _constant((0.9, 0.98), (1, cells.positive.shape[1]))
    for _ in range(_MOST_STEPS):
        events = cells.n_posts * cells.chances(rates, share[None])[0]
        new = (_sums(cells, events, n_strata) / coded).clip(_EDGE, 1 - _EDGE)
        parts = [
            (n @ cells.positive) / np.maximum(n @ n_codings, _EDGE)
            for n in (events, cells.n_posts - events)
        ]
        rates = Rates(
            parts[0][None].clip(_HALF, 1 - _EDGE), parts[1][None].clip(_EDGE, _HALF)
        )
        moved, share = np.abs(new - share).max(), new
        if moved < _ENOUGH:
            break
    return likeliest_shares(cells, n_strata, rates), rates


def likeliest_shares(cells: Cells, n_strata: int, rates: Rates) -> FloatArray:
    """Return the likeliest shares of events, for given rates, by halving.

    At the likeliest share, the posts are events with that share as mean chance.
    """
    low, high = np.zeros(n_strata), np.ones(n_strata)
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        chance = cells.chances(rates, share[None])[0]
        more = _sums(cells, cells.n_posts * (chance - share[cells.stratum]), n_strata)
        low, high = np.where(more > 0, share, low), np.where(more > 0, high, share)
    return low


def blind_note(codings: Codings, stratum: IntArray, size: FloatArray) -> str:
    """Say how large the error of coders could be, where nothing shows it."""
    cells = Cells.of(codings, np.arange(len(stratum)), stratum)
    numbers = []
    for rates in ((1.0, 1.0), *_EXAMPLES):
        known = _constant(rates, (1, len(codings.coders)))
        numbers.append(float(size @ likeliest_shares(cells, len(size), known)))
    return (
        f"Errors of coders are not in the intervals, since no post was coded twice. If "
        f"coders called 1% of the posts that are none an event (specificity 0.99), the "
        f"number of events would be {numbers[1]:,.0f} instead of {numbers[0]:,.0f}; if "
        f"they missed 10% of the events (sensitivity 0.9), {numbers[2]:,.0f}. Let two "
        f"people code some of the posts, or state both rates."
    )


def checked_rates(sensitivity: object, specificity: object) -> tuple[float, float]:
    """Validate a sensitivity and a specificity that are given."""
    given = {"sensitivity": sensitivity, "specificity": specificity}
    found = []
    for name, value in given.items():
        number = float(value) if isinstance(value, Real) else np.nan
        if isinstance(value, bool) or not 0 < number <= 1:
            other = " Give both." if value is None else ""
            raise InputError(
                f"{name}={value!r} is not usable: expected a number above 0 and up to "
                f"1, such as 0.9.{other} Correct it."
            )
        found.append(number)
    if sum(found) <= 1:
        raise InputError(
            f"sensitivity={found[0]:g} and specificity={found[1]:g} are those of a "
            f"coder who is no better than chance: expected more than 1 in sum, got "
            f"{sum(found):g}. No correction is possible; correct the numbers."
        )
    return found[0], found[1]


def _constant(rates: tuple[float, float], shape: tuple[int, int]) -> Rates:
    high, low = np.clip([rates[0], 1 - rates[1]], _EDGE, 1 - _EDGE)
    return Rates(np.full(shape, high), np.full(shape, low))


def _sums(cells: Cells, values: FloatArray, n_strata: int) -> FloatArray:
    return np.bincount(cells.stratum, values, minlength=n_strata).astype(np.float64)


def _in_strata(cells: Cells, n_strata: int) -> FloatArray:
    return _sums(cells, cells.n_posts.astype(float), n_strata)


def _table(codings: Codings, value: Rates, drawn: Rates) -> pd.DataFrame:
    """Return sensitivity and specificity of each coder, with 95% intervals."""
    columns: dict[str, object] = {"coder": list(codings.coders)}
    for name, one, draws in (
        ("sensitivity", value.sensitivity[0], drawn.sensitivity),
        ("specificity", 1 - value.false_positive[0], 1 - drawn.false_positive),
    ):
        low, high = np.quantile(draws, [TAIL, 1 - TAIL], axis=0)
        columns[name] = one
        columns[f"{name}_low"] = np.minimum(low, one)
        columns[f"{name}_high"] = np.maximum(high, one)
    coded = (codings.positive + codings.negative)[codings.pattern] > 0
    return pd.DataFrame(columns | {"n_posts": coded.sum(axis=0)})


def _notes(
    codings: Codings, table: pd.DataFrame, known: tuple[float, float] | None
) -> list[str]:
    if known is not None:
        notes = [
            f"All figures are corrected for errors of coders, with a sensitivity of "
            f"{known[0]:g} and a specificity of {known[1]:g}, taken as exact."
        ]
        if not 1 - known[1] <= codings.share <= known[0]:
            notes.append(
                f"These rates do not fit the codings, of which {codings.share:.3g} are "
                f"an event: at least {1 - known[1]:.3g} and at most {known[0]:.3g} "
                f"were to be expected."
            )
        return notes
    notes = [
        f"All figures are corrected for errors of coders, which are estimated from "
        f"{codings.n_several:,} posts that were coded more than once or adjudicated. "
        f"Assumed: coders err independently of each other, given what is true of a "
        f"post, as often in one part of the corpus as in another, and are right about "
        f"more than half of the events and of the other posts."
    ]
    for row in table.head(_SHOWN).itertuples():
        notes.append(
            f"{row.coder}: sensitivity {row.sensitivity:.2f} "
            f"[{row.sensitivity_low:.2f}, {row.sensitivity_high:.2f}], specificity "
            f"{row.specificity:.3f} [{row.specificity_low:.3f}, "
            f"{row.specificity_high:.3f}]"
        )
    if len(table) > _SHOWN:
        notes.append(f"{len(table) - _SHOWN} more coders are in the table of coders.")
    weak = table["sensitivity"] + table["specificity"] < 1.2
    if (weak | (table["sensitivity"] <= _HALF)).any():
        notes.append(
            "A coder may find no more than half of the events, or be hardly better "
            "than chance: do not rely on the correction."
        )
    return notes
