"""Agreement of two or more coders, and the posts that they disagree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._common import as_html, require
from mmevent._settings import with_own_settings
from mmevent.corpus.columns import need_columns
from mmevent.evaluation.intervals import Basis, share_interval, with_interval
from mmevent.exceptions import InputError
from mmevent.posts.keys import as_keys, free_name
from mmevent.posts.labels import check_spelling

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Agreement", "agreement"]

N_RESAMPLES = 1000
_SHOWN = 10  # disagreements in a notebook


@dataclass(frozen=True)
class Agreement:
    """Agreement of coders.

    Parameters
    ----------
    table : DataFrame
        One row for Krippendorff's alpha of all coders, and one for Cohen's kappa of
        each pair: ``coders``, ``measure``, ``value``, ``low`` and ``high`` (its 95%
        interval), ``n_posts`` (number of posts used), and ``agreed`` (share of posts
        with one label only). The value is NaN where all posts have the same label,
        since agreement beyond chance is then not defined.
    disagreements : DataFrame
        Posts that coders disagree on, with a column for each coder, for adjudication.
        The column of a coder who is called "id" is "(id)".

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import agreement
    >>> coded = pd.DataFrame({"id": [1, 2, 3, 4] * 2, "coder": ["A"] * 4 + ["B"] * 4,
    ...                       "event": [1, 1, 0, 0, 1, 0, 0, 0]})
    >>> agreement(coded, "event", coder="coder").disagreements["id"].tolist()
    [2]
    """

    table: pd.DataFrame
    disagreements: pd.DataFrame

    def __str__(self) -> str:
        table = str(self._readable().to_string(index=False))
        return f"{table}\n{len(self.disagreements):,} posts to adjudicate"

    def __repr__(self) -> str:
        first = self.table.iloc[0]
        return (
            f"<Agreement: {first['measure']} {_with_interval(first)}, "
            f"{len(self.disagreements):,} posts to adjudicate>"
        )

    def _repr_html_(self) -> str:
        n, some = len(self.disagreements), self.disagreements.head(_SHOWN)
        shown = f", the first {_SHOWN}" if n > _SHOWN else ""
        tables = [("", self._readable())]
        if n:
            tables.append((f"{n:,} posts to adjudicate{shown}", some))
        return as_html("Agreement of coders; 95% intervals in brackets", tables)

    def _readable(self) -> pd.DataFrame:
        rows = [
            {
                "coders": row.coders,
                "measure": row.measure,
                "value [95%]": _with_interval(row),
                "agreed": f"{row.agreed:.3f}",
                "posts": f"{row.n_posts:,}",
            }
            for row in self.table.itertuples()
        ]
        return pd.DataFrame(rows)


@with_own_settings
def agreement(
    coded: pd.DataFrame,
    label: str,
    *,
    coder: str,
    labels: Sequence[Any] | None = None,
) -> Agreement:
    """Measure how far coders agree beyond chance.

    Parameters
    ----------
    coded : DataFrame
        One row per post and coder, with a column ``id``. A coder need not have coded
        all posts; a row with a missing label is left out. In ids, coders and labels 1,
        1.0 and "1" are the same.
    label : str
        Column of the labels: two or more classes without an order.
    coder : str
        Column that names the coder.
    labels : sequence or None, default=None
        All labels of the coding scheme; others raise an error. None for those that
        occur.

    Returns
    -------
    Agreement
        Alpha, kappa, and the posts to adjudicate.

    Raises
    ------
    InputError
        If a column is missing, a row has no id or no coder, a coder coded nothing or
        one post twice, a label is not in the scheme, or no post was coded by two
        coders.
    MissingPackageError
        If the package krippendorff is not installed.

    Notes
    -----
    Both measures are 1 - D_o / D_e, the observed and the expected share of
    disagreements. The interval is that of D_o: mid-P limits at the effective sample
    size that the variance of D_o / D_e over 1,000 resamples of posts gives, for D_e as
    it is in the sample. So coders who agree in all of a few posts have no certain
    agreement: the limits are those of a share of 0 among as many posts. No limit lies
    below -1.

    References
    ----------
    Krippendorff (2004), "Content Analysis", chapter 11. Cohen (1960), "A Coefficient of
    Agreement for Nominal Scales", Educational and Psychological Measurement 20.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import agreement
    >>> coded = pd.DataFrame({"id": [1, 2, 3, 4] * 2, "coder": ["A"] * 4 + ["B"] * 4,
    ...                       "event": [1, 1, 0, 0, 1, 0, 0, 0]})
    >>> table = agreement(coded, "event", coder="coder").table
    >>> table["measure"].tolist()
    ['alpha', 'kappa']
    """
    krippendorff = require("krippendorff", extra="coders", purpose="agreement")
    keys = _keys(coded, label, coder)
    wide = _wide(coded, keys, label, coder, labels)
    codes, classes = pd.factorize(wide.to_numpy(dtype=object).ravel())
    codes = codes.reshape(wide.shape)

    def alpha(rows: NDArray[np.intp]) -> float:
        counts = [(rows == v).sum(axis=1) for v in range(len(classes))]
        return float(
            krippendorff.alpha(
                value_counts=np.column_stack(counts), level_of_measurement="nominal"
            )
        )

    def kappa(rows: NDArray[np.intp]) -> float:
        return _kappa(rows, len(classes))

    shared = (codes >= 0).sum(axis=1) >= 2
    found = [_row("all", "alpha", codes[shared], alpha, _expected(codes[shared]))]
    for one, other in combinations(range(codes.shape[1]), 2):
        both = codes[:, [one, other]]
        both = both[(both >= 0).all(axis=1)]
        if len(both):
            names = f"{wide.columns[one]}, {wide.columns[other]}"
            shares = [np.bincount(one, minlength=len(classes)) for one in both.T]
            expected = 1.0 - float(shares[0] @ shares[1]) / len(both) ** 2
            found.append(_row(names, "kappa", both, kappa, expected))
    differ = wide[shared & ~_agreed(codes)]
    return Agreement(pd.DataFrame(found), _to_adjudicate(differ, keys, coded, label))


def _to_adjudicate(
    differ: pd.DataFrame, keys: pd.DataFrame, coded: pd.DataFrame, label: str
) -> pd.DataFrame:
    """Return ids and labels as they were given, with a column for each coder."""
    ids = _as_given(keys["id"], coded["id"])
    labels = _as_given(keys["label"], coded[label])
    found = differ.astype(object).map(lambda key: labels.get(key, np.nan))
    found.columns = [free_name(name, {"id"}) for name in differ]
    found.insert(0, "id", [ids[key] for key in differ.index])
    return found.reset_index(drop=True)


def _kappa(codes: NDArray[np.intp], n_classes: int) -> float:
    """Return Cohen's kappa, as `sklearn.metrics.cohen_kappa_score` does.

    The intervals call it thousands of times, and validating each call takes a hundred
    times as long as counting.
    """
    cells = np.bincount(codes[:, 0] * n_classes + codes[:, 1], minlength=n_classes**2)
    share = cells.reshape(n_classes, n_classes) / len(codes)
    by_chance = share.sum(axis=0) @ share.sum(axis=1)
    return float((np.trace(share) - by_chance) / (1 - by_chance))


def _expected(codes: NDArray[np.intp]) -> float:
    """Return the share of disagreements that alpha expects by chance."""
    counts = np.bincount(codes[codes >= 0])
    n = int(counts.sum())
    return 1.0 - float((counts * (counts - 1)).sum()) / (n * (n - 1))


def _agreed(codes: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which posts have one label only."""
    highest = codes.max(axis=1, keepdims=True)
    same: NDArray[np.bool_] = ((codes == highest) | (codes < 0)).all(axis=1)
    return same


