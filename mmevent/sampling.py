"""From predictions to a corpus: a sample for hand-coding, and what it says.

Counting flagged posts is no estimate: some are no events, and some events are not
flagged. A random sample with known inclusion probabilities, coded by hand, says how
many of each. Posts are sampled within strata of the score, so that the predictions make
the estimate more precise, however good or bad they are, and never make it wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._shares import Counts, effective_size, figures
from mmevent._strata import MIN_A_STRATUM, Strata, allocate, stratify
from mmevent.exceptions import InputError
from mmevent.posts import parse_created_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

__all__ = ["CorpusEstimate", "draw_sample", "estimate_corpus", "expected_widths"]

_STRATUM, _PROBABILITY = "stratum", "inclusion_probability"
_PREDICTIONS = (
    "table of predictions",
    "Pass what mmevent predict wrote; its --keep copies further columns into it.",
)


def draw_sample(audit: pd.DataFrame, n: int, *, random_state: int = 0) -> pd.DataFrame:
    """Draw a stratified random sample of predicted posts, for coding by hand.

    Parameters
    ----------
    audit : DataFrame, n_posts rows
        From `EventDetector.audit`, or `mmevent predict`, for the whole corpus. Posts
        that were seen in training are left out. With a column ``probability``, the
        sample is larger where events and others are mixed.
    n : int
        Number of posts to draw.
    random_state : int, default=0
        Seed.

    Returns
    -------
    DataFrame of n rows
        ``id``, ``stratum``, and ``inclusion_probability``, in random order, so that
        coders do not learn the score from the place.

    Raises
    ------
    InputError
        If `n` is too small for the strata, or greater than the corpus.

    See Also
    --------
    estimate_corpus : What the coded sample says of the corpus.
    expected_widths : How wide the intervals will be.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.sampling import draw_sample
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> draw_sample(audit, 100)["stratum"].nunique()
    4
    """
    strata = stratify(_checked(audit))
    count = allocate(strata, _checked_size(n, strata))
    rng = np.random.default_rng(random_state)
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(strata.stratum == h), k, replace=False)
            for h, k in enumerate(count)
        ]
    )
    rows = rng.permutation(rows)
    stratum = strata.stratum[rows]
    return pd.DataFrame(
        {
            "id": audit["id"].to_numpy()[rows],
            _STRATUM: stratum,
            _PROBABILITY: (count / strata.size)[stratum],
        }
    )


def expected_widths(audit: pd.DataFrame, n: int) -> dict[str, float]:
    """Say how far the ends of the intervals will be apart, if events are as guessed.

    Parameters
    ----------
    audit : DataFrame, n_posts rows
        As for `draw_sample`.
    n : int
        Number of posts to draw.

    Returns
    -------
    dict
        ``n_events``, ``precision``, ``recall`` and ``f1``.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.sampling import expected_widths
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> widths = [expected_widths(audit, n)["precision"] for n in (100, 400)]
    >>> widths[0] > widths[1]
    True
    """
    strata = stratify(_checked(audit))
    count = allocate(strata, _checked_size(n, strata)).astype(float)
    size, events = strata.size.astype(float), strata.guess * count
    rows = figures(Counts(size, strata.flagged, count, events, strata.guess))
    return {row.figure: row.high - row.low for row in rows}


@dataclass(frozen=True)
class CorpusEstimate:
    """What a coded sample says of a corpus.

    Parameters
    ----------
    table : DataFrame
        One row for each group (``all``, and those of `by` and `period`) and figure:
        ``n_events``, ``precision``, ``recall``, ``f1``, with ``low`` and ``high``.
    n_posts, n_flagged, n_coded : int
        Posts of the corpus, those of them that are flagged, and those coded by hand.
    effective_sample_size : float
        Size of a simple random sample that would say as much of the number of events;
        NaN where no coded post is an event.
    notes : list of str
        What a reader must know beside the figures.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.sampling import draw_sample, estimate_corpus
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

    def to_json(self) -> str:
        """Return everything as JSON; what is undefined is null."""
        table = json.loads(self.table.to_json(orient="records", double_precision=15))
        size = self.effective_sample_size
        known = {
            "table": table,
            "effective_sample_size": None if size != size else size,
        }
        return json.dumps({**vars(self), **known}, indent=2, allow_nan=False)

    def __str__(self) -> str:
        lines = [
            f"{self.n_posts:,} posts, {self.n_flagged:,} flagged, {self.n_coded:,} "
            f"coded by hand; 95% intervals in brackets",
        ]
        if not np.isnan(self.effective_sample_size):
            lines.append(
                f"For the number of events the sample says as much as about "
                f"{self.effective_sample_size:,.0f} posts drawn at random"
            )
        wide = {
            name: {row.figure: _readable(row) for row in rows.itertuples()}
            for name, rows in self.table.groupby("group", sort=False)
        }
        lines.append(pd.DataFrame.from_dict(wide, orient="index").to_string())
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines)


