"""Options of `mmevent estimate` about errors of coders, and of groups."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmevent.corpus import coder_error, coders, draw_sample
from mmevent.posts import read_table, write_table

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coder_error, "N_DRAWS", 100)
    monkeypatch.setattr(coders, "N_RESAMPLES", 2)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Write predictions, and codings of two coders who err."""
    rng = np.random.default_rng(0)
    n = 600
    event = rng.random(n) < 0.2
    audit = pd.DataFrame({"id": np.arange(n), "score": event + rng.normal(0, 0.4, n)})
    audit["margin"] = audit["score"] - 0.5
    audit["country"] = np.where(rng.random(n) < 0.4, "A", "B")
    audit["created_at"] = np.where(rng.random(n) < 0.5, "2024-01-05", "2024-02-07")
    sample = draw_sample(audit, 200)
    true = event[sample["id"]]
    tables = [
        sample.assign(
            who=name, event=np.where(rng.random(200) < 0.08, ~true, true).astype(int)
        )
        for name in ("Ann", "Ben")
    ]
    write_table(audit, tmp_path / "predictions.csv")
    write_table(pd.concat(tables), tmp_path / "coded.csv")
    return tmp_path / "predictions.csv", tmp_path / "coded.csv"


def test_coders_are_named_and_their_errors_said(
    done: Command, refused: Command, files: tuple[Path, Path], tmp_path: Path
) -> None:
    words = ["estimate", *files, "--label", "event"]
    figures = tmp_path / "figures.json"
    said = done(*words, "--coder", "who", "--json", figures).stdout
    assert "- Ann: sensitivity 0." in said
    written = json.loads(figures.read_text())["coders"]
    assert [row["coder"] for row in written] == ["Ann", "Ben"]
    said = done(*words, "--sensitivity", 0.92, "--specificity", 0.92).stdout
    assert "a sensitivity of 0.92 and a specificity of 0.92, taken as exact" in said
    assert "no better than chance" in refused(
        *words, "--sensitivity", 0.4, "--specificity", 0.6
    )
    assert "Give both" in refused(*words, "--sensitivity", 0.4)
    assert "Correct --coder" in refused(*words, "--coder", "name")


def test_posts_to_adjudicate_come_back_adjudicated(
    done: Command, refused: Command, files: tuple[Path, Path], tmp_path: Path
) -> None:
    first, bare = tmp_path / "first.csv", tmp_path / "bare.csv"
    words = ["agreement", files[1], "--label", "event", "--coder", "who"]
    done(*words, "--to-adjudicate", first)
    table = read_table(first)
    assert table.columns.tolist() == ["id", "Ann", "Ben", "chance", "moves"]
    write_table(table.assign(event=(table["chance"] > 0.5) * 1), first)
    estimate = ["estimate", *files, "--label", "event"]
    said = done(*estimate, "--adjudicated", first).stdout
    assert "coded more than once or adjudicated" in said
    assert "add --to-adjudicate" in refused(*words, "--sample", files[1])
    assert "add --to-adjudicate" in refused(*words, "--positive", "1")
    codings = read_table(files[1])
    write_table(codings[["id", "who", "event"]], bare)
    words[1] = bare
    again = tmp_path / "again.csv"
    assert "--sample" in refused(*words, "--to-adjudicate", again)
    assert not again.exists()
    done(*words, "--to-adjudicate", again, "--sample", files[1], "--positive", 1)
    assert read_table(again)["id"].tolist() == table["id"].tolist()


def test_errors_by_group_are_written_drawn_and_printed(
    done: Command, refused: Command, files: tuple[Path, Path], tmp_path: Path
) -> None:
    rates, series, plot = (tmp_path / n for n in ("rates.csv", "series.csv", "a.png"))
    words = ["estimate", *files, "--label", "event"]
    to = ["--error-rates", rates, "--series", series, "--plot", plot]
    said = done(*words, "--by", "country", "--period", "month", *to).stdout
    assert "The false-positive rate by country: p = " in said
    assert said.count("All figures are corrected") == 1
    assert read_table(series)["group"].tolist()[2:] == ["2024-01", "2024-02"]
    assert set(read_table(rates)["figure"]) == {
        "false_positive_rate",
        "false_negative_rate",
    }
    assert Image.open(plot).size[1] == 690
    assert "add --by or --period" in refused(*words, *to)
    line = refused(*words, "--by", "country", "--plot", tmp_path / "a.gif")
    assert "end it in .png, .svg or .pdf" in line
    line = refused(*words, "--by", "country", "--plot", tmp_path / "no" / "a.png")
    assert "Correct --plot" in line
    assert refused(*words, "--by", "country", "--series", rates, "--error-rates", rates)
