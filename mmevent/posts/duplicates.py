"""Groups of posts: duplicates, and connected components of several labelings."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmevent.exceptions import InputError
from mmevent.posts.images import Images
from mmevent.posts.keys import as_keys
from mmevent.posts.texts import cut_beginning, normalise_text


def connected_groups(*labels: ArrayLike) -> NDArray[np.intp]:
    """Join several labelings of the same rows into one grouping.

    Two rows are linked if any labeling gives them the same label. The groups are the
    connected components of these links.

    Parameters
    ----------
    *labels : array-like of shape (n,)
        Labels of any hashable type; 1, 1.0 and "1" are the same label. A missing
        label (None, NaN, NA or an empty string) links its row to no other row.

    Returns
    -------
    ndarray of int, shape (n,)
        Group numbers from 0, in order of first appearance.

    Raises
    ------
    InputError
        If there is no labeling, lengths differ, labels are not a flat sequence of
        hashable values, or are floating-point numbers of 2**53 or more, for which
        several integers are stored.

    See Also
    --------
    duplicate_groups : Groups of posts with the same text or image.

    Examples
    --------
    >>> from mmevent.posts import connected_groups
    >>> connected_groups(["a", "a", "b", None], [1, 2, 2, 3]).tolist()
    [0, 0, 0, 1]
    """
    if not labels:
        raise InputError(
            "connected_groups got no labels: expected one or more labelings of the "
            "same rows. Pass at least one sequence of labels."
        )
    codes = [_codes(values, place) for place, values in enumerate(labels)]
    lengths = [len(values) for values in codes]
    if len(set(lengths)) > 1:
        raise InputError(
            f"labelings of different lengths: expected one label for each row, and got "
            f"lengths {lengths}. Pass labels of the same rows in the same order."
        )
    rows = np.tile(np.arange(lengths[0]), len(codes))
    return _components(lengths[0], rows, _stack(codes))


def duplicates(
    texts: Sequence[str | None], images: Images, post: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the duplicate group of each post; ``post`` is the row of each image."""
    n = len(texts)
    digests = images.digests.astype(object)
    digests[~images.usable] = None
    rows = np.concatenate([np.arange(n), np.arange(n), post])
    keys = _stack([_text_codes(texts), pd.factorize(digests)[0]])
    return _components(n, rows, keys)


def _text_codes(texts: Sequence[str | None]) -> NDArray[np.intp]:
    """Return a code of each text, then one of the longer copies of each cut text.

    -1 stands for no text, and for a text that was not cut or has no longer copy. In
    sorted order the copies of a cut text follow its beginning without a gap.
    """
    normal = [normalise_text(text or "") for text in texts]
    beginnings = [cut_beginning(text or "") or "" for text in texts]
    ordered = sorted({text for text in normal if text})
    place = {text: i for i, text in enumerate(ordered)}
    first = dict.fromkeys(filter(None, beginnings), -1)
    joined = np.zeros(len(ordered) + 1, dtype=np.intp)  # to the one before, changes
    for beginning in first:
        start = bisect_left(ordered, beginning)
        end = bisect_left(ordered, beginning + chr(sys.maxunicode), lo=start)
        if start < end:
            first[beginning] = start
            joined[start + 1] += 1
            joined[end] -= 1
    code = np.append(np.cumsum(np.cumsum(joined[:-1]) == 0), -1)
    own = [place.get(text, -1) for text in normal]
    longer = [first.get(beginning, -1) for beginning in beginnings]
    return np.asarray(code[own + longer], dtype=np.intp)


def _codes(values: ArrayLike, place: int) -> NDArray[np.intp]:
    """Return labels as integers, -1 where missing."""
    column = values if isinstance(values, pd.Series | pd.Index) else _flat(values)
    if column is None or column.ndim != 1:
        raise InputError(
            f"labeling {place} is not a flat sequence of labels: expected one label "
            f"for each row, and got {type(values).__name__}. Pass a list, a column or "
            "an array of shape (n,)."
        )
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu":
        keys = column  # exact, and quicker
    else:
        keys = as_keys(column, f"the labels of labeling {place}")
    return np.asarray(pd.factorize(keys)[0], dtype=np.intp)


def _flat(values: object) -> NDArray[Any] | None:
    """Return the labels as an array of objects, or None if they are no sequence."""
    if isinstance(values, np.ndarray):
        return values
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        return None
    flat = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        flat[row] = value
    return flat


def _stack(codes: Sequence[NDArray[np.intp]]) -> NDArray[np.intp]:
    """Concatenate labelings, renumbered so that different ones share no label."""
    start = 0
    apart = []
    for values in codes:
        apart.append(np.where(values < 0, -1, values + start))
        start += int(values.max(initial=-1)) + 1
    return np.concatenate(apart)


def _components(
    n: int, rows: NDArray[np.intp], keys: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the connected components of ``n`` rows, linked by common keys."""
    rows, keys = rows[keys >= 0], keys[keys >= 0]
    size = n + keys.max(initial=-1) + 1
    if not n:
        return np.zeros(0, dtype=np.intp)
    links = coo_array((np.ones(len(rows)), (rows, n + keys)), shape=(size, size))
    labels = connected_components(links.tocsr(), directed=False)[1]
    return np.asarray(pd.factorize(labels[:n])[0], dtype=np.intp)
