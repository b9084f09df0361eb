"""Codings of a sample, read and checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.corpus.codings import read_codings
from mmevent.exceptions import InputError

IDS = pd.Series([7, 8, 9])


def table(event: list[Any] | None = None) -> pd.DataFrame:
    """Give codings of three posts by two coders, of whom B left out the last one."""
    event = [1, 0, 1, 0, 0, None] if event is None else event
    return pd.DataFrame({"id": [7, 8, 9] * 2, "who": list("AAABBB"), "event": event})


def test_codings_are_counted_by_coder() -> None:
    found = read_codings(IDS, table(), "event", coder="who")
    assert found.coders == ("A", "B")
    assert found.positive[found.pattern].tolist() == [[1, 0], [0, 0], [1, 0]]
    assert found.negative[found.pattern].tolist() == [[0, 1], [1, 1], [0, 0]]
    assert (found.n_several, found.n_differ) == (2, 1)
    assert found.share == pytest.approx(2 / 5)
    assert np.isnan(found.truth).all()


def test_without_names_all_codings_are_alike() -> None:
    found = read_codings(IDS, [table()[:3], table()[3:]], "event")
    assert found.coders == ("all coders",)
    assert found.positive[found.pattern].ravel().tolist() == [1, 0, 1]
    assert found.negative[found.pattern].ravel().tolist() == [1, 2, 0]


def test_what_was_adjudicated_is_known() -> None:
    true = pd.DataFrame({"id": ["9", "8"], "event": [0, None]})
    found = read_codings(IDS, table(), "event", adjudicated=true)
    assert str(found.truth[found.pattern].tolist()) == "[nan, nan, 0.0]"
    assert found.n_several == 3


def test_labels_can_be_words() -> None:
    words = table(["yes", "no", "yes", "no", "no", None])
    true = pd.DataFrame({"id": [9], "event": ["no"]})
    found = read_codings(IDS, words, "event", pos_label="yes", adjudicated=true)
    assert found.positive[found.pattern].ravel().tolist() == [1, 0, 1]
    assert found.truth[found.pattern][2] == 0


@pytest.mark.parametrize(
    ("codes", "n"), [([1, 0, 1, 0], 1), ([1, 1, 1, 0], 0)], ids=["differ", "same"]
)
def test_a_coder_who_codes_a_post_twice(codes: list[int], n: int) -> None:
    twice = pd.DataFrame({"id": [7, 7, 8, 9], "who": "A", "event": codes})
    with pytest.raises(
        InputError, match=rf"1 posts are coded twice .* {n} of them .* ids \[7\]"
    ):
        read_codings(IDS, twice, "event", coder="who")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="who"), "has no column 'who'"),
        (
            lambda t: t.assign(who=[None, *"AABBB"]),
            r"1 codings have no coder: .*\[7\]",
        ),
    ],
    ids=["column", "nobody"],
)
def test_coders_that_are_not_named(change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_codings(IDS, change(table()), "event", coder="who")


@pytest.mark.parametrize(
    ("true", "message"),
    [
        ({"id": [1], "event": [1]}, r"1 adjudicated posts were not coded.*\[1\]"),
        ({"id": [7, 7], "event": [1, 0]}, r"adjudicated as an event and as none.*'7'"),
        ({"id": [7], "event": ["maybe"]}, "labels that the codings do not have.*maybe"),
        ({"id": [7], "code": [1]}, "adjudicated posts has no column 'event'"),
    ],
    ids=["other", "both", "label", "column"],
)
def test_adjudicated_posts_that_do_not_fit(true: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_codings(IDS, table(), "event", adjudicated=pd.DataFrame(true))
