"""`mmevent predict`: a row for each post, in bounded memory."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mmevent
from mmevent.posts import read_table, write_table

Command = Callable[..., Any]


def test_predict_writes_the_audit(
    done: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    path = tmp_path / "audit.parquet"
    result = done("predict", model, uncoded, "-o", path)
    loaded = mmevent.load(model).set_params(image_root=uncoded.parent)
    expected = loaded.audit(read_table(uncoded))
    other = tmp_path / "expected.parquet"
    write_table(expected, other)
    pd.testing.assert_frame_equal(
        pd.read_parquet(path), pd.read_parquet(other), atol=1e-5
    )
    flagged = int((expected["prediction"] == 1).sum())
    assert result.stdout.startswith(f"30 posts, {flagged} flagged as events")
    assert "all usable" in result.stdout
    assert result.stderr == f"Predictions written to {path}\n"
    assert sorted(os.listdir(tmp_path)) == ["audit.parquet", "expected.parquet"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_predict_writes_other_tables_too(
    done: Command, suffix: str, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"audit{suffix}"
    done("predict", model, uncoded, "-o", path)
    assert read_table(path)["id"].tolist() == [f"u{i}" for i in range(30)]


def test_predict_in_batches_keeps_row_numbers_and_order(
    done: Command,
    model: Path,
    coded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = coded.parent / "without-id.csv"
    write_table(read_table(coded).drop(columns="id"), table)
    paths = [tmp_path / "whole.csv", tmp_path / "parts.csv"]
    done("predict", model, table, "-o", paths[0])
    monkeypatch.setattr("mmevent.cli.predict._BATCH_SIZE", 7)
    done("predict", model, table, "-o", paths[1])
    whole, parts = (read_table(path) for path in paths)
    assert parts["id"].tolist() == list(range(200))
    pd.testing.assert_frame_equal(whole, parts, atol=1e-5)


def test_predict_with_another_threshold(
    done: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    path = tmp_path / "audit.csv"
    done("predict", model, uncoded, "-o", path, "--policy", 0.25)
    audit = read_table(path)
    np.testing.assert_allclose(audit["margin"], audit["score"] - 0.25, atol=1e-12)


def test_predict_keeps_to_a_budget_over_all_batches(
    done: Command,
    model: Path,
    uncoded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmevent.cli.predict._BATCH_SIZE", 7)
    path = tmp_path / "audit.csv"
    done("predict", model, uncoded, "-o", path, "--policy", "budget=9")
    assert (read_table(path)["margin"] >= 0).sum() == 9


def test_a_column_that_the_predictions_have_is_not_kept(
    done: Command, refused: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    table, out = tmp_path / "scored.csv", tmp_path / "predictions.csv"
    write_table(read_table(uncoded).assign(score=1.0), table)
    words = ["predict", model, table, "--image-root", uncoded.parent, "-o", out]
    assert "--keep 'score' cannot be kept" in refused(*words, "--keep", "score")
    assert not out.exists()
    done(*words, "--keep", "id", "--keep", "event")
    assert "event" in read_table(out)


@pytest.mark.parametrize("lacks", ["files", "column"])
def test_a_table_without_images_needs_an_option(
    done: Command,
    refused: Command,
    model: Path,
    uncoded: Path,
    tmp_path: Path,
    lacks: str,
) -> None:
    table, posts = tmp_path / "moved.csv", read_table(uncoded)
    photos = posts.rename(columns={"images": "photos"})
    write_table(posts if lacks == "files" else photos, table)
    reason = {
        "files": rf"none of the \d+ images can be used .*'{tmp_path.resolve()}",
        "column": "no column 'images', which the detector needs",
    }[lacks]
    for words in (
        ["predict", model, table, "-o", tmp_path / "predictions.csv"],
        ["evaluate", model, table, "--held-out", "--label", "event"],
    ):
        line = refused(*words)
        assert re.search(reason, line), line
        assert line.endswith("(--allow-text-only).")
        said = done(*words, "--allow-text-only")
        assert "posts are judged by text alone." in said.stderr
    found = read_table(tmp_path / "predictions.csv")
    assert set(found["rule"]) <= {"text", "none"}


def test_a_table_of_texts_is_judged_by_them_after_a_warning(
    done: Command, refused: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    table, out = tmp_path / "posts.csv", tmp_path / "out.csv"
    write_table(read_table(uncoded).drop(columns="images"), table)
    said = done("predict", model, table, "-o", out)
    assert "posts have no column 'images': they are judged by their" in said.stderr
    write_table(read_table(uncoded).drop(columns="text"), table)
    assert "no column 'text'" in refused("predict", model, table, "-o", out)


def test_a_table_without_texts_is_refused(
    refused: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    table = uncoded.parent / "tweets.csv"
    write_table(read_table(uncoded).rename(columns={"text": "tweet"}), table)
    line = refused("predict", model, table, "-o", tmp_path / "predictions.csv")
    assert "no column 'text', which the detector needs" in line
    assert "Perhaps 'tweet' is meant. Name yours with --text-column" in line


def test_predict_takes_other_names_of_columns(
    done: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    table = uncoded.parent / "renamed.csv"
    names = {"text": "tweet", "images": "pictures", "id": "number"}
    write_table(read_table(uncoded).rename(columns=names), table)
    paths = [tmp_path / "one.csv", tmp_path / "two.csv"]
    done("predict", model, uncoded, "-o", paths[0])
    words = "--text-column tweet --images-column pictures --id-column number"
    done("predict", model, table, *words.split(), "-o", paths[1])
    assert paths[0].read_text() == paths[1].read_text()


def test_predict_replaces_a_file_only_by_a_whole_one(
    done: Command, refused: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    path = tmp_path / "audit.csv"
    path.write_text("old")
    refused("predict", model, tmp_path / "none.csv", "-o", path)
    assert path.read_text() == "old"
    done("predict", model, uncoded, "-o", path)
    assert len(read_table(path)) == 30


def test_one_broken_image_costs_its_own_row_only(
    done: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "posts"
    shutil.copytree(uncoded.parent, folder)
    whole, broken = tmp_path / "whole.csv", tmp_path / "broken.csv"
    done("predict", model, folder / "posts.csv", "-o", whole)
    cells = read_table(folder / "posts.csv")
    both = cells[cells["text"].notna() & cells["images"].notna()]
    row = int(both.index[~both["images"].str.contains("|", regex=False)][0])
    name = cells["images"][row]
    (folder / name).write_bytes(b"<html>gone</html>")
    result = done("predict", model, folder / "posts.csv", "-o", broken)
    assert "1 of them unusable: 1 unsupported" in result.stdout
    before, after = read_table(whole), read_table(broken)
    assert after["rule"][row] == "text"
    assert after["image_status"][row] == f"{name}: unsupported"
    others = after.index != row
    pd.testing.assert_frame_equal(
        before[others], after[others], check_dtype=False, atol=1e-5
    )


def test_images_outside_the_tables_folder_are_not_opened(
    done: Command, refused: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    table = tmp_path / "posts.csv"
    shutil.copy(uncoded, table)
    linked = tmp_path / "images"
    linked.symlink_to(uncoded.parent / "images")
    out = tmp_path / "audit.csv"
    assert "25 outside root" in refused("predict", model, table, "-o", out)
    words = ["--allow-outside-root", "-o", out]
    assert "all usable" in done("predict", model, table, *words).stdout
    words = ["--image-root", uncoded.parent, "-o", out]
    assert "all usable" in done("predict", model, table, *words).stdout


def test_predict_refuses_before_it_loads(refused: Command, tmp_path: Path) -> None:
    line = refused("predict", "no-model", "posts.csv", "-o", tmp_path / "audit.pdf")
    assert "no suffix that names a kind of table" in line
    line = refused("predict", "no-model", "posts.csv", "-o", tmp_path / "no" / "a.csv")
    assert "does not exist" in line
    (tmp_path / "empty").mkdir()
    line = refused("predict", tmp_path / "empty", "posts.csv", "-o", tmp_path / "a.csv")
    assert "model folder" in line
    assert os.listdir(tmp_path) == ["empty"]


def test_predict_refuses_ids_that_repeat_far_apart(
    refused: Command,
    model: Path,
    changed: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmevent.cli.predict._BATCH_SIZE", 7)
    path = changed(id=lambda t: [0, *range(1, 199), 0])
    out = tmp_path / "audit.csv"
    assert "ids occur more than once" in refused("predict", model, path, "-o", out)
    assert not out.exists()


@pytest.mark.parametrize("threshold", ["-1", "0", "nan", "inf"])
def test_predict_refuses_a_threshold(
    refused: Command, threshold: str, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    out = tmp_path / "audit.csv"
    line = refused("predict", model, uncoded, "-o", out, "--policy", threshold)
    assert "finite threshold above 0" in line
    assert not out.exists()


def test_predict_takes_another_device_and_batch_size(
    done: Command, refused: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / "one.csv", tmp_path / "two.csv"]
    done("predict", model, uncoded, "-o", paths[0])
    words = ["--device", "cpu", "--batch-size", 2]
    done("predict", model, uncoded, *words, "-o", paths[1])
    one, two = (read_table(path) for path in paths)
    pd.testing.assert_frame_equal(one, two, atol=1e-5)
    line = refused("predict", model, uncoded, "--device", "abacus", "-o", paths[0])
    assert "`device` must be 'auto' or one that this machine has" in line


def test_predict_shows_one_bar(
    run: Command,
    model: Path,
    uncoded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmevent.cli.console.shows_progress", lambda quiet: True)
    said = run("predict", model, uncoded, "-o", tmp_path / "out.csv").stderr
    bars = {
        line.split(":")[0].strip() for line in re.split(r"[\r\n]", said) if "%|" in line
    }
    assert bars == {"Predicting"}


def test_a_column_that_these_predictions_lack_is_kept(
    done: Command, refused: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    table, out = tmp_path / "staged.csv", tmp_path / "predictions.csv"
    write_table(read_table(uncoded).assign(stage="early"), table)
    words = ["predict", model, table, "--image-root", uncoded.parent]
    done(*words, "-o", out, "--keep", "stage")
    assert set(read_table(out)["stage"]) == {"early"}
    line = refused(*words, "-o", model / "predictions.csv")
    assert "lies in the folder of the model" in line


def test_columns_and_single_options_predict_the_same(
    done: Command, refused: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    names = {"id": "nr", "text": "body", "images": "media"}
    table = uncoded.parent / "renamed.csv"
    write_table(read_table(uncoded).rename(columns=names), table)
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    single = [f"--{name}-column={theirs}" for name, theirs in names.items()]
    done("predict", model, table, *single, "-o", one)
    both = ["--columns", "text=body,images=media", "--columns", "id=nr"]
    done("predict", model, table, *both, "-o", other)
    assert other.read_bytes() == one.read_bytes()
    against = [*both, "--text-column", "media"]
    message = refused("predict", model, table, *against, "-o", one)
    assert "--text-column media and --columns text=body disagree" in message
