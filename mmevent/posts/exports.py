"""Exports of platforms, in JSON, to one record for each post."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeAlias

from mmevent.exceptions import InputError
from mmevent.tables.encodings import check_encoding, to_utf8

Record: TypeAlias = dict[str, Any]
Items: TypeAlias = list[Any]

_NOT_EXPORTED = "("  # Telegram writes "(File not included. ...)" for a file's name


def read_json(path: Path, encoding: str | None = None) -> Items:
    """Return the objects of a JSON file, or of one with an object on each line."""
    if not path.is_file():
        raise InputError(
            f"{str(path)!r} is no file: expected an export. Correct the path."
        )
    check_encoding(encoding)
    text = to_utf8(path.read_bytes(), str(path), encoding).decode()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        lines = text.split("\n")
        found = [
            _line(path, n, line) for n, line in enumerate(lines, 1) if line.strip()
        ]
    return found if isinstance(found, list) else [found]


def _line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{str(path)!r} is neither JSON nor JSON Lines: line {number} is no whole "
            f"object ({error}). Check that the export was complete."
        ) from error


def from_twitter(items: Items, seen: Counter[str]) -> Iterator[Record]:
    """Yield the tweets of answers of the API v2, of flat tweets, or of the API 1.1."""
    media: dict[str, Any] = {}
    users: dict[str, Any] = {}
    others: dict[str, Any] = {}
    tweets: Items = []
    for item in mappings(items, seen):
        included = as_mapping(item.get("includes"))
        media |= {str(m.get("media_key")): m for m in several(included.get("media"))}
        users |= {
            str(u.get("id")): u.get("username") for u in several(included.get("users"))
        }
        others |= {str(t.get("id")): t for t in several(included.get("tweets"))}
        is_answer = "data" in item or "errors" in item or "meta" in item
        tweets += several(item.get("data")) if is_answer else [item]
    for tweet in tweets:
        whole = _retweeted(tweet, others)
        attached = _media_of(whole, media, seen)
        author = as_mapping(
            tweet.get("author") or tweet.get("author_user") or tweet.get("user")
        )
        by = tweet.get("author_id")
        yield new_record(
            tweet,
            id=tweet.get("id_str") or tweet.get("id"),
            text=as_mapping(whole.get("note_tweet")).get("text")
            or as_mapping(whole.get("extended_tweet")).get("full_text")
            or whole.get("full_text")
            or whole.get("text"),
            images=[
                one.get("url") or one.get("media_url_https") or one.get("media_key")
                for one in attached
            ],
            author=author.get("username")
            or author.get("screen_name")
            or users.get(str(by))
            or by,
        )


def _retweeted(tweet: Record, others: Record) -> Record:
    """Return what a tweet repeats, whose text is whole; the tweet where it is none."""
    listed = several(tweet.get("referenced_tweets"))
    of: Record = next((one for one in listed if one.get("type") == "retweeted"), {})
    found = others.get(str(of.get("id"))) or tweet.get("retweeted_status") or of
    has_text = {"text", "full_text"} & as_mapping(found).keys()
    return as_mapping(found) if has_text else tweet


def _media_of(tweet: Record, known: Record, seen: Counter[str]) -> Items:
    """Return the photos of a tweet, and count its other media."""
    attached = as_mapping(tweet.get("attachments"))
    keys = attached.get("media_keys")
    keys = keys if isinstance(keys, list) else []
    nested = several(attached.get("media")) or several(keys)
    if not nested and keys:
        nested = [
            known.get(str(key)) or {"type": "photo", "media_key": key} for key in keys
        ]
    for name in ("extended_entities", "entities"):
        nested = nested or several(as_mapping(tweet.get(name)).get("media"))
    photos = [one for one in nested if one.get("type") == "photo"]
    seen["videos and animations, which are no pictures, left out"] += len(nested) - len(
        photos
    )
    return photos


def from_telegram(items: Items, seen: Counter[str]) -> Iterator[Record]:
    """Yield the messages of Telegram Desktop's result.json, or of Telethon."""
    chats = []
    for item in mappings(items, seen):
        listed = several(as_mapping(item.get("chats")).get("list"))
        chats += listed or [item if "messages" in item else {"messages": [item]}]
    messages = [(chat, m) for chat in chats for m in several(chat.get("messages"))]
    of = [_chat_of(chat, message) for chat, message in messages]
    for chat, (_, message) in zip(of, messages, strict=True):
        kind = message.get("_") or message.get("type") or "message"
        if str(kind).lower() != "message":
            seen["service messages, such as that someone joined, left out"] += 1
            continue
        read = _telethon if "_" in message or "message" in message else _desktop
        record = read(message)
        # Numbers of messages begin anew in each chat.
        if len(set(of)) > 1 and record.get("id") is not None:
            record["id"] = f"{chat}/{record['id']}"
        yield record | {"chat": chat}


def _chat_of(chat: Record, message: Record) -> str | None:
    peer = as_mapping(message.get("peer_id") or message.get("to_id"))
    number = next((peer[key] for key in peer if key.endswith("_id")), chat.get("id"))
    return None if number is None else str(number)


