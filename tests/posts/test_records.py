from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from mmevent.exceptions import InputError
from mmevent.posts.posts import to_posts


def test_our_names_come_first_in_columns() -> None:
    frame = pd.DataFrame({"tweet": ["x"], "text": ["not this"], 3: ["a.jpg"]})
    posts = to_posts(frame, columns={"text": "tweet", "images": 3})
    assert posts["text"].tolist() == ["x"]
    assert posts["images"].tolist() == [["a.jpg"]]


def _type(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize("posts", [["a text"], [{"text": "x"}, None], ({}, 5)])
def test_post_that_is_not_a_mapping_is_named_by_its_row(posts: Any) -> None:
    row, kind = len(posts) - 1, type(posts[-1]).__name__
    with pytest.raises(
        InputError, match=f"post in row {row} is not a mapping.*got {kind}"
    ):
        to_posts(posts)


@pytest.mark.parametrize(
    "data", ["posts.csv", b"x", None, 5, iter([]), {"a"}, pd.Series(["a"])], ids=_type
)
def test_posts_of_another_type(data: Any) -> None:
    with pytest.raises(
        InputError, match=f"posts are of type {type(data).__name__}.*read_table"
    ):
        to_posts(data)


def test_dict_of_columns_says_how() -> None:
    with pytest.raises(
        InputError, match=r"got keys 'text', 'id'.*pandas.DataFrame\(data\)"
    ):
        to_posts({"text": ["x"], "id": [1]})


@pytest.mark.parametrize("make", [pd.DataFrame, list], ids=["DataFrame", "list"])
def test_neither_text_nor_images_lists_what_came(make: Any) -> None:
    with pytest.raises(
        InputError, match="neither a column 'text' nor 'images'.*'tweet', 'likes'"
    ):
        to_posts(make([{"tweet": "x", "likes": 1}]))


@pytest.mark.parametrize("make", [pd.DataFrame, list], ids=["DataFrame", "list"])
def test_named_column_that_did_not_come(make: Any) -> None:
    with pytest.raises(InputError, match="no column 'tweets', .* came, 'tweet'"):
        to_posts(make([{"tweet": "x"}]), columns={"text": "tweets"})


def test_named_column_is_looked_for_in_a_frame_without_rows() -> None:
    with pytest.raises(InputError, match="no column 'tweets'"):
        to_posts(pd.DataFrame({"text": []}), columns={"text": "tweets"})


def test_unknown_key_of_columns_lists_the_valid_ones() -> None:
    with pytest.raises(
        InputError, match="unknown keys 'label': expected keys among 'id', 'text'"
    ):
        to_posts([{"text": "x"}], columns={"label": "event"})


def test_columns_that_is_no_mapping() -> None:
    with pytest.raises(InputError, match=r"columns=\['text'\] is not a mapping"):
        to_posts([{"text": "x"}], columns=["text"])  # type: ignore[arg-type]


def test_two_columns_of_one_name() -> None:
    frame = pd.DataFrame([["x", "y"]], columns=["text", "text"])
    with pytest.raises(InputError, match="2 columns named 'text': expected one"):
        to_posts(frame)
