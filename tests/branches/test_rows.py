"""Labels, weights, groups, and what a transformer gives, one for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import FunctionTransformer

from mmevent import TextClassifier
from mmevent.branches.rows import joined_groups
from mmevent.exceptions import InputError

Y = np.arange(60) % 2


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (TfidfVectorizer(), r"sparse matrix.*TruncatedSVD.*Pipeline"),
        (FunctionTransformer(np.array), "gives no table of numbers.*row of numbers"),
        (FunctionTransformer(lambda X: [[1.0]]), r"of shape \(1, 1\)"),
    ],
    ids=["sparse", "texts", "one row"],
)
def test_what_gives_no_table_is_refused(
    texts: list[str], encoder: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        TextClassifier(encoder).fit(texts, Y)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("y", [0] * 60, r"at least 2 classes .* 60 of 60 rows with 1 \(0\)"),
        ("y", [0, 1], r"`y` must have one value a row, shape \(60,\); got shape"),
        ("y", None, "`y` must have one value a row"),
        ("y", [None, 1] * 30, r"30 are missing, first in rows \[0, 2, 4, 6, 8\]"),
        ("y", np.linspace(0, 1, 60), "holds labels, not measurements"),
        ("groups", [1], "`groups` must have one value a row"),
        ("sample_weight", [1.0], "`sample_weight` must have one value a row"),
        ("sample_weight", [-1.0] * 60, "finite and not negative; got -1.0 in row 0"),
        ("sample_weight", [np.inf] * 60, "finite and not negative; got inf in row 0"),
        ("sample_weight", [0.0] * 60, "at least 2 classes .* 0 of 60 rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    tiny_text_model: str, texts: list[str], name: str, value: Any, words: str
) -> None:
    arguments = {"y": Y} | {name: value}
    with pytest.raises(InputError, match=words):
        TextClassifier(tiny_text_model).fit(texts, **arguments)


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(Y, dtype="Int64"),
        pd.Series(Y.astype(bool), dtype="boolean"),
        pd.Series(Y.astype(bool), dtype=object),
        pd.Series(["no", "yes"] * 30, dtype="category"),
    ],
    ids=["Int64", "boolean", "object", "category"],
)
def test_labels_of_pandas_types_are_read(
    tiny_text_model: str, texts: list[str], y: Any
) -> None:
    branch = TextClassifier(tiny_text_model).fit(texts, y)
    assert branch.classes_.tolist() == sorted(set(y.tolist()))


def test_a_missing_group_is_linked_to_nothing(
    tiny_text_model: str, texts: list[str]
) -> None:
    groups = pd.Series(["a", "b", None, None, *range(56)], dtype=object)
    TextClassifier(tiny_text_model).fit(texts, Y, groups=groups)
    joined = joined_groups(texts, groups.to_numpy(), np.arange(60))
    assert joined[2] != joined[3]
    assert len(np.unique(joined)) == len({*texts})


def test_a_weight_must_be_a_number(tiny_text_model: str, texts: list[str]) -> None:
    with pytest.raises(InputError, match="`sample_weight` must hold numbers"):
        TextClassifier(tiny_text_model).fit(texts, Y, sample_weight=["a"] * 60)
