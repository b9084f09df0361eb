"""What a detector needs and a table lacks."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from mmevent.exceptions import InputError, UnusableInputWarning
from mmevent.posts.needed import check_needed

BOTH = {"text": "drop the branch of texts", "images": "drop the branch of images"}


@pytest.mark.parametrize(
    "posts",
    [
        pd.DataFrame({"text": ["a"], "images": [None]}),
        pd.DataFrame({"text": [None], "images": ["a.jpg"]}),
        pd.DataFrame({"text": [], "images": []}),
        [{"text": "a"}, {"images": "a.jpg"}],
        [{"text": None, "images": None}],
        [],
    ],
)
def test_a_column_with_empty_cells_is_there(posts: Any) -> None:
    check_needed(posts, None, BOTH)


@pytest.mark.parametrize("kind", [pd.DataFrame, list])
def test_a_column_that_is_not_there_is_named_with_the_near_ones(kind: Any) -> None:
    posts = kind([{"id": 1, "full_text": "a", "images": "a.jpg"}])
    message = (
        r"no column 'text', which the detector needs: .* 'id', 'full_text', 'images'\. "
        r"Perhaps 'full_text' is meant\. Name yours with columns=\{\"text\": ...\}; "
        r"or, drop the branch of texts\."
    )
    with pytest.raises(InputError, match=message):
        check_needed(posts, None, BOTH)
    check_needed(posts, {"text": "full_text"}, BOTH)
    check_needed(posts, None, {"images": ""})


def test_posts_to_predict_may_lack_images_and_tables_no_texts() -> None:
    posts = [{"text": "a", "place": "x"}, {"text": "b"}]
    check_needed(posts, None, BOTH)
    with pytest.raises(InputError, match="no column 'images'"):
        check_needed(posts, None, BOTH, for_fit=True)
    with pytest.warns(UnusableInputWarning, match="judged by their text alone"):
        check_needed(pd.DataFrame(posts), None, BOTH)
    with pytest.raises(InputError, match="no column 'text'"):
        check_needed(pd.DataFrame({"images": ["a.jpg"]}), None, BOTH)
    with pytest.raises(InputError, match="Perhaps 'photos' is meant"):
        check_needed(pd.DataFrame({"text": ["a"], "photos": ["b"]}), None, BOTH)
    with pytest.raises(InputError, match="no column 'text'"):
        check_needed([{"place": "x"}], None, BOTH)


def test_a_name_that_the_caller_gave_is_looked_for() -> None:
    posts = [{"text": "a", "tweet": "b"}]
    with pytest.raises(InputError, match="no column 'twet', which .*'tweet'"):
        check_needed(posts, {"text": "twet"}, {"text": ""})


def test_nested_media_are_said_to_be_none() -> None:
    media = {"media_keys": ["3_0"], "media": [{"type": "photo", "url": "https://x"}]}
    posts = [{"text": "a", "attachments": None}, {"text": "b", "attachments": media}]
    with pytest.raises(InputError, match=r"'attachments' holds nested values.*import-"):
        check_needed(posts, None, BOTH)
    pictures = [{"text": "a", "photo": {"bytes": b"", "path": None}}]
    with pytest.raises(InputError, match=r"Perhaps 'photo' is meant\. Name yours"):
        check_needed(pictures, None, BOTH)
