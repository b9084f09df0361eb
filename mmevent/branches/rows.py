"""Check the labels, weights and groups of a fit, and place rows of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent.exceptions import InputError
from mmevent.posts.images import Images
from mmevent.posts.labels import check_scalars, check_spelling, to_array

if TYPE_CHECKING:
    from numpy.typing import NDArray


def usable_items(items: Sequence[Any]) -> NDArray[np.bool_]:
    """Return which items can be used: each text, and each picture that can be read."""
    if isinstance(items, Images):
        return items.usable
    return np.ones(len(items), dtype=bool)


def spread_rows(
    found: Any, chosen: NDArray[np.intp], n: int, encoder: Any
) -> NDArray[Any]:
    """Return what a transformer gave for some of `n` items, NaN for the others."""
    from scipy.sparse import issparse

    if not len(chosen):
        return np.full((n, 1), np.nan)
    if issparse(found):
        raise InputError(
            f"the encoder {encoder!r} gives a sparse matrix: expected an array with a "
            f"row of numbers per item. Add TruncatedSVD after it, "
            f"make_pipeline({type(encoder).__name__}(...), TruncatedSVD(100)); or use "
            f"no such classifier, but a Pipeline that ends in one of scikit-learn's."
        )
    try:
        array = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or len(array) != len(chosen):
        raise InputError(
            f"the encoder {encoder!r} gives no table of numbers: expected an array of "
            f"shape ({len(chosen)}, n_features), got {type(found).__name__} of shape "
            f"{np.shape(found)}. Use a transformer with one row of numbers per item."
        )
    rows = np.full((n, array.shape[1]), np.nan)
    rows[chosen] = array
    return rows


def per_row(name: str, values: Any, n: int) -> NDArray[Any] | None:
    """Return values as an array, one for each of `n` rows."""
    if values is None:
        return None
    array = to_array(values)
    if array.shape != (n,):
        msg = (
            f"`{name}` must have one value a row, shape ({n},); got shape "
            f"{array.shape}. Pass `{name}` of the same rows as X."
        )
        raise InputError(msg)
    return array


def checked_labels(y: Any, n: int) -> NDArray[Any]:
    """Return the labels of `n` rows, of which none may be missing."""
    import pandas as pd

    labels = per_row("y", y if y is not None else [], n)
    assert labels is not None
    check_scalars(labels, "y")
    missing = np.flatnonzero(pd.isna(labels))
    if len(missing):
        msg = (
            f"`y` must have a label in every row; {len(missing)} are missing, first in "
            f"rows {missing[:5].tolist()}. Leave these rows out."
        )
        raise InputError(msg)
    if labels.dtype == object and len({type(label) for label in labels}) == 1:
        labels = np.array(labels.tolist())
    if labels.dtype.kind == "U":
        check_spelling(np.unique(labels))
    return labels


def checked_weights(weight: Any, n: int) -> NDArray[np.float64] | None:
    """Return the weights of `n` rows, which must be finite and not negative."""
    values = per_row("sample_weight", weight, n)
    if values is None:
        return None
    try:
        weights = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`sample_weight` must hold numbers; {error}. Pass one number a row."
        ) from error
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if len(bad):
        msg = (
            f"`sample_weight` must be finite and not negative; got "
            f"{weights[bad[0]]} in row {bad[0]}, and {len(bad)} such in all. Use 0 for "
            f"a row that should not count."
        )
        raise InputError(msg)
    return weights


def checked_classes(y: NDArray[Any], n: int) -> NDArray[Any]:
    """Return the labels of the rows that can be used, if they are of two classes."""
    from sklearn.utils.multiclass import type_of_target

    kind = type_of_target(y) if len(y) else "empty"
    classes = list(dict.fromkeys(y.tolist()))
    if kind not in ("binary", "multiclass") or len(classes) < 2:
        msg = (
            f"`y` must hold at least 2 classes among the rows that can be used; got "
            f"{len(y)} of {n} rows with {len(classes)} "
            f"({', '.join(map(repr, classes[:5]))}). Add rows of another class, and "
            f"check that `y` holds labels, not measurements."
        )
        raise InputError(msg)
    return y


def joined_groups(
    keys: list[str], groups: NDArray[Any] | None, kept: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Join the caller's groups with identical items."""
    from mmevent.posts.duplicates import connected_groups

    labels = [np.array(keys, dtype=object)]
    if groups is not None:
        labels.append(groups[kept])
    return connected_groups(*labels)
