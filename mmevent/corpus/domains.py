"""The groups and periods of a corpus that figures are given for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from mmevent.corpus.columns import PREDICTIONS, need_columns
from mmevent.exceptions import InputError
from mmevent.posts.keys import as_keys, free_name
from mmevent.posts.local_times import check_timezone, local_times

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def domains(
    audit: pd.DataFrame, by: str | None, period: str | None, timezone: str | None
) -> dict[str, NDArray[np.bool_]]:
    """Return a mask of posts for each group and period."""
    found: dict[str, NDArray[np.bool_]] = {}
    if by is not None:
        need_columns(audit, [by], *PREDICTIONS)
        keys = as_keys(audit[by], f"the values of the column {by!r}")
        values = pd.Series(keys, dtype=object)
        values = values.fillna(free_name("missing", set(keys)))
        found |= {f"{by}: {v}": (values == v).to_numpy() for v in values.unique()}
    if period is not None:
        cut = periods(audit, period, timezone).astype(str)
        found |= {v: (cut == v).to_numpy() for v in sorted(cut.unique())}
    elif timezone is not None:
        check_timezone(timezone)
    return found


def periods(audit: pd.DataFrame, period: str, timezone: str | None) -> pd.Series:
    """Return the period of each post, as pandas has them."""
    need_columns(audit, ["created_at"], *PREDICTIONS)
    letters = {"day": "D", "week": "W", "month": "M", "year": "Y"}
    if period not in letters:
        raise InputError(
            f"period={period!r} is not known: expected one of "
            f"{', '.join(letters)}. Pass one of them."
        )
    return local_times(audit, timezone).dt.to_period(letters[period])
