"""The benchmark of encoders by language: where its model is, what is held apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import languages

MAKES = (
    "import pathlib, sys\n"
    "folder = pathlib.Path(sys.argv[1])\n"
    "folder.mkdir()\n"
    "(folder / 'config.json').write_text('{}')\n"
)


@pytest.fixture
def posts() -> pd.DataFrame:
    """Posts in three languages, with events that two languages share."""
    rng = np.random.default_rng(0)
    n = 360
    return pd.DataFrame(
        {
            "text": [f"post {i}" for i in range(n)],
            "label": rng.integers(0, 2, n),
            "event": rng.integers(0, 150, n).astype(str),
            "language": np.resize(["en", "es", "fr"], n),
        }
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMEVENT_MODELS", str(tmp_path))
    monkeypatch.setenv("MMEVENT_E5", str(tmp_path / "kept" / "e5"))
    return tmp_path


def test_e5_is_made_once(place: Path) -> None:
    (place / "make_e5.py").write_text(MAKES)
    folder = languages.e5_folder()
    assert folder == place / "kept" / "e5"
    assert [path.name for path in folder.parent.iterdir()] == ["e5"]
    (place / "make_e5.py").write_text("raise SystemExit('made again')")
    assert languages.e5_folder() == folder


@pytest.mark.parametrize("script", [None, "raise SystemExit('no network')"])
def test_without_e5_it_is_skipped_and_leaves_nothing(
    place: Path, script: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if script is not None:
        (place / "make_e5.py").write_text(script)
    with pytest.raises(SystemExit) as ended:
        languages.e5_folder()
    assert ended.value.code == 0
    assert "skipped: " in capsys.readouterr().err
    kept = place / "kept"
    assert not kept.exists() or list(kept.iterdir()) == []


def test_the_prefix_alone_is_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / "e5"
    folder.mkdir()
    settings = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text("{}")
    copy = languages.without_prefix(folder, tmp_path)
    changed = json.loads((copy / "config_sentence_transformers.json").read_text())
    assert changed == {**settings, "default_prompt_name": None}
    assert (copy / "config.json").read_text() == "{}"


@pytest.mark.parametrize("across", [False, True])
def test_no_event_is_learnt_from_and_tested_on(
    posts: pd.DataFrame, across: bool
) -> None:
    seen = []
    for learn, test in languages.splits(posts, 0, across=across):
        assert not set(posts["event"][learn]) & set(posts["event"][test])
        if across:
            assert posts["language"][test].nunique() == 1
            assert not set(posts["language"][learn]) & set(posts["language"][test])
        seen += test.tolist()
    assert sorted(seen) == list(range(len(posts)))


def test_figures_of_perfect_scores_and_of_their_mean(posts: pd.DataFrame) -> None:
    event = posts["label"].to_numpy() == 1
    zeros = np.zeros(len(posts), dtype=np.intp)
    run = languages.Tested(event.astype(float), event, zeros)
    wrong = languages.Tested(1.0 - event, ~event, zeros)
    best, both = (languages.replicates(posts, runs) for runs in ([run], [run, wrong]))
    for name in [*languages.LANGUAGES.values(), languages.MEAN]:
        assert [best[name][figure][0] for figure in languages.FIGURES] == [1, 1, 1]
        assert both[name]["AUC"][0] == 0.5
        cells = languages.cells(posts, name, best, both)
        assert cells[-2] == 0.5
        assert cells[-1][0] <= 0.5 <= cells[-1][1]
