"""The columns that may be meant."""

from __future__ import annotations

import pytest

from mmevent.posts.naming import meant, near_columns


@pytest.mark.parametrize(
    ("wanted", "came", "near"),
    [
        ("text", ["id", "Text"], ["Text"]),
        ("text", ["tweet", "tweet_id", "lang"], ["tweet"]),
        ("text", ["message_body", "fullText"], ["fullText", "message_body"]),
        ("text", ["text_lang", "text_count"], []),
        ("text", ["content", "caption"], ["content", "caption"]),
        ("images", ["image_url", "image_count"], ["image_url"]),
        ("images", ["entities.media.media_url"], ["entities.media.media_url"]),
        ("images", ["Photos", "attachments", "media_keys"], ["Photos", "attachments"]),
        ("negative", ["Negative", "positive"], ["Negative"]),
        ("captions", ["caption", "text"], ["caption"]),
        ("author id", ["author_id"], ["author_id"]),
        (3, ["a", 4], []),
        ("text", [], []),
    ],
)
def test_near_columns(wanted: object, came: list[object], near: list[object]) -> None:
    found = near_columns(wanted, came)  # type: ignore[arg-type]
    assert found[: len(near)] == near
    assert bool(near) == bool(found)


def test_near_columns_are_proposed_in_a_sentence() -> None:
    assert (
        meant("text", ["id", "tweet", "body"]) == " Perhaps 'tweet' or 'body' is meant."
    )
    assert meant("text", ["id"]) == ""
