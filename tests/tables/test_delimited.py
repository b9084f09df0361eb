from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mmevent.exceptions import InputError, MmeventWarning
from mmevent.posts.posts import to_posts
from mmevent.tables.tables import read_table, write_table


def read(tmp_path: Path, content: str | bytes, name: str = "a.csv") -> pd.DataFrame:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


class TestSeparators:
    @pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
    @pytest.mark.parametrize("sign", [",", ";", "\t"], ids=["comma", "semi", "tab"])
    def test_each_is_recognised(self, tmp_path: Path, name: str, sign: str) -> None:
        lines = ["id;text;event", '1;"a;b, c";0', "2;d e;1"]
        table = read(tmp_path, "\n".join(lines).replace(";", sign), name)
        assert list(table) == ["id", "text", "event"]
        assert table["event"].tolist() == [0, 1]
        assert table["text"].tolist() == [f"a{sign}b, c", "d e"]

    def test_commas_in_texts_do_not_count(self, tmp_path: Path) -> None:
        table = read(tmp_path, "id;text;label\n1;We march, all;0\n2;here, now, or;1\n")
        assert table["text"].tolist() == ["We march, all", "here, now, or"]

    def test_several_in_the_header(self, tmp_path: Path) -> None:
        table = read(tmp_path, "id;text, raw;label\n1;a;0\n2;b, c, d;1\n")
        assert list(table) == ["id", "text, raw", "label"]
        table = read(tmp_path, "id,a;b\n1,2\n3,4;5\n")
        assert list(table) == ["id", "a;b"]
        table = read(tmp_path, "id;text;a,b\n1;x;0,5\n2;y;0,7\n")
        assert list(table) == ["id", "text", "a,b"]

    def test_a_line_of_excel_states_it(self, tmp_path: Path) -> None:
        assert list(read(tmp_path, "sep=;\r\nid;text\r\n1;a\r\n")) == ["id", "text"]

    def test_one_column_stays_one(self, tmp_path: Path) -> None:
        assert read(tmp_path, "text\na;b\nc;d\n")["text"].tolist() == ["a;b", "c;d"]

    def test_decimal_commas_stay_as_they_are(self, tmp_path: Path) -> None:
        table = read(tmp_path, "id;p\n1;0,171875\n2;1\n")
        assert table["p"].tolist() == ["0,171875", "1"]


class TestLineEnds:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
    def test_each_ends_a_row(self, tmp_path: Path, end: str) -> None:
        table = read(tmp_path, end.join(["id,text", "1,a", '2,"b, c"', ""]))
        assert table.to_dict("list") == {"id": [1, 2], "text": ["a", "b, c"]}

    def test_a_lone_cr_does_not_split_a_post(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"id": ["a", "b"], "text": ["march\rcrowd", "x"]})
        frame.to_csv(tmp_path / "a.csv", index=False, lineterminator="\n")
        table = read_table(tmp_path / "a.csv")
        assert table["text"].tolist() == ["march\rcrowd", "x"]
        assert read(tmp_path, 'id,text\n1,"a\rb\r\nc"\n')["text"][0] == "a\rb\r\nc"

    def test_a_text_cut_in_two_lines_invents_no_post(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="line 3: 2 cells where the header has 3"):
            read(tmp_path, "id,text,label\n1,a,0\n2,We march\nthis way,1\n")

    def test_empty_cells_at_the_end_are_cells(self, tmp_path: Path) -> None:
        table = read(tmp_path, "id,text,label\n1,a,0\n\n2,b,\n,,\n")
        assert table["id"].tolist() == [1, 2, pd.NA]
        assert str(table["label"].dtype) == "Int64"

    def test_excel_leaves_out_separators_before_empty_last_cells(
        self, tmp_path: Path
    ) -> None:
        content = "id;text;event;note\r\n1;a;0;x\r\n2;b c;1\r\n3;d\r\n4;e;1;y\r\n"
        with pytest.warns(MmeventWarning, match="2 of 4 rows have fewer.* in line 3"):
            table = read(tmp_path, content)
        assert table["id"].tolist() == [1, 2, 3, 4]
        assert table["note"].isna().tolist() == [False, True, True, False]
        assert table["event"].tolist() == [0, 1, pd.NA, 1]

    @pytest.mark.parametrize(
        "rows",
        [
            ["2,We march", "this way,1"],
            ["2,We march", "17"],
            ['2,"We march,1', '3,b,c"'],
            ["2,We march,0", "17, they say"],
            ["2,We march,1", ",x"],
        ],
    )
    def test_rows_of_which_the_end_cannot_be_told(
        self, tmp_path: Path, rows: list[str]
    ) -> None:
        full = [f"{row},a{row},b c" for row in range(10, 20)]
        lines = ["id,author,text", *full, *rows, "9,c4,e"]
        with pytest.raises(InputError, match=r"line \d+: \d cells? where the header"):
            read(tmp_path, "\n".join(lines))

    def test_one_empty_cell_too_many_is_none(self, tmp_path: Path) -> None:
        table = read(tmp_path, 'id;text;event\r\n1;"a;b";1;\r\n2;b;0\r\n3;"c";;\r\n')
        assert table["id"].tolist() == [1, 2, 3]
        assert table["text"].tolist() == ["a;b", "b", "c"]
        assert table["event"].tolist() == [1, 0, pd.NA]
        with pytest.raises(InputError, match="line 2: 5 cells where the header has 3"):
            read(tmp_path, "id;text;event\n1;a;1;;\n")

    def test_lines_are_counted_from_the_first(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="line 3: 3 cells where the header has 2"):
            read(tmp_path, "sep=;\r\nid;text\r\n1;a;b\r\n")


