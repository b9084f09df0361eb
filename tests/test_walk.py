"""A walk through what an object holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from mmevent import TextEncoder
from mmevent._walk import walk


def test_walk_meets_each_part_once_however_deep() -> None:
    inner = LogisticRegression()
    parts = list(
        walk({"a": [inner, (inner,)], "b": np.array([inner, None], dtype=object)})
    )
    assert [part for part in parts if isinstance(part, LogisticRegression)] == [inner]


def test_a_walk_ends_where_a_part_holds_the_whole() -> None:
    whole: dict[str, Any] = {}
    whole["whole"] = [whole]
    assert len(list(walk(whole))) == 2


def test_weights_are_not_walked_through(tiny_text_model: str) -> None:
    encoder = TextEncoder(tiny_text_model)
    encoder.transform(["a text"])
    assert encoder._loaded is not None
    assert not any(part is encoder._loaded for part in walk(encoder))
