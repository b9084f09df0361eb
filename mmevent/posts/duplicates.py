"""Groups of posts: duplicates, and connected components of several labelings."""

from __future__ import annotations

import re
import unicodedata
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

# ASCII only: in Chinese and Japanese the text follows a link without a space.
_LINK = re.compile(r"(?:[a-z][a-z0-9+.\-]*://|www\.|pic\.twitter\.com/)[!-~]*")
_MENTION = re.compile(r"@\w+(?:@[\w.\-]+)?")
_RETWEET = re.compile(r"(?:\s*rt(?=[\s:@])\s*(?:@\w+)?\s*:?)+")
# Marks that only change the look of a symbol; without it they mean nothing.
_VARIATION = re.compile("[\u20e3\ufe00-\ufe0f\U000e0100-\U000e01ef]")


class _Categories(dict[int, str | int | None]):
    """Table for `str.translate`: the normalised form of each character."""

    def __missing__(self, code: int) -> str | int | None:
        category = unicodedata.category(chr(code))
        self[code] = (
            None if category == "Cf" else " " if category[0] in "PSZC" else code
        )
        return self[code]


_CATEGORIES = _Categories()


def normalise_text(text: str) -> str:
    """Return the text normalised as in `duplicate_groups`; it may be empty."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _LINK.sub(" ", text)
    retweet = _RETWEET.match(text)
    if retweet:
        text = text[retweet.end() :]
    text = _VARIATION.sub("", _MENTION.sub(" ", text)).translate(_CATEGORIES)
    return " ".join(unicodedata.normalize("NFKC", text).split())


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
    normal = np.array([normalise_text(text or "") or None for text in texts], object)
    digests = images.digests.astype(object)
    digests[~images.usable] = None
    rows = np.concatenate([np.arange(len(normal)), post])
    keys = _stack([pd.factorize(normal)[0], pd.factorize(digests)[0]])
    return _components(len(normal), rows, keys)


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