def test_nul_is_a_character(tmp_path: Path) -> None:
    table = read(tmp_path, "id,text\n1,a\0b\n2,\0\n")
    assert table["text"].tolist() == ["a\0b", "\0"]


SWALLOWED = ["id,text,event"] + [f"{k},post {k},{k % 2}" for k in range(10)]
SWALLOWED[3], SWALLOWED[8] = '2,"We march,0', '7,they said go",1'


class TestQuotes:
    def test_rows_in_quotes_are_refused(self, tmp_path: Path) -> None:
        words = "line 4: rows that cannot be told.*the next is in line 9"
        with pytest.raises(InputError, match=words):
            read(tmp_path, "\n".join(SWALLOWED))

    @pytest.mark.parametrize(
        "lines",
        [SWALLOWED, [*SWALLOWED, '10,"Go" they said,1'], [*SWALLOWED, '10,"never,1']],
        ids=["two", "in one cell", "not closed"],
    )
    def test_a_tsv_without_quoting_has_them_as_characters(
        self, tmp_path: Path, lines: list[str]
    ) -> None:
        text = "\n".join(lines).replace(",", "\t")
        table = read(tmp_path, text, "a.tsv")
        assert table["text"].tolist() == [line.split(",")[1] for line in lines[1:]]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('id,text\n1,a\n2,"b\n3,c\n', "line 3: a quote opens a cell there and is"),
            ('id,text\n1,"say "go" now"\n', "line 2: .*in line 2, the cell goes on"),
            ('id,text\n1,"a\nb" c\n', "line 2: .*in line 3, the cell goes on"),
            ('id\ttext\n1\t"a"\n2\t"b\n', "line 3: a quote opens a cell there"),
        ],
    )
    def test_quotes_that_do_not_close(
        self, tmp_path: Path, text: str, words: str
    ) -> None:
        with pytest.raises(InputError, match=words):
            read(tmp_path, text, "a.tsv" if "\t" in text else "a.csv")

    @pytest.mark.parametrize(
        "text",
        [
            'id,text,by\n1,"A, B\nC, D",ann\n2,x,bo\n',
            'id,text\n1,"a\nb,c"\n',
            'id,text,n\n1,"a ""b""\nc, d, e",5\n2,5" pipe,6\n',
        ],
    )
    def test_texts_of_several_lines_are_texts(self, tmp_path: Path, text: str) -> None:
        assert read(tmp_path, text)["id"].tolist() == [1, 2][: text.count("\n2,") + 1]

    @pytest.mark.parametrize("suffix", ["csv", "tsv"])
    def test_what_is_written_is_never_refused(
        self, tmp_path: Path, suffix: str
    ) -> None:
        texts = ["a\n1,x", "a\n1\tx", "\n1,", "\n1\t", ' "a', "  "]
        for columns in ({"id": range(6), "text": texts}, {"text": texts}):
            write_table(pd.DataFrame(columns), tmp_path / f"a.{suffix}")
            assert read_table(tmp_path / f"a.{suffix}")["text"].tolist() == texts


def test_lists_and_mappings_have_a_form_in_a_cell(tmp_path: Path) -> None:
    cells = [["a.jpg", "b.jpg"], ["c|d.jpg"], [], None, "e.jpg", ["[f].jpg"]]
    frame = pd.DataFrame({"id": range(6), "images": cells, "meta": [{"a": [1]}] * 6})
    write_table(frame, tmp_path / "a.csv")
    table = read_table(tmp_path / "a.csv")
    assert table["images"].fillna("").tolist()[:5] == [
        "a.jpg|b.jpg",
        '["c|d.jpg"]',
        "",
        "",
        "e.jpg",
    ]
    assert table["meta"][0] == '{"a": [1]}'
    images = to_posts(table)["images"].tolist()
    assert images == to_posts(frame)["images"].tolist()


@pytest.mark.parametrize(
    "cell",
    [b"x", [b"x"], {1, 2}, object()],
    ids=["bytes", "list of bytes", "set", "object"],
)
def test_what_a_cell_cannot_hold_is_refused(tmp_path: Path, cell: object) -> None:
    with pytest.raises(InputError, match="does not fit into .csv.* in a cell"):
        write_table(pd.DataFrame({"a": [cell, "x"]}), tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []
