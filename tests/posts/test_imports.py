"""From an export to a table: what is kept exactly, what is found, what is counted."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmevent.exceptions import InputError
from mmevent.posts import (
    Images,
    flatten_images,
    import_posts,
    imports,
    read_table,
    to_posts,
    write_table,
)

TEXTS = ["They march", 'RT @user: "quoted", and more']
IDS = ["1600000000000000001", "1600000000000000002"]
FOUR_CAT = """id,thread_id,timestamp,unix_timestamp,body,author,images,label
1600000000000000001,7,2021-03-01 12:00:00,1,They march,ana,"https://x/a.jpg,https://x/b.jpg",1
1600000000000000002,7,2021-03-02 12:00:00,1,"RT @user: ""quoted"", and more",ben,,0
"""
MEDIA = '[{""type"": ""photo"", ""url"": ""https://x/a.jpg""}]'
TWARC = f"""id,created_at,text,author_id,author.username,attachments.media,label
1600000000000000001,2021-03-01T12:00:00.000Z,They march,90,ana,"{MEDIA}",1
1600000000000000002,2021-03-02T12:00:00Z,"RT @user: ""quoted"", and more",91,ben,,0
"""


def write(path: Path, content: Any) -> Path:
    if not isinstance(content, str):
        content = json.dumps(content)
    path.write_text(content, encoding="utf-8")
    return path


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 3)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "source", "content", "n_images"),
    [
        ("4cat.csv", "4cat", FOUR_CAT, 2),
        ("twarc.csv", "twitter", TWARC, 1),
        (
            "api.jsonl",
            "twitter",
            "\n".join(
                json.dumps(
                    {
                        "id": identifier,
                        "text": text,
                        "created_at": f"2021-03-0{day}T12:00:00.000Z",
                        "author": {"username": author},
                        "attachments": {"media": media},
                        "label": 2 - day,
                    }
                )
                for identifier, text, day, author, media in zip(
                    IDS,
                    TEXTS,
                    (1, 2),
                    ("ana", "ben"),
                    ([{"type": "photo", "url": "https://x/a.jpg"}], []),
                    strict=True,
                )
            ),
            1,
        ),
    ],
)
@pytest.mark.parametrize("end", [".csv", ".parquet", ".jsonl"])
def test_exports_of_tweets_become_posts(
    name: str, source: str, content: str, n_images: int, end: str, tmp_path: Path
) -> None:
    posts, notes, urls = import_posts(write(tmp_path / name, content), source)
    assert posts["id"].tolist() == IDS
    assert posts["label"].tolist() == [1, 0]
    assert posts["author"].tolist() == ["ana", "ben"]
    assert notes == [f"{n_images} pictures named"]
    assert urls == ["https://x/a.jpg", "https://x/b.jpg"][:n_images]
    write_table(posts, tmp_path / f"posts{end}")
    back = to_posts(read_table(tmp_path / f"posts{end}"))
    assert back["id"].astype(str).tolist() == IDS
    assert back["text"].tolist() == TEXTS
    assert back["images"].tolist() == [urls, []]


def test_pictures_are_found_and_counted(tmp_path: Path) -> None:
    export = write(tmp_path / "4cat.csv", FOUR_CAT)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        file.writestr("in/a.jpg", picture())
    posts, notes, urls = import_posts(
        export, "4cat", images=tmp_path / "photos.zip", image_root=tmp_path
    )
    assert urls == ["https://x/b.jpg"]
    (note,) = notes
    assert note.startswith("2 pictures named, 1 found in ")
    assert note.endswith(
        f"1 not found, such as 'https://x/b.jpg' of the post {IDS[0]!r}"
    )
    sources, _ = flatten_images(to_posts(posts))
    assert sources == ["photos.zip/in/a.jpg", "https://x/b.jpg"]
    assert Images(sources, image_root=tmp_path).statuses.tolist() == ["ok", "remote"]
    alone = import_posts(export, "4cat", images=tmp_path / "photos.zip")
    assert alone.posts.loc[0, "images"] == "in/a.jpg|https://x/b.jpg"


def test_only_web_addresses_are_listed_to_download(tmp_path: Path) -> None:
    urls = ["file:///etc/passwd", "https://x/a.jpg", "https://x/\nftp://y", "//y/z"]
    frame = pd.DataFrame({"id": ["x"], "text": ["y"], "images": [urls]})
    frame.to_parquet(tmp_path / "in.parquet")
    assert import_posts(tmp_path / "in.parquet", "table").urls == ["https://x/a.jpg"]


def test_names_with_signs_come_back_whole(tmp_path: Path) -> None:
    names = ["a|b.jpg", "c, d.jpg", "e;f.jpg,g.jpg"]
    frame = pd.DataFrame({"id": ["x"], "text": ["y"], "images": [names]})
    frame.to_parquet(tmp_path / "in.parquet")
    posts, _, _ = import_posts(tmp_path / "in.parquet", "table")
    write_table(posts, tmp_path / "out.csv")
    back = to_posts(read_table(tmp_path / "out.csv"))
    assert back["images"].tolist() == [names]


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        ([["a", 1], None, ["b"]], ['["a", 1]', None, '["b"]']),
        ([["a"], [{"b": 1}], None], ['["a"]', '[{"b": 1}]', None]),
        ([["a"], "b", None], ['["a"]', "b", None]),
        ([{"a": 1}, {"a": "é"}, None], ['{"a": 1}', '{"a": "é"}', None]),
        ([["a", None], [], None], [["a", None], [], None]),
    ],
)
def test_lists_of_mixed_types_become_json(
    cells: list[Any], written: list[Any], tmp_path: Path
) -> None:
    rows = [{"id": n, "text": "x", "tags": one} for n, one in enumerate(cells)]
    posts, _, _ = import_posts(write(tmp_path / "t.json", rows), "table")
    write_table(posts, tmp_path / "t.parquet")
    assert posts["tags"].tolist() == written


def test_ndjson_of_4cat_is_read_by_its_platform(tmp_path: Path) -> None:
    tweet = {"id": IDS[0], "text": "They march", "author_id": "90"}
    path = write(tmp_path / "4cat.ndjson", tweet)
    assert import_posts(path, "4cat").posts["id"].tolist() == IDS[:1]
    write(path, {"item_id": "1", "source_platform": "instagram.com", "data": {}})
    with pytest.raises(
        InputError, match="a platform that is not known.*Download the CSV"
    ):
        import_posts(path, "4cat")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
@pytest.mark.parametrize("name", ["t.json", "t.csv"])
def test_exports_in_another_encoding(name: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / name
    content = '[{"id": "1", "text": "café"}]' if name == "t.json" else "id,text\n1,café"
    path.write_bytes(content.encode(encoding))
    posts, _, _ = import_posts(path, "twitter", encoding="cp1252")
    assert posts["text"].tolist() == ["café"]
    with pytest.raises(InputError, match="the encoding 'none' is not known"):
        import_posts(path, "twitter", encoding="none")


def test_a_table_of_any_names(tmp_path: Path) -> None:
    content = "nr,tweet,media,when,text\n007,They march,a.jpg,31/12/2024,other\n"
    path = write(tmp_path / "mine.csv", content)
    posts, notes, _ = import_posts(
        path,
        "table",
        columns={"id": "nr", "text": "tweet", "images": "media", "created_at": "when"},
        date_format="%d/%m/%Y",
    )
    assert posts.iloc[0].to_dict() == {
        "id": "007",
        "text": "They march",
        "images": "a.jpg",
        "created_at": "2024-12-31T00:00:00",
        "text (as it was)": "other",
    }
    assert notes == ["1 pictures named"]


def test_posts_that_come_again_are_kept_once_and_counted(tmp_path: Path) -> None:
    tweets = [{"id": IDS[0], "text": text} for text in (TEXTS[0], *TEXTS, TEXTS[1])]
    posts, notes, _ = import_posts(
        write(tmp_path / "t.json", {"data": [*tweets, {"id": "2"}]}), "twitter"
    )
    assert posts["id"].tolist() == [IDS[0], "2"]
    assert posts["text"].tolist() == ["They march", None]
    assert "1 posts that came again, by their id, left out" in notes
    assert (
        "2 posts that came again with another text, left out: the first text was kept "
        f"(first ids: {IDS[0]!r})"
    ) in notes
    assert "no times" in notes


@pytest.mark.parametrize(
    "ids", [["1.6E+18"] * 2, [f"16{k:02}345678901230000" for k in range(20)] * 2]
)
def test_ids_that_a_spreadsheet_cut_are_refused(ids: list[str], tmp_path: Path) -> None:
    lines = [f"{identifier},text {n}" for n, identifier in enumerate(ids)]
    path = write(tmp_path / "t.csv", "\n".join(["id,body", *lines]))
    with pytest.raises(InputError, match="was damaged by a spreadsheet"):
        import_posts(path, "4cat")


@pytest.mark.parametrize(
    ("cells", "date_format", "expected"),
    [
        (["44562", ""], "excel", "2022-01-01T00:00:00+00:00"),
        (["1609459200", ""], "unix", "2021-01-01T00:00:00+00:00"),
        (["1609459200", ""], None, "2021-01-01T00:00:00+00:00"),
        (["1609459200", "2021-01-02"], None, "2021-01-01T00:00:00+00:00"),
        (["44562", "44563"], None, 44562),
        (["20240309", "20240310"], "%Y%m%d", "2024-03-09T00:00:00"),
    ],
)
def test_numbers_of_4cat_are_the_times_that_they_can_be(
    cells: list[str], date_format: str | None, expected: Any, tmp_path: Path
) -> None:
    lines = [f"{n},text {n},{cell}" for n, cell in enumerate(cells)]
    path = write(tmp_path / "t.csv", "\n".join(["id,body,timestamp", *lines]))
    posts, notes, _ = import_posts(path, "4cat", date_format=date_format)
    assert posts["created_at"][0] == expected
    assert ("day numbers" in notes[-1]) == (expected == 44562)


@pytest.mark.parametrize("date_format", [None, "unix"])
def test_times_of_telegram(date_format: str | None, tmp_path: Path) -> None:
    message = {"id": 1, "text": "x", "date_unixtime": "1614600000"}
    path = write(tmp_path / "t.json", [message])
    posts, _, _ = import_posts(path, "telegram", date_format=date_format)
    assert posts["created_at"].tolist() == ["2021-03-01T12:00:00+00:00"]


def test_dates_beside_text_need_no_format(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    cells = [pd.Timestamp("2024-04-03 18:30"), "31/12/2024"]
    frame = pd.DataFrame({"id": ["x", "y"], "text": "z", "created_at": cells})
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    posts, _, _ = import_posts(tmp_path / "t.xlsx", "table", date_format="%d/%m/%Y")
    found = ["2024-04-03T18:30:00", "2024-12-31T00:00:00"]
    assert posts["created_at"].tolist() == found


def test_rows_of_a_table_all_stay(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,text,annotator\n1,a,x\n1,a,y\n")
    assert import_posts(path, "table").posts["annotator"].tolist() == ["x", "y"]


def test_times_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,text,created_at\n1,a,03/04/2024\n2,b,\n")
    _, notes, _ = import_posts(path, "table")
    assert "created_at of 2 of 2 posts (first ids: '1', '2')" in notes[-1]
    assert "'%d/%m/%Y' for days first" in notes[-1]


@pytest.mark.parametrize("value", [None, "", 1.6e18, [1], True])
def test_ids_that_are_missing_or_rounded_are_refused(
    value: Any, tmp_path: Path
) -> None:
    path = write(tmp_path / "t.json", {"data": [{"id": value, "text": "x"}]})
    with pytest.raises(InputError, match="1 of 1 posts have no exact id.*in row 0"):
        import_posts(path, "twitter")


@pytest.mark.parametrize(
    ("name", "content", "source", "options", "said"),
    [
        ("a.csv", FOUR_CAT, "facebook", {}, "source='facebook' is not known"),
        (
            "a.csv",
            FOUR_CAT,
            "telegram",
            {},
            "is no export of telegram: expected a file",
        ),
        (
            "a.csv",
            "id,tweet\n1,x\n",
            "table",
            {},
            "expected a text or images, and got 'id'",
        ),
        (
            "a.csv",
            FOUR_CAT,
            "4cat",
            {"columns": {"text": "t"}},
            "expected 't', and got",
        ),
        ("a.json", "[]", "mastodon", {}, "has no posts of mastodon"),
        ("a.json", {}, "twitter", {"columns": {"text": "t"}}, "do nothing for JSON"),
        ("none.json", None, "twitter", {}, "is no file: expected an export"),
    ],
)
def test_what_cannot_be_imported_is_refused(
    name: str, content: Any, source: str, options: Any, said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        write(path, content)
    with pytest.raises(InputError, match=said):
        import_posts(path, source, **options)


KEYS = (
    *("id", "id_str", "data", "includes", "media", "media_key", "media_keys", "users"),
    *("username", "author", "author_id", "attachments", "type", "url", "text", "_"),
    *("full_text", "note_tweet", "entities", "messages", "chats", "list", "peer_id"),
    *("chat_id", "date", "date_unixtime", "photo", "file", "mime_type", "message"),
    *("document", "attributes", "from_id", "content", "account", "acct", "reblog"),
    *("media_attachments", "statuses", "orderedItems", "object", "created_at"),
    *("annotations", "completed_by", "result", "value", "from_name", "choices"),
    *("label", "meta", "images", "annotator", "post_id", "photo", "lang"),
)
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["photo", "message", "Message", "image/png", "a.jpg", "9" * 30])
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=12,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=ODD, source=st.sampled_from(imports.SOURCES[:-1]))
def test_odd_exports_are_imported_or_refused(
    content: Any, source: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        posts = import_posts(path, source).posts
    except InputError:
        return
    write_table(posts, tmp_path / "odd.parquet")
    assert posts["id"].map(type).eq(str).all()