def _row(
    coders: str,
    measure: str,
    codes: NDArray[np.intp],
    figure: Callable[[NDArray[np.intp]], float],
    expected: float,
) -> dict[str, Any]:
    """Return a measure with its interval, from the expected disagreements."""
    rng, n = np.random.default_rng(0), len(codes)

    def defined(rows: NDArray[np.intp]) -> float:
        several = len(np.unique(rows[rows >= 0])) > 1
        return figure(rows) if several else np.nan

    drawn = [defined(codes[rng.integers(0, n, n)]) for _ in range(N_RESAMPLES)]
    inside = np.array(drawn)[~np.isnan(drawn)]
    value, agreed = defined(codes), _agreed(codes)
    low, high = np.nan, np.nan
    if not np.isnan(value):
        n_mixed = min(int(agreed.sum()), int((~agreed).sum()))
        variance = float(inside.var()) * expected**2 if len(inside) > 1 else 0.0
        observed = min(max((1.0 - value) * expected, 0.0), 1.0)
        least, most = share_interval(observed, variance, Basis(n, n, n_mixed))
        low = min(max(1.0 - most / expected, -1.0), value)
        high = max(1.0 - least / expected, value)
    return {
        "coders": coders,
        "measure": measure,
        "value": value,
        "low": low,
        "high": high,
        "agreed": float(agreed.mean()),
        "n_posts": n,
    }


