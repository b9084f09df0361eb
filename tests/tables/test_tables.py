from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmevent.exceptions import InputError, StorageError
from mmevent.posts.posts import duplicate_groups, to_posts
from mmevent.tables.tables import check_table_path, read_table, write_table

LONG = 1_234_567_890_123_456_789


def read(tmp_path: Path, name: str, content: str | bytes) -> pd.DataFrame:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.csv", "id,text,text\n1,a,b\n"),
            ("a.csv", "id,text, text\n1,a,b\n"),
            ("a.tsv", "id\ttext \ttext\n1\ta\tb\n"),
            ("a.jsonl", '{"text": "a", "text ": "b"}'),
        ],
    )
    def test_a_name_that_occurs_twice(
        self, tmp_path: Path, name: str, content: str
    ) -> None:
        with pytest.raises(InputError, match="2 columns of the name 'text'.*Rename"):
            read(tmp_path, name, content)

    def test_spaces_around_a_name_do_not_count(self, tmp_path: Path) -> None:
        table = read(tmp_path, "a.csv", "id, text ,label\n1,a,0\n")
        assert list(table) == ["id", "text", "label"]

    def test_columns_without_a_name_are_numbered(self, tmp_path: Path) -> None:
        table = read(tmp_path, "a.csv", ",text,\n0,a,\n1,b,\n")
        assert list(table) == ["Unnamed: 0", "text", "Unnamed: 2"]


class TestReadCsv:
    def test_only_an_empty_cell_is_missing(self, tmp_path: Path) -> None:
        table = read(
            tmp_path, "a.csv", 'id,text\n1,NA\n2,None\n3,null\n4,\n5,""\n6,x\n'
        )
        assert table["text"].isna().tolist() == [False] * 3 + [True] * 2 + [False]
        assert table["text"].tolist()[:3] == ["NA", "None", "null"]
        assert to_posts(table)["text"].tolist() == [
            "NA",
            "None",
            "null",
            None,
            None,
            "x",
        ]

    @pytest.mark.parametrize(
        ("cells", "expected"),
        [
            (["1", "0"], [1, 0]),
            (["-5", "12"], [-5, 12]),
            ([str(LONG), str(LONG + 1)], [LONG, LONG + 1]),
            (["007", "12"], ["007", "12"]),
            (["99999999999999999999", "1"], ["99999999999999999999", "1"]),
            (["0.5", "1.0"], [0.5, 1.0]),
            (["1.50", "1.0"], ["1.50", "1.0"]),
            (["1e5", "2"], ["1e5", "2"]),
            (["True", "False"], [True, False]),
            (["TRUE", "False"], ["TRUE", "False"]),
            (["nan", "inf"], ["nan", "inf"]),
            (["2024-03-09", "2024-03-10"], ["2024-03-09", "2024-03-10"]),
            (["+1", " 1"], ["+1", " 1"]),
            (["\u0661", "1"], ["\u0661", "1"]),
            (["-0", "0"], ["-0", "0"]),
        ],
    )
    def test_numbers_only_where_nothing_is_lost(
        self, tmp_path: Path, cells: list[str], expected: list[Any]
    ) -> None:
        table = read(tmp_path, "a.csv", "x,y\n" + "".join(f"{c},t\n" for c in cells))
        assert table["x"].tolist() == expected
        assert list(map(type, table["x"].tolist())) == list(map(type, expected))

    def test_integers_with_a_gap_stay_exact(self, tmp_path: Path) -> None:
        table = read(tmp_path, "a.csv", f"x,y\n{LONG},t\n,t\n")
        assert table["x"][0] == LONG
        assert table["x"].isna().tolist() == [False, True]

    def test_text_of_digits_comes_back_as_text(self, tmp_path: Path) -> None:
        table = read(tmp_path, "a.csv", "id,text\n1,123\n2,\n3,5\n")
        assert to_posts(table)["text"].tolist() == ["123", None, "5"]

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.csv", b"\xef\xbb\xbfid,text\n1,\xc3\xa9\n"),
            ("a.CSV", "id,text\r\n1,é\r\n"),
            ("a.tsv", "id\ttext\n1\té\n"),
            ("a.csv", 'id,text\n"1","é"'),
        ],
        ids=["byte order mark", "upper case", "tabs", "quoted, no last line end"],
    )
    def test_forms_of_csv(
        self, tmp_path: Path, name: str, content: str | bytes
    ) -> None:
        table = read(tmp_path, name, content)
        assert table.to_dict("list") == {"id": [1], "text": ["é"]}

    def test_quoted_line_ends_and_commas(self, tmp_path: Path) -> None:
        table = read(tmp_path, "a.csv", 'id,text\n1,"a\nb, ""c"""\n')
        assert table["text"].tolist() == ['a\nb, "c"']

    def test_header_alone_gives_no_rows(self, tmp_path: Path) -> None:
        table = read(tmp_path, "a.csv", "id,text\n")
        assert list(table) == ["id", "text"]
        assert len(table) == 0

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("a,b\n1,2\n1,2,3\n", "not well formed.*line 3: 3 cells where the header"),
            ("a,b\n1,2,3\n1,2,3\n", "not well formed.*line 2: 3 cells"),
            ('a,b\n1,"2\n', "not well formed.*line 2: a quote opens.*never closed"),
            ("\n\n", "is empty"),
        ],
    )
    def test_malformed_csv(self, tmp_path: Path, content: str, words: str) -> None:
        with pytest.raises(InputError, match=words):
            read(tmp_path, "a.csv", content)


