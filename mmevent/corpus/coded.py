"""A coded sample, checked against the predictions that it was drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent.corpus.columns import truth
from mmevent.corpus.draws import DRAW, check_whole, checked_draws, one_table
from mmevent.corpus.strata import PROBABILITY, STRATUM, Strata
from mmevent.exceptions import InputError
from mmevent.posts.keys import as_key, as_keys
from mmevent.posts.labels import check_spelling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

_WHAT = "coded sample"
_DRAWN = (STRATUM, PROBABILITY)


def checked_codes(
    audit: pd.DataFrame,
    coded: pd.DataFrame | Sequence[pd.DataFrame],
    label: str,
    finest: Strata,
    sample: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    pos_label: Any = None,
) -> tuple[IntArray, FloatArray, Strata]:
    """Validate a coded sample, one table or the tables of several draws.

    Returns
    -------
    rows : ndarray of int
        Row of each coded post in the audit.
    share : ndarray of float
        Mean of its labels.
    strata : Strata
        What the sample was drawn from: in each stratum, the posts of all draws together
        are a simple random sample.
    """
    coded = coded_table(coded, label, sample)
    labels = pd.Series(_as_events(coded, label, pos_label))
    drawn = checked_draws(audit, coded, finest, _WHAT)
    share = labels.groupby(drawn.rows).mean()
    missing = share.isna()
    if missing.any():
        raise InputError(
            f"{int(missing.sum())} posts of the sample have no label: expected one for "
            f"each, got none for the ids "
            f"{audit['id'].iloc[share.index[missing][:5]].tolist()}. Code them too: "
            f"posts that coders leave out are seldom like the others."
        )
    check_whole(coded, drawn, finest, _WHAT)
    return share.index.to_numpy(), share.to_numpy(dtype=float), drawn.strata


def coded_table(
    coded: pd.DataFrame | Sequence[pd.DataFrame],
    label: str,
    sample: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Return one table of codings, with stratum and probability beside them."""
    if sample is not None:
        coded = one_table(coded, ["id", label], _WHAT, "Correct the names.")
        drawn = one_table(
            sample, ["id", *_DRAWN], "sample", "Pass what mmevent sample wrote."
        )
        return _with_sample(coded, label, drawn)
    tables = [coded] if isinstance(coded, pd.DataFrame) else list(coded)
    advice = "Code what mmevent sample drew."
    if any(STRATUM not in table and label in table for table in tables):
        advice = (
            "Code what mmevent sample drew. If this is what a program for annotation "
            "exported, pass the table that was drawn as well (sample=, or --sample on "
            "the command line)."
        )
    return one_table(tables, ["id", label, *_DRAWN], _WHAT, advice)


def _with_sample(coded: pd.DataFrame, label: str, sample: pd.DataFrame) -> pd.DataFrame:
    """Put stratum and probability beside codings, and a row for each uncoded post."""
    drawn = [*_DRAWN, *([DRAW] if DRAW in sample else [])]
    keys = as_keys(coded["id"], "the ids of the coded sample")
    of_sample = pd.Index(as_keys(sample["id"], "the ids of the sample"))
    if of_sample.hasnans or not of_sample.is_unique:
        raise InputError(
            "the sample has posts without an id, or twice: expected each post once, as "
            "mmevent sample wrote it. Pass that table, or those of all draws."
        )
    rows = of_sample.get_indexer(pd.Index(keys))
    if (rows < 0).any():
        raise InputError(
            f"{int((rows < 0).sum())} coded posts are not in the sample: expected ids "
            f"of the sample, got {coded.loc[rows < 0, 'id'][:5].tolist()}. Pass the "
            f"sample that was coded."
        )
    _check_texts(coded, sample, rows)
    uncoded = np.setdiff1d(np.arange(len(sample)), rows)
    order = np.concatenate([rows, uncoded])
    labels = coded[label].astype(object).tolist() + [None] * len(uncoded)
    found = sample[["id", *drawn]].iloc[order].reset_index(drop=True)
    return found.assign(**{label: pd.Series(labels, dtype=object)})


def _check_texts(coded: pd.DataFrame, sample: pd.DataFrame, rows: IntArray) -> None:
    """Refuse ids that are not the posts': most of their texts are other ones."""
    if "text" not in coded or "text" not in sample:
        return
    one, other = (
        [" ".join(str(text).split()) for text in texts]
        for texts in (coded["text"], sample["text"].iloc[rows])
    )
    differ = int((np.array(one) != np.array(other)).sum())
    if differ > len(rows) / 2:
        raise InputError(
            f"the coded posts are not those of the sample: expected the text of the "
            f"post with the same id, got another one in {differ} of {len(rows)} rows. "
            f"The column 'id' may have numbers that a program for annotation gave: "
            f"put the posts' own ids there."
        )


def _as_events(coded: pd.DataFrame, label: str, pos_label: Any) -> FloatArray:
    """Return 1 for events, 0 for others, and NaN where there is no label."""
    keys = as_keys(coded[label], f"the labels in the column {label!r}")
    missing = np.array([key is None for key in keys])
    if pos_label is not None:
        known = list(dict.fromkeys(key for key in keys if key is not None))
        event = as_key(pos_label)
        check_spelling(np.array([*known, event]), f"the column {label!r}")
        if len([key for key in known if key != event]) > 1:
            raise InputError(
                f"the column {label!r} has other labels than two: expected "
                f"{event!r} for an event and one other label, got {known[:5]}. "
                f"Correct the labels, or which one is an event."
            )
        return np.where(missing, np.nan, keys == event)
    labels = truth(coded[label], label)
    wrong = np.isnan(labels) & ~missing
    if wrong.any():
        raise InputError(
            f"the column {label!r} has other labels than 0 and 1 in "
            f"{int(wrong.sum())} rows: expected 1 for an event, got "
            f"{coded.loc[wrong, label].unique()[:5].tolist()}. Correct them, or say "
            f"which label is an event (pos_label=, or --positive on the command line)."
        )
    return labels
