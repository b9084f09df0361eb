from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.exceptions import InputError, MmeventWarning
from mmevent.posts.posts import to_posts
from mmevent.tables.damage import check_undamaged

RANDOM = np.random.default_rng(0)
WHOLE = RANDOM.integers(10**18, 2 * 10**18, 20).tolist()
CUT = [number // 10000 * 10000 for number in WHOLE]
SECONDS = range(1_710_005_400, 1_710_005_425)


@pytest.mark.parametrize(
    "ids",
    [
        ["1.6e+18", "1.23457E+18"],
        ["1,23457E+18", "5"],
        ["1.23457E+18", "1.23457E+18"],
        [1.6e18, 1.7e18],
        CUT,
        list(map(str, CUT)),
        [*map(str, CUT), "12"],
        [*CUT, "a"],
        pd.Series([*CUT, None], dtype="Int64"),
    ],
)
def test_lost_digits_are_named(ids: Any) -> None:
    posts = pd.DataFrame({"text": "x", "id": ids})
    with pytest.raises(InputError, match=r"id of .* was damaged by a spreadsheet"):
        to_posts(posts)


@pytest.mark.parametrize(
    "ids",
    [
        ["12e5", "a1E9", "2e+5", "2.5E+3", "1E+18"],
        ["1.600000000000004419E+18"],
        ["1.5E+12", "2.5E-3"],
        [*CUT, 1600000000000004419],
        [*map(str, CUT), "1600000000000004419"],
        [1600000000000000000, 1700000000000000000],
        [20240309183000000, 20240309183100000],
        [second * 10**9 for second in SECONDS],
        [second * 10**9 + 123_000_000 for second in SECONDS],
        [20240309183000000 + 1000 * second for second in range(50)],
        [0.5, None],
        [True, False],
        [],
    ],
)
def test_others_are_not(ids: list[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_undamaged(pd.Series(ids, dtype=object))
        check_undamaged(pd.Series(ids))


def test_a_few_round_ids_are_only_suspected() -> None:
    with pytest.warns(MmeventWarning, match="id of 2 of 3 posts may have been damaged"):
        check_undamaged(pd.Series([*CUT[:2], 5]))


@pytest.mark.parametrize("name", ["author", "group"])
def test_names_of_authors_and_groups_are_theirs(name: str) -> None:
    posts = to_posts(pd.DataFrame({"text": "x", name: ["2e+5", "1.23E+18"]}))
    assert posts[name].tolist() == ["2e+5", "1.23E+18"]
