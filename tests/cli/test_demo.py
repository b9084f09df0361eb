"""`mmevent demo`: the whole way, and nothing left where it fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
