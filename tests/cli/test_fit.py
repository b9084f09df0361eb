"""`mmevent fit`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

import mmevent
from mmevent.cli import fit, shared
from mmevent.posts import read_table, write_table

Command = Callable[..., Any]


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
    assert not loaded.text_.encoder_.verbose


def test_a_fit_can_be_repeated(
    done: Command,
    quick: list[str],
    fitted: tuple[Path, Result],
    coded: Path,
    models: list[str],
    tmp_path: Path,
) -> None:
    again = done(
        "fit", coded, "--label", "event", *models, *quick, "-o", tmp_path / "model"
    )
    assert again.stdout == fitted[1].stdout


def test_every_option_of_fit_reaches_the_detector(
    done: Command,
    changed: Callable[..., Path],
    coded: Path,
    models: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[mmevent.EventDetector] = []
    monkeypatch.setattr(
        "mmevent.cli.fit.fit_and_save",
        lambda detector, *rest, **other: made.append(detector),
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
    words += " --device cpu --dtype float32 --backend openvino --batch-size 9"
    words += " --policy fbeta=2 --calibration isotonic --second-stage auto"
    root = ["--image-root", coded.parent, "-o", tmp_path / "model"]
    done("fit", path, "--label", "code", *models, *words.split(), *root)
    found = made[0].get_params(deep=False)
    encoders = {
        "device": "cpu",
        "dtype": "float32",
        "backend": "openvino",
        "batch_size": 9,
        "local_files_only": True,
    }
    text, image = found.pop("text"), found.pop("image")
    for branch, plain, encoder, train in (
        (text, mmevent.TextClassifier(), mmevent.TextEncoder(models[1]), "all"),
        (image, mmevent.ImageClassifier(), mmevent.ImageEncoder(models[3]), 2),
    ):
        given = {"train": train, "n_epochs": 3, "random_state": 8}
        expected = plain.get_params(deep=False) | given
        assert branch.get_params(deep=False) | {"encoder": None} == (
            expected | {"encoder": None}
        )
        assert type(branch.encoder) is type(encoder)
        assert branch.encoder.get_params() == encoder.get_params() | encoders
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


def test_stacking_says_its_numbers(
    done: Command, quick: list[str], coded: Path, models: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    options = [*models, *quick, "--rule", "stacking", "--estimate", "cross-fit"]
    said = done("fit", coded, "--label", "event", *options, "-o", folder).stdout
    rule = mmevent.load(folder, image_root=coded.parent).rule_
    for name, value, meaning in rule.meanings(beta_identified=False):
        assert f"\n  {name:<9} {value:<9} {meaning}\n" in said
    assert "\nalpha-beta " in said
    assert "\n  alpha" not in said


@pytest.mark.parametrize(
    ("off", "said"),
    [("--text", "Images only"), ("--image", "Text only")],
    ids=["no text", "no image"],
)
def test_a_side_can_be_switched_off(
    done: Command,
    quick: list[str],
    off: str,
    said: str,
    coded: Path,
    models: list[str],
    tmp_path: Path,
) -> None:
    chosen = [*models, off, "none", *quick, "--estimate", "none", "--quiet"]
    folder = tmp_path / "model"
    result = done("fit", coded, "--label", "event", *chosen, "-o", folder)
    assert said in result.stdout
    assert "alpha" not in result.stdout
    assert "Estimate" not in result.stdout
    assert result.stderr == ""
    out = tmp_path / "audit.csv"
    done("predict", folder, coded, "-o", out)
    assert set(read_table(out)["rule"]) == {said.split()[0].lower().rstrip("s"), "none"}


def test_two_stages_with_labels_of_the_first(
    done: Command,
    refused: Command,
    quick: list[str],
    changed: Callable[..., Path],
    tiny_text_model: str,
    tmp_path: Path,
) -> None:
    path = changed(stage1=lambda t: t["event"].where(t.index % 3 > 0))
    models = ["--text", tiny_text_model, "--image", "none"]
    stages = ["--second-stage", "on", "--stage1-label", "stage1"]
    folder = tmp_path / "model"
    out = done(
        "fit", path, "--label", "event", *models, *quick, *stages, "-o", folder
    ).stdout
    assert "both stages" in out
    assert "from this score on stage 2 judges a post" in out
    line = refused("evaluate", folder, path)
    assert "not those of the training" in line
    assert "both stages" in done("evaluate", folder, path, *stages[2:]).stdout
    line = refused(
        "fit", path, "--label", "event", *models, *stages[2:], "-o", tmp_path / "other"
    )
    assert "--stage1-label is for two stages" in line


def test_a_wrong_image_root_is_refused_before_a_model_is_looked_for(
    done: Command,
    refused: Command,
    quick: list[str],
    coded: Path,
    models: list[str],
    tmp_path: Path,
) -> None:
    path = tmp_path / "posts.csv"  # no pictures beside it
    shutil.copy(coded, path)
    words = ["fit", path, "--label", "event", "-o", tmp_path / "model"]
    line = refused(*words, "--text", "nobody/nothing")
    sought = tmp_path.resolve() / "images"
    assert re.search(
        r"^Error: none of the [\d]+ images can be used \(\d+ missing", line
    )
    assert f"was looked for as '{sought}" in line
    assert line.endswith("for a detector of texts alone, pass --image none.")
    result = done(*(*words, *models, *quick, "--estimate", "none", "--allow-text-only"))
    first, *rest = result.stderr.splitlines()
    assert first.startswith("Warning: none of the ")
    assert first.endswith("posts are judged by text alone.")
    assert len(rest) == 1
    assert "Text only" in result.stdout
    done("predict", tmp_path / "model", path, "-o", tmp_path / "predictions.csv")


LACKING = {
    "text": (["text"], [], "no column 'text'.*'tweet' is meant.*--text-column;.*none"),
    "named text": (["text"], ["--text", "m"], "no column 'text'.*'tweet' is meant"),
    "images": (["images"], [], "no column 'images'.*'media' is meant.*--image none"),
}


@pytest.mark.parametrize("case", LACKING)
def test_a_table_that_lacks_what_a_branch_needs_is_refused(
    refused: Command, coded: Path, tmp_path: Path, case: str
) -> None:
    gone, options, message = LACKING[case]
    names = {"text": "tweet", "images": "media"}
    table = read_table(coded).rename(columns={name: names[name] for name in gone})
    path = tmp_path / "posts.csv"
    write_table(table, path)
    words = ["--label", "event", *options, "-o", tmp_path / "model"]
    line = refused("fit", path, *words)
    assert re.search(message, line), line


def test_an_images_folder_below_the_table_is_remembered(
    done: Command,
    quick: list[str],
    coded: Path,
    models: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    shutil.copytree(coded.parent / "images", home / "pictures")
    away.mkdir()
    table = read_table(coded)
    table["images"] = table["images"].str.replace("images/", "")
    write_table(table, home / "posts.csv")
    monkeypatch.chdir(home)
    words = ["--text", "none", *models[2:], *quick, "--estimate", "none", "-o", "model"]
    done(*("fit", "posts.csv", "--label", "event", "--image-root", "pictures", *words))
    monkeypatch.chdir(away)
    said = done("evaluate", "../home/model", "../home/posts.csv")
    assert "fused" in said.stdout
    said = done("predict", "../home/model", "../home/posts.csv", "-o", "out.csv")
    assert " images, " in said.stdout
    assert read_table(away / "out.csv")["n_usable"].sum() > 50


BAD_FITS: dict[str, tuple[list[str], str]] = {
    "label": (["--label", "protest"], "no column 'protest'.*'event'.*Correct --label"),
    "text column": (["--text-column", "tweet"], "no column 'tweet'.*--text-column"),
    "group": (["--group", "event_id"], "no column 'event_id'.*Correct --group"),
    "positive": (["--positive", "yes"], "--positive yes is no label.*0, 1"),
    "folds": (["--cv", "100"], "--cv 100 folds are too many.*Lower cv"),
    "one fold": (["--cv", "1"], "--cv 1 makes no folds"),
    "folder name": (["--image", "./nothing"], "folder './nothing' does not exist"),
    "image root": (
        ["--image-root", "nowhere"],
        "--image-root nowhere is not an existing folder",
    ),
    "both off": (["--text", "none", "--image", "none"], "nothing to learn from"),
    "bad pool": (["--pool", "sum"], "--pool.*'sum'.*See 'mmevent fit --help'"),
    "seed": (["--seed", "-1"], "expected 0 to 4294967295, got -1"),
    "trials": (["--n-trials", "many"], "--n-trials.*'many' is not a valid integer"),
    "no folder": (["-o", "no/such/model"], "no/such' does not exist"),
}


@pytest.mark.parametrize("case", BAD_FITS, ids=str)
def test_fit_refuses_in_one_line_and_writes_nothing(
    refused: Command,
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


def test_a_model_that_cannot_be_fetched_is_exit_code_1(
    refused: Command, coded: Path, models: list[str], tmp_path: Path
) -> None:
    words = [*models, "--text", "nobody/nothing", "--local-files-only"]
    out = ["-o", tmp_path / "model"]
    line = refused("fit", coded, "--label", "event", *words, *out, code=1)
    assert re.search("'nobody/nothing' is not available.*hf download", line)
    assert os.listdir(tmp_path) == []


BAD_LABELS: dict[str, tuple[Any, str]] = {
    "one class": (1, "'code', --label has 1 class:"),
    "three classes": (
        lambda t: t.index % 3,
        "'code', --label has 3 classes: .* got 0 .67., 1 .67., 2 .66.",
    ),
    "missing": (
        lambda t: t["event"].astype(object).where(t.index > 2, None),
        "--label has missing labels.*3 of 200",
    ),
    "strings": (
        lambda t: t["event"].map({0: "no", 1: "yes"}),
        "cannot be told from --label.*'no', 'yes'.*pass --positive yes, or the other",
    ),
}


@pytest.mark.parametrize("case", BAD_LABELS, ids=str)
def test_fit_refuses_labels(
    refused: Command,
    case: str,
    changed: Callable[..., Path],
    models: list[str],
    tmp_path: Path,
) -> None:
    code, message = BAD_LABELS[case]
    path = changed(code=code)
    out = tmp_path / "model"
    line = refused("fit", path, "--label", "code", *models, "-o", out)
    assert re.search(message, line), line
    assert not out.exists()


def test_forward_in_time_needs_times_that_parse(
    refused: Command, changed: Callable[..., Path], models: list[str], tmp_path: Path
) -> None:
    words = [*models, "--image", "none", "--forward-in-time", "-o", tmp_path / "model"]
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
        ("posts.csv", b"a,event\n1,1\n2,0\n", "posts have no column 'text', which"),
        (
            "posts.csv",
            b"id,text,images,event\n1,a,,1\n1,b,,0\n",
            "1 ids occur more than once",
        ),
        ("posts.csv", b'text,event\na,1,"b\n', "not well formed"),
        ("posts.jsonl", b'{"text": "a", "event": 1}\n[1, 2]\n', "line 2, which is a"),
        ("posts.pdf", b"PK", "no suffix that names a kind of table"),
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
    refused: Command,
    name: str,
    content: bytes,
    message: str,
    models: list[str],
    tmp_path: Path,
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    line = refused("fit", path, "--label", "event", *models, "-o", tmp_path / "model")
    assert message in line
    assert os.listdir(tmp_path) == [name]


def test_a_branch_that_cannot_be_saved_is_refused_before_the_fit(
    refused: Callable[..., str],
    coded: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    branch = make_pipeline(TfidfVectorizer(), HistGradientBoostingClassifier())
    monkeypatch.setattr(fit, "new_branches", lambda *given, **named: (branch, None))
    monkeypatch.setattr(fit, "fit_and_save", None)
    given = ["fit", coded, "--label", "event", "--image", "none", "-o", tmp_path / "m"]
    assert "the text branch cannot be saved: a HistGradient" in refused(*given)


class Fitted:
    """A detector that notes what is done with it."""

    estimate_ = "figures with 中"
    image_root: Any = None

    def __init__(self, notes: list[str], error: type[Exception] | None) -> None:
        self.notes, self.error = notes, error

    def fit(self, *given: object, **named: object) -> None:
        self.notes.append("fitted")

    def save(self, *given: object, **named: object) -> None:
        self.notes.append("saved")
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [None, OSError])
def test_a_model_is_saved_before_anything_is_printed(
    error: type[Exception] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(fit, "show", lambda text: notes.append(text.strip()))
    monkeypatch.setattr(fit, "rule_in_words", lambda detector: "the rule")
    monkeypatch.setattr(shared, "show_bars", lambda detector, shown: None)
    detector: Any = Fitted(notes, error)
    with pytest.raises(error) if error else nullcontext():
        nothing: Any = None
        fit.fit_and_save(detector, nothing, nothing, tmp_path, table=tmp_path)
    assert notes == ["fitted", "saved", "figures with 中", "the rule"]
