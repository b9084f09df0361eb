"""The codings of a sample: who said what about each post, and what was adjudicated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mmevent.corpus.columns import need_columns, truth
from mmevent.exceptions import InputError
from mmevent.posts.keys import as_key, as_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

EVERYBODY = "all coders"


class Codings(NamedTuple):
    """What coders said about posts; posts with the same codings share a pattern."""

    pattern: IntArray  # pattern of each post
    positive: FloatArray  # patterns x coders: number of codings as an event
    negative: FloatArray  # patterns x coders: number of codings as no event
    truth: FloatArray  # patterns: 1 or 0 where it was adjudicated, else NaN
    coders: tuple[str, ...]

    @property
    def n_several(self) -> int:
        """Number of posts with several codings, or with one and an adjudicated one."""
        known = ~np.isnan(self.truth)
        return int(((self._n + known)[self.pattern] >= 2).sum())

    @property
    def n_differ(self) -> int:
        """Number of posts with codings that differ."""
        differ = (self.positive.sum(axis=1) > 0) & (self.negative.sum(axis=1) > 0)
        return int(differ[self.pattern].sum())

    @property
    def share(self) -> float:
        """Share of the codings that are an event."""
        positive = self.positive.sum(axis=1)[self.pattern].sum()
        return float(positive / self._n[self.pattern].sum())

    @property
    def _n(self) -> FloatArray:
        total: FloatArray = (self.positive + self.negative).sum(axis=1)
        return total


def read_codings(
    ids: pd.Series,
    coded: pd.DataFrame | Sequence[pd.DataFrame],
    label: str,
    *,
    coder: str | None = None,
    pos_label: Any = None,
    adjudicated: pd.DataFrame | None = None,
) -> Codings:
    """Return the codings of posts, from a table with a row for each coding.

    Parameters
    ----------
    ids : Series, n_posts rows
        Ids of the posts; all those of `coded` are among them.
    coded : DataFrame or sequence of them
        ``id``, the label, and `coder`; rows without a label are no coding.
    label : str
        Column of the labels, which `checked_codes` has validated.
    coder : str or None, default=None
        Column that names the coder. None where all codings are taken as one coder's.
    pos_label : default=None
        The label of an event, where labels are two others than 1 and 0.
    adjudicated : DataFrame or None, default=None
        ``id`` and the label: what is true of some of the posts.

    Returns
    -------
    Codings

    Raises
    ------
    InputError
        If a coder is missing or coded a post twice, or what was adjudicated does not
        fit the posts.
    """
    if not isinstance(coded, pd.DataFrame):
        coded = pd.concat(coded, ignore_index=True)
    coded = coded.reset_index(drop=True)
    index = pd.Index(as_keys(ids, "the ids of the posts"))
    place = index.get_indexer(pd.Index(as_keys(coded["id"], "the ids of codings")))
    codes = _events(coded[label], label, pos_label)
    given = ~np.isnan(codes)
    names: tuple[str, ...] = (EVERYBODY,)
    who = np.zeros(len(coded), dtype=np.intp)
    if coder is not None:
        names, who = _coders(coded, label, coder, place, codes)
    count = np.zeros((len(index), len(names), 2))
    np.add.at(count, (place[given], who[given], codes[given].astype(int)), 1)
    known = np.full(len(index), np.nan)
    if adjudicated is not None:
        known = _known(index, adjudicated, label, pos_label)
    # A pattern is a row: its codings, and the truth, with -1 for none.
    rows = np.column_stack(
        [count.reshape(len(index), -1), np.nan_to_num(known, nan=-1)]
    )
    patterns, pattern = np.unique(rows, axis=0, return_inverse=True)
    count = patterns[:, :-1].reshape(len(patterns), len(names), 2)
    fixed = np.where(patterns[:, -1] < 0, np.nan, patterns[:, -1])
    return Codings(pattern.ravel(), count[:, :, 1], count[:, :, 0], fixed, names)


def _coders(
    coded: pd.DataFrame, label: str, coder: str, place: IntArray, codes: FloatArray
) -> tuple[tuple[str, ...], IntArray]:
    """Return the names of the coders, and the coder of each coding."""
    need_columns(coded, ["id", label, coder], "coded sample", "Correct the names.")
    given = ~np.isnan(codes)
    keys = as_keys(coded[coder], f"the values of the column {coder!r}")
    nobody = pd.isna(pd.Series(keys, dtype=object)).to_numpy() & given
    if nobody.any():
        raise InputError(
            f"{int(nobody.sum())} codings have no coder: expected a name in the column "
            f"{coder!r}, got none for the ids {coded.loc[nobody, 'id'][:5].tolist()}. "
            f"Fill them in, or leave the column of coders out."
        )
    table = pd.DataFrame({"post": place, "coder": keys, "code": codes})[given]
    twice = table.duplicated(["post", "coder"], keep=False)
    if twice.any():
        again = table[twice]
        n_codes = again.groupby(["post", "coder"])["code"].nunique()
        raise InputError(
            f"{len(n_codes)} posts are coded twice by one coder, "
            f"{int((n_codes > 1).sum())} of them with two codes that contradict each "
            f"other: expected one row for each post and coder, got more for the ids "
            f"{coded['id'].loc[again.index].unique()[:5].tolist()}. Keep one."
        )
    who, names = pd.factorize(keys, sort=True)
    return tuple(map(str, names)), np.asarray(who, dtype=np.intp)


def _known(
    index: pd.Index, adjudicated: pd.DataFrame, label: str, pos_label: Any
) -> FloatArray:
    """Return what was adjudicated of each post, NaN where nothing was."""
    what = "table of adjudicated posts"
    need_columns(adjudicated, ["id", label], what, "Correct the names.")
    codes = _events(adjudicated[label], label, pos_label)
    empty = np.array([key is None for key in as_keys(adjudicated[label], "labels")])
    wrong = np.isnan(codes) & ~empty
    if wrong.any():
        raise InputError(
            f"the {what} has labels that the codings do not have, in "
            f"{int(wrong.sum())} rows: expected 1 for an event and 0 for others, or "
            f"the two labels of the codings, got "
            f"{adjudicated.loc[wrong, label].unique()[:5].tolist()}. Correct them."
        )
    keys = as_keys(adjudicated["id"], f"the ids of the {what}")
    place = index.get_indexer(pd.Index(keys))
    if (place < 0).any():
        raise InputError(
            f"{int((place < 0).sum())} adjudicated posts were not coded: expected ids "
            f"of the coded sample, got "
            f"{adjudicated.loc[place < 0, 'id'][:5].tolist()}. Pass the adjudicated "
            f"posts of this sample."
        )
    given = pd.DataFrame({"post": place, "code": codes}).dropna()
    found = given.groupby("post")["code"].agg(["first", "nunique"])
    if (found["nunique"] > 1).any():
        posts = found.index[found["nunique"] > 1][:5]
        raise InputError(
            f"{int((found['nunique'] > 1).sum())} posts were adjudicated as an event "
            f"and as none: expected one label each, got two for the ids "
            f"{index[posts].tolist()}. Keep one."
        )
    known = np.full(len(index), np.nan)
    known[found.index] = found["first"]
    return known


def _events(labels: pd.Series, name: str, pos_label: Any) -> FloatArray:
    """Return 1 for events, 0 for others, and NaN where there is no label."""
    if pos_label is None:
        return truth(labels, name)
    keys = as_keys(labels, f"the labels in the column {name!r}")
    missing = np.array([key is None for key in keys])
    return np.where(missing, np.nan, keys == as_key(pos_label))
