"""The commands: what they print, what they write, and how they refuse."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import mmevent
from mmevent import _console, cli, detector, persistence
from mmevent.exceptions import UnusableInputWarning
from mmevent.posts import read_table, write_table
from mmevent.synthetic import make_posts

COMMANDS = [
    "demo",
    "estimate",
    "evaluate",
    "fit",
    "predict",
    "sample",
    "agreement",
    "cache",
    "tag",
]
QUICK = ["--cv", "2", "--inner-cv", "2", "--n-trials", "5"]


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def done(*words: object) -> Result:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def refused(*words: object) -> str:
    """Return the one line of a command that ended with exit code 2."""
    result = run(*words)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    return lines[0]


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 200 coded posts with pictures beside it."""
    folder = tmp_path_factory.mktemp("coded")
    posts, y, _ = make_posts(200, folder=folder, n_groups=80, random_state=0)
    posts["text"] = [
        None if pd.isna(text) else f"{'protest' if event else 'sunny'} {text}"
        for text, event in zip(posts["text"].tolist(), y, strict=True)
    ]
    write_table(posts.assign(event=y), folder / "posts.csv")
    return folder / "posts.csv"


@pytest.fixture(scope="module")
def uncoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 30 other posts with other names of columns."""
    folder = tmp_path_factory.mktemp("uncoded")
    posts, y, _ = make_posts(
        30, folder=folder, share_reposts=0, share_broken=0, random_state=1
    )
    posts["id"] = [f"u{i}" for i in range(30)]
    write_table(posts.assign(event=y), folder / "posts.csv")
    return folder / "posts.csv"


@pytest.fixture(scope="module")
def models(tiny_text_model: str, tiny_image_model: str) -> list[str]:
    return ["--text", tiny_text_model, "--image", tiny_image_model]


@pytest.fixture(scope="module")
def fitted(
    coded: Path, models: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    """A model's folder, and what `fit` said."""
    folder = tmp_path_factory.mktemp("fitted") / "model"
    result = done("fit", coded, "--label", "event", *models, *QUICK, "-o", folder)
    return folder, result


@pytest.fixture
def model(fitted: tuple[Path, Result]) -> Path:
    return fitted[0]


