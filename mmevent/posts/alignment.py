"""Labels and groups of pandas, put into the order of the posts by their index."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mmevent.exceptions import InputError

_ROWS = (pd.DataFrame, pd.Series)


def aligned(values: Any, rows: Any, name: str) -> Any:
    """Return values in the order of the rows that they belong to.

    A Series beside a DataFrame is one column of the same table, so that its index says
    which row each value belongs to. Anything else goes by position.

    Parameters
    ----------
    values : array-like or None
        Labels, groups or weights.
    rows : object
        What they belong to, as the caller gave it.
    name : str
        Name of the values, for messages.

    Returns
    -------
    array-like or None
        The values, reordered where their index is another order of that of the rows.

    Raises
    ------
    InputError
        If both have an index, and that of the values is not the same labels, or it
        counts the values from 0 and the posts are in another order.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.posts.alignment import aligned
    >>> posts = pd.DataFrame({"text": ["a", "b", "c"]}, index=[5, 6, 7])
    >>> aligned(pd.Series([1, 2, 3], index=[7, 5, 6]), posts, "y").tolist()
    [2, 3, 1]
    """
    if not isinstance(values, pd.Series) or not isinstance(rows, _ROWS):
        return values
    own, theirs = values.index, rows.index
    if len(own) != len(theirs) or own.equals(theirs):  # lengths are checked elsewhere
        return values
    if own.equals(pd.RangeIndex(len(own))) and isinstance(own, pd.RangeIndex):
        raise InputError(
            f"the order of {name} cannot be told: expected the index of the posts, "
            f"such as {theirs[:5].tolist()}, got a new one that counts from 0. Pass "
            f"{name}.to_numpy() if it is in the order of the posts, or "
            f"{name}.reindex(posts.index) if it is not."
        )
    if own.is_unique and theirs.is_unique and theirs.isin(own).all():
        return values.reindex(theirs)
    strangers = own[~own.isin(theirs)][:5].tolist()
    found = f"others, such as {strangers}" if strangers else "labels that occur twice"
    raise InputError(
        f"the index of {name} is not that of the posts: expected the same labels, such "
        f"as {theirs[:5].tolist()}, in any order, got {found}. Take {name} from the "
        f"same table, or pass {name}.to_numpy() if it is in the order of the posts."
    )
