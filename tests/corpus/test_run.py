"""A run in parts: the posts of the audit, whatever stopped it before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock

import mmevent
from mmevent.corpus import export_run, predict, read_run, run_status
from mmevent.exceptions import (
    InputError,
    MmeventWarning,
    RunError,
    StorageError,
    UnusableInputWarning,
)
from mmevent.posts import read_table, write_table

ROWS = 8


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


def test_a_run_has_the_rows_of_the_audit(
    model: Path, source: Path, tmp_path: Path
) -> None:
    done = predict(model, source, tmp_path / "run", part_rows=ROWS, keep=["place"])
    assert (done.n_posts, done.n_parts, done.n_made) == (60, 9, 9)
    whole = pd.concat([read_table(path) for path in sorted(source.iterdir())])
    expected = mmevent.load(model, image_root=source).audit(whole)
    found = read_run(tmp_path / "run")
    assert done.n_flagged == int((expected["margin"] >= 0).sum())
    assert found["place"].tolist() == whole["id"].tolist()
    for name in ("id", "prediction", "margin", "rule", "p_text"):
        assert found[name].tolist() == expected[name].tolist(), name
    assert run_status(tmp_path / "run")["finished"]


@pytest.mark.parametrize(
    ("policy", "writes"), [(None, 0), (None, 6), ("budget=10", 4), ("budget=10", 15)]
)
def test_a_stopped_run_ends_like_one_that_was_not(
    model: Path,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: str | None,
    writes: int,
) -> None:
    given: dict[str, Any] = {"part_rows": ROWS, "policy": policy}
    predict(model, source, tmp_path / "whole", **given)
    replace, left = Path.replace, iter(range(writes))

    def stop(path: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            predict(model, source, tmp_path / "run", **given)
    name = ".part-00000-0000009.parquet.0a" if writes else ".manifest.json.0a"
    (tmp_path / "run" / name).write_bytes(b"half")
    predict(model, source, tmp_path / "run", **given)
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    again = predict(model, source, tmp_path / "run", **given)
    assert again.n_made == 0
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    if policy:
        assert again.n_flagged == int(read_run(tmp_path / "run")["prediction"].sum())


def test_a_source_that_changes_in_a_run_stops_it(
    model: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*args: Any, **kwargs: Any) -> Any:
        (source / "b.parquet").unlink(missing_ok=True)
        return write(*args, **kwargs)

    from mmevent.corpus import run

    write = run.write_part
    monkeypatch.setattr(run, "write_part", changed)
    with pytest.raises(RunError, match=r"b\.parquet' was changed or deleted"):
        predict(model, source, tmp_path / "run", part_rows=ROWS)


def test_two_runs_on_one_target_do_not_mix(
    model: Path, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    with (
        FileLock(tmp_path / "run" / ".lock"),
        pytest.raises(InputError, match="another process works"),
    ):
        predict(model, source, tmp_path / "run")


def test_a_folder_of_something_else_is_refused(
    model: Path, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="holds something else"):
        predict(model, source, source)


def test_a_corrupt_file_is_named_and_the_others_predicted(
    model: Path, source: Path, tmp_path: Path
) -> None:
    (source / "b.parquet").write_bytes(b"PAR1 and no more")
    write_table(pd.DataFrame({"id": [1], "body": ["x"]}), source / "d.csv")
    with pytest.raises(RunError, match=r"(?s)2 of 4 files.*b\.parquet.*d\.csv"):
        predict(model, source, tmp_path / "run", part_rows=ROWS)
    status = run_status(tmp_path / "run")
    assert not status["finished"]
    assert status["posts"] == 40
    assert len(status["failed"]) == 2
    with pytest.warns(UnusableInputWarning, match=r"2 files .*b\.parquet.*d\.csv"):
        assert len(read_run(tmp_path / "run")) == 40
    with pytest.warns(UnusableInputWarning, match="posts are missing"):
        export_run(tmp_path / "run", tmp_path / "all.csv")


@pytest.mark.parametrize("pattern", ["none/*.csv", "posts/*.xyz"])
def test_a_pattern_that_matches_nothing_is_refused(
    model: Path, source: Path, tmp_path: Path, pattern: str
) -> None:
    with pytest.raises(InputError, match="holds no table"):
        predict(model, tmp_path / pattern, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_source_without_rows_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("id,text\n")
    with pytest.raises(InputError, match="no posts"):
        predict(model, tmp_path / "empty.csv", tmp_path / "run")


def test_same_ids_in_two_files_are_counted(
    model: Path, source: Path, tmp_path: Path
) -> None:
    (source / "d.csv").write_bytes((source / "a.csv").read_bytes())
    with pytest.warns(MmeventWarning, match="20 posts have the id"):
        predict(model, source, tmp_path / "run")


def test_rows_without_ids_are_numbered(model: Path, tmp_path: Path) -> None:
    for name in "ab":
        write_table(pd.DataFrame({"text": ["x", "y", "z"]}), tmp_path / f"{name}.csv")
    predict(model, tmp_path / "a.csv", tmp_path / "one", part_rows=2)
    assert read_run(tmp_path / "one", ["id"])["id"].tolist() == ["0", "1", "2"]
    predict(model, tmp_path / "[ab].csv", tmp_path / "two", part_rows=2)
    ids = [f"{name}.csv:{n}" for name in "ab" for n in range(3)]
    assert read_run(tmp_path / "two", ["id"])["id"].tolist() == ids


def test_a_full_disk_keeps_finished_parts(
    model: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, left = os.fsync, iter(range(3))

    def full(file: int) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        synced(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="3 parts take .* Finished parts stay"):
            predict(model, source, tmp_path / "run", part_rows=ROWS)
    assert run_status(tmp_path / "run")["parts"] == 3
    with pytest.raises(InputError, match="not finished"):
        export_run(tmp_path / "run", tmp_path / "all.csv")
    assert not (tmp_path / "all.csv").exists()
    assert predict(model, source, tmp_path / "run", part_rows=ROWS).n_made == 6