@pytest.fixture
def changed(coded: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the coded posts with changed columns."""

    def change(**columns: Any) -> Path:
        path = tmp_path / "changed.csv"
        write_table(read_table(coded).assign(**columns), path)
        return path

    return change


def test_fit_prints_the_estimate_and_the_rule_in_words(
    fitted: tuple[Path, Result],
) -> None:
    folder, result = fitted
    out = result.stdout
    assert "Estimate by nested cross-validation\n200 posts, 60 events" in out
    assert [line.split()[0] for line in out.splitlines() if "fused " in line]
    for name in ("alpha", "beta", "pool", "threshold"):
        assert f"\n  {name} " in out
    assert "a post is an event where its score reaches it" in out
    assert result.stderr == f"Model written to {folder}\n"


def test_fit_prints_nothing_wider_than_a_hundred_columns(
    fitted: tuple[Path, Result],
) -> None:
    assert max(map(len, fitted[1].stdout.splitlines())) <= 100


def test_fit_remembers_what_evaluate_and_predict_need(model: Path) -> None:
    loaded = mmevent.load(model)
    assert loaded.label_name_ == "event"
    assert loaded.random_state == 0
    assert not loaded.verbose
    assert not loaded.text_.verbose


def test_a_fit_can_be_repeated(
    fitted: tuple[Path, Result], coded: Path, models: list[str], tmp_path: Path
) -> None:
    again = done(
        "fit", coded, "--label", "event", *models, *QUICK, "-o", tmp_path / "model"
    )
    assert again.stdout == fitted[1].stdout


def test_every_option_of_fit_reaches_the_detector(
    changed: Callable[..., Path],
    coded: Path,
    models: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[detector.EventDetector] = []
    monkeypatch.setattr(
        cli, "_fit_and_save", lambda detector, *rest, **other: made.append(detector)
    )
    names = {"text": "t", "images": "i", "id": "n", "created_at": "c", "group": "g"}
    table = read_table(coded).rename(columns=names)
    table["code"] = np.where(table["event"] == 1, "no", "yes")
    path = tmp_path / "posts.jsonl"
    write_table(table, path)
    words = "--text-column t --images-column i --id-column n --created-at-column c"
    words += (
        " --group g --positive no --cv 3 --inner-cv 4 --forward-in-time --pool mean"
    )
    words += " --estimate none --criterion f1 --n-trials 7 --seed 8 --jobs 2"
    words += " --allow-outside-root --local-files-only"
    words += " --train-text all --train-image 2 --epochs 3"
    words += " --policy fbeta=2 --calibration isotonic --second-stage auto"
    root = ["--image-root", coded.parent, "-o", tmp_path / "model"]
    done("fit", path, "--label", "code", *models, *words.split(), *root)
    found = made[0].get_params(deep=False)
    assert found.pop("text").get_params() == {
        **mmevent.TextClassifier().get_params(),
        "model": models[1],
        "local_files_only": True,
        "random_state": 8,
        "train": "all",
        "n_epochs": 3,
    }
    image = found.pop("image")
    assert (image.model, image.train, image.n_epochs) == (models[3], 2, 3)
    assert found.pop("cv").n_splits == 3
    given = {
        "columns": names,
        "image_root": coded.parent,
        "allow_outside_root": True,
        "inner_cv": 4,
        "pool": "mean",
        "criterion": "f1",
        "n_trials": 7,
        "estimate": None,
        "policy": "fbeta=2",
        "calibration": "isotonic",
        "second_stage": "auto",
        "pos_label": "no",
        "n_jobs": 2,
        "random_state": 8,
    }
    assert found | given == found
    defaults = mmevent.EventDetector().get_params(deep=False)
    assert all(found[name] == defaults[name] for name in found.keys() - given)


@pytest.mark.parametrize("kind", ["clip-probe", "clip-zero-shot"])
def test_a_clip_branch_judges_images(
    kind: str, coded: Path, models: list[str], tiny_clip_model: str, tmp_path: Path
) -> None:
    event = ["--event", "fire"] if kind == "clip-zero-shot" else []
    image = ["--image", tiny_clip_model, "--image-branch", kind, *event]
    out = ["-o", tmp_path / "model", "--text", models[1]]
    fitted = done("fit", coded, "--label", "event", *image, *QUICK, *out)
    assert "image only" in fitted.stdout
    again = done("evaluate", tmp_path / "model", coded)
    assert "image only" in again.stdout


def test_an_encoder_is_trained(coded: Path, models: list[str], tmp_path: Path) -> None:
    words = ["--train-text", "1", "--epochs", "1", *QUICK, "-o", tmp_path / "model"]
    fitted = done("fit", coded, "--label", "event", *models, *words)
    assert "cross-fitted" in fitted.stdout
    done("predict", tmp_path / "model", coded, "-o", tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--event fire", "--event needs --image-branch clip-zero-shot"),
        ("--image-branch clip-probe --packs x.toml", "--packs needs --image-branch"),
        ("--image-branch clip-zero-shot", "needs --event"),
        ("--epochs 3", "--epochs needs --train-text or --train-image"),
        ("--image none --train-image 1", "--train-image does nothing with"),
        ("--pretrained openai", "--pretrained needs a CLIP branch"),
        ("--image-branch clip-probe --train-image all", "--train-image needs"),
        ("--image-branch clip-probe --image none", "leaves nothing for the branch"),
        ("--train-text some", "expected head, all or a number of blocks, got 'some'"),
        ("--image-branch clip-zero-shot --event riot", "'riot'"),
    ],
)
def test_branches_that_cannot_be_are_refused(
    words: str, said: str, coded: Path, models: list[str], tmp_path: Path
) -> None:
    out = ["--text", models[1], "-o", tmp_path / "model"]
    result = run("fit", coded, "--label", "event", *words.split(), *out)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("off", "said"),
    [("--text", "Images only"), ("--image", "Text only")],
    ids=["no text", "no image"],
)
def test_a_side_can_be_switched_off(
    off: str, said: str, coded: Path, models: list[str], tmp_path: Path
) -> None:
    chosen = [*models, off, "none", *QUICK, "--estimate", "none", "--quiet"]
    folder = tmp_path / "model"
    result = done("fit", coded, "--label", "event", *chosen, "-o", folder)
    assert said in result.stdout
    assert "alpha" not in result.stdout
    assert "Estimate" not in result.stdout
    assert result.stderr == ""
    out = tmp_path / "audit.csv"
    done("predict", folder, coded, "-o", out)
    assert set(read_table(out)["rule"]) == {said.split()[0].lower().rstrip("s"), "none"}


def test_evaluate_repeats_the_estimate_of_the_fit(
    fitted: tuple[Path, Result], coded: Path, tmp_path: Path
) -> None:
    folder, result = fitted
    path = tmp_path / "figures.json"
    again = done("evaluate", folder, coded, "--json", path)
    assert result.stdout.startswith(again.stdout.rstrip())
    assert json.loads(path.read_text())["kind"] == "nested"
    assert os.listdir(tmp_path) == ["figures.json"]


def test_evaluate_over_seeds_says_so(model: Path, coded: Path) -> None:
    assert "2 seeds of the folds" in done("evaluate", model, coded, "--seeds", 2).stdout


def test_evaluate_on_held_out_posts(model: Path, uncoded: Path, tmp_path: Path) -> None:
    others = read_table(uncoded).rename(columns={"event": "later"})
    path = uncoded.parent / "later.csv"
    write_table(others, path)
    # Neutral texts of made-up posts are seldom equal; were one, it would be dropped.
    words = ["--held-out", "--drop-seen", "--label", "later"]
    out = done("evaluate", model, path, *words).stdout
    assert out.startswith("Estimate by held-out posts, never seen in training")


def test_held_out_posts_that_were_training_posts(model: Path, coded: Path) -> None:
    line = refused("evaluate", model, coded, "--held-out")
    assert "were training posts" in line
    assert "--drop-seen" in line


def test_other_posts_without_held_out(model: Path, uncoded: Path) -> None:
    line = refused("evaluate", model, uncoded)
    assert "not those of the training" in line
    assert "--held-out" in line


def test_predict_writes_the_audit(model: Path, uncoded: Path, tmp_path: Path) -> None:
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
    suffix: str, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"audit{suffix}"
    done("predict", model, uncoded, "-o", path)
    assert read_table(path)["id"].tolist() == [f"u{i}" for i in range(30)]


def test_predict_in_chunks_keeps_row_numbers_and_order(
    model: Path, coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = coded.parent / "without-id.csv"
    write_table(read_table(coded).drop(columns="id"), table)
    paths = [tmp_path / "whole.csv", tmp_path / "parts.csv"]
    done("predict", model, table, "-o", paths[0])
    monkeypatch.setattr(cli, "_CHUNK", 7)
    done("predict", model, table, "-o", paths[1])
    whole, parts = (read_table(path) for path in paths)
    assert parts["id"].tolist() == list(range(200))
    pd.testing.assert_frame_equal(whole, parts, atol=1e-5)


def test_predict_with_another_threshold(
    model: Path, uncoded: Path, tmp_path: Path
) -> None:
    path = tmp_path / "audit.csv"
    done("predict", model, uncoded, "-o", path, "--policy", 0.25)
    audit = read_table(path)
    np.testing.assert_allclose(audit["margin"], audit["score"] - 0.25, atol=1e-12)


def test_two_stages_with_labels_of_the_first(
    changed: Callable[..., Path], tiny_text_model: str, tmp_path: Path
) -> None:
    path = changed(stage1=lambda t: t["event"].where(t.index % 3 > 0))
    models = ["--text", tiny_text_model, "--image", "none"]
    stages = ["--second-stage", "on", "--stage1-label", "stage1"]
    folder = tmp_path / "model"
    out = done(
        "fit", path, "--label", "event", *models, *QUICK, *stages, "-o", folder
    ).stdout
    assert "both stages" in out
    assert "from this score on stage 2 judges a post" in out
    line = refused("evaluate", folder, path)
    assert "not those of the training" in line
    assert "both stages" in done("evaluate", folder, path, *stages[2:]).stdout
    line = refused(
        "fit", path, "--label", "event", *models, *stages[2:], "-o", tmp_path / "other"
    )
    assert "y_stage1 is for two stages" in line


def test_predict_keeps_to_a_budget_over_all_chunks(
    model: Path, uncoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_CHUNK", 7)
    path = tmp_path / "audit.csv"
    done("predict", model, uncoded, "-o", path, "--policy", "budget=9")
    assert (read_table(path)["margin"] >= 0).sum() == 9


def test_a_sample_that_is_coded_says_what_the_corpus_holds(
    model: Path, uncoded: Path, tmp_path: Path
) -> None:
    predictions, drawn = tmp_path / "predictions.csv", tmp_path / "drawn.csv"
    tasks, figures = tmp_path / "tasks.json", tmp_path / "figures.json"
    done("predict", model, uncoded, "-o", predictions, "--keep", "created_at")
    said = done(
        *("sample", predictions, "-n", 28, "--posts", uncoded, "-o", drawn),
        *("--label-studio", tasks),
    )
    assert "28 posts drawn from 30" in said.stdout
    table = read_table(drawn)
    assert {"id", "stratum", "inclusion_probability", "text"} <= set(table)
    shown = json.loads(tasks.read_text())
    assert len(shown) == 28
    assert {"id", "text"} <= set(shown[0]["data"])
    assert not {"stratum", "inclusion_probability"} & set(shown[0]["data"])
    table["code"] = np.arange(28) % 2
    write_table(table, drawn)
    said = done(
        *("estimate", predictions, drawn, "--label", "code", "--period", "month"),
        *("--json", figures),
    )
    assert "30 posts" in said.stdout
    assert json.loads(figures.read_text())["n_coded"] == 28
    line = refused("estimate", predictions, drawn, "--label", "codes")
    assert "--label" in line
    line = refused("sample", predictions, "-n", 500, "-o", tmp_path / "other.csv")
    assert "n=500 posts cannot be drawn" in line
    line = refused("predict", model, uncoded, "-o", predictions, "--keep", "city")
    assert "--keep" in line


def test_errors_plots_and_slices_are_written(
    model: Path, coded: Path, tmp_path: Path
) -> None:
    errors, folder = tmp_path / "errors.csv", tmp_path / "plots"
    words = ["evaluate", model, coded, "--errors", errors, "--plots", folder]
    said = done(*words, "--by", "group", "--prevalence", "0.1")
    assert "group: " in said.stdout
    assert "to 0.1. They hold" in said.stdout
    assert {"id", "kind", "margin", "text"} <= set(read_table(errors))
    assert "<article>" in (tmp_path / "errors.html").read_text()
    names = {path.name for path in folder.iterdir()}
    assert {"precision-recall.png", "threshold.png"} <= names
    assert "No plot reliability" in said.stderr
    assert "is not empty" in refused(*words)
    (tmp_path / "other.html").mkdir()
    line = refused("evaluate", model, coded, "--errors", tmp_path / "other.csv")
    assert "is a folder: expected that --errors can write its page" in line
    line = refused("evaluate", model, coded, "--errors", coded)
    assert "is named twice" in line
    assert "--by" in refused(*words[:3], "--by", "town")
    assert "--prevalence" in refused(*words[:3], "--prevalence", "2")


def test_nothing_that_is_read_is_written_over(tmp_path: Path) -> None:
    read, other = tmp_path / "read.csv", tmp_path / "other.csv"
    for path in (read, other):
        path.write_text("id,text\n1,kept\n")
    json, html = tmp_path / "x.csv", tmp_path / "x.html"
    for words in (
        ["predict", tmp_path, read, "-o", read],
        ["evaluate", tmp_path, read, "--json", read],
        ["evaluate", tmp_path, read, "--errors", read],
        ["evaluate", tmp_path, read, "--json", html, "--errors", tmp_path / "x.csv"],
        ["sample", read, "-n", 5, "-o", read],
        ["sample", read, "-n", 5, "--posts", other, "-o", other],
        ["sample", read, "-n", 5, "--label-studio", json, "-o", json],
        ["estimate", other, read, "--label", "y", "--json", read],
        ["agreement", read, "--label", "y", "--coder", "c", "--disagreements", read],
        ["tag", read, "--image", "none", "-o", read],
    ):
        line = refused(*words)
        assert "is named twice" in line, words
    assert read.read_text() == other.read_text() == "id,text\n1,kept\n"


def test_a_column_that_the_predictions_have_is_not_kept(
    model: Path, uncoded: Path, tmp_path: Path
) -> None:
    table, out = tmp_path / "scored.csv", tmp_path / "predictions.csv"
    write_table(read_table(uncoded).assign(score=1.0), table)
    words = ["predict", model, table, "--image-root", uncoded.parent, "-o", out]
    assert "--keep 'score' cannot be kept" in refused(*words, "--keep", "score")
    assert not out.exists()
    done(*words, "--keep", "id", "--keep", "event")
    assert "event" in read_table(out)


def test_a_forgotten_image_root_is_said(
    model: Path, uncoded: Path, tmp_path: Path
) -> None:
    table = tmp_path / "moved.csv"
    write_table(read_table(uncoded), table)
    said = done("predict", model, table, "-o", tmp_path / "predictions.csv")
    assert "images can be used: these posts are judged by their text" in said.stderr
    said = done("evaluate", model, table, "--held-out", "--label", "event")
    assert "images unusable: " in said.stdout
    assert "images can be used" in said.stderr


def test_a_sample_needs_one_row_for_each_post(tmp_path: Path) -> None:
    predictions, posts = tmp_path / "predictions.csv", tmp_path / "posts.csv"
    audit = pd.DataFrame({"id": np.arange(40), "score": np.linspace(0, 1, 40)})
    audit["margin"], audit["seen_in_training"] = audit["score"] - 0.5, audit["id"] < 4
    write_table(audit, predictions)
    words = ["sample", predictions, "-n", 36, "--posts", posts]
    texts = pd.DataFrame({"id": [f"{i}" for i in range(40)], "text": "a flood"})
    for table in (texts[:-3], pd.concat([texts, texts[-2:]])):
        write_table(table, posts)
        out = tmp_path / "none.csv"
        assert "posts.csv does not fit the predictions" in refused(*words, "-o", out)
        assert not out.exists()
    line = refused(*words, "--id-column", "tweet", "-o", tmp_path / "none.csv")
    alone = refused(*words[:4], "--id-column", "tweet", "-o", tmp_path / "none.csv")
    assert "add --posts" in alone
    assert "no column 'tweet'" in line
    for table, named in (
        (texts.rename(columns={"id": "tweet"}), ("--id-column", "tweet")),
        (texts[["text"]], ()),
    ):
        write_table(table.assign(row=texts["id"]), posts)
        done(*words, *named, "-o", tmp_path / "drawn.csv")
        drawn = read_table(tmp_path / "drawn.csv")
        assert (drawn["row"].astype(str) == drawn["id"].astype(str)).all()
    write_table(pd.concat([texts, texts.iloc[:1].assign(id="x")]), posts)
    said = done(*words, "-o", tmp_path / "drawn.csv").stdout
    assert "36 posts drawn from 36, without the 4 that training saw" in said
    assert (read_table(tmp_path / "drawn.csv")["text"] == "a flood").all()


def test_coders_are_compared(tmp_path: Path) -> None:
    coded = pd.DataFrame({"id": [1, 2, 3, 4] * 2, "who": ["A"] * 4 + ["B"] * 4})
    coded["event"] = [1, 1, 0, 0, 1, 0, 0, 0]
    path, out = tmp_path / "coded.csv", tmp_path / "differ.csv"
    write_table(coded, path)
    words = ["agreement", path, "--label", "event", "--coder", "who"]
    said = done(*words, "--scheme", "0|1", "--disagreements", out).stdout
    assert "alpha" in said
    assert "1 posts to adjudicate" in said
    assert read_table(out)["id"].tolist() == [2]
    assert "not of the scheme" in refused(*words, "--scheme", "1|2")
    gap = pd.DataFrame({"id": [5], "who": ["A"], "event": [None]})
    write_table(pd.concat([coded, gap]), path)
    assert "1 posts to adjudicate" in done(*words, "--scheme", "0|1").stdout


def test_predict_takes_other_names_of_columns(
    model: Path, uncoded: Path, tmp_path: Path
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
    model: Path, uncoded: Path, tmp_path: Path
) -> None:
    path = tmp_path / "audit.csv"
    path.write_text("old")
    refused("predict", model, tmp_path / "none.csv", "-o", path)
    assert path.read_text() == "old"
    done("predict", model, uncoded, "-o", path)
    assert len(read_table(path)) == 30


def test_one_broken_image_costs_its_own_row_only(
    model: Path, uncoded: Path, tmp_path: Path
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


def test_all_images_broken_is_a_warning_in_one_line(
    coded: Path, models: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "posts.csv"  # no pictures beside it
    shutil.copy(coded, path)
    words = [*models, *QUICK, "--estimate", "none", "-o", tmp_path / "model"]
    result = done("fit", path, "--label", "event", *words)
    first, *rest = result.stderr.splitlines()
    assert first.startswith("Warning: none of the ")
    assert "missing file" in first
    assert "text only" in first
    assert len(rest) == 1
    assert "Text only" in result.stdout


def test_images_outside_the_tables_folder_are_not_opened(
    model: Path, uncoded: Path, tmp_path: Path
) -> None:
    table = tmp_path / "posts.csv"
    shutil.copy(uncoded, table)
    linked = tmp_path / "images"
    linked.symlink_to(uncoded.parent / "images")
    out = tmp_path / "audit.csv"
    assert "outside root" in done("predict", model, table, "-o", out).stdout
    words = ["--allow-outside-root", "-o", out]
    assert "all usable" in done("predict", model, table, *words).stdout
    words = ["--image-root", uncoded.parent, "-o", out]
    assert "all usable" in done("predict", model, table, *words).stdout


BAD_FITS: dict[str, tuple[list[str], str]] = {
    "label": (["--label", "protest"], "no column 'protest'.*'event'.*Correct --label"),
    "text column": (["--text-column", "tweet"], "no column 'tweet'.*--text-column"),
    "group": (["--group", "event_id"], "no column 'event_id'.*Correct --group"),
    "positive": (["--positive", "yes"], "--positive yes is no label.*0, 1"),
    "folds": (["--cv", "100"], "cv=100 folds are too many.*Lower cv"),
    "one fold": (["--cv", "1"], "cv=1 makes no folds"),
    "hub name": (
        ["--text", "nobody/nothing", "--local-files-only"],
        "'nobody/nothing' is not available.*hf download",
    ),
    "folder name": (["--image", "./nothing"], "folder './nothing' does not exist"),
    "image root": (["--image-root", "nowhere"], "'nowhere' is not an existing folder"),
    "both off": (["--text", "none", "--image", "none"], "nothing to learn from"),
    "bad pool": (["--pool", "sum"], "--pool.*'sum'.*See 'mmevent fit --help'"),
    "seed": (["--seed", "-1"], "expected 0 to 4294967295, got -1"),
    "trials": (["--n-trials", "many"], "--n-trials.*'many' is not a valid integer"),
    "no folder": (["-o", "no/such/model"], "no/such' does not exist"),
}


@pytest.mark.parametrize("case", BAD_FITS, ids=str)
def test_fit_refuses_in_one_line_and_writes_nothing(
    case: str,
    coded: Path,
    models: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words, message = BAD_FITS[case]
    line = refused("fit", coded, "--label", "event", *models, "-o", "model", *words)
    assert re.search(message, line), line
    assert os.listdir(tmp_path) == []


BAD_LABELS: dict[str, tuple[Any, str]] = {
    "one class": (1, "'code', y has 1 classes"),
    "three classes": (lambda t: t.index % 3, "'code', y has 3 classes"),
    "missing": (
        lambda t: t["event"].astype(object).where(t.index > 2, None),
        "y has missing labels.*3 of 200",
    ),
    "strings": (
        lambda t: t["event"].map({0: "no", 1: "yes"}),
        "does not say which label is an event.*--positive no, or --positive yes",
    ),
}


@pytest.mark.parametrize("case", BAD_LABELS, ids=str)
def test_fit_refuses_labels(
    case: str, changed: Callable[..., Path], models: list[str], tmp_path: Path
) -> None:
    code, message = BAD_LABELS[case]
    path = changed(code=code)
    out = tmp_path / "model"
    line = refused("fit", path, "--label", "code", *models, "-o", out)
    assert re.search(message, line), line
    assert not out.exists()


def test_positive_names_an_event_in_the_columns_own_type() -> None:
    find = _console.find_label
    assert find(pd.Series([0, 1]), "--label", "0") == 0
    assert find(pd.Series([0.0, 1.0]), "--label", "1") == 1.0
    assert find(pd.Series([True, False]), "--label", "False") is False
    assert find(pd.Series(["no", "1"]), "--label", "1") == "1"
    assert find(pd.Series([0, 1]), "--label", None) is None


def test_forward_in_time_needs_times_that_parse(
    changed: Callable[..., Path], models: list[str], tmp_path: Path
) -> None:
    words = [*models, "--forward-in-time", "-o", tmp_path / "model"]
    path = changed(created_at="03/09/2024")
    line = refused("fit", path, "--label", "event", *words)
    assert "created_at of 200 of 200 posts" in line
    words += ["--created-at-column", "time"]
    line = refused("fit", path, "--label", "event", *words)
    assert "no column 'time'" in line


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("posts.csv", b"", "is empty"),
        ("posts.csv", b"text,event\n", "no posts to read"),
        (
            "posts.csv",
            "text,event\ncaf\u00e9,1\n".encode("latin-1"),
            "another encoding",
        ),
        ("posts.csv", b"a,event\n1,1\n2,0\n", "neither a column 'text' nor 'images'"),
        ("posts.csv", b"id,text,event\n1,a,1\n1,b,0\n", "1 ids occur more than once"),
        ("posts.csv", b'text,event\na,1,"b\n', "not well formed"),
        ("posts.jsonl", b'{"text": "a", "event": 1}\n[1, 2]\n', "line 2, which is a"),
        ("posts.xlsx", b"PK", "no suffix that names a kind of table"),
    ],
    ids=[
        "empty",
        "no posts",
        "encoding",
        "no posts' columns",
        "duplicate ids",
        "malformed",
        "not a mapping",
        "suffix",
    ],
)
def test_fit_refuses_tables(
    name: str, content: bytes, message: str, models: list[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    line = refused("fit", path, "--label", "event", *models, "-o", tmp_path / "model")
    assert message in line
    assert os.listdir(tmp_path) == [name]


def test_a_folder_that_is_not_empty_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for words in (["fit", "absent.csv", "--label", "event"], ["demo"]):
        line = refused(*words, "-o", tmp_path)
        assert "is not empty" in line
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_predict_refuses_before_it_loads(tmp_path: Path) -> None:
    line = refused("predict", "no-model", "posts.csv", "-o", tmp_path / "audit.xlsx")
    assert "no suffix that names a kind of table" in line
    line = refused("predict", "no-model", "posts.csv", "-o", tmp_path / "no" / "a.csv")
    assert "does not exist" in line
    line = refused("predict", tmp_path, "posts.csv", "-o", tmp_path / "a.csv")
    assert "model folder" in line
    assert os.listdir(tmp_path) == []


def test_predict_refuses_ids_that_repeat_far_apart(
    model: Path,
    changed: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli, "_CHUNK", 7)
    path = changed(id=lambda t: [0, *range(1, 199), 0])
    out = tmp_path / "audit.csv"
    assert "ids occur more than once" in refused("predict", model, path, "-o", out)
    assert not out.exists()


@pytest.mark.parametrize("threshold", ["-1", "0", "nan", "inf"])
def test_predict_refuses_a_threshold(
    threshold: str, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    out = tmp_path / "audit.csv"
    line = refused("predict", model, uncoded, "-o", out, "--policy", threshold)
    assert "finite threshold above 0" in line
    assert not out.exists()


def test_options_of_evaluate_that_would_do_nothing(model: Path, coded: Path) -> None:
    line = refused("evaluate", model, coded, "--drop-seen")
    assert "--drop-seen needs --held-out" in line
    line = refused("evaluate", model, coded, "--held-out", "--seeds", 2)
    assert "--seeds does nothing with --held-out" in line
    line = refused("evaluate", model, coded, "--json", "no/such/file.json")
    assert "Correct --json" in line


def test_a_model_that_knows_no_label_asks_for_it(
    model: Path, coded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = persistence.load

    def load_nameless(folder: Path) -> Any:
        loaded = load(folder)
        loaded.label_name_ = None
        return loaded

    monkeypatch.setattr(persistence, "load", load_nameless)
    line = refused("evaluate", model, coded)
    assert "Name the column with --label" in line


def test_columns_that_later_posts_need_not_have_are_left_out() -> None:
    frame = pd.DataFrame({"tweet": ["a"]})
    remembered = {"text": "tweet", "group": "author"}
    found = _console.name_columns(
        Path("p.csv"), frame, {}, remembered, optional=("group",)
    )
    assert found == {"text": "tweet"}


def test_demo_leads_to_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = cli._demo_detector
    monkeypatch.setattr(
        cli,
        "_demo_detector",
        lambda *given: whole(*given).set_params(cv=2, inner_cv=2, n_trials=5),
    )
    result = done("demo", "--n-posts", 200)
    for said in ("\nfused ", "  alpha ", "  beta ", "  threshold ", "decided by"):
        assert said in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100
    line = result.stdout.splitlines()[-1].split()
    assert line[:2] == ["mmevent", "predict"]
    assert "40 posts" in done(*line[1:]).stdout
    audit = read_table("mmevent-demo/predictions.csv")
    assert len(audit) == 40
    assert "is not empty" in refused("demo")


def test_a_demo_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_fit_and_save", interrupt)
    result = run("demo", "--n-posts", 200, "-o", tmp_path / "demo")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "Error: interrupted."
    assert os.listdir(tmp_path) == []


def test_a_fault_of_the_system_is_one_line_and_exit_code_1(
    model: Path, coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "_audit", full)
    result = run("predict", model, coded, "-o", tmp_path / "audit.csv")
    assert result.exit_code == 1
    assert result.stderr == "Error: [Errno 28] No space left on device\n"


def test_warnings_of_ours_are_said_once_and_others_not_at_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "warnoptions", [])
    with _console.clean_warnings():
        for _ in range(2):
            warnings.warn("3 images\nare lost", UnusableInputWarning, stacklevel=1)
        warnings.warn("something deprecated", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "Warning: 3 images are lost\n")
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with _console.clean_warnings(), pytest.warns(UserWarning, match="lost"):
        warnings.warn("lost", UserWarning, stacklevel=1)


def test_bars_are_shown_to_someone_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _console.shows_progress(quiet=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert _console.shows_progress(quiet=False)
    assert not _console.shows_progress(quiet=True)


def test_images_are_tagged(
    tiny_image_model: str, uncoded: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tags.csv"
    words = ["tag", uncoded, "--image", tiny_image_model, "--top", "2", "-o", out]
    said = done(*words)
    assert said.stderr == f"Labels written to {out}\n"
    heading, blank, columns, *labels = said.stdout.splitlines()
    assert re.fullmatch(r"(\d+) images, \d+ of them usable", heading)
    assert blank == ""
    assert columns.split() == ["first", "among", "2", "label"]
    tags = pd.read_csv(out)
    assert tags.columns.tolist() == ["id", "image", "rank", "label", "score"]
    assert len(labels) == tags["label"].nunique()
    assert sum(int(line.split()[0]) for line in labels) == tags["image"].nunique()
    assert set(tags["id"]) <= set(pd.read_csv(uncoded)["id"])


def test_the_cache_is_shown_and_cleared(
    tiny_text_model: str, coded: Path, tmp_path: Path
) -> None:
    cache, model = tmp_path / "cache.sqlite", tmp_path / "model"
    words = [
        "fit",
        coded,
        "--label",
        "event",
        "--text",
        tiny_text_model,
        "--image",
    ]
    options = ["none", "--cv", "2", "--estimate", "none", "--cache", cache, "-o", model]
    done(*words, *options)
    left = tmp_path / "cache.sqlite-training" / ("a" * 32)
    left.mkdir(parents=True)
    said = done("cache", "info", "--cache", cache).stdout
    assert "\n1 trainings that did not end, in " in said
    assert said.startswith(f"File: {cache}\n")
    assert re.search(
        r"\n\d+ embeddings, 0\.\d MB of at most 10,240\n  encoder [0-9a-f]", said
    )
    assert done("cache", "clear", "--cache", cache).stdout.startswith(
        f"Removed: {cache}"
    )
    assert not cache.exists()
    assert not left.parent.exists()
    assert done("cache", "info", "--cache", cache).stdout.count("\n") == 2
    assert done("cache", "info").stdout == "No cache: it is off.\n"
    assert os.environ["MMEVENT_CACHE"] == "off"
    assert mmevent.load(model).text.cache == "auto"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_sentence_on_each_option_and_an_example(command: str) -> None:
    said = done(command, "--help").stdout
    assert f"Examples:\n    mmevent {command}" in said
    for parameter in cli.main.commands[command].params:
        if isinstance(parameter, click.Option):
            assert parameter.help
            assert parameter.help.split("  [")[0].endswith(".")


def test_help_without_a_command() -> None:
    result = run()
    assert result.exit_code == 2
    for command in COMMANDS:
        assert f"\n  {command} " in result.output


def test_an_unknown_command_is_refused() -> None:
    assert "No such command 'train'" in refused("train")


def test_version() -> None:
    assert done("--version").stdout == f"mmevent, version {mmevent.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_a_command_names_its_options(command: str) -> None:
    root = Path(__file__).resolve().parents[1]
    page = (root / "docs" / f"command-{command}.md").read_text(encoding="utf-8")
    options = {
        name
        for parameter in cli.main.commands[command].params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
    }
    table = re.findall(r"^\| `(.+?)` \|", page, flags=re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"--?[a-z][a-z0-9-]*", cell)}
    assert named == options


def test_the_installed_command(model: Path, uncoded: Path, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("mmevent")
    command = (
        [str(script)] if script.exists() else [sys.executable, "-m", "mmevent.cli"]
    )
    root = Path(mmevent.__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    out = tmp_path / "audit.csv"
    words = ["predict", str(model), str(uncoded), "-o", str(out)]
    result = subprocess.run(
        [*command, *words], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("30 posts, ")
    assert result.stderr == f"Predictions written to {out}\n"
    result = subprocess.run(
        [*command, *words[:-1], str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


def documented_commands() -> list[list[str]]:
    root = Path(__file__).resolve().parents[1]
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"(?:^\$|&&) (mmevent .+)$", text, flags=re.MULTILINE):
            found.append(shlex.split(re.split(r" [>|] | && ", line)[0])[1:])
    return found


@pytest.mark.parametrize("words", documented_commands(), ids=" ".join)
def test_a_documented_command_is_one(words: list[str]) -> None:
    command = cli.main.commands[words[0]]
    assert command.make_context(words[0], words[1:])
