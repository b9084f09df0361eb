"""`mmevent import-posts`: tables of posts, URLs to download, and where pictures are."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmevent.cli import import_posts
from mmevent.posts import imports, read_table

Command = Callable[..., Any]


def test_every_source_is_a_choice() -> None:
    assert import_posts.SOURCES == imports.SOURCES


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "statuses.json"
    statuses = [
        {
            "id": str(109 + number),
            "content": f"<p>They march {number}</p>",
            "created_at": "2021-03-01T12:00:00Z",
            "account": {"acct": "ana"},
            "media_attachments": [{"type": "image", "url": f"https://x/{number}.png"}],
        }
        for number in range(2)
    ]
    path.write_text(json.dumps(statuses))
    return path


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    Image.new("RGB", (4, 3)).save(stream, "PNG")
    path.write_bytes(stream.getvalue())


def test_urls_are_listed_then_found(done: Command, export: Path) -> None:
    table, urls = export.parent / "posts.csv", export.parent / "urls.txt"
    words = ["import-posts", "--from", "mastodon", export, "-o", table]
    said = done(*words, "--urls", urls).stdout
    assert said.startswith(
        "2 posts\n  2 pictures named\n  2 pictures are URLs: nothing"
    )
    assert "wget -nc -x -i urls.txt -P pictures" in said
    assert urls.read_text() == "https://x/0.png\nhttps://x/1.png\n"
    write_picture(export.parent / "pictures" / "x" / "0.png")
    result = done(*words, "--images", export.parent / "pictures")
    assert "2 pictures named, 1 found" in result.stdout
    assert "--image-root" not in result.stderr
    assert read_table(table)["images"].tolist() == [
        "pictures/x/0.png",
        "https://x/1.png",
    ]


def test_a_place_elsewhere_is_named(done: Command, export: Path) -> None:
    folder = export.parent / "tables"
    folder.mkdir()
    write_picture(export.parent / "pictures" / "0.png")
    words = ["--images", export.parent / "pictures", "-o", folder / "posts.csv"]
    result = done("import-posts", "--from", "mastodon", export, *words)
    assert f"--image-root {export.parent / 'pictures'}" in result.stderr
    assert read_table(folder / "posts.csv")["images"][0] == "0.png"


def test_other_encodings_and_signs_that_a_terminal_obeys(
    done: Command, refused: Command, export: Path
) -> None:
    path = export.with_name("t.csv")
    path.write_bytes("id,text,images\n1,café,\x1b[31m.jpg\n".encode("cp1252"))
    table = export.with_name("posts.csv")
    words = ["import-posts", "--from", "table", path, "-o", table]
    assert "--encoding" in refused(*words)
    (export.parent / "pictures").mkdir()
    words += ["--images", export.parent / "pictures", "--date-format", "%d/%m/%Y"]
    said = done(*words, "--encoding", "cp1252").stdout
    assert "\x1b" not in said
    assert read_table(table)["text"].tolist() == ["café"]


def test_refusals_leave_nothing_behind(refused: Command, export: Path) -> None:
    before = sorted(os.listdir(export.parent))
    table = export.parent / "posts.csv"
    for source, option, said in (
        ("mastodon", ["--images", "none"], "'none' holds no pictures"),
        ("telegram", ["--columns", "text=a"], "do nothing for JSON of telegram"),
        ("mastodon", ["--urls", table], "is named twice"),
        ("mastodon", ["--urls", "none/urls.txt"], "cannot be written"),
    ):
        words = ["import-posts", "--from", source, export, *option, "-o", table]
        assert said in refused(*words)
    assert sorted(os.listdir(export.parent)) == before
