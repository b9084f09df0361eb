from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mmevent.exceptions import InputError
from mmevent.tables.tables import read_table, write_table


def read(tmp_path: Path, content: str, name: str = "a.json") -> pd.DataFrame:
    (tmp_path / name).write_text(content, encoding="utf-8")
    return read_table(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        '[{"id": 1, "text": "a"}, {"id": 2, "text": null}]',
        '[\n {"id": 1,\n "text": "a"},\n {"id": 2}\n]\n',
        '{"id": 1, "text": "a"}\n{"id": 2}\n',
    ],
    ids=["one line", "indented", "a line each"],
)
def test_arrays_and_lines(tmp_path: Path, content: str) -> None:
    table = read(tmp_path, content)
    assert table["id"].tolist() == [1, 2]
    assert table["text"].tolist() == ["a", None]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"data": [], "meta": {}}', "one object with the keys 'data', 'meta'.*array"),
        ("[1]", "a JSON int in place 0"),
        ("3", "a JSON int"),
        ("[{]", "what is not JSON"),
        ("[]", "is empty"),
        ('[{"text": "a", "text": "b"}]', "has the name 'text' twice"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(tmp_path, content)


def test_a_name_twice_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2, which is not JSON.*'id' twice"):
        read(tmp_path, '{"id": 1}\n{"id": 1, "id": 2}\n', "a.jsonl")


def test_integers_and_fractions_stay_exact(tmp_path: Path) -> None:
    table = read(tmp_path, '{"id": 9007199254740993}\n{"id": 1.5}\n', "a.jsonl")
    assert table["id"].tolist() == [9007199254740993, 1.5]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet", "xlsx"])
def test_halves_of_characters_are_replaced(tmp_path: Path, suffix: str) -> None:
    frame = read(tmp_path, r'{"a": "x\ud83d", "b": {"c": ["\ud83d"]}}', "in.jsonl")
    assert frame["b"][0] == {"c": ["\ufffd"]}
    whole = pd.DataFrame({"a": pd.Series(["x\ud83d", "y"], dtype=object)})
    write_table(whole, tmp_path / f"out.{suffix}")
    assert read_table(tmp_path / f"out.{suffix}")["a"].tolist() == ["x\ufffd", "y"]
