"""`mmevent demo`: the whole way, and nothing left where it fails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from other_settings import EACH

from mmevent.cli import demo
from mmevent.posts import read_table

Command = Callable[..., Any]


def test_demo_leads_to_predictions(
    done: Command, refused: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = demo._new_detector
    monkeypatch.setattr(
        demo,
        "_new_detector",
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


def test_demo_is_the_same_under_all_settings_of_others(
    done: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = demo._new_detector
    small = {"cv": 2, "inner_cv": 2, "n_trials": 2}
    monkeypatch.setattr(
        demo, "_new_detector", lambda *given: whole(*given).set_params(**small)
    )
    done("demo", "--n-posts", 200, "-o", tmp_path / "plain")
    with ExitStack() as stack:
        for settings in EACH.values():
            stack.enter_context(settings())
        done("demo", "--n-posts", 200, "-o", tmp_path / "other")
    plain, other = tmp_path / "plain", tmp_path / "other"
    for name in ("posts.csv", "model/out_of_fold.parquet", "model/trials.parquet"):
        pd.testing.assert_frame_equal(
            read_table(plain / name), read_table(other / name), check_exact=True
        )
    rules = [
        json.loads((folder / "model/detector.json").read_text())
        for folder in (plain, other)
    ]
    assert rules[0]["rule"] == rules[1]["rule"]


def test_a_demo_that_fails_leaves_nothing(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "fit_and_save", interrupt)
    result = run("demo", "--n-posts", 200, "-o", tmp_path / "demo")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "Error: interrupted."
    assert os.listdir(tmp_path) == []