def estimate_corpus(
    audit: pd.DataFrame,
    coded: pd.DataFrame,
    label: str,
    *,
    by: str | None = None,
    period: str | None = None,
) -> CorpusEstimate:
    """Estimate a corpus's number of events, precision and recall from a coded sample.

    Parameters
    ----------
    audit : DataFrame, n_posts rows
        Predictions of the whole corpus, as for `draw_sample`, with `by` and
        ``created_at`` where they are used.
    coded : DataFrame
        ``id``, ``stratum`` and ``inclusion_probability`` from `draw_sample`, and the
        label: 1 or True for an event. Several rows of a post are several codings, whose
        mean counts.
    label : str
        Column of the label.
    by : str or None, default=None
        Column of the audit: figures for each of its values too.
    period : {"day", "week", "month", "year"} or None, default=None
        Figures for each of these too, by ``created_at``.

    Returns
    -------
    CorpusEstimate

    Raises
    ------
    InputError
        If the sample does not fit the corpus, or its columns are not as described.

    Notes
    -----
    With N_h posts in stratum h, n_h of them coded and k_h of these events, the number
    of events is the sum of N_h k_h / n_h. A weighted sum of shares, with weights c_h,
    has the interval from S - sqrt(sum (c_h (p_h - l_h))²) to S + sqrt(sum (c_h (u_h -
    p_h))²), where l_h and u_h are the ends of the stratum's exact (Clopper-Pearson)
    interval, which change places where c_h is below 0; it is that of the hypergeometric
    distribution, since the corpus is finite. In a group, N_h, n_h and k_h are the
    group's; where n_h is 0, p_h is that of the whole stratum, and l_h and u_h are 0 and
    1. A recall is at least r where the events that are flagged, times 1 - r, minus
    those that are not, times r, are at least 0: its interval has the r for which the
    interval of that sum has 0 in it. F1 is treated alike.

    References
    ----------
    Zou and Donner (2008), "Construction of Confidence Limits about Effect Measures: A
    General Approach", Statistics in Medicine 27. Korn and Graubard (1998), "Confidence
    Intervals for Proportions with Small Expected Number of Positive Counts Estimated
    from Survey Data", Survey Methodology 24.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.sampling import draw_sample, estimate_corpus
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> coded = draw_sample(audit, 200)
    >>> coded["event"] = coded["id"] > 880
    >>> found = estimate_corpus(audit, coded, "event").table.set_index("figure")
    >>> bool(found.loc["n_events", "low"] <= 119 <= found.loc["n_events", "high"])
    True
    """
    strata = stratify(_checked(audit))
    rows, share = _checked_codes(audit, coded, label, strata)
    n_strata = len(strata.size)
    stratum = strata.stratum[rows]

    def totals(place: IntArray, values: FloatArray) -> FloatArray:
        return np.bincount(place, values, minlength=n_strata).astype(np.float64)

    guess = totals(stratum, share) / np.bincount(stratum, minlength=n_strata)

    def counts_of(inside: NDArray[np.bool_]) -> Counts:
        kept, chosen = inside & (strata.stratum >= 0), inside[rows]
        return Counts(
            np.bincount(strata.stratum[kept], minlength=n_strata).astype(float),
            strata.flagged,
            np.bincount(stratum[chosen], minlength=n_strata).astype(float),
            totals(stratum[chosen], share[chosen]),
            guess,
        )

    table = []
    domains = {"all": np.ones(len(audit), dtype=bool), **_domains(audit, by, period)}
    for name, inside in domains.items():
        counts = counts_of(inside)
        of = {"group": name, "n_coded": int(counts.coded.sum())}
        table += [{**of, **row._asdict()} for row in figures(counts)]
    n_seen = int((strata.stratum < 0).sum())
    notes = []
    if n_seen:
        notes.append(
            f"{n_seen:,} posts that share a text or an image with training posts are "
            f"in no figure."
        )
    return CorpusEstimate(
        table=pd.DataFrame(table),
        n_posts=int(strata.size.sum()),
        n_flagged=int(strata.size[strata.flagged].sum()),
        n_coded=len(rows),
        effective_sample_size=effective_size(counts_of(domains["all"])),
        notes=notes,
    )


