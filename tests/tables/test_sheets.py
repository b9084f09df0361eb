from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmevent.exceptions import InputError, MissingPackageError, MmeventWarning
from mmevent.tables.tables import read_table, write_table

openpyxl = pytest.importorskip("openpyxl")


def test_every_cell_is_exact(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "id": [1_234_567_890_123_456_789, 2],
            "code": ["007", "1e5"],
            "text": ["=1+1", "a\r\nb\tc\0_x000D_ \uffff"],
            "score": [0.1, 1e-300],
            "flag": [True, False],
            "n": pd.array([1, None], dtype="Int64"),
            "time": ["2024-03-09", None],
        }
    )
    write_table(frame, tmp_path / "a.xlsx")
    table = read_table(tmp_path / "a.xlsx")
    assert table["id"].tolist() == ["1234567890123456789", "2"]
    assert str(table["n"].dtype) == "Int64"
    for name in ("code", "text", "score", "flag"):
        assert table[name].tolist() == frame[name].tolist()
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    assert sheet["C2"].data_type == "s"


def test_sheets_of_people(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in ([None, "id", "text"], [None, 1.0, "NA"], [None, 2, None], [None] * 3):
        book.active.append(row)
    book.active["E9"].font = openpyxl.styles.Font(bold=True)
    book.create_sheet("notes").append(["by Ann"])
    book.create_sheet("empty")
    book.save(tmp_path / "a.xlsx")
    with pytest.warns(MmeventWarning, match="'Sheet', the first.*not 'notes'"):
        table = read_table(tmp_path / "a.xlsx")
    assert table.to_dict("list") == {"id": [1, 2], "text": ["NA", None]}


def test_charts_alone_are_no_table(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.remove(book.active)
    book.create_chartsheet("chart").add_chart(openpyxl.chart.BarChart())
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(InputError, match="and got: no sheet with cells"):
        read_table(tmp_path / "a.xlsx")


def test_an_empty_sheet_is_empty(tmp_path: Path) -> None:
    openpyxl.Workbook().save(tmp_path / "a.xlsx")
    with pytest.raises(InputError, match="is empty: expected a table"):
        read_table(tmp_path / "a.xlsx")


def test_styles_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    openpyxl.Workbook().save(tmp_path / "sound.xlsx")
    with (
        zipfile.ZipFile(tmp_path / "sound.xlsx") as sound,
        zipfile.ZipFile(tmp_path / "a.xlsx", "w") as foreign,
    ):
        for name in sound.namelist():
            content = sound.read(name)
            if name == "xl/styles.xml":
                content = re.sub(rb"<fill>.*?</fill>", b"<fill/>", content)
            foreign.writestr(name, content)
    with pytest.raises(InputError, match="expected xlsx content, and got: TypeError"):
        read_table(tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"a": ["x" * 32_768]}), "32,768 characters in row 1 .*'a'"),
        (pd.DataFrame(np.zeros((1, 16_385))), "16,384 columns"),
        (pd.DataFrame({"a": [np.inf]}), "inf in row 1 below the header, column 'a'"),
        (pd.DataFrame(index=range(1_048_576), columns=["a"]), "1,048,576 rows"),
    ],
    ids=["characters", "columns", "infinite", "rows"],
)
def test_what_a_sheet_cannot_hold(
    tmp_path: Path, frame: pd.DataFrame, words: str
) -> None:
    with pytest.raises(InputError, match=f"a sheet of Excel.*{words}"):
        write_table(frame, tmp_path / "a.xlsx")
    assert list(tmp_path.iterdir()) == []


def test_another_file_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"id,text\n")
    with pytest.raises(InputError, match="not well formed: expected xlsx content"):
        read_table(tmp_path / "a.xlsx")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(MissingPackageError, match=r"mmevent\[tables\]"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "a.xlsx")
