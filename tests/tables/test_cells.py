from __future__ import annotations

import pandas as pd
import pytest

from mmevent.tables.cells import exact_numbers, flat, without_surrogates


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["1", None, "3"], "Int64"),
        (["0.5", None], "float64"),
        (["True", None], "boolean"),
        (["1", "0.5"], "str"),
        (["1", "x"], "str"),
        ([None, None], "object"),
    ],
)
def test_a_gap_changes_no_number(cells: list[str | None], dtype: str) -> None:
    column = pd.Series(cells, dtype=object)
    found = exact_numbers(column)
    assert found.dtype == (column.dtype if dtype == "str" else dtype)
    assert [None if pd.isna(v) else str(v) for v in found.tolist()] == cells


def test_halves_join_to_one_character() -> None:
    assert without_surrogates("\ud83d\ude00 \ud83d") == "\U0001f600 \ufffd"


def test_a_path_that_is_not_utf_8_is_written() -> None:
    assert flat(["\udce9.png", "b.png"]) == "\ufffd.png|b.png"


def test_a_path_in_quotes_is_written_as_a_list() -> None:
    assert flat(['"a".png', "b.png"]) == '["\\"a\\".png", "b.png"]'


@pytest.mark.parametrize(
    "cells", [["1", "nan"], ["nan"], ["0.5", "inf"], ["1", "9" * 19], ["1_0"], [" 1"]]
)
def test_what_is_no_number_stays_text(cells: list[str]) -> None:
    assert exact_numbers(pd.Series(cells, dtype=object)).tolist() == cells