def _wide(
    coded: pd.DataFrame,
    keys: pd.DataFrame,
    label: str,
    coder: str,
    labels: Sequence[Any] | None,
) -> pd.DataFrame:
    """Return the keys of labels, with a row per post and a column per coder."""
    if labels is not None:
        known = [*as_keys(list(labels), "labels"), None]
        others = ~keys["label"].isin(known).to_numpy()
        if others.any():
            raise InputError(
                f"{int(others.sum())} labels are not of the scheme: expected "
                f"{', '.join(map(repr, labels))}, got "
                f"{coded.loc[others, label].unique()[:5].tolist()} for the posts "
                f"{coded.loc[others, 'id'][:5].tolist()}. Correct them."
            )
    given = keys[keys["label"].notna()]
    check_spelling(given["label"].unique(), f"the column {label!r}")
    idle = sorted(set(keys["coder"]) - set(given["coder"]))
    if idle:
        raise InputError(
            f"{len(idle)} coders coded nothing: expected labels from each, got none "
            f"from {', '.join(idle[:5])}. Leave their rows out."
        )
    twice = given.duplicated(["id", "coder"])
    if twice.any():
        raise InputError(
            f"{int(twice.sum())} posts are coded twice by one coder: expected one row "
            f"each, got more for the ids {given.loc[twice, 'id'][:5].tolist()}. Keep "
            f"one."
        )
    wide = given.pivot(index="id", columns="coder", values="label")
    if not (wide.notna().sum(axis=1) >= 2).any():
        raise InputError(
            f"no post was coded by two coders: expected some that are shared, got "
            f"{len(wide)} posts of {wide.shape[1]} "
            f"coder{'s' * (wide.shape[1] > 1)}. Let two code the same posts."
        )
    ids, coders = (
        _as_given(keys[n], coded[c]) for n, c in (("id", "id"), ("coder", coder))
    )
    return wide.reindex(
        index=[key for key in ids if key in wide.index], columns=list(coders)
    )


def _keys(coded: pd.DataFrame, label: str, coder: str) -> pd.DataFrame:
    """Return the ids, coders and labels as keys; an id and a coder in each row."""
    what, advice = "table of codings", "Correct the names."
    need_columns(coded, ["id", label, coder], what, advice)
    if len({"id", label, coder}) < 3:
        raise InputError(
            f"label={label!r} and coder={coder!r} are not two columns beside 'id': "
            f"expected a column each. {advice}"
        )
    names = {"id": "id", "label": label, "coder": coder}
    keys = pd.DataFrame(
        {
            name: pd.Series(
                as_keys(coded[column], f"the values of the column {column!r}"),
                dtype=object,
            )
            for name, column in names.items()
        }
    )
    nobody = keys["coder"].isna().to_numpy()
    if nobody.any():
        raise InputError(
            f"{int(nobody.sum())} rows have no coder: expected a name in the column "
            f"{coder!r}, got none for the ids {coded.loc[nobody, 'id'][:5].tolist()}. "
            f"Fill them in, or leave the rows out."
        )
    without = np.flatnonzero(keys["id"].isna())
    if len(without):
        raise InputError(
            f"{len(without)} codings have no id: expected a post's in each row, got "
            f"none in the rows {without[:5].tolist()}, counted from 0. Fill them in, "
            f"or remove rows that are empty."
        )
    return keys


def _as_given(keys: pd.Series, values: pd.Series) -> dict[str, Any]:
    """Return the value that was given first for each key, in the order of the values.

    The order is that of text where numbers and text are mixed.
    """
    pairs = zip(keys[::-1], values.tolist()[::-1], strict=True)
    given = {key: value for key, value in pairs if key is not None}
    try:
        return dict(sorted(given.items(), key=lambda pair: pair[1]))
    except TypeError:
        return dict(sorted(given.items()))


def _with_interval(row: Any) -> str:
    if np.isnan(row.value):
        return "undefined: one label"
    return with_interval(row.value, row.low, row.high, digits=2)
