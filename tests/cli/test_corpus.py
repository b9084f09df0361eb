"""`mmevent sample`, `estimate` and `agreement`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmevent.posts import read_table, write_table

Command = Callable[..., Any]


def test_a_sample_that_is_coded_says_what_the_corpus_holds(
    done: Command, refused: Command, model: Path, uncoded: Path, tmp_path: Path
) -> None:
    predictions, drawn = tmp_path / "predictions.csv", tmp_path / "drawn.csv"
    tasks, figures = tmp_path / "tasks.json", tmp_path / "figures.json"
    done("predict", model, uncoded, "-o", predictions, "--keep", "created_at")
    said = done(
        *("sample", predictions, "-n", 28, "--posts", uncoded, "-o", drawn),
        *("--label-studio", tasks),
    )
    assert "28 posts drawn from 30" in said.stdout
    table = read_table(drawn)
    assert {"id", "stratum", "inclusion_probability", "text"} <= set(table)
    shown = json.loads(tasks.read_text())
    assert len(shown) == 28
    assert {"id", "text"} <= set(shown[0]["data"])
    assert not {"stratum", "inclusion_probability"} & set(shown[0]["data"])
    table["code"] = np.arange(28) % 2
    write_table(table, drawn)
    said = done(
        *("estimate", predictions, drawn, "--label", "code", "--period", "month"),
        *("--json", figures),
    )
    assert "30 posts" in said.stdout
    assert json.loads(figures.read_text())["n_coded"] == 28
    line = refused("estimate", predictions, drawn, "--label", "codes")
    assert "--label" in line
    line = refused("sample", predictions, "-n", 500, "-o", tmp_path / "other.csv")
    assert "n=500 posts cannot be drawn" in line
    line = refused("predict", model, uncoded, "-o", predictions, "--keep", "city")
    assert "--keep" in line


def test_a_sample_needs_one_row_for_each_post(
    done: Command, refused: Command, tmp_path: Path
) -> None:
    predictions, posts = tmp_path / "predictions.csv", tmp_path / "posts.csv"
    audit = pd.DataFrame({"id": np.arange(40), "score": np.linspace(0, 1, 40)})
    audit["margin"], audit["seen_in_training"] = audit["score"] - 0.5, audit["id"] < 4
    write_table(audit, predictions)
    words = ["sample", predictions, "-n", 36, "--posts", posts]
    texts = pd.DataFrame({"id": [f"{i}" for i in range(40)], "text": "a flood"})
    for table in (texts[:-3], pd.concat([texts, texts[-2:]])):
        write_table(table, posts)
        out = tmp_path / "none.csv"
        assert "posts.csv does not fit the predictions" in refused(*words, "-o", out)
        assert not out.exists()
    line = refused(*words, "--id-column", "tweet", "-o", tmp_path / "none.csv")
    alone = refused(*words[:4], "--id-column", "tweet", "-o", tmp_path / "none.csv")
    assert "add --posts" in alone
    assert "no column 'tweet'" in line
    for table, named in (
        (texts.rename(columns={"id": "tweet"}), ("--id-column", "tweet")),
        (texts[["text"]], ()),
    ):
        write_table(table.assign(row=texts["id"]), posts)
        done(*words, *named, "-o", tmp_path / "drawn.csv")
        drawn = read_table(tmp_path / "drawn.csv")
        assert (drawn["row"].astype(str) == drawn["id"].astype(str)).all()
    write_table(pd.concat([texts, texts.iloc[:1].assign(id="x")]), posts)
    said = done(*words, "-o", tmp_path / "drawn.csv").stdout
    assert "36 posts drawn from 36, without the 4 that training saw" in said
    assert (read_table(tmp_path / "drawn.csv")["text"] == "a flood").all()


def test_coders_are_compared(done: Command, refused: Command, tmp_path: Path) -> None:
    coded = pd.DataFrame({"id": [1, 2, 3, 4] * 2, "who": ["A"] * 4 + ["B"] * 4})
    coded["event"] = [1, 1, 0, 0, 1, 0, 0, 0]
    path, out = tmp_path / "coded.csv", tmp_path / "differ.csv"
    write_table(coded, path)
    words = ["agreement", path, "--label", "event", "--coder", "who"]
    said = done(*words, "--scheme", "0|1", "--disagreements", out).stdout
    assert "alpha" in said
    assert "1 posts to adjudicate" in said
    assert read_table(out)["id"].tolist() == [2]
    assert "not of the scheme" in refused(*words, "--scheme", "1|2")
    gap = pd.DataFrame({"id": [5], "who": ["A"], "event": [None]})
    write_table(pd.concat([coded, gap]), path)
    assert "1 posts to adjudicate" in done(*words, "--scheme", "0|1").stdout


def test_files_that_cannot_be_written_are_refused_first(
    refused: Command, tmp_path: Path
) -> None:
    predictions, out = tmp_path / "predictions.csv", tmp_path / "drawn.csv"
    audit = pd.DataFrame({"id": np.arange(40), "score": np.linspace(0, 1, 40)})
    write_table(audit.assign(margin=audit["score"] - 0.5), predictions)
    words = ["sample", predictions, "-n", 36, "-o", out, "--label-studio"]
    assert "Correct --label-studio" in refused(*words, tmp_path / "no" / "tasks.json")
    assert "Correct --label-studio" in refused(*words, tmp_path)
    assert not out.exists()
    words = ["estimate", predictions, predictions, "--label", "id", "--json"]
    assert "Correct --json" in refused(*words, tmp_path / "no" / "figures.json")


def test_ids_by_columns_and_times_by_a_format(
    done: Command, refused: Command, tmp_path: Path
) -> None:
    predictions, posts = tmp_path / "predictions.csv", tmp_path / "posts.csv"
    audit = pd.DataFrame({"id": np.arange(40), "score": np.linspace(0, 1, 40)})
    audit["margin"], audit["prediction"] = audit["score"] - 0.5, audit["score"] >= 0.5
    audit["created_at"] = [f"{1 + row // 2}/0{1 + row % 2}/2024" for row in audit["id"]]
    write_table(audit.astype({"prediction": int}), predictions)
    write_table(pd.DataFrame({"nr": audit["id"], "text": "a flood"}), posts)
    words = ["sample", predictions, "-n", 36, "--posts", posts]
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    done(*words, "--id-column", "nr", "-o", one)
    done(*words, "--columns", "id=nr", "-o", other)
    assert other.read_bytes() == one.read_bytes()
    line = refused(*words, "--columns", "id=nr,text=text", "-o", other)
    assert "--columns text=... does nothing here" in line
    write_table(read_table(one).assign(code=1), one)
    words = ["estimate", predictions, one, "--label", "code", "--period", "month"]
    assert "'%d/%m/%Y' for days first" in refused(*words)
    assert "2024-02" in done(*words, "--date-format", "%d/%m/%Y").stdout
    line = refused(*words, "--date-format", "%m/%d/%Y")
    assert "does not fit --date-format %m/%d/%Y" in line
