"""Tables as people bring them: each kind is read right, or refused in one message."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmevent.exceptions import InputError
from mmevent.posts.posts import to_posts
from mmevent.tables.tables import read_table, write_table

NAMES = ["id", "text", "images", "event"]
ROWS = [
    ["1600000000000004419", "Manifestación, niño; ¡más!", "images/4.jpg", "0"],
    ["1600000000000004663", 'They said "go"\nnow', "images/7.jpg", "1"],
    ["1600000000000004523", "=1+1", "", "0"],
]
TEXTS = [row[1] for row in ROWS]


def as_csv(names: list[str], separator: str, rows: list[list[str]] = ROWS) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator)
    writer.writerows([names, *rows])
    return stream.getvalue()


def to_csv(separator: str, encoding: str) -> Callable[[Path], None]:
    return lambda path: (
        path.write_bytes(as_csv(NAMES, separator).encode(encoding)) and None
    )


def to_json(path: Path) -> None:
    posts = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    path.write_text(json.dumps(posts), encoding="utf-8")


def to_file(**kinds: Any) -> Callable[[Path], None]:
    frame = pd.DataFrame(ROWS, columns=NAMES).astype(kinds)

    def write(path: Path) -> None:
        if path.suffix == ".dta":
            frame.to_stata(path, write_index=False, version=118)
        elif path.suffix == ".xlsx":
            openpyxl = pytest.importorskip("openpyxl")
            book = openpyxl.Workbook()
            for row in [NAMES, *frame.to_numpy().tolist()]:
                book.active.append(row)
            book.active["B4"].data_type = "s"  # text, and no formula
            book.save(path)
        elif path.suffix == ".sav":
            pytest.importorskip("pyreadstat").write_sav(frame, path)
        else:
            frame.to_csv(path, index=False)

    return write


KINDS: dict[str, tuple[str, Callable[[Path], None], str | None]] = {
    "commas": ("a.csv", to_csv(",", "utf-8"), None),
    "semicolons": ("a.csv", to_csv(";", "utf-8"), None),
    "semicolons, Latin-1": ("a.csv", to_csv(";", "latin-1"), "latin-1"),
    "commas, Latin-1": ("a.csv", to_csv(",", "latin-1"), "latin-1"),
    "tabs in .csv": ("a.csv", to_csv("\t", "utf-8"), None),
    "Excel's Unicode text": ("a.csv", to_csv("\t", "utf-16"), None),
    "UTF-16": ("a.csv", to_csv(",", "utf-16"), None),
    "gzip": ("a.csv.gz", to_file(), None),
    "JSON": ("a.json", to_json, None),
    "Stata": ("a.dta", to_file(event=int), None),
    "Excel": ("a.xlsx", to_file(event=int), None),
    "SPSS": ("a.sav", to_file(event=float), None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_read_right(tmp_path: Path, kind: str) -> None:
    name, write, encoding = KINDS[kind]
    write(tmp_path / name)
    table = read_table(tmp_path / name, encoding=encoding)
    posts = to_posts(table)
    assert list(table) == NAMES
    assert [str(value) for value in posts["id"]] == [row[0] for row in ROWS]
    assert posts["text"].tolist() == TEXTS
    assert posts["images"].tolist() == [["images/4.jpg"], ["images/7.jpg"], []]
    assert [str(value) for value in table["event"]] == ["0", "1", "0"]


SCIENTIFIC = [["1.6E+18", *row[1:]] for row in ROWS]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (as_csv(NAMES, ",").encode("latin-1"), "line 2.*not UTF-8.*--encoding"),
        (as_csv(NAMES, ";").encode("latin-1"), "line 2.*not UTF-8.*--encoding"),
        (as_csv(["ID", "Text", "Images", "Event"], ",").encode(), "'Text', 'Images'"),
        (as_csv(NAMES, ",", SCIENTIFIC).encode(), "damaged by a spreadsheet"),
        (as_csv(NAMES, ",", [ROWS[0], ROWS[0]]).encode(), "more than once"),
        (as_csv(["id", "text", "text", "event"], ",").encode(), "2 columns of the"),
        (b"PK\x03\x04 not a text", "not UTF-8|neither|cells"),
    ],
    ids=[
        *("Latin-1", "Latin-1, semicolons", "capitals", "scientific", "ids twice"),
        *("names twice", "a zip"),
    ],
)
def test_what_is_refused_says_what_to_do(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        to_posts(read_table(tmp_path / "a.csv"))


ODD = [
    *("NA", "nan", "None", "null", "TRUE", "False", "007", "1.0", "1e5", "-0", "0.50"),
    *("=1+1", '"', '""', 'say "go"', '"open', 'close"', "a\nb", "a\rb", "a\r\nb", "\r"),
    *("a\0b", ";", ",", "\t", "|", "a|b", "a\n1,x", "a\n1\tx", "[1]", "{}", "sep=;"),
    *("\ufeffx", "\ud83d", "_x000D_", "\uffff", " x ", "x\u2028y", "1,5", "\x1a", "\\"),
]
CELL = st.none() | st.sampled_from(ODD) | st.text(max_size=8)
PATH = st.sampled_from(ODD) | st.text(min_size=1, max_size=5) | st.just("1001")
IDS = st.sampled_from([["a", "b", "c"], ["007", "1", "2"], [10**18 + 1, 7, -3]])
SUFFIXES = ("csv", "tsv", "jsonl", "json", "csv.gz", "parquet", "xlsx", "dta", "sav")
DROPS = {"dta": ("\0",), "sav": ("\0",)}  # what the format has no way to write


@settings(deadline=None, max_examples=70)
@given(
    texts=st.lists(CELL, min_size=1, max_size=3),
    images=st.lists(PATH, max_size=2),
    ids=IDS,
    suffix=st.sampled_from(SUFFIXES),
    alone=st.booleans(),
)
def test_posts_survive_files(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str | None],
    images: list[str],
    ids: list[Any],
    suffix: str,
    alone: bool,
) -> None:
    """Write, read, `to_posts`: the same posts, whatever the cells and the format."""
    images = [path for path in images if path.strip() and path.isprintable()]
    frame = pd.DataFrame(
        {
            "id": ids[: len(texts)],
            "text": pd.Series(texts, dtype=object),
            "images": [[], images, []][: len(texts)],
        }
    )
    if alone:
        frame = frame[["id", "text"]]
    path = tmp_path_factory.mktemp("tables") / f"a.{suffix}"
    if any(sign in text for sign in DROPS.get(suffix, ()) for text in texts if text):
        return
    write_table(frame, path)
    before, after = to_posts(frame), to_posts(read_table(path))
    expected = before["text"].tolist()
    if suffix == "sav":
        expected = [text and text.rstrip(" ") or None for text in expected]
    assert after["text"].tolist() == expected
    assert list(map(str, after["id"])) == list(map(str, before["id"]))
    assert after["images"].tolist() == before["images"].tolist()