class TestReadJsonLines:
    def test_values_stay_what_they_are(self, tmp_path: Path) -> None:
        table = read(
            tmp_path,
            "a.jsonl",
            f'{{"id": {LONG}, "text": "NA", "created_at": "2024-03-09"}}\n\n'
            f'{{"id": {LONG + 1}, "images": ["a", "b"], "text": null}}\r\n',
        )
        assert list(table) == ["id", "text", "created_at", "images"]
        assert table["id"].tolist() == [LONG, LONG + 1]
        assert table["text"].tolist() == ["NA", None]
        assert table["created_at"].tolist() == ["2024-03-09", None]
        assert table["images"].tolist() == [None, ["a", "b"]]

    @pytest.mark.parametrize(
        ("values", "dtype"),
        [
            (["1", "0"], "int64"),
            (["true", "false"], "bool"),
            (["true", "null"], "boolean"),
            (["1", "0.5"], "float64"),
            (["0.5", "null"], "float64"),
            (["0.5", "NaN"], "float64"),
            ([str(LONG), "null"], "Int64"),
            ([str(LONG), "0.5"], "object"),
            ([str(10**30), "1"], "object"),
            (["true", "1"], "object"),
            (["true", "0.5"], "object"),
        ],
    )
    def test_narrowest_exact_type(
        self, tmp_path: Path, values: list[str], dtype: str
    ) -> None:
        lines = "".join(f'{{"x": {value}}}\n' for value in values)
        table = read(tmp_path, "a.ndjson", lines)
        assert table["x"].dtype == dtype
        if values[0] == str(LONG):
            assert table["x"][0] == LONG

    def test_half_of_a_surrogate_pair_is_replaced(self, tmp_path: Path) -> None:
        table = read(
            tmp_path, "a.jsonl", r'{"text": "\ud83d\ude00 \ud83d", "x": ["\ud83d"]}'
        )
        assert table["text"].tolist() == ["\U0001f600 \ufffd"]
        assert table["x"].tolist() == [["\ufffd"]]

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        table = read(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"text": "x"}')
        assert table["text"].tolist() == ["x"]

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ('{"a": 1}\n{"a": \n', "line 2, which is not JSON"),
            ('{"a": 1}\n\n[1]\n', "line 3, which is a JSON list"),
            ("[" * 100_000, "line 1, which is not JSON"),
            ("\n \n", "is empty"),
        ],
    )
    def test_malformed_lines(self, tmp_path: Path, content: str, words: str) -> None:
        with pytest.raises(InputError, match=words):
            read(tmp_path, "a.jsonl", content)


