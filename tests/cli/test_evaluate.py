"""`mmevent evaluate`: figures again, held-out posts, errors and plots."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import mmevent
from mmevent.posts import read_table, write_table

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def model(counting: Path) -> Path:
    return counting


def test_evaluate_repeats_the_estimate_of_the_fit(
    done: Command, fitted: tuple[Path, Result], coded: Path, tmp_path: Path
) -> None:
    folder, result = fitted
    path = tmp_path / "figures.json"
    # Neither the device nor the size of batches changes a figure.
    words = ["--json", path, "--device", "cpu", "--batch-size", 64]
    again = done("evaluate", folder, coded, *words)
    assert result.stdout.startswith(again.stdout.rstrip())
    assert json.loads(path.read_text())["kind"] == "nested"
    assert os.listdir(tmp_path) == ["figures.json"]


def test_evaluate_over_seeds_says_so(done: Command, model: Path, coded: Path) -> None:
    assert "2 seeds of the folds" in done("evaluate", model, coded, "--seeds", 2).stdout


def test_evaluate_on_held_out_posts(
    done: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    others = read_table(uncoded).rename(columns={"event": "later"})
    path = uncoded.parent / "later.csv"
    write_table(others, path)
    # Neutral texts of made-up posts are seldom equal; were one, it would be dropped.
    words = ["--held-out", "--drop-seen", "--label", "later"]
    out = done("evaluate", model, path, *words).stdout
    assert "Estimate by held-out posts, never seen in training\n" in out


def test_held_out_posts_that_were_training_posts(
    refused: Command, model: Path, coded: Path
) -> None:
    line = refused("evaluate", model, coded, "--held-out")
    assert "were training posts" in line
    assert "--drop-seen" in line


def test_other_posts_without_held_out(
    refused: Command, model: Path, uncoded: Path
) -> None:
    line = refused("evaluate", model, uncoded)
    assert "not those of the training" in line
    assert "--held-out" in line


def test_errors_plots_and_slices_are_written(
    done: Command, refused: Command, model: Path, coded: Path, tmp_path: Path
) -> None:
    errors, folder = tmp_path / "errors.csv", tmp_path / "plots"
    words = ["evaluate", model, coded, "--errors", errors, "--plots", folder]
    few = ("--plot-format", "svg", "--by", "group", "--prevalence", "0.1")
    said = done(*words, *few)
    assert "group: " in said.stdout
    assert "to 0.1. This assumes" in said.stdout
    assert {"id", "kind", "margin", "text"} <= set(read_table(errors))
    assert "<article>" in (tmp_path / "errors.html").read_text()
    names = {path.name for path in folder.iterdir()}
    assert {"precision-recall.svg", "threshold.svg"} <= names
    assert "No plot reliability" in said.stderr
    assert "is not empty" in refused(*words)
    (tmp_path / "other.html").mkdir()
    line = refused("evaluate", model, coded, "--errors", tmp_path / "other.csv")
    assert "is a folder: expected that --errors can write its page" in line
    line = refused("evaluate", model, coded, "--errors", coded)
    assert "is named twice" in line
    assert "--by" in refused(*words[:3], "--by", "town")
    assert "--prevalence" in refused(*words[:3], "--prevalence", "2")


def test_options_of_evaluate_that_would_do_nothing(
    refused: Command, model: Path, coded: Path
) -> None:
    line = refused("evaluate", model, coded, "--drop-seen")
    assert "--drop-seen needs --held-out" in line
    line = refused("evaluate", model, coded, "--plot-format", "svg")
    assert "--plot-format needs --plots" in line
    line = refused("evaluate", model, coded, "--held-out", "--seeds", 2)
    assert "--seeds does nothing with --held-out" in line
    line = refused("evaluate", model, coded, "--json", "no/such/file.json")
    assert "Correct --json" in line


def test_a_model_that_knows_no_label_asks_for_it(
    refused: Command, model: Path, coded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = mmevent.load

    def load_nameless(folder: Path, **settings: Any) -> Any:
        loaded = load(folder, **settings)
        loaded.fitted_ = replace(loaded.fitted_, label_name=None)
        return loaded

    monkeypatch.setattr("mmevent.persistence.load", load_nameless)
    line = refused("evaluate", model, coded)
    assert "Name the column with --label" in line


def test_results_do_not_go_into_the_folder_of_the_model(
    refused: Command, model: Path, coded: Path
) -> None:
    for option, name in (("--json", "estimate.json"), ("--plots", "plots")):
        line = refused("evaluate", model, coded, option, model / name)
        assert "lies in the folder of the model" in line
    assert not (model / "plots").exists()


def test_labels_of_stage_1_do_nothing_for_held_out_posts(
    refused: Command, model: Path, coded: Path
) -> None:
    words = ["evaluate", model, coded, "--held-out", "--stage1-label", "event"]
    assert "--stage1-label does nothing with --held-out" in refused(*words)
