"""The files of a model folder: written whole or not at all, and checked when read."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from persistence.helpers import (
    WRITTEN,
    Coded,
    change_json,
    demo_detector,
    saved_and_loaded,
    seal,
)
from sklearn.base import clone

from mmevent import (
    EventDetector,
    load,
)
from mmevent.exceptions import (
    InputError,
    ModelFolderError,
    StorageError,
)
from mmevent.persistence.folder import saved_image_root
from mmevent.persistence.objects import same

# Where it is written


def test_an_empty_folder_is_taken_with_its_permissions(
    fitted: EventDetector, tmp_path: Path
) -> None:
    target = tmp_path / "model"
    target.mkdir(mode=0o750)
    fitted.save(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o750
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    load(target)


def test_permissions_are_those_of_any_new_folder(original: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(original.stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((original / "detector.json").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize(
    ("target", "words"),
    [
        pytest.param("full", "is not empty", id="not-empty"),
        pytest.param("full/file", "is a file", id="file"),
        pytest.param("no/model", "does not exist", id="no-parent"),
    ],
)
def test_a_place_that_does_not_serve_is_refused_before_any_work(
    target: str,
    words: str,
    fitted: EventDetector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    monkeypatch.setattr("mmevent.persistence.saving.to_bytes", None)
    with pytest.raises(InputError, match=words):
        fitted.save(tmp_path / target)
    assert (tmp_path / "full" / "file").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_fills_meanwhile_is_left_alone(
    fitted: EventDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def write_and_interfere(self: Path, data: bytes) -> int:
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "other").touch()
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_and_interfere)
    with pytest.raises(ModelFolderError, match="cannot be written"):
        fitted.save(tmp_path / "model")
    names = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))]
    assert names == ["model", "model/other"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        pytest.param(
            OSError(28, "No space left on device"),
            StorageError,
            id="disk-full",
        ),
        pytest.param(
            Exception("I/O error: No space left on device (os error 28)"),
            StorageError,
            id="disk-full-in-Rust",
        ),
        pytest.param(
            PermissionError(13, "Permission denied"), ModelFolderError, id="no"
        ),
        pytest.param(KeyboardInterrupt(), KeyboardInterrupt, id="interrupted"),
    ],
)
@pytest.mark.parametrize("at", ["mkdir", "write_bytes", "rename"])
def test_a_failure_leaves_nothing_behind(
    at: str,
    error: BaseException,
    raised: type[BaseException],
    fitted: EventDetector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    real = getattr(Path, at)

    def fail(self: Path, *args: Any, **kwargs: Any) -> Any:
        calls.append(self)
        if at == "write_bytes" and len(calls) < 4:
            return real(self, *args, **kwargs)
        raise error

    monkeypatch.setattr(Path, at, fail)
    with pytest.raises(raised, match=getattr(error, "strerror", None)):
        fitted.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# What is refused at load


def test_all_that_is_written_is_in_the_manifest(original: Path) -> None:
    names = sorted(
        path.relative_to(original).as_posix()
        for path in original.rglob("*")
        if path.is_file()
    )
    assert names == sorted([*WRITTEN, "manifest.json"])
    assert sorted(json.loads((original / "manifest.json").read_text())) == list(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_an_altered_file_is_named(name: str, folder: Path) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    if name == "detector.json":
        data = (folder / name).read_bytes().replace(b'"max"', b'"mean"')
        data += b" "
    (folder / name).write_bytes(data)
    with pytest.raises(ModelFolderError, match=f"was altered: .*{name}"):
        load(folder)


@pytest.mark.parametrize("name", [*WRITTEN, "manifest.json"])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=f"incomplete: .*{name}"):
        load(folder)


@pytest.mark.parametrize(
    "name", ["code.py", "text/branch.pkl", "encoders/a/config.json"]
)
def test_a_file_that_was_added_is_named(name: str, folder: Path) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("import os")
    with pytest.raises(ModelFolderError, match=f"did not write: .*{name}"):
        load(folder)


def test_what_systems_leave_in_folders_is_ignored(folder: Path) -> None:
    (folder / ".DS_Store").touch()
    (folder / "._README.md").touch()
    (folder / "text" / "Thumbs.db").touch()
    load(folder)


def test_a_link_in_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    card = folder / "README.md"
    card.rename(tmp_path / "card")
    card.symlink_to(tmp_path / "card")
    with pytest.raises(ModelFolderError, match="holds a link, README.md"):
        load(folder)


def test_a_link_to_the_folder_is_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    load(tmp_path / "link")


@pytest.mark.parametrize(
    "version",
    [3, 0, "2", True, 2.0, None],
    ids=["newer", "older", "text", "boolean", "float", "none"],
)
def test_another_format_version_is_refused_first(version: object, folder: Path) -> None:
    change_json(folder / "detector.json", format_version=version)
    (folder / "manifest.json").unlink()
    with pytest.raises(
        ModelFolderError, match=f"format version {version!r}: expected 2"
    ):
        load(folder)


@pytest.mark.parametrize("manifest", [True, False], ids=["whole", "no manifest"])
def test_a_folder_of_an_unreleased_version_says_how_to_fit_again(
    folder: Path, manifest: bool
) -> None:
    change_json(folder / "detector.json", format_version=1)
    seal(folder)
    if not manifest:
        (folder / "manifest.json").unlink()
    with pytest.raises(ModelFolderError) as raised:
        load(folder)
    said = str(raised.value)
    assert repr(str(folder)) in said
    for words in (
        "was made by an unreleased version of mmevent",
        "expected the format version 2, got 1",
        "Fit the detector again on its labelled posts, with EventDetector.fit and save",
        "mmevent fit on the command line",
        "README.md says what it was fitted on",
    ):
        assert words in said
    assert (folder / "README.md").is_file()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../secret", id="above"),
        pytest.param("text/../../secret", id="hidden-above"),
        pytest.param("/etc/passwd", id="absolute"),
        pytest.param("C:/secret", id="drive"),
        pytest.param("..\\secret", id="backslash"),
        pytest.param("./README.md", id="dot"),
        pytest.param("", id="empty"),
    ],
)
def test_a_manifest_that_leads_outside_is_refused(
    name: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("")
    change_json(folder / "manifest.json", **{name: hashlib.sha256(b"").hexdigest()})
    with pytest.raises(ModelFolderError, match=r"names .*: expected files within"):
        load(folder)


@pytest.mark.parametrize("name", ["detector.json", "manifest.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_damaged_json_is_named(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=f"{name} in .* is damaged"):
        load(folder)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda path: None, "does not exist", id="nothing"),
        pytest.param(lambda path: path.touch(), "is a file", id="file"),
        pytest.param(lambda path: path.mkdir(), "is no model folder", id="empty"),
    ],
)
def test_what_is_no_model_folder_is_refused(
    make: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    make(tmp_path / "model")
    with pytest.raises(ModelFolderError, match=words):
        load(tmp_path / "model")


def test_a_file_that_may_not_be_read_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mmevent.persistence.files.os.open", refuse)
    with pytest.raises(ModelFolderError, match="cannot be read: .*Permission denied"):
        load(folder)


# Labels and tables


@pytest.mark.parametrize(
    "classes",
    [
        pytest.param(np.array(["2024-01-01", "2025-01-01"], dtype="M8[D]"), id="dates"),
        pytest.param(np.array([b"no", b"yes"]), id="bytes"),
        pytest.param(np.array([(0,), (1,)], dtype=[("a", int)]), id="structures"),
    ],
)
def test_labels_that_json_cannot_hold_are_refused(
    classes: np.ndarray, fitted: EventDetector, tmp_path: Path
) -> None:
    detector = clone(fitted)
    detector.fitted_ = replace(fitted.fitted_, classes=classes, pos_label=classes[1])
    with pytest.raises(ModelFolderError, match="the classes .* cannot be saved"):
        detector.save(tmp_path / "model")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1, "one", *range(2, 120)], id="mixed"),
        pytest.param([2**70 + i for i in range(120)], id="beyond-64-bits"),
    ],
)
def test_ids_that_parquet_cannot_hold_become_text(
    values: list[Any], coded: Coded, tmp_path: Path
) -> None:
    posts, y = coded
    named = posts.assign(id=pd.Series(values, dtype=object))
    detector = demo_detector(image=None).fit(named, y)
    loaded = saved_and_loaded(detector, tmp_path)
    assert loaded.out_of_fold_["id"].tolist() == [str(value) for value in values]
    numbers = ["event", "group", "fold", "p_text", "score"]
    found, expected = (d.out_of_fold_[numbers].to_numpy() for d in (loaded, detector))
    assert same(found, expected)


def test_an_index_that_parquet_cannot_hold_becomes_text(
    coded: Coded, tmp_path: Path
) -> None:
    posts, y = coded
    index = pd.Index(["\ud83d", *range(1, 120)], dtype=object)
    detector = demo_detector(image=None).fit(posts.set_axis(index), y)
    loaded = saved_and_loaded(detector, tmp_path)
    assert loaded.out_of_fold_.index[:2].tolist() == ["\ufffd", "1"]


def test_the_folder_of_images_is_read_from_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"parameters": {"image_root": "pics"}}')
    (tmp_path / "detector.json").symlink_to(tmp_path / "other.json")
    with pytest.raises(ModelFolderError, match="holds a link, detector.json"):
        saved_image_root(tmp_path)
    (tmp_path / "other.json").rename(tmp_path / "detector.json")
    assert saved_image_root(tmp_path) == "pics"
