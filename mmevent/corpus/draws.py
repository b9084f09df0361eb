"""Samples of a corpus as they come back: checked against the predictions.

A sample is one draw, or a draw and others that were added to it. In each stratum of the
last draw, the posts of all draws together are a simple random sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from mmevent.corpus.columns import need_columns, number_column
from mmevent.corpus.strata import PROBABILITY, STRATUM, Strata
from mmevent.exceptions import InputError
from mmevent.posts.keys import as_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

DRAW = "draw_number"


class Drawn(NamedTuple):
    """A sample, and the strata that it was drawn from."""

    rows: IntArray  # row of the predictions, for each row of the sample
    strata: Strata
    n_draws: int


def one_table(
    tables: pd.DataFrame | Sequence[pd.DataFrame],
    names: Sequence[str],
    what: str,
    advice: str,
) -> pd.DataFrame:
    """Put the tables of several draws below each other; each needs these columns."""
    if isinstance(tables, pd.DataFrame):
        need_columns(tables, names, what, advice)
        return tables
    if not tables:
        raise InputError(
            f"there is no {what}: expected one table or more, got none. {advice}"
        )
    for table in tables:
        need_columns(table, names, what, advice)
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def checked_draws(
    audit: pd.DataFrame, sample: pd.DataFrame, finest: Strata, what: str
) -> Drawn:
    """Validate that a sample was drawn from these predictions, each draw in its strata.

    It may have several rows for a post. That it is whole is for `check_whole`.
    """
    rows = _rows_of(audit, sample, what)
    drawn = Drawn(rows, _strata_of(sample, finest, what), _n_draws(sample, what))
    _check_same(sample, rows, what)
    number = draw_numbers(sample, what)
    stratum = number_column(sample, STRATUM, what)
    others = np.zeros(len(rows), dtype=bool)
    for draw in range(1, drawn.n_draws + 1):
        strata = _strata_of(sample[number <= draw], finest, what)
        # The last place is for posts that are in no stratum.
        expected = np.append(strata.first, -1)[strata.stratum[rows]]
        others |= (number == draw) & (expected != stratum)
    if others.any():
        seen = int((finest.stratum[rows] < 0).sum())
        raise InputError(
            f"the {what} was drawn from other predictions: expected the strata of "
            f"these predictions, got others for {int(others.sum())} rows, {seen} of "
            f"which are posts that were seen in training. Pass the predictions that it "
            f"was drawn from."
        )
    return drawn


def check_whole(sample: pd.DataFrame, drawn: Drawn, finest: Strata, what: str) -> None:
    """Validate that each draw has as many posts as its inclusion probabilities say."""
    number = draw_numbers(sample, what)
    probability = number_column(sample, PROBABILITY, what, least=0, most=1)
    never = probability == 0
    if never.any():
        raise InputError(
            f"the {what} has an {PROBABILITY} of 0 in {int(never.sum())} rows: "
            f"expected one above 0 in each, since a post that cannot be drawn is in no "
            f"sample, got 0 for the ids {sample.loc[never, 'id'][:5].tolist()}. Leave "
            f"the column as mmevent sample wrote it."
        )
    for draw in range(1, drawn.n_draws + 1):
        until = number <= draw
        strata = _strata_of(sample[until], finest, what)
        posts = strata.stratum[np.unique(drawn.rows[until])]
        count = np.bincount(posts, minlength=len(strata.size))
        place = strata.stratum[drawn.rows[number == draw]]
        expected = np.rint(probability[number == draw] * strata.size[place])
        if (count == 0).any() or (expected != count[place]).any():
            of = f" of draw {draw}" if drawn.n_draws > 1 else ""
            raise InputError(
                f"the {what} is not whole: expected the number of posts of each "
                f"stratum{of} that {PROBABILITY} states, got {count.tolist()} of "
                f"{strata.size.tolist()}. Pass all rows that were drawn."
            )


def draw_numbers(sample: pd.DataFrame, what: str) -> IntArray:
    """Return in which draw each row was drawn; 1 where the table does not say."""
    if DRAW not in sample:
        return np.ones(len(sample), dtype=np.intp)
    first = np.array([key is None for key in as_keys(sample[DRAW], "draw numbers")])
    filled = sample.assign(**{DRAW: sample[DRAW].astype(object).mask(first, 1)})
    return number_column(filled, DRAW, what, least=1).astype(np.intp)


def _n_draws(sample: pd.DataFrame, what: str) -> int:
    found = np.unique(draw_numbers(sample, what))
    if len(found) and len(found) != found[-1]:
        raise InputError(
            f"the {what} joins an earlier one that is not here: expected the draws 1 "
            f"to {found[-1]}, got {found.tolist()}. Pass the tables of all draws."
        )
    return len(found)


def _strata_of(sample: pd.DataFrame, finest: Strata, what: str) -> Strata:
    """Return the strata whose numbers stand in a sample."""
    numbers = np.unique(number_column(sample, STRATUM, what))
    there = numbers[np.isin(numbers, np.arange(len(finest.size)))]
    return finest.merged(finest.sides().union(map(int, there)))


def _rows_of(audit: pd.DataFrame, sample: pd.DataFrame, what: str) -> IntArray:
    """Return the row of the predictions for each row of a sample."""
    keys = as_keys(sample["id"], f"the ids of the {what}")
    without = np.array([key is None for key in keys], dtype=bool)
    if without.any():
        raise InputError(
            f"{int(without.sum())} rows of the {what} have no id: expected one "
            f"in each, got none in the rows {np.flatnonzero(without)[:5].tolist()}, "
            f"counted from 0. Fill them in, or remove rows that are empty."
        )
    of_audit = pd.Index(as_keys(audit["id"], "the ids of the predictions"))
    rows: IntArray = of_audit.get_indexer(pd.Index(keys))
    unknown = rows < 0
    if unknown.any():
        raise InputError(
            f"{int(unknown.sum())} posts of the {what} are not in the predictions: "
            f"expected ids of the corpus, got "
            f"{sample.loc[unknown, 'id'][:5].tolist()}. Pass the predictions that the "
            f"sample was drawn from."
        )
    return rows


def _check_same(sample: pd.DataFrame, rows: IntArray, what: str) -> None:
    """Refuse a post whose rows say different things about how it was drawn."""
    design = pd.DataFrame(
        {name: number_column(sample, name, what) for name in (STRATUM, PROBABILITY)}
    ).assign(draw=draw_numbers(sample, what))
    differ = design.groupby(rows).nunique().gt(1).any(axis=1)
    if differ.any():
        ids = sample["id"].iloc[
            [np.flatnonzero(rows == row)[0] for row in differ.index[differ][:5]]
        ]
        raise InputError(
            f"{int(differ.sum())} posts of the {what} contradict themselves: expected "
            f"the same {STRATUM}, {PROBABILITY} and draw in all rows of a post, got "
            f"others for the ids {ids.tolist()}. Pass each draw once, as it was "
            f"written."
        )