def _telethon(message: Record) -> Record:
    media = message.get("media")
    named: Items = [media] if isinstance(media, str) else []
    media = as_mapping(media)
    if photo := as_mapping(media.get("photo")):
        named = [photo.get("id")]
    document = as_mapping(media.get("document"))
    if str(document.get("mime_type")).startswith("image/"):
        names = (one.get("file_name") for one in several(document.get("attributes")))
        named = [next(filter(None, names), document.get("id"))]
    sender = as_mapping(message.get("from_id"))
    by = next((sender[key] for key in sender if key.endswith("_id")), None)
    return new_record(
        message,
        text=message.get("message") or message.get("text"),
        images=named,
        created_at=message.get("date"),
        author=by or message.get("sender_id") or message.get("post_author"),
    )


def _desktop(message: Record) -> Record:
    parts = message.get("text") or ""
    if isinstance(parts, list):
        parts = "".join(
            part if isinstance(part, str) else str(as_mapping(part).get("text") or "")
            for part in parts
        )
    is_picture = str(message.get("mime_type")).startswith("image/")
    file = message.get("photo") or (message.get("file") if is_picture else None)
    return new_record(
        message,
        text=parts,
        images=["not exported" if str(file).startswith(_NOT_EXPORTED) else file],
        created_at=message.get("date_unixtime") or message.get("date"),
        author=message.get("from_id") or message.get("from"),
    )


def from_mastodon(items: Items, seen: Counter[str]) -> Iterator[Record]:
    """Yield the statuses of Mastodon's API, or of an account's outbox."""
    for item in mappings(items, seen):
        listed = item.get("statuses") or item.get("orderedItems")
        for status in [item] if listed is None else several(listed):
            post = status.get("object", status)
            if not isinstance(post, dict):  # an outbox names what was boosted by a URL
                seen["boosts, of which the export has no text, left out"] += 1
                continue
            shown = as_mapping(post.get("reblog")) or post
            account = as_mapping(status.get("account"))
            media = [
                *several(shown.get("media_attachments")),
                *several(shown.get("attachment")),
            ]
            yield new_record(
                post,
                text=html_to_text(str(shown.get("content") or "")),
                images=[
                    one.get("url") or one.get("remote_url")
                    for one in media
                    if "image" in str(one.get("type") or "") + str(one.get("mediaType"))
                    and one.get("type") != "gifv"
                ],
                created_at=post.get("created_at") or post.get("published"),
                author=account.get("acct") or status.get("actor"),
                lang=shown.get("language"),
            )


class _Text(HTMLParser):
    """Collects the text of a page, with line breaks where it shows them."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "br":
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "div", "li", "blockquote"):
            self.parts.append("\n\n" if tag == "p" else "\n")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def html_to_text(content: str) -> str:
    r"""Return the text of a status: without tags, with its line breaks.

    Examples
    --------
    >>> from mmevent.posts.exports import html_to_text
    >>> html_to_text("<p>Bread &amp; peace<br>now</p><p>#march</p>")
    'Bread & peace\nnow\n\n#march'
    """
    parser = _Text()
    parser.feed(content)
    parser.close()
    return "".join(parser.parts).strip()


PLATFORMS: dict[str, Callable[[Items, Counter[str]], Iterator[Record]]] = {
    "twitter": from_twitter,
    "telegram": from_telegram,
    "mastodon": from_mastodon,
}
"""What reads the JSON of a platform, by its name."""


def platform_of(items: Items) -> str | None:
    """Return whose form the objects have, by their keys; None if it is not known."""
    first = as_mapping(items[0] if items else None)
    if first.get("_") == "Message" or "peer_id" in first:
        return "telegram"
    if "content" in first and "account" in first:
        return "mastodon"
    if {"text", "full_text"} & first.keys() and {"author_id", "user"} & first.keys():
        return "twitter"
    return None


def new_record(item: Record, **ours: Any) -> Record:
    """Return a record of our columns, and of the item's own plain values."""
    own = {
        name: value
        for name, value in item.items()
        if isinstance(value, str | int | float | bool) and name != "_"
    }
    record: Record = own | {"lang": item.get("lang")} | ours
    for name in ("text", "created_at", "author", "lang"):
        value = record.get(name)
        record[name] = None if value is None else str(value)
    record["images"] = [str(one) for one in record["images"] if one is not None]
    return record


def mappings(items: Iterable[Any], seen: Counter[str]) -> Iterator[Record]:
    """Yield what is an object, and count the rest."""
    for item in items:
        if isinstance(item, dict):
            yield item
        else:
            seen["entries that are no objects, left out"] += 1


def as_mapping(value: Any) -> Record:
    """Return an object, or an empty one where the value is none."""
    return value if isinstance(value, dict) else {}


def several(value: Any) -> Items:
    """Return the objects of a list, or one object as a list."""
    if isinstance(value, dict):
        return [value]
    listed = value if isinstance(value, list) else []
    return [one for one in listed if isinstance(one, dict)]
