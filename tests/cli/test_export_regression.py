"""`mmevent export-regression`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.posts import read_table, write_table

Command = Callable[..., Any]


@pytest.fixture
def tables(done: Command, tmp_path: Path) -> tuple[Path, Path]:
    """Write predictions and a coded sample of them."""
    predictions, coded = tmp_path / "predictions.csv", tmp_path / "coded.csv"
    rng = np.random.default_rng(0)
    audit = pd.DataFrame({"id": np.arange(300), "score": rng.random(300)})
    audit["margin"] = audit["score"] - 0.7
    audit["country"] = rng.choice([*"abc"], 300)
    audit["created_at"] = [f"{d:02d}/02/2024" for d in rng.integers(1, 29, 300)]
    write_table(audit, predictions)
    done("sample", predictions, "-n", 90, "-o", coded)
    drawn = read_table(coded)
    drawn["event"] = np.where(rng.random(90) < 0.3, "yes", "no")
    write_table(drawn, coded)
    return predictions, coded


def test_a_table_of_posts_and_one_of_cells(
    done: Command, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    words = ["export-regression", *tables, "--label", "event", "--positive", "yes"]
    said = done(*words, "--feature", "country", "--cluster", "country", "-o", out)
    assert "300 rows, 300 posts, 90 coded by hand. Events: " in said.stdout
    posts = read_table(out)
    assert {"pseudo_outcome", "predicted", "inclusion_probability"} <= set(posts)
    done(
        *(*words, "--unit", "country", "--period", "month"),
        *("--date-format", "%d/%m/%Y", "-o", out),
    )
    cells = read_table(out)
    assert cells["period"].astype(str).unique().tolist() == ["2024-02-01"]
    assert len(cells) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--timezone", "UTC"], "add --period"),
        (["--prediction", "flagged", "--feature", "country"], "--feature does nothing"),
        (["--feature", "city"], "Correct --feature"),
        (["--unit", "city"], "Correct --unit"),
        (["--cluster", "city"], "Correct --cluster"),
        (["--prediction", "p"], "has no column 'p'"),
    ],
)
def test_wrong_use_is_an_error(
    refused: Command,
    tables: tuple[Path, Path],
    tmp_path: Path,
    words: list[str],
    message: str,
) -> None:
    out = tmp_path / "out.csv"
    words = ["--label", "event", "--positive", "yes", *words]
    assert message in refused("export-regression", *tables, *words, "-o", out)
    assert not out.exists()
