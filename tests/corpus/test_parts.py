"""Parts are whole, or made anew."""

from __future__ import annotations

from pathlib import Path

from mmevent.corpus import predict

ROWS = 8


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


def test_a_damaged_part_is_made_anew(model: Path, source: Path, tmp_path: Path) -> None:
    predict(model, source, tmp_path / "run", part_rows=ROWS)
    before = content(tmp_path / "run")
    (tmp_path / "run" / "part-00001-0000001.parquet").write_bytes(b"PAR1")
    assert predict(model, source, tmp_path / "run", part_rows=ROWS).n_made == 1
    assert content(tmp_path / "run") == before
