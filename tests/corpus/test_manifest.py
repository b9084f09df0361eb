"""A run goes on with the same model, settings and source alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmevent.corpus import predict
from mmevent.corpus.manifest import read_manifest, write_manifest
from mmevent.exceptions import InputError

ROWS = 8


def test_an_edited_manifest_is_refused(
    model: Path, source: Path, tmp_path: Path
) -> None:
    predict(model, source, tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": "x"}))
    with pytest.raises(InputError, match="was edited"):
        predict(model, source, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"policy": 0.25}, "policy"),
        ({"part_rows": 9}, "part_rows"),
        ({"keep": ["place"]}, "keep"),
    ],
)
def test_other_settings_are_refused(
    model: Path, source: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    predict(model, source, tmp_path / "run", part_rows=ROWS)
    with pytest.raises(InputError, match=f"holds another run.*{said}"):
        predict(model, source, tmp_path / "run", **({"part_rows": ROWS} | change))


def test_a_changed_source_is_refused(model: Path, source: Path, tmp_path: Path) -> None:
    predict(model, source, tmp_path / "run", part_rows=ROWS)
    with (source / "a.csv").open("a") as stream:
        stream.write("x,y,z\r\n")
    with pytest.raises(InputError, match=r"content of .*a\.csv"):
        predict(model, source, tmp_path / "run", part_rows=ROWS)


def test_what_is_no_folder_of_a_run_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "posts.csv").write_text("id\n")
    for path in (tmp_path, tmp_path / "posts.csv", model):
        with pytest.raises(InputError, match="no folder of a run"):
            read_manifest(path)


def test_no_part_lies_outside_the_folder(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"parts": [{"name": "../part-00000-0000000.parquet"}]})
    with pytest.raises(InputError, match="edited or is damaged"):
        read_manifest(tmp_path)
