"""Stretches of a table hold the same cells as the whole table."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pyarrow
import pytest

from mmevent.exceptions import InputError
from mmevent.posts import read_table, write_table
from mmevent.posts.streams import stretches

TEXTS = [
    "plain",
    'said "go", loud',
    "two\nlines",
    "two\r\nlines; more",
    "\ttab",
    "007",
    "1e5",
    "NA",
    "lone\rCR",
    '"',
    "ümlaut – 🚒",
    "\u2028line",
    "a,b;c\td",
    "",
]


def as_text(frame: pd.DataFrame) -> list[list[str | None]]:
    columns = [
        [None if pd.isna(cell) else str(cell) for cell in frame[name].tolist()]
        for name in frame
    ]
    return [list(map(str, frame.columns)), *columns]


def joined(
    path: Path, n_rows: int, encoding: str | None = None
) -> list[list[str | None]]:
    parts = [cut.read() for cut in stretches(path, n_rows, encoding=encoding)]
    assert all(len(part) <= n_rows for part in parts)
    names = list(dict.fromkeys(name for part in parts for name in part))
    columns = [as_text(part.reindex(columns=names))[1:] for part in parts]
    return [
        names,
        *([c for of in place for c in of] for place in zip(*columns, strict=True)),
    ]


@pytest.mark.parametrize("n_rows", [1, 3, 100])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz"])
def test_stretches_hold_the_cells_of_the_table(
    tmp_path: Path, suffix: str, n_rows: int
) -> None:
    path = tmp_path / f"posts{suffix}"
    ids = [f"{n:03d}" for n in range(len(TEXTS))]
    write_table(pd.DataFrame({"id": ids, "text": TEXTS, "n": range(len(ids))}), path)
    assert joined(path, n_rows) == as_text(read_table(path))


@pytest.mark.parametrize(
    "data",
    [
        b"id;text\r\n1;a\r\n\r\n2;b, c\r\n3;",
        b"sep=;\r\nid;text\r\n1;a\r\n2;b\r\n",
        b'\xef\xbb\xbfid,text\n1,a\n2,"b\n\n""c"""\n',
        b"id,text\r1,a\r2,b\r3,c",
        "id,text\n1,ä\n2,ö\n".encode("utf-16"),
        "id,text\n1,ä\n2,ö\n".encode("cp1252"),
        b'" id ","wo\nrd"\n1,"a"\n2,b\n',
        b'id,text\n1,a "quoted" word\n2,b\n',
        b"text\n1.0\n2\nx\n",
        b"id,text,\n1,a,\n2,b,\n",
    ],
)
@pytest.mark.parametrize("n_rows", [1, 2, 9])
def test_odd_files_are_cut_as_they_are_read(
    tmp_path: Path, data: bytes, n_rows: int
) -> None:
    path = tmp_path / "posts.csv"
    path.write_bytes(data)
    whole = read_table(path, encoding="cp1252")
    assert joined(path, n_rows, "cp1252") == as_text(whole)


def test_zstd_is_unpacked(tmp_path: Path) -> None:
    data, path = b"id,text\n1,a\n2,b\n", tmp_path / "posts.csv.zst"
    path.write_bytes(pyarrow.compress(data, "zstd", asbytes=True))
    assert joined(path, 1) == [["id", "text"], ["1", "2"], ["a", "b"]]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("posts.csv", b"id,text\n1,a\n2,b,c,d\n"),
        ("posts.csv", b"id,text\n1,\xff\n"),
        ("posts.csv", b""),
        ("posts.jsonl", b'{"id": 1}\nnot json\n'),
        ("posts.parquet", b"PAR1 and no more"),
        ("posts.csv.gz", gzip.compress(b"id,text\n1,a\n", mtime=0)[:-9]),
    ],
)
def test_a_damaged_file_is_refused_by_name(
    tmp_path: Path, name: str, data: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=name):
        joined(path, 10)
