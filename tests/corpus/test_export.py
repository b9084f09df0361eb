"""The parts of a run as one table."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmevent.corpus import export_run, predict, read_run
from mmevent.posts import read_table

ROWS = 8


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_parts_are_joined(
    model: Path, source: Path, tmp_path: Path, suffix: str
) -> None:
    predict(model, source, tmp_path / "run", part_rows=ROWS)
    path = tmp_path / f"all{suffix}"
    assert export_run(tmp_path / "run", path) == 60
    table, expected = read_table(path), read_run(tmp_path / "run")
    assert table["id"].tolist() == expected["id"].tolist()
    assert table["score"].tolist() == expected["score"].tolist()