def _domains(
    audit: pd.DataFrame, by: str | None, period: str | None
) -> dict[str, NDArray[np.bool_]]:
    """Which posts are in each group and period."""
    domains: dict[str, NDArray[np.bool_]] = {}
    if by is not None:
        _need(audit, [by], *_PREDICTIONS)
        values = audit[by].astype(object).where(audit[by].notna(), "missing")
        domains |= {f"{by}: {v}": (values == v).to_numpy() for v in values.unique()}
    if period is not None:
        _need(audit, ["created_at"], *_PREDICTIONS)
        letters = {"day": "D", "week": "W", "month": "M", "year": "Y"}
        if period not in letters:
            raise InputError(
                f"period={period!r} is not known: expected one of "
                f"{', '.join(letters)}. Pass one of them."
            )
        times = parse_created_at(audit).dt.tz_localize(None)
        cut = times.dt.to_period(letters[period]).astype(str)
        domains |= {v: (cut == v).to_numpy() for v in sorted(cut.unique())}
    return domains


def _checked(audit: pd.DataFrame) -> pd.DataFrame:
    _need(audit, ["id", "score", "margin"], *_PREDICTIONS)
    if len(audit) == 0 or audit["id"].duplicated().any():
        raise InputError(
            f"the predictions have {len(audit):,} posts, of which "
            f"{int(audit['id'].duplicated().sum()):,} have the id of another: expected "
            f"one row or more, each with its own id. Predict the corpus again."
        )
    return audit


def _checked_size(n: int, strata: Strata) -> int:
    least, most = (
        int(np.minimum(strata.size, MIN_A_STRATUM).sum()),
        int(strata.size.sum()),
    )
    if (
        isinstance(n, bool)
        or not isinstance(n, (int, np.integer))
        or not least <= n <= most
    ):
        raise InputError(
            f"n={n!r} posts cannot be drawn: expected a whole number from {least}, ten "
            f"for each stratum of the score, to {most:,}, the posts that were not seen "
            f"in training. Choose another n."
        )
    return int(n)


def _checked_codes(
    audit: pd.DataFrame, coded: pd.DataFrame, label: str, strata: Strata
) -> tuple[IntArray, FloatArray]:
    """Rows of the audit that were coded, and the mean of each one's codings."""
    needed = ["id", label, _STRATUM, _PROBABILITY]
    _need(coded, needed, "coded sample", "Code what mmevent sample drew.")
    labels = pd.to_numeric(coded[label], errors="coerce")
    wrong = ~labels.isin([0, 1]) & coded[label].notna()
    if wrong.any():
        raise InputError(
            f"the column {label!r} has other labels than 0 and 1 in "
            f"{int(wrong.sum())} rows: expected 1 for an event, got "
            f"{coded.loc[wrong, label].unique()[:5].tolist()}. Correct them."
        )
    rows = pd.Index(audit["id"].astype(str)).get_indexer(coded["id"].astype(str))
    unknown = rows < 0
    if unknown.any():
        raise InputError(
            f"{int(unknown.sum())} coded posts are not in the predictions: expected "
            f"ids of the corpus, got {coded.loc[unknown, 'id'][:5].tolist()}. Pass the "
            f"predictions that the sample was drawn from."
        )
    others = strata.stratum[rows] != coded[_STRATUM].to_numpy()
    if others.any():
        seen = int((strata.stratum[rows] < 0).sum())
        raise InputError(
            f"the sample was drawn from other predictions: expected the strata that "
            f"these give, got others for {int(others.sum())} posts, {seen} of which "
            f"were seen in training. Pass the predictions that it was drawn from."
        )
    share = labels.groupby(rows).mean()
    missing = share.isna()
    if missing.any():
        raise InputError(
            f"{int(missing.sum())} posts of the sample have no label: expected one for "
            f"each, got none for the ids "
            f"{audit['id'].iloc[share.index[missing][:5]].tolist()}. Code them too: "
            f"posts that are left out are seldom like the others."
        )
    drawn = coded.groupby(rows)[_PROBABILITY].first()
    stratum = strata.stratum[share.index]
    count = np.bincount(stratum, minlength=len(strata.size))
    expected = np.rint(drawn * strata.size[stratum])
    if (count == 0).any() or (expected != count[stratum]).any():
        raise InputError(
            f"the sample is not whole: expected as many posts of each stratum as its "
            f"{_PROBABILITY} says, got {count.tolist()} of {strata.size.tolist()}. "
            f"Pass all rows that were drawn."
        )
    return share.index.to_numpy(), share.to_numpy(dtype=float)


def _need(frame: pd.DataFrame, names: list[str], what: str, advice: str) -> None:
    missing = [name for name in names if name not in frame]
    if missing:
        raise InputError(
            f"the {what} has no column {', '.join(map(repr, missing))}: expected "
            f"{', '.join(map(repr, names))}, got {', '.join(map(repr, frame))}. "
            f"{advice}"
        )


def _readable(row: Any) -> str:
    if row.figure == "n_events":
        return f"{row.value:,.0f} [{row.low:,.0f}, {row.high:,.0f}]"
    value = "–" if np.isnan(row.value) else f"{row.value:.3f}"
    return f"{value} [{row.low:.2f}, {row.high:.2f}]"
