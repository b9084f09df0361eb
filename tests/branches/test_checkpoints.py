"""Folders of trainings: found again, removed at the end, and never somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from mmevent.branches.checkpoints import remove_trainings, trainings, workspace
from mmevent.encoders.cache import shared_memo
from mmevent.exceptions import MmeventWarning

KEY, OTHER = "a" * 64, "b" * 64


def test_the_same_training_finds_its_folder_again(tmp_path: Path) -> None:
    root = tmp_path / "training"

    def interrupted() -> None:
        with workspace(root, KEY) as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    [folder] = trainings(root)
    with shared_memo():
        with workspace(root, KEY) as again:
            assert [path.name for path in again.iterdir()] == ["half"]
        assert trainings(root) == [folder]
    assert not root.exists()


def test_another_training_has_another_folder(tmp_path: Path) -> None:
    with workspace(tmp_path, KEY) as one, workspace(tmp_path, OTHER) as two:
        assert one != two
        assert set(trainings(tmp_path)) == {one, two}


def test_the_very_same_in_two_processes_keeps_apart(tmp_path: Path) -> None:
    with workspace(tmp_path, KEY) as one:
        (one / "half").touch()
        with shared_memo(), workspace(tmp_path, KEY) as two:
            assert two.parent != tmp_path
            assert list(two.iterdir()) == []
        assert (one / "half").exists()
        with pytest.raises(TimeoutError):
            FileLock(f"{one}.lock", blocking=False).acquire()


def test_without_a_place_the_folder_is_temporary() -> None:
    with workspace(None, KEY) as folder:
        assert folder.is_dir()
    assert not folder.exists()


def test_a_place_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "training"
    with (
        pytest.warns(MmeventWarning, match=r"begin anew.*Name another place by cache="),
        workspace(root, KEY) as folder,
    ):
        assert folder.is_dir()


def test_what_is_old_is_removed(tmp_path: Path) -> None:
    old, recent = tmp_path / ("c" * 32), tmp_path / ("d" * 32)
    for folder in (old, recent):
        folder.mkdir()
    os.utime(old, (0, 0))
    with workspace(tmp_path, KEY) as folder:
        assert set(trainings(tmp_path)) == {recent, folder}


def test_what_another_process_removes_meanwhile_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = [tmp_path / ("c" * 32)]
    monkeypatch.setattr("mmevent.branches.checkpoints.trainings", lambda root: gone)
    with workspace(tmp_path, KEY) as folder:
        assert folder.parent == tmp_path


def test_somebody_elses_files_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / ("c" * 32)).mkdir()
    remove_trainings(tmp_path)
    remove_trainings(tmp_path / "not there")
    assert {path.name for path in tmp_path.iterdir()} == {"labels.csv", "notes"}


def test_a_training_in_progress_is_not_removed(tmp_path: Path) -> None:
    with workspace(tmp_path, KEY) as folder:
        remove_trainings(tmp_path)
        assert folder.is_dir()
