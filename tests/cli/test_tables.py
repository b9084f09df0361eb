"""Tables as people bring them, given to the commands: read right, or refused in a line.

Each table is made here, of the same twelve posts in another form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pandas as pd
import pytest
from PIL import Image

import mmevent
from mmevent.detector import Reading
from mmevent.posts.labels import check_labels

Command = Callable[..., Any]
Rows = list[dict[str, Any]]

N = 12
TWEET = 1600000000000000000
ROWS: Rows = [
    {
        "id": i,
        "text": f"They march, number {i}; the ñandú looks on",
        "images": f"images/{i}.jpg",
        "event": i % 3 == 0 and 1 or 0,
    }
    for i in range(N)
]
PLAIN = [row | {"text": row["text"].replace("ñandú", "bird")} for row in ROWS]


def changed(rows: Iterable[dict[str, Any]] = PLAIN, **columns: Any) -> Rows:
    """Return rows with other cells: a column's is a list, or a function of a row."""
    return [
        row | {k: v(row) if callable(v) else v[i] for k, v in columns.items()}
        for i, row in enumerate(rows)
    ]


def renamed(names: dict[str, str]) -> Rows:
    return [{names.get(k, k): v for k, v in row.items()} for row in PLAIN]


def as_csv(rows: Rows, sep: str = ",", encoding: str = "utf-8", **how: Any) -> bytes:
    text: str = pd.DataFrame(rows).to_csv(index=False, sep=sep, **how)
    return text.encode(encoding)


def two_images(separator: str) -> Rows:
    return changed(
        images=lambda row: separator.join(
            [row["images"], f"images/{(row['id'] + 1) % N}.jpg"]
        )
    )


