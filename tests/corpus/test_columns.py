"""Columns of numbers and flags, as files and spreadsheets have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.corpus.columns import flag_column, need_columns, number_column
from mmevent.exceptions import InputError


def table(values: Any) -> pd.DataFrame:
    ids = [f"p{k}" for k in range(len(values))]
    return pd.DataFrame({"id": ids, "it": pd.Series(values)}, index=range(len(values)))


@pytest.mark.parametrize(
    "values",
    [
        [0.25, 1.0],
        ["0.25", "1"],
        ["0,25", "1"],
        ["0,250", "1,0E+00"],
        [0.25, "1"],
        np.array([0.25, 1], dtype=np.float32),
        pd.array([0.25, 1], dtype="Float64"),
        pd.array(["0.25", "1"], dtype="string"),
    ],
    ids=repr,
)
def test_numbers_are_read_however_they_are_written(values: Any) -> None:
    assert number_column(table(values), "it", "table").tolist() == [0.25, 1.0]


@pytest.mark.parametrize(
    "wrong",
    ["n/a", None, np.nan, pd.NA, np.inf, "inf", "", [1], "1_0", "1.2.3", 2, "3", -1],
    ids=repr,
)
def test_what_is_no_number_is_named_with_its_post(wrong: Any) -> None:
    frame = table(pd.Series([0.5, wrong, 0.5], dtype=object))
    with pytest.raises(InputError, match=r"no usable it in 1 of 3 rows \(ids \['p1'\]"):
        number_column(frame, "it", "table", least=0, most=1)


def test_commas_beside_points_are_not_guessed() -> None:
    with pytest.raises(InputError, match=r"got \['1,250'\]"):
        number_column(table(["0.25", "1,250"]), "it", "table")


@pytest.mark.parametrize(
    "values",
    [
        [True, False],
        [1, 0],
        [1.0, 0.0],
        ["True", "False"],
        ["TRUE", "FALSE"],
        ["yes", "no"],
        ["1", 0],
        pd.array([True, False], dtype="boolean"),
    ],
    ids=repr,
)
def test_flags_are_read_however_they_are_written(values: Any) -> None:
    assert flag_column(table(values), "it", "table", "").tolist() == [True, False]


@pytest.mark.parametrize("wrong", [None, np.nan, "", "FALSCH", 2, "n/a"], ids=repr)
def test_a_flag_that_says_neither_is_refused(wrong: Any) -> None:
    frame = table(pd.Series([True, wrong, False], dtype=object))
    with pytest.raises(InputError, match=r"does not say it in 1 of 3 rows.*'p1'.*Go"):
        flag_column(frame, "it", "table", "Go back.")


def test_a_column_must_be_there_once() -> None:
    frame = pd.DataFrame([[1, 2]], columns=["id", "id"])
    with pytest.raises(InputError, match="the table has no column 'it': .*Do."):
        need_columns(frame, ["it"], "table", "Do.")
    with pytest.raises(InputError, match="more than one column 'id'"):
        need_columns(frame, ["id"], "table", "Do.")
