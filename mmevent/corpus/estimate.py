"""Number of events, precision and recall of a corpus, from a sample coded by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._common import as_html
from mmevent._settings import with_own_settings
from mmevent.corpus.coded import checked_codes
from mmevent.corpus.coder_error import read_correction
from mmevent.corpus.domains import domains
from mmevent.corpus.sampling import checked_predictions
from mmevent.corpus.shares import StratumCounts, effective_size, figures
from mmevent.corpus.strata import stratify

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

__all__ = ["CorpusEstimate", "estimate_corpus"]

_FEW_MISSED = 5


@dataclass(frozen=True)
class CorpusEstimate:
    """Estimate of a corpus from a coded sample.

    Parameters
    ----------
    table : DataFrame
        One row for each group (``all``, and those of `by` and `period`) and figure:
        ``n_events``, ``precision``, ``recall``, ``f1``, with ``low`` and ``high``, the
        ends of the 95% interval.
    n_posts, n_flagged, n_coded : int
        Number of posts in the corpus, of flagged posts, and of posts coded by hand.
    effective_sample_size : float
        Size of a simple random sample of the corpus that would give an equally narrow
        interval for the number of events; NaN where none or
        all of the coded posts are events, or errors of coders are corrected.
    notes : list of str
        What a reader must know in addition to the figures.
    coders : DataFrame or None, default=None
        Where errors of coders are corrected: one row per coder with ``coder``,
        ``sensitivity`` and ``specificity``, each with ``_low`` and ``_high``, the ends
        of its 95% interval, and ``n_posts``, the number of posts that were coded.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import draw_sample, estimate_corpus
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> coded = draw_sample(audit, 200)
    >>> coded["event"] = coded["id"] > 880
    >>> estimate_corpus(audit, coded, "event").n_flagged
    100
    """

    table: pd.DataFrame
    n_posts: int
    n_flagged: int
    n_coded: int
    effective_sample_size: float
    notes: list[str]
    coders: pd.DataFrame | None = None

    def to_json(self) -> str:
        """Return the estimate as JSON; undefined figures are null."""
        table = json.loads(self.table.to_json(orient="records", double_precision=15))
        size = self.effective_sample_size
        known = {
            "table": table,
            "effective_sample_size": None if size != size else size,
            "coders": None
            if self.coders is None
            else self.coders.to_dict(orient="records"),
        }
        return json.dumps({**vars(self), **known}, indent=2, allow_nan=False)

    def __str__(self) -> str:
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([_heading(self), _wide(self.table).to_string(), *notes])

    def __repr__(self) -> str:
        events = _wide(self.table)["n_events"].iloc[0]
        return (
            f"<CorpusEstimate: {self.n_posts:,} posts, {self.n_coded:,} coded by hand, "
            f"{events} events>"
        )

    def _repr_html_(self) -> str:
        return as_html(_heading(self), [("", _wide(self.table))], self.notes)


@with_own_settings
def estimate_corpus(
    audit: pd.DataFrame,
    coded: pd.DataFrame | Sequence[pd.DataFrame],
    label: str,
    *,
    sample: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    pos_label: Any = None,
    by: str | None = None,
    period: str | None = None,
    timezone: str | None = None,
    coder: str | None = None,
    sensitivity: float | None = None,
    specificity: float | None = None,
    adjudicated: pd.DataFrame | None = None,
) -> CorpusEstimate:
    """Estimate the number of events, precision and recall of a corpus.

    Parameters
    ----------
    audit : DataFrame, n_posts rows
        Predictions for the whole corpus, as for `draw_sample`, with the columns `by`
        and ``created_at`` if they are used.
    coded : DataFrame or sequence of DataFrame
        ``id``, ``stratum`` and ``inclusion_probability`` from `draw_sample`, and the
        label: 1 or True for an event, 0 or False for others. A post may have several
        rows, one for each coding: all figures are then corrected for the errors of
        coders that they show. With several tables, a sample and those that were added
        to it by ``draw_sample(..., add_to=...)``.
    label : str
        Column of the label.
    sample : DataFrame, sequence of DataFrame or None, default=None
        From `draw_sample`, where `coded` has only ids and labels, as what a program for
        annotation exports.
    pos_label : default=None
        The label of an event, where labels are two others than 1 and 0.
    by : str or None, default=None
        Column of the audit; figures are also given for each of its values, of which 1,
        1.0 and "1" are one.
    period : {"day", "week", "month", "year"} or None, default=None
        Figures are also given for each period of ``created_at``.
    timezone : str or None, default=None
        Time zone of the periods, such as "America/New_York". None for that of each
        ``created_at``: "2024-03-31T23:30:00-05:00" is in March.
    coder : str or None, default=None
        Column of `coded` that names the coder, where coders differ in their errors.
        None for the same error rates in all codings.
    sensitivity, specificity : float or None, default=None
        Share of the events that a coder calls an event, and share of the other posts
        that a coder calls none, where both are known. None for estimates from posts
        with several codings, or an adjudicated one.
    adjudicated : DataFrame or None, default=None
        ``id`` and the label: what is true of some of the coded posts. A row without a
        label says nothing.

    Returns
    -------
    CorpusEstimate
        Number of events, precision, recall and F1, with 95% intervals.

    Raises
    ------
    InputError
        If the sample does not fit the corpus, or its columns are not as described.

    Notes
    -----
    Let stratum h have N_h posts, of which n_h are coded, and k_h of the coded posts be
    events. The number of events is estimated by the sum of N_h k_h / n_h.

    The share p_h = k_h / n_h has an exact (Clopper-Pearson) interval from l_h to u_h,
    with the hypergeometric distribution, since the corpus is finite. A weighted sum S
    of shares, with weights c_h, has the interval from S - sqrt(sum (c_h (p_h - l_h))²)
    to S + sqrt(sum (c_h (u_h - p_h))²); l_h and u_h change places where c_h is
    negative.

    The recall is at least r if (1 - r) times the flagged events, minus r times the
    other events, is at least 0. This is a weighted sum of shares, and the interval of
    the recall has each r for which the interval of the sum contains 0. The interval of
    F1 is found in the same way.

    For a group, N_h, n_h and k_h count its posts only. Where n_h is 0, p_h is the share
    in the whole stratum, l_h is 0 and u_h is 1.

    With several codings of a post, adjudicated posts or given rates, k_h is not known.
    A latent-class model of the codings gives draws of it (Hui and Walter 1980, Dawid
    and Skene 1979), and each draw an exact confidence distribution; a figure's interval
    has its ends at their quantiles (Fay, Proschan and Brittain 2015). The effective
    sample size is then NaN.

    References
    ----------
    Dawid and Skene (1979), "Maximum Likelihood Estimation of Observer Error-Rates Using
    the EM Algorithm", Applied Statistics 28. Fay, Proschan and Brittain (2015),
    "Combining One-Sample Confidence Procedures for Inference in the Two-Sample Case",
    Biometrics 71. Hui and Walter (1980), "Estimating the Error Rates of Diagnostic
    Tests", Biometrics 36.
    Zou and Donner (2008), "Construction of Confidence Limits about Effect Measures: A
    General Approach", Statistics in Medicine 27. Korn and Graubard (1998), "Confidence
    Intervals for Proportions with Small Expected Number of Positive Counts Estimated
    from Survey Data", Survey Methodology 24.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import draw_sample, estimate_corpus
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> coded = draw_sample(audit, 200)
    >>> coded["event"] = coded["id"] > 880
    >>> found = estimate_corpus(audit, coded, "event").table.set_index("figure")
    >>> bool(found.loc["n_events", "low"] <= 119 <= found.loc["n_events", "high"])
    True
    """
    audit = checked_predictions(audit)
    finest = stratify(audit)
    rows, share, strata = checked_codes(audit, coded, label, finest, sample, pos_label)
    n_strata = len(strata.size)
    stratum = strata.stratum[rows]

    def totals(place: IntArray, values: FloatArray) -> FloatArray:
        return np.bincount(place, values, minlength=n_strata).astype(np.float64)

    guess = totals(stratum, share) / np.bincount(stratum, minlength=n_strata)

    def counts_of(inside: NDArray[np.bool_]) -> StratumCounts:
        kept, chosen = inside & (strata.stratum >= 0), inside[rows]
        return StratumCounts(
            np.bincount(strata.stratum[kept], minlength=n_strata).astype(float),
            strata.flagged,
            np.bincount(stratum[chosen], minlength=n_strata).astype(float),
            totals(stratum[chosen], share[chosen]),
            guess,
        )

    correction, notes = read_correction(
        *(audit["id"].iloc[rows], stratum, strata.size.astype(float), coded, label),
        pos_label=pos_label,
        coder=coder,
        sensitivity=sensitivity,
        specificity=specificity,
        adjudicated=adjudicated,
    )
    table = []
    everything = np.ones(len(audit), dtype=bool)
    masks = {"all": everything, **domains(audit, by, period, timezone)}
    for name, inside in masks.items():
        counts = counts_of(inside)
        of = {"group": name, "n_coded": int(counts.coded.sum())}
        found = (
            figures(counts)
            if correction is None
            else correction.figures(counts.size, counts.flagged, inside[rows])
        )
        table += [{**of, **row._asdict()} for row in found]
    n_seen = int((strata.stratum < 0).sum())
    missed = float(share[~strata.flagged[strata.stratum[rows]]].sum())
    notes += _on_recall(missed) if share.any() else []
    if n_seen:
        notes.insert(
            0,
            f"{n_seen:,} posts that share a text or an image with training posts are "
            f"left out of all figures.",
        )
    return CorpusEstimate(
        table=pd.DataFrame(table),
        n_posts=int(strata.size.sum()),
        n_flagged=int(strata.size[strata.flagged].sum()),
        n_coded=len(rows),
        effective_sample_size=np.nan
        if correction
        else effective_size(counts_of(everything)),
        notes=notes,
        coders=correction.table if correction else None,
    )


def _on_recall(missed: float) -> list[str]:
    """Say that recall is biased where few missed events were coded."""
    if missed >= _FEW_MISSED:
        return []
    return [
        f"{missed:g} of the coded events were not flagged. With fewer than "
        f"{_FEW_MISSED}, the values of recall and F1 are too high on average: report "
        f"their intervals, which allow for it, or add to the sample."
    ]


def _heading(estimate: CorpusEstimate) -> str:
    lines = [
        f"{estimate.n_posts:,} posts, {estimate.n_flagged:,} flagged, "
        f"{estimate.n_coded:,} coded by hand; 95% intervals in brackets"
    ]
    if not np.isnan(estimate.effective_sample_size):
        lines.append(
            f"For the number of events, the sample is as informative as a simple "
            f"random sample of about {estimate.effective_sample_size:,.0f} posts"
        )
    return "\n".join(lines)


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table for people to read: one row per group, one column per figure."""
    wide = {
        name: {row.figure: _readable(row) for row in rows.itertuples()}
        for name, rows in table.groupby("group", sort=False)
    }
    return pd.DataFrame.from_dict(wide, orient="index")


def _readable(row: Any) -> str:
    if row.figure == "n_events":
        return f"{row.value:,.0f} [{row.low:,.0f}, {row.high:,.0f}]"
    value = "–" if np.isnan(row.value) else f"{row.value:.3f}"
    return f"{value} [{row.low:.2f}, {row.high:.2f}]"
