"""A saved detector of texts, and a source of three files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import mmevent
from mmevent.posts import write_table


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    posts = [
        {"text": f"{'march' if n % 2 else 'sun'} {n} {'crowd' if n % 3 else 'sea'}"}
        for n in range(80)
    ]
    detector = mmevent.EventDetector(
        text=make_pipeline(TfidfVectorizer(), LogisticRegression()),
        image=None,
        cv=2,
        inner_cv=2,
        n_trials=5,
        random_state=0,
    )
    detector.fit(posts, [n % 2 for n in range(80)])
    path = tmp_path_factory.mktemp("run") / "model"
    detector.save(path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "posts"
    folder.mkdir()
    for name, suffix in (("a", ".csv"), ("b", ".parquet"), ("c", ".jsonl")):
        texts = [f"march {name}{n}" if n % 3 else f"sun\n{n}" for n in range(20)]
        ids = [f"{name}{n}" for n in range(20)]
        write_table(
            pd.DataFrame({"id": ids, "text": texts, "place": ids}),
            folder / f"{name}{suffix}",
        )
    return folder
