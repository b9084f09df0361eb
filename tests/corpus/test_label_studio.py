"""Tasks for Label Studio, and what comes back from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.corpus.estimate import estimate_corpus
from mmevent.corpus.label_studio import label_studio_tasks, read_coded
from mmevent.corpus.sampling import draw_sample
from mmevent.exceptions import InputError
from mmevent.posts import write_table

LONG = 1234567890123456789
SCORE = np.arange(300) / 300
AUDIT = pd.DataFrame({"id": LONG + np.arange(300), "score": SCORE})
AUDIT["margin"] = AUDIT["score"] - 0.9
DRAWN = draw_sample(AUDIT, 100)
IDS = DRAWN["id"].tolist()
ANSWERS = ["yes" if identifier - LONG > 260 else "no" for identifier in IDS]


def tasks(posts: pd.DataFrame = DRAWN) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(label_studio_tasks(posts))
    return [task["data"] for task in found]


def test_tasks_keep_values_as_they_are_and_names_that_nothing_overwrites() -> None:
    posts = pd.DataFrame(
        {
            "id": [LONG],
            "stratum": [0],
            "inclusion_probability": [0.1],
            "text": ["中 a"],
            "created_at": pd.to_datetime(["2024-03-09T18:30"]),
            "annotator": ["me"],
            "post_id": ["other"],
            "weight": [0.1],
            "likes": [3],
            "author": [LONG],
            "images": [["a.jpg", "b.jpg"]],
            "place": [None],
            "checked": [True],
        }
    )
    assert tasks(posts) == [
        {
            "post_id": str(LONG),
            "text": "中 a",
            "created_at": "2024-03-09T18:30:00",
            "post_annotator": "me",
            "post_post_id": "other",
            "weight": "0.1",
            "likes": 3,
            "author": str(LONG),
            "images": ["a.jpg", "b.jpg"],
            "place": None,
            "checked": True,
        }
    ]


def exported(kind: str, folder: Path, data: list[dict[str, Any]]) -> Path:
    """Write what Label Studio exports: it numbers tasks anew, and adds its own."""
    own = {"annotator": 2, "annotation_id": 9, "lead_time": 1.5, "created_at": "now"}
    if kind == "JSON":
        path = folder / "export.json"
        answer = {"from_name": "event", "type": "choices"}
        content: Any = [
            {
                "id": number,
                "data": one,
                "annotations": [
                    {
                        "completed_by": {"id": 2, "email": "b@c.de"},
                        "result": [answer | {"value": {"choices": [label]}}],
                    },
                    {"completed_by": 3, "was_cancelled": True, "result": []},
                ],
            }
            for number, (one, label) in enumerate(zip(data, ANSWERS, strict=True))
        ]
    else:
        content = [
            {**one, "id": number, "event": label, **own}
            for number, (one, label) in enumerate(zip(data, ANSWERS, strict=True))
        ]
        path = folder / "export.csv"
        if kind == "CSV":
            write_table(pd.DataFrame(content), path)
            return path
        path = folder / "export-min.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["JSON", "JSON-MIN", "CSV"])
def test_labels_come_back_to_their_posts(kind: str, tmp_path: Path) -> None:
    coded = read_coded(exported(kind, tmp_path, tasks()))
    assert coded["id"].astype(str).tolist() == [str(identifier) for identifier in IDS]
    assert coded["annotator"].isin([2, "b@c.de"]).all()
    found = estimate_corpus(AUDIT, coded, "event", sample=DRAWN, pos_label="yes")
    plain = estimate_corpus(
        AUDIT, DRAWN.assign(event=np.array(ANSWERS) == "yes"), "event"
    )
    assert found.table.equals(plain.table)


@pytest.mark.parametrize("kind", ["JSON-MIN", "CSV"])
def test_an_export_whose_ids_are_lost_is_refused(kind: str, tmp_path: Path) -> None:
    old = [{"text": "a flood", "id": identifier} for identifier in IDS]
    with pytest.raises(InputError, match="without the posts' ids.*'post_id'"):
        read_coded(exported(kind, tmp_path, old))


def test_an_old_export_that_kept_the_ids_is_read(tmp_path: Path) -> None:
    old = [{"text": "a flood", "id": identifier} for identifier in IDS]
    assert read_coded(exported("JSON", tmp_path, old))["id"].tolist() == IDS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("lines", [True, False])
@pytest.mark.parametrize("kind", ["JSON", "JSON-MIN"])
def test_json_in_every_form_is_read(
    kind: str, lines: bool, encoding: str, tmp_path: Path
) -> None:
    path = exported(kind, tmp_path, [one | {"text": "café"} for one in tasks()])
    content = json.loads(path.read_text(encoding="utf-8"))
    written = [json.dumps(one, ensure_ascii=False) for one in content]
    text = "\n".join(written) if lines else f"[{','.join(written)}]"
    path.write_bytes(text.encode(encoding))
    coded = read_coded(path, encoding="cp1252")
    assert coded["id"].astype(str).tolist() == [str(identifier) for identifier in IDS]
    assert set(coded["text"]) == {"café"}
    assert coded["event"].tolist() == ANSWERS


def test_a_column_post_id_of_ones_own_stays(tmp_path: Path) -> None:
    path = tmp_path / "coded.csv"
    table = pd.DataFrame({"id": [1, 2], "post_id": [8, 9], "event": [1, 0]})
    write_table(table, path)
    assert read_coded(path).equals(table)
    write_table(table.drop(columns="id"), path)
    assert read_coded(path)["id"].tolist() == [8, 9]


def test_other_tables_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "coded.csv"
    table = pd.DataFrame({"id": [1, 2], "annotator": ["A", "B"], "event": [1, 0]})
    write_table(table, path)
    assert read_coded(path).equals(table)
    drawn = DRAWN.assign(post_id="other", annotator=1, lead_time=2, event=1)
    write_table(drawn, path)
    assert read_coded(path)["id"].tolist() == IDS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "is not well formed: expected json content"),
        ('{"a": 1}', "is not well formed.*one object with the keys 'a'"),
        ("[1]", "is not well formed.*a JSON int in place 0"),
        ('[{"data": {"id": 1}, "annotations": [7]}]', "has tasks of another form"),
        ('[{"data": 5, "annotations": []}]', "has tasks of another form"),
    ],
    ids=["cut", "object", "numbers", "annotation", "data"],
)
def test_other_files_are_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_coded(path)
    with pytest.raises(InputError, match="does not exist"):
        read_coded(tmp_path / "none.json")


def test_several_answers_are_no_label(tmp_path: Path) -> None:
    data = exported("JSON", tmp_path, tasks())
    content = json.loads(data.read_text())
    content[0]["annotations"][0]["result"][0]["value"]["choices"] = ["yes", "no"]
    data.write_text(json.dumps(content))
    with pytest.raises(InputError, match="column 'event' cannot be compared.*row 0"):
        estimate_corpus(AUDIT, read_coded(data), "event", sample=DRAWN, pos_label="yes")
