from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmevent.exceptions import InputError
from mmevent.tables.tables import read_table, write_table

LONG = 1_234_567_890_123_456_789


class TestParquet:
    def test_an_index_with_a_name_is_a_column(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"id": ["0071", "0072"], "text": ["march", "x"]})
        frame.set_index("id").to_parquet(tmp_path / "a.parquet")
        assert read_table(tmp_path / "a.parquet")["id"].tolist() == ["0071", "0072"]
        frame.set_index(["id", "text"]).to_parquet(tmp_path / "a.parquet")
        assert list(read_table(tmp_path / "a.parquet")) == ["id", "text"]

    def test_a_name_of_index_and_column(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"id": [1, 2]}, index=pd.Index([3, 4], name=" id"))
        frame.to_parquet(tmp_path / "a.parquet")
        with pytest.raises(InputError, match="2 columns of the name 'id'"):
            read_table(tmp_path / "a.parquet")

    def test_text_that_is_not_utf_8(self, tmp_path: Path) -> None:
        ends = pa.py_buffer(np.array([0, 1, 2], np.int32).tobytes())
        text = pa.Array.from_buffers(
            pa.string(), 2, [None, ends, pa.py_buffer(b"a\xff")]
        )
        pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
        with pytest.raises(InputError, match="in the column 'text': .*Invalid UTF8"):
            read_table(tmp_path / "a.parquet")

    def test_integers_beyond_64_bits_are_text(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"id": pd.Series([2**64, None, 1], dtype=object)})
        write_table(frame, tmp_path / "a.parquet")
        table = read_table(tmp_path / "a.parquet")
        assert table["id"].fillna("").tolist() == [str(2**64), "", "1"]
        nested = pd.DataFrame({"a": [[2**64]]})
        with pytest.raises(InputError, match="does not fit into Parquet"):
            write_table(nested, tmp_path / "a.parquet")


@pytest.mark.parametrize("suffix", ["dta", "sav"])
class TestStatistics:
    def test_way_back(self, tmp_path: Path, suffix: str) -> None:
        pytest.importorskip("pyreadstat")
        frame = pd.DataFrame(
            {
                "id": [LONG, LONG + 1],
                "small": pd.array([5, None], dtype="Int64"),
                "score": [0.1, np.nan],
                "text": ["é" * 3000, None],
                "images": [["a.jpg", "b.jpg"], []],
            }
        )
        write_table(frame, tmp_path / f"a.{suffix}")
        table = read_table(tmp_path / f"a.{suffix}")
        assert table["id"].tolist() == [str(LONG), str(LONG + 1)]
        assert table["small"].tolist() == [5, pd.NA]
        assert table["score"].fillna(9).tolist() == [0.1, 9]
        assert table["text"].tolist() == ["é" * 3000, ""]
        assert table["images"].tolist() == ["a.jpg|b.jpg", ""]

    @pytest.mark.parametrize(
        ("frame", "words"),
        [
            (pd.DataFrame({"a b": [1]}), "the column 'a b', where a name has"),
            (pd.DataFrame({"a": ["x\0y"]}), "a NUL in a cell of the column 'a'"),
            (pd.DataFrame({"a": ["x", 1]}), "values of several types"),
        ],
        ids=["name", "NUL", "types"],
    )
    def test_what_does_not_fit(
        self, tmp_path: Path, suffix: str, frame: pd.DataFrame, words: str
    ) -> None:
        pytest.importorskip("pyreadstat")
        with pytest.raises(InputError, match=f"does not fit into.*{words}"):
            write_table(frame, tmp_path / f"a.{suffix}")
        assert list(tmp_path.iterdir()) == []

    def test_another_file_of_that_name(self, tmp_path: Path, suffix: str) -> None:
        pytest.importorskip("pyreadstat")
        (tmp_path / f"a.{suffix}").write_bytes(b"no table" * 50)
        with pytest.raises(InputError, match="not well formed"):
            read_table(tmp_path / f"a.{suffix}")


def test_values_of_labelled_columns_are_their_codes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"event": pd.Categorical(["no", "yes", "no"])})
    frame.to_stata(tmp_path / "a.dta", write_index=False)
    assert read_table(tmp_path / "a.dta")["event"].tolist() == [0, 1, 0]
