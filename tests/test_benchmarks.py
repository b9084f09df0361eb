"""Result files and the page that is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import _common, _hostile, attacks, make_page
from benchmarks._branches import OutOfFold, tables, words
from mmevent.synthetic.posts import make_posts

HEADER = {
    "commit": "0123456789ab",
    "seed": [0, 1],
    "versions": {"python": "3.11.7", "numpy": "2.1.0"},
    "machine": {"cpu": "A CPU", "cores": 2, "memory_gb": 24, "system": "Linux x86_64"},
}


def result(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "title": "F1",
        "command": "python -m benchmarks.f1",
        "header": HEADER,
        "tables": [
            {
                "caption": "Means",
                "columns": ["row", "F1", "interval", "posts", "seconds"],
                "rows": [
                    ["fused", 0.62649, [0.6, 0.6512], 3000, 0.00123],
                    ["a|b", None, None, 0, 0.0],
                ],
            }
        ],
        "notes": ["a note"],
        **changes,
    }


def test_page_is_what_the_result_files_give() -> None:
    written = make_page.PAGE.read_text(encoding="utf-8")
    assert written == make_page.render(make_page.read_results()), (
        "run `python -m benchmarks.make_page`"
    )


@pytest.mark.parametrize("page", make_page.QUOTING, ids=lambda page: page.name)
def test_quotes_are_what_the_result_files_give(page: Path) -> None:
    written = page.read_text(encoding="utf-8")
    assert "<!-- end -->" in written
    assert written == make_page.with_quotes(written), (
        "run `python -m benchmarks.make_page`"
    )


def test_a_quote_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(result()))
    page = "Before\n<!-- x.json -->\nold\n<!-- end -->\nafter\n"
    quoted = make_page.with_quotes(page, tmp_path)
    assert "old" not in quoted
    assert "| fused | 0.626 |" in quoted
    assert quoted.startswith("Before\n<!-- x.json -->\n")
    assert quoted.endswith("\n<!-- end -->\nafter\n")


@pytest.mark.parametrize("path", sorted(_common.RESULTS.glob("*.json")), ids=str)
def test_result_file_is_complete(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found.keys() >= result().keys()
    assert found["header"].keys() >= HEADER.keys()
    assert f"benchmarks/results/{path.name}" in found["command"]


def test_page_shows_command_table_notes_and_header() -> None:
    page = make_page.render([result()])
    assert "## F1\n\n```console\n$ python -m benchmarks.f1\n```" in page
    assert "| --- | ---: | ---: | ---: | ---: |" in page
    assert "| fused | 0.626 | [0.600, 0.651] | 3,000 | 0.00123 |" in page
    assert "| a\\|b | – | – | 0 | 0.000 |" in page
    assert "\n- a note\n" in page
    assert (
        "Commit 0123456789ab, seeds 0, 1; python 3.11.7, numpy 2.1.0; "
        "A CPU, 2 cores, 24 GiB, Linux x86_64." in page
    )


def test_page_without_results_says_so() -> None:
    assert "No result has been written yet." in make_page.render([])


def test_branches_are_compared_on_the_same_folds() -> None:
    posts, y, _ = make_posts(90, random_state=0)
    of = OutOfFold(posts, pd.Series(y), None, seed=0)
    of.add("words", text=words())
    of.p_text["noise"] = np.random.default_rng(0).random(90)
    figures, differences = tables(of.alone(), of, "noise", "Branches")
    assert [row[0] for row in figures["rows"]] == ["words", "noise"]
    assert differences["rows"][0][1] > 0


def test_header_names_commit_versions_and_machine() -> None:
    header = _common.result_header(seed=3)
    assert header.keys() == HEADER.keys()
    assert header["seed"] == 3
    assert header["machine"].keys() == HEADER["machine"].keys()
    assert "numpy" in header["versions"]


def test_result_is_written_whole_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "f1.json"
    _common.write_result(path, result())
    assert make_page.read_results(path.parent) == [result()]
    assert [p.name for p in path.parent.iterdir()] == ["f1.json"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        pytest.param({"title": "F1"}, "lacks .*'command'", id="incomplete"),
        pytest.param(
            result(tables=[{"caption": "T", "columns": ["a"], "rows": [[1, 2]]}]),
            "rows of 'T' differ in length",
            id="ragged",
        ),
        pytest.param(
            result(
                tables=[{"caption": "T", "columns": ["a"], "rows": [[float("nan")]]}]
            ),
            "not JSON compliant",
            id="nan",
        ),
    ],
)
def test_a_malformed_result_is_not_written(
    tmp_path: Path, bad: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _common.write_result(tmp_path / "f1.json", bad)
    assert list(tmp_path.iterdir()) == []


def test_data_and_models_are_found_by_their_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "posts").mkdir()
    monkeypatch.setenv("MMEVENT_DATA", str(tmp_path))
    monkeypatch.setenv("MMEVENT_MODELS", str(tmp_path))
    assert _common.data_folder("posts") == tmp_path / "posts"
    assert _common.model_folder("posts") == tmp_path / "posts"
    with pytest.raises(SystemExit, match="no folder .*Set MMEVENT_DATA to the folder"):
        _common.data_folder("absent")


@pytest.mark.parametrize("seed", range(12))
def test_an_attack_on_a_manifest_writes_nothing_outside_its_folder(
    tmp_path: Path, seed: int
) -> None:
    secret = tmp_path / _hostile.SECRET
    secret.write_text("kept")
    folder = tmp_path / "trial" / "model"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    _hostile._replace(folder / "manifest.json", np.random.default_rng(seed))
    _hostile._seal(folder)
    assert secret.read_text() == "kept"


def test_attacks_are_counted_by_how_they_end_and_what_they_did() -> None:
    trial = {"error": "", "seen": [], "seconds": 0.5}
    found = {
        "pictures": [trial | {"outcome": "refused"}, trial | {"outcome": "hang"}],
        "folders": [
            trial | {"outcome": "used", "seen": ["file outside: /x", "code: exec"]},
        ],
    }
    (table,) = attacks.tables(found)
    assert table["rows"] == [
        ["pictures", 2, 1, 0, 0, 0, 1, 0, 0, 0, 0.5],
        ["folders", 1, 0, 1, 0, 0, 0, 1, 1, 0, 0.5],
    ]
    assert len(table["columns"]) == len(table["rows"][0])
    assert [line.split(":")[0] for line in attacks._said(found)] == [
        "pictures 1",
        "folders 0",
    ]