class TestReadParquet:
    def test_long_integers_with_a_gap_stay_exact(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"id": pd.array([LONG, None], dtype="Int64")})
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"id": pa.array([LONG, None])}), tmp_path / "a.parquet")
        assert read_table(tmp_path / "a.parquet")["id"].tolist() == [LONG, None]
        write_table(frame, tmp_path / "b.parquet")
        assert read_table(tmp_path / "b.parquet")["id"][0] == LONG

    def test_nested_images_are_sources(self, tmp_path: Path) -> None:
        frame = pd.DataFrame(
            {"images": [[{"bytes": b"x", "path": None}], []], "text": ["NA", None]}
        )
        write_table(frame, tmp_path / "a.parquet")
        posts = to_posts(read_table(tmp_path / "a.parquet"))
        assert posts["images"].tolist() == [[{"bytes": b"x", "path": None}], []]
        assert posts["text"].tolist() == ["NA", None]

    @pytest.mark.parametrize("content", [b"PAR1garbagePAR1", b"text", b"PAR1" * 40])
    def test_malformed_parquet(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(InputError, match="not well formed: expected parquet"):
            read(tmp_path, "a.parquet", content)


class TestBadFiles:
    @pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
    @pytest.mark.parametrize("before", [0, 10, 1 << 20, (1 << 20) + 3])
    def test_another_encoding_is_named_with_its_byte(
        self, tmp_path: Path, name: str, before: int
    ) -> None:
        content = ("x" * (before - 2) + "é").encode() if before else b""
        with pytest.raises(
            InputError, match=rf"expected UTF-8, and got 0xe9 at byte {before} .*UTF-8"
        ):
            read(tmp_path, name, content[:before] + "é,b\n1,2\n".encode("latin-1"))

    def test_byte_is_found_across_a_cut_character(self, tmp_path: Path) -> None:
        content = b"x" * ((1 << 20) - 1) + "é".encode() + b"\xe9,b\n"
        with pytest.raises(InputError, match=f"at byte {(1 << 20) + 1} "):
            read(tmp_path, "a.csv", content)

    def test_character_that_the_file_cuts(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="got 0xc3 at byte 8 "):
            read(tmp_path, "a.csv", b"id,text\n\xc3")

    @pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl", "ndjson"])
    def test_empty_and_missing_files(self, tmp_path: Path, suffix: str) -> None:
        with pytest.raises(InputError, match="is empty: expected a table"):
            read(tmp_path, f"a.{suffix}", b"")
        with pytest.raises(InputError, match="does not exist: expected a table"):
            read_table(tmp_path / f"none.{suffix}")

    def test_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "a.csv"
        folder.mkdir()
        with pytest.raises(InputError, match="cannot be read.*a directory"):
            read_table(folder)

    def test_url_is_a_file_that_does_not_exist(self) -> None:
        with pytest.raises(InputError, match="does not exist"):
            read_table("https://example.org/posts.csv")

    @pytest.mark.parametrize(
        "name", ["posts.xls", "posts", "posts.gz", "a.xlsx.gz", ".csv"]
    )
    def test_unknown_suffix_lists_the_known(self, tmp_path: Path, name: str) -> None:
        words = "expected one of .csv, .tsv, .jsonl, .ndjson, .json, .csv.gz, .parquet"
        with pytest.raises(InputError, match=words):
            read_table(tmp_path / name)
        with pytest.raises(InputError, match=words):
            write_table(pd.DataFrame({"a": [1]}), tmp_path / name)
        assert list(tmp_path.iterdir()) == []


FRAME = pd.DataFrame(
    {
        "id": [LONG, LONG + 1, 3],
        "score": [0.1, 1 / 3, 1e-300],
        "text": ["=1+1", 'a "b",\r\nc\rd', None],
        "flag": [True, False, True],
    },
    index=[5, 6, 7],
)


class TestWrite:
    @pytest.mark.parametrize(
        "suffix", ["csv", "tsv", "parquet", "jsonl", "NDJSON", "csv.gz", "json"]
    )
    def test_way_back_is_exact(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.{suffix}"
        write_table(FRAME, path)
        back = read_table(path)
        assert list(back) == list(FRAME)
        for name in ("id", "score", "flag"):
            assert back[name].tolist() == FRAME[name].tolist()
        assert to_posts(back)["text"].tolist() == to_posts(FRAME)["text"].tolist()
        assert back.index.equals(pd.RangeIndex(3))
        assert list(tmp_path.iterdir()) == [path]

    def test_file_that_was_there_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("old")
        write_table(FRAME, str(path))
        assert len(read_table(path)) == 3

    @pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
    def test_nothing_partial_stays(self, tmp_path: Path, suffix: str) -> None:
        class Unprintable:
            def __str__(self) -> str:
                raise RuntimeError("no text")

        path = tmp_path / f"a.{suffix}"
        path.write_text("old")
        frame = pd.DataFrame({"a": [1] * 1000, "b": ["x"] * 999 + [Unprintable()]})
        with pytest.raises((RuntimeError, InputError)):
            write_table(frame, path)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_permissions_are_those_of_a_new_file(self, tmp_path: Path) -> None:
        (tmp_path / "plain").touch()
        write_table(FRAME, tmp_path / "a.csv")
        modes = {
            stat.S_IMODE(os.stat(tmp_path / name).st_mode)
            for name in ("plain", "a.csv")
        }
        assert len(modes) == 1

    def test_column_of_mixed_types_does_not_fit_parquet(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"id": ["a", 1]})
        with pytest.raises(InputError, match="does not fit into Parquet.*.jsonl and"):
            write_table(frame, tmp_path / "a.parquet")
        write_table(frame, tmp_path / "a.jsonl")
        assert read_table(tmp_path / "a.jsonl")["id"].tolist() == ["a", 1]

    def test_json_lines_hold_what_json_has_no_word_for(self, tmp_path: Path) -> None:
        frame = pd.DataFrame(
            {
                "time": [pd.Timestamp("2024-03-09T18:30", tz="UTC"), pd.NaT],
                "number": pd.array([1, None], dtype="Int64"),
                "float": [np.nan, 0.1],
                "list": [np.array([1, 2]), [None, "é"]],
                "dict": [{"a": np.float64(0.5)}, None],
                "path": [Path("a"), Path("b")],
            }
        )
        write_table(frame, tmp_path / "a.jsonl")
        lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
        assert lines == [
            '{"time": "2024-03-09 18:30:00+00:00", "number": 1, "float": null, '
            '"list": [1, 2], "dict": {"a": 0.5}, "path": "a"}',
            '{"time": null, "number": null, "float": 0.1, "list": [null, "é"], '
            '"dict": null, "path": "b"}',
        ]

    def test_folder_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="the folder .*none' does not exist"):
            write_table(FRAME, tmp_path / "none" / "a.csv")

    def test_path_that_is_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").mkdir()
        with pytest.raises(InputError, match="is a folder: expected the name"):
            check_table_path(tmp_path / "a.csv")

    def test_a_link_stays_and_the_file_behind_it_is_replaced(
        self, tmp_path: Path
    ) -> None:
        link, target = tmp_path / "link.csv", tmp_path / "far" / "target.csv"
        target.parent.mkdir()
        target.write_text("old")
        target.chmod(0o600)
        link.symlink_to(target)
        write_table(FRAME, link)
        assert link.is_symlink()
        assert len(read_table(target)) == 3
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert list(target.parent.iterdir()) == [target]

    def test_full_disk_is_one_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*args: object, **kwargs: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(pd.DataFrame, "to_csv", full)
        with pytest.raises(StorageError, match="a.csv' cannot be written.*No space"):
            write_table(FRAME, tmp_path / "a.csv")
        assert list(tmp_path.iterdir()) == []

    def test_rows_that_a_sheet_cannot_hold(self, tmp_path: Path) -> None:
        path = tmp_path / "a.xlsx"
        with pytest.raises(InputError, match="1,048,576 rows below.*or .parquet"):
            check_table_path(path, 1_048_576)
        assert check_table_path(path, 1_048_575) == path

    def test_path_that_can_be_written(self, tmp_path: Path) -> None:
        assert check_table_path(str(tmp_path / "a.csv")) == tmp_path / "a.csv"


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(st.text(), min_size=1, max_size=5),
    suffix=st.sampled_from(["csv", "tsv", "parquet", "jsonl"]),
)
def test_texts_survive_files(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("tables") / f"a.{suffix}"
    posts = to_posts([{"text": text} for text in texts])
    write_table(posts[["id", "text"]], path)
    back = to_posts(read_table(path))
    assert back["text"].tolist() == posts["text"].tolist()
    assert duplicate_groups(back).tolist() == duplicate_groups(posts).tolist()


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame({"a": [b"abc"]}),
        pd.DataFrame({"a": [{1, 2}]}),
        pd.DataFrame({"a": [np.inf]}),
        pd.DataFrame({"a": [Image.new("RGB", (1, 1))]}),
    ],
    ids=["two columns", "bytes", "set", "infinite", "picture"],
)
def test_what_json_cannot_hold_is_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not fit into JSON Lines"):
        write_table(frame, tmp_path / "table.jsonl")
    assert list(tmp_path.iterdir()) == []
