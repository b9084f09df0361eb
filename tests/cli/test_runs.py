"""`mmevent predict` in parts, `--status` and `mmevent export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from mmevent.posts import read_table

Command = Callable[..., Any]


def test_a_run_in_parts_has_the_rows_of_the_table(
    done: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    run, path, table = tmp_path / "run", tmp_path / "all.csv", tmp_path / "table.csv"
    result = done("predict", model, uncoded, "-o", f"{run}/", "--part-rows", 7)
    assert result.stdout.startswith("30 posts, ")
    assert "5 parts" in result.stderr
    assert "5 of them made now" in result.stderr
    again = done("predict", model, uncoded, "-o", run, "--part-rows", 7)
    assert "0 of them made now" in again.stderr
    status = done("predict", "--status", run).stdout
    assert status == "finished: 30 posts in 5 parts, 1 of 1 files begun\n"
    done("export", run, "-o", path)
    done("predict", model, uncoded, "-o", table)
    pd.testing.assert_frame_equal(read_table(path), read_table(table), atol=1e-5)


def test_a_folder_that_holds_no_run_has_no_status(
    refused: Command, tmp_path: Path
) -> None:
    assert "no folder of a run" in refused("predict", "--status", tmp_path)


def test_options_of_the_other_output_are_refused(
    refused: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    csv, run = tmp_path / "p.csv", f"{tmp_path / 'run'}/"
    assert "--part-rows" in refused(
        "predict", model, uncoded, "-o", csv, "--part-rows", 7
    )
    line = refused("predict", model, uncoded, "-o", run, "--allow-text-only")
    assert "--allow-text-only" in line