READ: dict[str, tuple[str, bytes | Callable[[Path], None], list[str], dict[str, Any]]]
READ = {
    "plain": ("a.csv", as_csv(PLAIN), [], {}),
    "capitals, named": (
        "a.csv",
        as_csv(renamed({"id": "ID", "text": "Text", "images": "Images"})),
        ["--columns", "id=ID,text=Text,images=Images"],
        {},
    ),
    "text of another name": (
        "a.csv",
        as_csv(renamed({"text": "tweet"})),
        ["--text-column", "tweet"],
        {},
    ),
    "Latin-1": (
        "a.csv",
        as_csv(ROWS, encoding="latin-1"),
        ["--encoding", "latin-1"],
        {"rows": ROWS},
    ),
    "semicolons, Latin-1": (
        "a.csv",
        as_csv(ROWS, ";", "latin-1"),
        ["--encoding", "cp1252"],
        {"rows": ROWS},
    ),
    "semicolons": ("a.csv", as_csv(ROWS, ";"), [], {"rows": ROWS}),
    "UTF-16": ("a.csv", as_csv(ROWS, encoding="utf-16"), [], {"rows": ROWS}),
    "tabs in .csv": ("a.csv", as_csv(ROWS, "\t"), [], {"rows": ROWS}),
    "many languages": (
        "a.csv",
        as_csv(changed(text=lambda row: f"今天天气好 ☀️ مظاهرة 🔥 {row['id']}")),
        [],
        {"rows": changed(text=lambda row: f"今天天气好 ☀️ مظاهرة 🔥 {row['id']}")},
    ),
    "Stata": (
        "a.dta",
        lambda path: pd.DataFrame(PLAIN).to_stata(path, write_index=False),
        [],
        {},
    ),
    "backslashes": (
        "a.csv",
        as_csv(changed(images=lambda row: row["images"].replace("/", "\\"))),
        [],
        {},
    ),
    "images by commas": ("a.csv", as_csv(two_images(",")), [], {"n_images": 2}),
    "images by bars": ("a.csv", as_csv(two_images(" | ")), [], {"n_images": 2}),
    "images by semicolons": ("a.csv", as_csv(two_images("; ")), [], {"n_images": 2}),
    "images as JSON": (
        "a.csv",
        as_csv(changed(images=lambda row: json.dumps([row["images"]]))),
        [],
        {},
    ),
    "images in a zip": (
        "a.csv",
        as_csv(changed(images=lambda row: f"pictures.zip/{row['images']}")),
        [],
        {},
    ),
    "a zip as the root": ("a.csv", as_csv(PLAIN), ["--image-root", "pictures.zip"], {}),
    "yes and no": (
        "a.csv",
        as_csv(changed(event=lambda row: "yes" if row["event"] else "no")),
        ["--positive", "yes"],
        {},
    ),
    "1 yes, 2 no": (
        "a.csv",
        as_csv(changed(event=lambda row: 2 - row["event"])),
        ["--positive", "1"],
        {},
    ),
    "days before months": (
        "a.csv",
        as_csv(changed(created_at=lambda row: f"{row['id'] + 1:02}/02/2021")),
        ["--date-format", "%d/%m/%Y"],
        {"day": "2021-02-12"},
    ),
    "dates of Twitter": (
        "a.csv",
        as_csv(
            changed(
                created_at=lambda row: f"Mon Feb {row['id'] + 1:02} 00:00:00 +0000 2021"
            )
        ),
        ["--date-format", "%a %b %d %H:%M:%S %z %Y"],
        {"day": "2021-02-12"},
    ),
    "seconds": (
        "a.csv",
        as_csv(changed(created_at=lambda row: 1612137600 + 86400 * row["id"])),
        ["--date-format", "unix"],
        {"day": "2021-02-12"},
    ),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the twelve pictures, and the same in a zip."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "images").mkdir()
    with ZipFile(folder / "pictures.zip", "w") as archive:
        for i in range(N):
            name = f"images/{i}.jpg"
            Image.new("RGB", (8, 8), (20 * i, 9, 9)).save(folder / name)
            archive.write(folder / name, name)
    return folder


def write(path: Path, content: bytes | Callable[[Path], None]) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    return path


@pytest.mark.parametrize("kind", READ)
def test_a_table_is_read_right(
    done: Command,
    models: list[str],
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    name, content, options, expected = READ[kind]
    path = write(pictures / name, content)
    seen: list[Any] = []
    monkeypatch.setattr(
        "mmevent.cli.fit.fit_and_save",
        lambda detector, frame, labels, *_, **__: seen.extend(
            [detector, frame, labels]
        ),
    )
    options = [str(pictures / o) if o.endswith(".zip") else o for o in options]
    done("fit", path, "--label", "event", *models, *options, "-o", pictures / "m")
    detector, frame, labels = seen
    assert isinstance(detector, mmevent.EventDetector)
    prepared = Reading.of(detector).read_for_fit(frame, texts=True, images=True)
    rows = expected.get("rows", PLAIN)
    posts = prepared.posts
    assert [str(i) for i in posts["id"]] == [str(row["id"]) for row in rows]
    assert posts["text"].tolist() == [row["text"] for row in rows]
    assert prepared.n_usable.tolist() == [expected.get("n_images", 1)] * N
    if "day" in expected:
        assert posts["created_at"].iloc[-1][:10] == expected["day"]
    found, *_ = check_labels(labels, N, detector.pos_label)
    assert found.tolist() == [bool(row["event"]) for row in rows]


REFUSED: dict[str, tuple[str, bytes, list[str], str]] = {
    "capitals": (
        "a.csv",
        as_csv(renamed({"id": "ID", "text": "Text", "images": "Images"})),
        [],
        "no column 'text'.*Perhaps 'Text' is meant.*--text-column",
    ),
    "text of another name": (
        "a.csv",
        as_csv(renamed({"text": "tweet"})),
        [],
        "no column 'text'.*Perhaps 'tweet' is meant.*--text-column",
    ),
    "label of another name": (
        "a.csv",
        as_csv(renamed({"event": "Event"})),
        [],
        "no column 'event'.*Perhaps 'Event' is meant.*--label",
    ),
    "images of another name": (
        "a.csv",
        as_csv(renamed({"images": "attachments.media"})),
        [],
        "no column 'images'.*Perhaps 'attachments.media' is meant.*--images-column",
    ),
    "Latin-1": ("a.csv", as_csv(ROWS, encoding="latin-1"), [], "line 2.*--encoding"),
    "semicolons, Latin-1": (
        "a.csv",
        as_csv(ROWS, ";", "latin-1"),
        [],
        "line 2.*--encoding",
    ),
    "ids twice": (
        "a.csv",
        as_csv(changed(id=lambda row: max(1, row["id"]))),
        [],
        "1 ids occur more than once.*got 1 repeatedly",
    ),
    "ids of a spreadsheet": (
        "a.csv",
        as_csv(changed(id=lambda row: "1.6E+18")),
        [],
        "id of 12 of 12 posts was damaged by a spreadsheet",
    ),
    "images without a suffix": (
        "a.csv",
        as_csv(changed(images=lambda row: row["id"])),
        [],
        "none of the 12 images can be used.*missing file.*--image-root",
    ),
    "images of another folder": (
        "a.csv",
        as_csv(changed(images=lambda row: f"media/{row['id']}.jpg")),
        [],
        "none of the 12 images can be used.*'media/0.jpg'.*--image-root",
    ),
    "addresses": (
        "a.csv",
        as_csv(changed(images=lambda row: f"https://example.org/{row['id']}.jpg")),
        [],
        "none of the 12 images can be used.*download them first: mmevent import-posts",
    ),
    "three labels": (
        "a.csv",
        as_csv(changed(event=lambda row: 9 if row["id"] == 5 else row["event"])),
        [],
        r"3 classes.*0 \(7\), 1 \(4\), 9 \(1\)",
    ),
    "labels 1 and 2": (
        "a.csv",
        as_csv(changed(event=lambda row: 2 - row["event"])),
        [],
        r"cannot be told.*\[1, 2\].*--positive 2, or the other one",
    ),
    "yes and no": (
        "a.csv",
        as_csv(changed(event=lambda row: "yes" if row["event"] else "no")),
        [],
        "cannot be told.*--positive yes, or the other one",
    ),
    "labels by case": (
        "a.csv",
        as_csv(changed(event=["yes", "Yes ", *["no"] * (N - 2)])),
        ["--positive", "yes"],
        "differ.*(case|spaces)",
    ),
    "labels missing": (
        "a.csv",
        as_csv(changed(event=[None, None, *[0, 1] * (N // 2 - 1)])),
        [],
        r"missing labels.*2 of 12, first in rows \[0, 1\]",
    ),
    "quotes that swallow lines": (
        "a.csv",
        as_csv(PLAIN).replace(b'"They', b'""They', 1),
        [],
        "line",
    ),
    "an answer of Twitter's API": (
        "a.json",
        json.dumps({"data": PLAIN, "includes": {"media": []}}).encode(),
        [],
        "'data', 'includes'.*platform, mmevent import-posts makes a table",
    ),
    "tweets with nested media": (
        "a.jsonl",
        "\n".join(
            json.dumps({"attachments" if k == "images" else k: v for k, v in r.items()})
            for r in changed(images=lambda row: {"media_keys": [row["id"]]})
        ).encode(),
        [],
        "no column 'images'.*'attachments' holds nested values.*mmevent import-posts",
    ),
    "an export of Label Studio": (
        "a.json",
        json.dumps(
            [
                {"id": i, "data": row, "annotations": [{"result": []}]}
                for i, row in enumerate(PLAIN)
            ]
        ).encode(),
        [],
        "export of Label Studio: mmevent import-posts --from labelstudio",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_table_is_refused_in_one_line(
    refused: Command, models: list[str], pictures: Path, kind: str
) -> None:
    name, content, options, words = REFUSED[kind]
    path = write(pictures / name, content)
    said = refused(
        "fit", path, "--label", "event", *models, *options, "-o", pictures / "m"
    )
    assert re.search(words, said), said
    assert not (pictures / "m").exists()
