"""Each platform's JSON to records: ids, texts, times, authors and pictures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mmevent.exceptions import InputError
from mmevent.posts.exports import PLATFORMS, html_to_text, platform_of, read_json

OURS = ("id", "text", "images", "created_at", "author", "lang")


def records(platform: str, *items: Any) -> list[dict[str, Any]]:
    found = PLATFORMS[platform](list(items), Counter())
    return [{name: one.get(name) for name in OURS} for one in found]


def left_out(platform: str, *items: Any) -> dict[str, int]:
    seen: Counter[str] = Counter()
    list(PLATFORMS[platform](list(items), seen))
    return {what: n for what, n in seen.items() if n}


PHOTO = {"media_key": "3_1", "type": "photo", "url": "https://x/1.jpg"}
TWEET = {
    "id": "1600000000000000001",
    "text": "They march",
    "created_at": "2021-03-01T12:00:00.000Z",
    "author_id": "90",
    "lang": "en",
    "attachments": {"media_keys": ["3_1"]},
}
READ = {
    "id": "1600000000000000001",
    "text": "They march",
    "images": ["https://x/1.jpg"],
    "created_at": "2021-03-01T12:00:00.000Z",
    "author": "ana",
    "lang": "en",
}
INCLUDES = {"media": [PHOTO], "users": [{"id": "90", "username": "ana"}]}


@pytest.mark.parametrize(
    "item",
    [
        {"data": [TWEET], "includes": INCLUDES, "meta": {"result_count": 1}},
        {"data": TWEET, "includes": INCLUDES},
        TWEET | {"attachments": {"media": [PHOTO]}, "author": {"username": "ana"}},
        TWEET
        | {"attachments": {"media_keys": [PHOTO]}, "author_user": INCLUDES["users"][0]},
        {
            "id": 1600000000000000001,
            "id_str": "1600000000000000001",
            "full_text": "They march",
            "created_at": "2021-03-01T12:00:00.000Z",
            "user": {"screen_name": "ana"},
            "lang": "en",
            "extended_entities": {
                "media": [{"type": "photo", "media_url_https": "https://x/1.jpg"}]
            },
        },
    ],
    ids=["answer", "stream", "twarc", "4CAT", "API 1.1"],
)
def test_tweets_of_every_form_give_the_same_record(item: Any) -> None:
    assert records("twitter", item) == [READ]


def test_media_of_one_answer_are_found_from_another() -> None:
    first, second = {"data": [TWEET]}, {"data": [], "includes": INCLUDES}
    assert records("twitter", first, second) == [READ]


def test_media_that_the_file_lacks_and_videos() -> None:
    (alone,) = records("twitter", TWEET)
    assert alone["images"] == ["3_1"]
    assert alone["author"] == "90"
    film = {"data": [TWEET], "includes": {"media": [PHOTO | {"type": "video"}]}}
    assert records("twitter", film)[0]["images"] == []
    assert left_out("twitter", film, 5) == {
        "entries that are no objects, left out": 1,
        "videos and animations, which are no pictures, left out": 1,
    }


def test_long_tweets_have_their_whole_text() -> None:
    long = TWEET | {"note_tweet": {"text": "They march " * 40}}
    assert records("twitter", long)[0]["text"] == "They march " * 40


SHARED = {"id": "5", "text": "They march on", "attachments": {"media_keys": ["3_1"]}}
CUT = {"id": "6", "text": "RT @ana: They ma…", "author_id": "90"}
OF = {"type": "retweeted", "id": "5"}


@pytest.mark.parametrize(
    "item",
    [
        {
            "data": [CUT | {"referenced_tweets": [{"type": "quoted", "id": "4"}, OF]}],
            "includes": INCLUDES | {"tweets": [SHARED, SHARED | {"id": "4"}]},
        },
        {
            "data": [CUT | {"referenced_tweets": [OF | SHARED]}],
            "includes": INCLUDES,
        },
        CUT
        | {
            "user": {"screen_name": "ana"},
            "retweeted_status": {
                "full_text": "They march on",
                "entities": {"media": [PHOTO]},
            },
        },
    ],
    ids=["answer", "twarc", "API 1.1"],
)
def test_retweets_have_the_whole_text_and_the_pictures(item: Any) -> None:
    (found,) = records("twitter", item)
    assert found["id"] == "6"
    assert found["text"] == "They march on"
    assert found["images"] == ["https://x/1.jpg"]
    assert found["author"] == "ana"


def test_quotes_and_retweets_of_what_the_file_lacks_stay() -> None:
    for of in (OF, {"type": "quoted", "id": "4"}):
        tweet = CUT | {"referenced_tweets": [of]}
        answer = {"data": [tweet], "includes": {"tweets": [SHARED | {"id": "4"}]}}
        assert records("twitter", answer)[0]["text"] == CUT["text"]


DESKTOP = {
    "name": "A channel",
    "id": 7,
    "messages": [
        {"id": 1, "type": "service", "action": "join"},
        {
            "id": 2,
            "type": "message",
            "date": "2021-03-01T13:00:00",
            "date_unixtime": "1614600000",
            "from": "Ana",
            "from_id": "user90",
            "photo": "photos/a.jpg",
            "text": ["They march ", {"type": "link", "text": "https://x"}],
        },
        {
            "id": 3,
            "type": "message",
            "photo": "(File not included. Change data exporting settings to download.)",
            "text": "",
        },
    ],
}


def test_telegram_desktop() -> None:
    march, gone = records("telegram", DESKTOP)
    assert march == {
        "id": 2,
        "text": "They march https://x",
        "images": ["photos/a.jpg"],
        "created_at": "1614600000",
        "author": "user90",
        "lang": None,
    }
    assert gone["images"] == ["not exported"]
    assert left_out("telegram", DESKTOP) == {
        "service messages, such as that someone joined, left out": 1
    }


def test_messages_of_several_chats_have_ids_of_their_own() -> None:
    chats = {"chats": {"list": [DESKTOP, DESKTOP | {"id": 8}]}}
    assert [one["id"] for one in records("telegram", chats)] == [
        "7/2",
        "7/3",
        "8/2",
        "8/3",
    ]


def test_telethon() -> None:
    message = {
        "_": "Message",
        "id": 2,
        "peer_id": {"_": "PeerChannel", "channel_id": 7},
        "date": "2021-03-01T12:00:00+00:00",
        "message": "They march",
        "from_id": {"_": "PeerUser", "user_id": 90},
        "media": {"_": "MessageMediaPhoto", "photo": {"_": "Photo", "id": 5123}},
    }
    service = {"_": "MessageService", "id": 3, "peer_id": message["peer_id"]}
    assert records("telegram", message, service) == [
        {
            "id": 2,
            "text": "They march",
            "images": ["5123"],
            "created_at": "2021-03-01T12:00:00+00:00",
            "author": "90",
            "lang": None,
        }
    ]


STATUS = {
    "id": "109",
    "created_at": "2021-03-01T12:00:00.000Z",
    "language": "en",
    "content": "<p>They march</p>",
    "account": {"acct": "ana@example.org"},
    "media_attachments": [
        {"type": "image", "url": "https://x/1.jpg"},
        {"type": "gifv", "url": "https://x/2.mp4"},
    ],
}


def test_mastodon() -> None:
    expected = {
        "id": "109",
        "text": "They march",
        "images": ["https://x/1.jpg"],
        "created_at": "2021-03-01T12:00:00.000Z",
        "author": "ana@example.org",
        "lang": "en",
    }
    assert records("mastodon", STATUS) == [expected]
    assert records("mastodon", {"statuses": [STATUS]}) == [expected]
    boost = STATUS | {"id": "110", "content": "", "media_attachments": []}
    boost["reblog"] = STATUS
    assert records("mastodon", boost) == [expected | {"id": "110"}]


def test_an_outbox_of_mastodon() -> None:
    note = {
        "id": "https://example.org/109",
        "content": "<p>They march</p>",
        "published": "2021-03-01T12:00:00Z",
        "attachment": [{"mediaType": "image/png", "url": "/media/1.png"}],
    }
    outbox = {
        "orderedItems": [
            {"type": "Create", "actor": "ana", "object": note},
            {"type": "Announce", "object": "https://example.org/1"},
        ]
    }
    (found,) = records("mastodon", outbox)
    assert found["text"] == "They march"
    assert found["images"] == ["/media/1.png"]
    assert found["author"] == "ana"
    assert sum(left_out("mastodon", outbox).values()) == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<p>a &lt;b&gt; &amp;amp; c</p>", "a <b> &amp; c"),
        ("<p>a<br>b<br/>c</p><p>d</p>", "a\nb\nc\n\nd"),
        (
            '<a href="https://x/y"><span class="invisible">https://</span>'
            '<span class="ellipsis">x</span><span class="invisible">/y</span></a>',
            "https://x/y",
        ),
        ("plain", "plain"),
        ("<p>a < b", "a < b"),
        ("", ""),
    ],
)
def test_html_to_text(content: str, text: str) -> None:
    assert html_to_text(content) == text


def test_the_platform_of_objects_is_seen_by_their_keys() -> None:
    assert platform_of([TWEET]) == "twitter"
    assert platform_of([{"_": "Message"}]) == "telegram"
    assert platform_of([STATUS]) == "mastodon"
    assert platform_of([{"data": {}}]) is None
    assert platform_of([]) is None


def test_json_and_json_lines_are_read_by_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "posts.json"
    big = {"id": 2**70}
    for text in (
        json.dumps([big, big]),
        f"{json.dumps(big)}\n\n{json.dumps(big)}\n",
        f"\ufeff{json.dumps([big, big])}",
    ):
        path.write_text(text, encoding="utf-8")
        assert read_json(path) == [big, big]
    path.write_text(json.dumps(big))
    assert read_json(path) == [big]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"id": 1}\n{"id":', "line 2 is no whole object"),
        (b"", "has no posts"),
        (b"\xff\xfe", "has no posts"),
        (b'[{"id": "1", "text": "\xe9"}]', "is in another encoding.*--encoding"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    from mmevent.posts import import_posts

    path = tmp_path / "posts.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        import_posts(path, "twitter")
