"""Whether the detector errs more in some groups or periods than in others.

A detector that misses more events in one country, or in one year, makes differences
that are not there. From a coded sample come its false-positive and false-negative rates
by group, a test of whether they differ, and numbers of events that are corrected for
them, with intervals that hold for all groups at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._common import as_html
from mmevent._settings import with_own_settings
from mmevent.corpus.coded import checked_codes
from mmevent.corpus.coder_error import N_DRAWS, N_REPEATS, Correction, read_correction
from mmevent.corpus.domains import domains
from mmevent.corpus.melded import ERRORS, Totals, joint_tails
from mmevent.corpus.sampling import checked_predictions
from mmevent.corpus.strata import Strata, stratify
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]
    Mask = NDArray[np.bool_]

__all__ = ["DifferentialErrors", "differential_errors"]

N_PERMUTATIONS = 1999
_NAMES = {
    "false_positive_rate": "false-positive rate",
    "false_negative_rate": "false-negative rate",
}
_JOINT = (
    "The intervals of the numbers of events hold for all groups of one kind at once, "
    "with 95%; those of the rates hold for each group alone."
)
_TEST = (
    "Each test is by permutation: p is the chance of differences as large as these if "
    "the groups of coded posts were drawn by lot among posts of the same truth."
)


@dataclass(frozen=True)
class DifferentialErrors:
    """Errors of a detector by group, and numbers of events corrected for them.

    Parameters
    ----------
    rates : DataFrame
        One row per group and figure: ``by``, ``group``, ``figure``
        (``false_positive_rate``: share of the posts that are no events which are
        flagged; ``false_negative_rate``: share of the events which are not), ``value``,
        ``low`` and ``high`` (95% interval), ``n_coded``.
    tests : DataFrame
        One row for each way to group and figure: ``by``, ``figure``, ``n_groups``,
        ``n_posts`` (coded posts that the test is about) and ``p_value``.
    series : DataFrame
        One row per group: ``by``, ``group``, ``n_posts``, ``n_flagged``, ``n_coded``,
        ``n_events``, ``low`` and ``high``, which hold for all groups of one `by` at
        once, with 95%.
    notes : list of str
        What a reader must know in addition.

    See Also
    --------
    mmevent.report.plot_series : Draws the series.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import differential_errors, draw_sample
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> audit["place"] = ["A", "B"] * 500
    >>> coded = draw_sample(audit, 200)
    >>> coded["event"] = coded["id"] > 880
    >>> found = differential_errors(audit, coded, "event", by="place")
    >>> found.tests["figure"].tolist()
    ['false_positive_rate', 'false_negative_rate']
    """

    rates: pd.DataFrame
    tests: pd.DataFrame
    series: pd.DataFrame
    notes: list[str]

    def to_json(self) -> str:
        """Return the tables as JSON; undefined figures are null."""
        tables = {
            name: json.loads(frame.to_json(orient="records", double_precision=15))
            for name, frame in vars(self).items()
            if isinstance(frame, pd.DataFrame)
        }
        return json.dumps({**tables, "notes": self.notes}, indent=2, allow_nan=False)

    def __str__(self) -> str:
        tables = [self._wide().to_string(), *self._said_tests()]
        return "\n".join([*tables, *(f"- {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return f"<DifferentialErrors: {len(self.series)} groups>"

    def _repr_html_(self) -> str:
        notes = [*self._said_tests(), *self.notes]
        return as_html("Errors of the detector by group", [("", self._wide())], notes)

    def _wide(self) -> pd.DataFrame:
        wide = {
            row.group: {
                "posts": f"{row.n_posts:,}",
                "coded": f"{row.n_coded:,}",
                "flagged": f"{row.n_flagged:,}",
                "events [joint 95%]": f"{row.n_events:,.0f} "
                f"[{row.low:,.0f}, {row.high:,.0f}]",
            }
            for row in self.series.itertuples()
        }
        for row in self.rates.itertuples():
            value = "–" if np.isnan(row.value) else f"{row.value:.3f}"
            ends = f"[{row.low:.3f}, {row.high:.3f}]"
            wide[row.group][_NAMES[str(row.figure)]] = f"{value} {ends}"
        return pd.DataFrame.from_dict(wide, orient="index")

    def _said_tests(self) -> list[str]:
        said = []
        for row in self.tests.itertuples():
            name = f"The {_NAMES[str(row.figure)]} by {row.by}"
            if np.isnan(row.p_value):
                said.append(f"{name}: no test, since no error or one group was coded.")
                continue
            said.append(
                f"{name}: p = {row.p_value:.3g} that it is the same in all "
                f"{row.n_groups} groups ({row.n_posts:,} coded posts)"
            )
        return said


@with_own_settings
def differential_errors(
    audit: pd.DataFrame,
    coded: pd.DataFrame | Sequence[pd.DataFrame],
    label: str,
    *,
    by: str | None = None,
    period: str | None = None,
    timezone: str | None = None,
    sample: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    pos_label: Any = None,
    coder: str | None = None,
    sensitivity: float | None = None,
    specificity: float | None = None,
    adjudicated: pd.DataFrame | None = None,
) -> DifferentialErrors:
    """Compare the errors of a detector between groups and periods.

    Parameters
    ----------
    audit, coded, label
        As for `estimate_corpus`.
    by : str or None, default=None
        Column of the audit: places, languages or others to compare.
    period : {"day", "week", "month", "year"} or None, default=None
        Periods of ``created_at`` to compare.
    timezone, sample, pos_label, coder, sensitivity, specificity, adjudicated
        As for `estimate_corpus`.

    Returns
    -------
    DifferentialErrors
        Rates, tests, and corrected numbers of events with joint intervals.

    Raises
    ------
    InputError
        If neither `by` nor `period` is given, or as for `estimate_corpus`.

    See Also
    --------
    estimate_corpus : Figures of the corpus and of groups, each interval for itself.

    Notes
    -----
    Intervals are melded from the exact confidence distributions of the strata (Fay,
    Proschan and Brittain 2015). The joint intervals have the tail for which no group
    lies outside in 97.5% of the draws, on either side.

    A test is about the coded posts that are no events (false positives), or that are
    (false negatives), each with the weight 1 / (chance to be drawn). It is the weighted
    chi-square of the rates, with its distribution over 1,999 permutations of the
    groups. It is exact if scores do not depend on the group, given what is true. With
    errors of coders, a post counts as what it is with a chance of half or more.

    References
    ----------
    Fay, Proschan and Brittain (2015), "Combining One-Sample Confidence Procedures for
    Inference in the Two-Sample Case", Biometrics 71. Phipson and Smyth (2010),
    "Permutation P-values Should Never Be Zero", Statistical Applications in Genetics
    and Molecular Biology 9.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import differential_errors, draw_sample
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> audit["place"] = ["A", "B"] * 500
    >>> coded = draw_sample(audit, 200)
    >>> coded["event"] = coded["id"] > 880
    >>> found = differential_errors(audit, coded, "event", by="place")
    >>> found.series["group"].tolist()
    ['place: A', 'place: B']
    """
    if by is None and period is None:
        raise InputError(
            "there is nothing to compare: expected by=, a column of the predictions, "
            "or period=, got neither. Name one (--by, --period on the command line)."
        )
    audit = checked_predictions(audit)
    rows, share, strata = checked_codes(
        audit, coded, label, stratify(audit), sample, pos_label
    )
    stratum = strata.stratum[rows]
    correction, notes = read_correction(
        *(audit["id"].iloc[rows], stratum, strata.size.astype(float), coded, label),
        pos_label=pos_label,
        coder=coder,
        sensitivity=sensitivity,
        specificity=specificity,
        adjudicated=adjudicated,
    )
    chance = share if correction is None else correction.chance
    kinds = {}
    if by is not None:
        kinds[by] = domains(audit, by, None, None)
    if period is not None:
        kinds[period] = domains(audit, None, period, timezone)
    rates, tests, series = [], [], []
    for kind, masks in kinds.items():
        totals = {
            name: _totals(inside, strata, rows, chance, correction)
            for name, inside in masks.items()
        }
        series += _series(kind, totals)
        rates += [
            {"by": kind, "group": name, **each.figure(figure)._asdict()}
            | {"n_coded": int(each.coded.sum())}
            for name, each in totals.items()
            for figure in ERRORS
        ]
        group = np.full(len(rows), -1)
        for place, inside in enumerate(masks.values()):
            group[inside[rows]] = place
        tests += _tests(kind, group, stratum, strata, chance)
    return DifferentialErrors(
        rates=pd.DataFrame(rates),
        tests=pd.DataFrame(tests),
        series=pd.DataFrame(series),
        notes=[_JOINT, _TEST, *notes],
    )


def _totals(
    inside: Mask,
    strata: Strata,
    rows: IntArray,
    chance: FloatArray,
    correction: Correction | None,
) -> Totals:
    """Return the numbers of events of one group."""
    n_strata = len(strata.size)
    kept = inside & (strata.stratum >= 0)
    size = np.bincount(strata.stratum[kept], minlength=n_strata).astype(np.float64)
    chosen, stratum = inside[rows], strata.stratum[rows]
    if correction is not None:
        return correction.totals(size, strata.flagged, chosen)

    def sums(values: FloatArray, which: Mask) -> FloatArray:
        found = np.bincount(stratum[which], values[which], minlength=n_strata)
        return found.astype(np.float64)

    everything, one = np.ones(len(rows), dtype=bool), np.ones(len(rows))
    coded, events = sums(one, chosen), sums(chance, chosen)
    guess = sums(chance, everything) / sums(one, everything)
    share = np.where(coded > 0, events / np.maximum(coded, 1), guess)
    drawn = np.tile(np.rint(events).astype(int), (N_DRAWS * N_REPEATS, 1))
    # Each group has draws of its own: the same ones would make groups alike.
    rng = np.random.default_rng(np.flatnonzero(inside)[:1])
    return Totals.of(size, coded, strata.flagged, size * share, drawn, rng)


def _series(kind: str, totals: dict[str, Totals]) -> list[dict[str, Any]]:
    tails = joint_tails(list(totals.values()), "n_events")
    found = []
    for name, each in totals.items():
        figure = each.figure("n_events", tails)
        found.append(
            {
                "by": kind,
                "group": name,
                "n_posts": int(each.size.sum()),
                "n_flagged": int(each.size[each.flagged].sum()),
                "n_coded": int(each.coded.sum()),
                "n_events": figure.value,
                "low": figure.low,
                "high": figure.high,
            }
        )
    return found


def _tests(
    kind: str, group: IntArray, stratum: IntArray, strata: Strata, chance: FloatArray
) -> list[dict[str, Any]]:
    """Test both rates of error of one way to group."""
    n_coded = np.bincount(stratum, minlength=len(strata.size))
    weight = (strata.size / np.maximum(n_coded, 1))[stratum]
    flagged, event = strata.flagged[stratum], chance >= 0.5
    found = []
    for figure, about, wrong in zip(
        ERRORS, (~event, event), (flagged, ~flagged), strict=True
    ):
        groups = group[about]
        found.append(
            {
                "by": kind,
                "figure": figure,
                "n_groups": len(np.unique(groups)),
                "n_posts": int(about.sum()),
                "p_value": permutation_test(wrong[about], groups, weight[about]),
            }
        )
    return found


def permutation_test(wrong: Mask, group: IntArray, weight: FloatArray) -> float:
    """Return the p-value that a weighted rate is the same in all groups.

    It is NaN where nothing is wrong, or all, or there is one group.
    """
    names, group = np.unique(group, return_inverse=True)
    if len(names) < 2 or not wrong.any() or wrong.all():
        return np.nan
    rng = np.random.default_rng(0)
    rate = np.average(wrong, weights=weight)
    excess = weight * (wrong - rate)

    def statistic(groups: IntArray) -> FloatArray:
        """Return the chi-square of each row of groups."""
        place = groups + len(names) * np.arange(len(groups))[:, None]
        shape = (len(groups), len(names))
        n_cells = shape[0] * shape[1]
        values, weights = (
            np.bincount(
                place.ravel(),
                np.broadcast_to(per_post, groups.shape).ravel(),
                minlength=n_cells,
            ).reshape(shape)
            for per_post in (excess, weight)
        )
        total: FloatArray = (values**2 / np.maximum(weights, 1e-300)).sum(axis=1)
        return total

    shuffled = rng.permuted(np.tile(group, (N_PERMUTATIONS, 1)), axis=1)
    seen = statistic(group[None])[0]
    as_large = int((statistic(shuffled) >= seen * (1 - 1e-9)).sum())
    return (1 + as_large) / (1 + N_PERMUTATIONS)
