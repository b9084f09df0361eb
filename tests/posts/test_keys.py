"""Ids and values are compared in one way, and exactly."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmevent.exceptions import InputError
from mmevent.posts.keys import as_key, as_keys, free_name

LONG = 1234567890123456789


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, LONG],
        [1.0, "2", str(LONG)],
        np.array([1, 2, LONG]),
        pd.Series([1, 2, LONG], index=[7, 7, 7]),
        pd.Series([1, 2, LONG], dtype="Int64"),
        pd.Series(["1", "2", str(LONG)], dtype="string"),
        pd.Series(["1", "2", str(LONG)], dtype="category"),
        pd.Index([1, 2, LONG]),
        [Decimal("1.0"), np.float32(2), np.int64(LONG)],
    ],
    ids=lambda values: f"{type(values).__name__}-{getattr(values, 'dtype', '')}",
)
def test_the_same_value_has_the_same_key_in_every_type(values: Any) -> None:
    assert as_keys(values, "ids").tolist() == ["1", "2", str(LONG)]


@pytest.mark.parametrize(
    "missing", [None, np.nan, pd.NA, pd.NaT, np.datetime64("NaT"), "", " \t"], ids=repr
)
def test_a_missing_value_has_no_key(missing: Any) -> None:
    assert as_keys(["a", missing], "ids").tolist() == ["a", None]


@given(st.lists(st.one_of(st.integers(), st.text(), st.booleans()), max_size=9))
def test_other_text_is_another_key(values: list[Any]) -> None:
    keys = as_keys(values, "ids")
    for value, key in zip(values, keys, strict=True):
        assert key == (str(value) if str(value).strip() else None)


@pytest.mark.parametrize("value", ["007", " 7", "7.0", "7 ", 7.5, True], ids=repr)
def test_what_only_looks_alike_differs(value: Any) -> None:
    assert as_key(value) != as_key(7)
    assert as_key(value) != as_key(1)


@pytest.mark.parametrize(
    "value", [2.0**53, 1.5e18, np.float32(2**24), np.inf, -(2.0**60)], ids=repr
)
def test_a_number_that_stands_for_several_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="groups are not exact.*in row 1.*read_table"):
        as_keys([1, value], "groups")


@pytest.mark.parametrize("value", [["a"], {"a": 1}, np.array([1])], ids=repr)
def test_lists_are_refused_with_their_row(value: Any) -> None:
    with pytest.raises(InputError, match="ids cannot be compared.*in row 1"):
        as_keys(["a", value], "ids")


def test_a_name_that_is_taken_gets_brackets() -> None:
    assert free_name("missing", {"a"}) == "missing"
    assert free_name("missing", {"missing", "(missing)"}) == "((missing))"


def test_half_a_surrogate_pair_is_written_as_everywhere() -> None:
    assert as_key("cut \ud83d") == "cut \ufffd"
