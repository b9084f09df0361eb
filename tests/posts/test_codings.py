"""Codings of Label Studio and doccano: one row for each post and coder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmevent.corpus import read_coded
from mmevent.exceptions import InputError
from mmevent.posts import import_posts


def chosen(*labels: str) -> list[dict[str, Any]]:
    return [{"from_name": "event", "type": "choices", "value": {"choices": labels}}]


TASK: dict[str, Any] = {
    "id": 1,
    "data": {"post_id": "1600000000000000001", "text": "They march", "images": "a.jpg"},
    "annotations": [
        {"completed_by": 1, "result": chosen("yes")},
        {
            "completed_by": {"id": 2, "email": "ana@x.org"},
            "result": chosen("no", "odd"),
        },
        {"completed_by": 3, "was_cancelled": True, "result": []},
    ],
}


def imported(path: Path, content: Any, source: str) -> tuple[pd.DataFrame, list[str]]:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    posts, notes, _ = import_posts(path, source)
    return posts, notes


def test_label_studio_has_a_row_for_each_coder(tmp_path: Path) -> None:
    posts, notes = imported(tmp_path / "ls.json", [TASK], "labelstudio")
    assert posts["id"].tolist() == ["1600000000000000001"] * 2
    assert posts["coder"].tolist() == ["1", "ana@x.org"]
    assert posts["event"].tolist() == ["yes", "no|odd"]
    assert posts["images"].tolist() == ["a.jpg"] * 2
    assert notes == ["2 pictures named", "no times"]


def test_a_task_that_nobody_coded_stays(tmp_path: Path) -> None:
    task = TASK | {"annotations": []}
    data = {"id": "p8", "text": "b"}
    posts, _ = imported(
        tmp_path / "ls.json", [TASK, task | {"data": data}], "labelstudio"
    )
    assert posts["id"].tolist()[-1] == "p8"
    assert pd.isna(posts["event"].tolist()[-1])


@pytest.mark.parametrize("name", ["min.json", "min.csv"])
def test_short_exports_of_label_studio(name: str, tmp_path: Path) -> None:
    rows = [
        {"id": 1, "post_id": "p7", "text": "They march", "annotator": 3, "event": "yes"}
    ]
    content: Any = rows
    if name.endswith("csv"):
        content = pd.DataFrame(rows).to_csv(index=False)
    posts, notes = imported(tmp_path / name, content, "labelstudio")
    found = posts[["id", "text", "coder", "event"]].to_numpy().tolist()
    assert found == [["p7", "They march", "3", "yes"]]
    assert not any("post_id" in note for note in notes)


@pytest.mark.parametrize("name", ["whole.json", "min.json", "min.csv"])
def test_label_studios_own_numbers_are_no_ids(name: str, tmp_path: Path) -> None:
    row = {"id": 1, "text": "They march", "annotator": 3, "event": "yes"}
    content: Any = [row]
    if name == "whole.json":
        content = [TASK | {"data": {"text": "They march"}}]
    if name == "min.csv":
        content = pd.DataFrame(content).to_csv(index=False)
    with pytest.raises(InputError, match="without the posts' ids: expected 'post_id'"):
        imported(tmp_path / name, content, "labelstudio")
    if name == "min.csv":
        named = import_posts(tmp_path / name, "labelstudio", columns={"id": "id"})
        assert named.posts["id"].tolist() == ["1"]


@pytest.mark.parametrize("name", ["doccano.jsonl", "doccano.csv"])
def test_doccanos_own_numbers_are_named(name: str, tmp_path: Path) -> None:
    content: Any = [{"id": 1, "text": "They march", "label": "yes"}]
    if name.endswith("csv"):
        content = pd.DataFrame(content).to_csv(index=False)
    _, notes = imported(tmp_path / name, content, "doccano")
    assert "1 codings without post_id: their ids may be the tool's own numbers" in notes


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("text", {"text": "They march"}),
        ("text", {}),
        ("id", {}),
        ("event", {"event": 0}),
    ],
)
def test_a_question_overwrites_no_column(
    name: str, data: dict[str, Any], tmp_path: Path
) -> None:
    result = [{"from_name": name, "value": {"choices": ["yes"]}}]
    task = {"data": {"post_id": "7"} | data, "annotations": [{"result": result}]}
    for read in (
        lambda: imported(tmp_path / "ls.json", [task], "labelstudio"),
        lambda: read_coded(tmp_path / "ls.json"),
    ):
        with pytest.raises(InputError, match=f"the question '{name}' of an export"):
            read()


def test_a_question_fills_an_empty_column(tmp_path: Path) -> None:
    task = TASK | {"data": TASK["data"] | {"event": None}}
    posts, _ = imported(tmp_path / "ls.json", [task], "labelstudio")
    assert posts["event"].tolist() == ["yes", "no|odd"]


def test_doccano(tmp_path: Path) -> None:
    lines = [
        {"id": 1, "text": "They march", "label": ["yes"], "meta": {"post_id": "p7"}},
        {"id": 2, "data": "They sing", "label": [], "post_id": "p8"},
        {"id": 3, "filename": "a.jpg", "label": ["yes", "odd"], "post_id": "p9"},
    ]
    content = "\n".join(map(json.dumps, lines))
    posts, notes = imported(tmp_path / "doccano.jsonl", content, "doccano")
    assert posts["id"].tolist() == ["p7", "p8", "p9"]
    assert posts["text"].fillna("").tolist() == ["They march", "They sing", ""]
    assert posts["images"].fillna("").tolist() == ["", "", "a.jpg"]
    assert posts["label"].fillna("").tolist() == ["yes", "", "yes|odd"]
    assert notes == ["1 pictures named", "no times"]
