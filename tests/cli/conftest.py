"""Commands run in this process, coded and uncoded posts, and a model fitted on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline

from mmevent import EventDetector
from mmevent.cli.main import main
from mmevent.posts import read_table, write_table
from mmevent.synthetic import make_posts


def _run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def _done(*words: object) -> Result:
    result = _run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def _refused(*words: object, code: int = 2) -> str:
    result = _run(*words)
    assert result.exit_code == code, (result.output, result.exception)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    return lines[0]


@pytest.fixture(scope="session")
def run() -> Callable[..., Result]:
    """Run a command, whatever comes of it."""
    return _run


@pytest.fixture(scope="session")
def done() -> Callable[..., Result]:
    """Run a command that must succeed."""
    return _done


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """Return the one line of a command that must end with exit code 2."""
    return _refused


@pytest.fixture(scope="session")
def quick() -> list[str]:
    """Options of a fit that takes a second."""
    return ["--cv", "2", "--inner-cv", "2", "--n-trials", "5"]


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def uncoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 30 other posts with other names of columns."""
    folder = tmp_path_factory.mktemp("uncoded")
    posts, y, _ = make_posts(
        30, folder=folder, share_reposts=0, share_broken=0, random_state=1
    )
    posts["id"] = [f"u{i}" for i in range(30)]
    write_table(posts.assign(event=y), folder / "posts.csv")
    return folder / "posts.csv"


@pytest.fixture(scope="session")
def models(tiny_text_model: str, tiny_image_model: str) -> list[str]:
    """The options that name two tiny encoders."""
    return ["--text", tiny_text_model, "--image", tiny_image_model]


@pytest.fixture(scope="session")
def fitted(
    coded: Path,
    models: list[str],
    quick: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Result]:
    """A model's folder, and what `fit` said."""
    folder = tmp_path_factory.mktemp("fitted") / "model"
    result = _done("fit", coded, "--label", "event", *models, *quick, "-o", folder)
    return folder, result


@pytest.fixture(scope="session")
def model(fitted: tuple[Path, Result]) -> Path:
    """A model's folder."""
    return fitted[0]


@pytest.fixture(scope="session")
def counting(coded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that counts words, whose evaluation takes a moment."""
    posts = read_table(coded)
    detector = EventDetector(
        text=make_pipeline(CountVectorizer(), BernoulliNB()),
        image=None,
        image_root=coded.parent,
        cv=2,
        inner_cv=2,
        n_trials=5,
        estimate=None,
        random_state=0,
    )
    detector.fit(posts.drop(columns="event"), posts["event"])
    folder = tmp_path_factory.mktemp("counting") / "model"
    detector.save(folder)
    return folder


@pytest.fixture
def changed(coded: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the coded posts with changed columns."""

    def change(**columns: Any) -> Path:
        path = tmp_path / "changed.csv"
        write_table(read_table(coded).assign(**columns), path)
        return path

    return change
