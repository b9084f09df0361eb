from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from mmevent.exceptions import InputError
from mmevent.posts.damage import check_undamaged
from mmevent.posts.posts import to_posts


@pytest.mark.parametrize(
    "ids",
    [
        ["1.6e+18", "1.23457E+18"],
        ["1,23457E+18", "5"],
        [1.6e18, 1.7e18],
        [1234567890123450000, 1234567890123460000],
        ["1234567890123450000", "1234567890123460000", "12"],
    ],
)
@pytest.mark.parametrize("name", ["id", "group", "author"])
def test_lost_digits_are_named(ids: list[Any], name: str) -> None:
    posts = pd.DataFrame({"text": "x", name: ids})
    with pytest.raises(InputError, match=f"{name} of .* damaged by a spreadsheet"):
        to_posts(posts)


@pytest.mark.parametrize(
    "ids",
    [
        ["12e5", "a1E9"],
        [1600000000000004419, 1600000000000000000],
        [1600000000000000000],
        [0.5, None],
        [True, False],
        [],
    ],
)
def test_others_are_not(ids: list[Any]) -> None:
    check_undamaged(pd.Series(ids, dtype=object), "id")
    check_undamaged(pd.Series(ids), "id")
