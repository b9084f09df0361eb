"""`mmevent sample`, `estimate` and `agreement`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.cli import corpus
from mmevent.corpus import coders
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
    assert {"post_id", "text"} <= set(shown[0]["data"])
    assert "id" not in shown[0]["data"]
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


def test_a_sample_is_sized_and_added_to(
    done: Command, refused: Command, tmp_path: Path
) -> None:
    predictions, first, more = (tmp_path / f"{n}.csv" for n in ("all", "one", "two"))
    audit = pd.DataFrame({"id": np.arange(400), "score": np.linspace(0, 1, 400)})
    write_table(audit.assign(margin=audit["score"] - 0.85), predictions)
    words = ["sample", predictions, "--for", "precision"]
    said = done(*words, "--width", 0.4, "-o", first).stdout
    coded = read_table(first)
    assert f"{len(coded)} posts drawn from 400" in said
    assert "would have an interval" in said
    assert "typical detector" in said
    write_table(coded.assign(event=coded["id"] > 350), first)
    said = done("sample", predictions, "-n", 30, "--add-to", first, "-o", more).stdout
    assert f"They join {len(coded)} drawn before" in said
    added = read_table(more)
    write_table(added.assign(event=added["id"] > 350), more)
    said = done("estimate", predictions, first, more, "--label", "event").stdout
    assert f"{len(coded) + 30} coded by hand" in said
    assert "-n, or the width" in refused(*words, "-o", tmp_path / "no.csv")
    both = refused(*words, "-n", 30, "--width", 0.2, "-o", tmp_path / "no.csv")
    assert "-n, or the width" in both
    line = refused(*words, "--width", 2, "-o", tmp_path / "no.csv")
    assert "is no width of an interval" in line
    alone = refused("estimate", predictions, more, "--label", "event")
    assert "joins an earlier one that is not here" in alone


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
    assert "1 posts to adjudicate" in done(*words, "--scheme", "0|1|2").stdout
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


def predicted(folder: Path) -> Path:
    """Write predictions of 60 posts, whose ids are the numbers of tasks as well."""
    score = np.arange(60) / 60
    audit = pd.DataFrame({"id": np.arange(60), "score": score, "margin": score - 0.5})
    audit["created_at"] = "2024-03-31T23:30:00-05:00"
    audit["place"] = ["\x1b[2Jhere", "中"] * 30
    write_table(audit, folder / "predictions.csv")
    return folder / "predictions.csv"


def test_what_label_studio_exports_is_read_back(
    done: Command, refused: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coders, "N_RESAMPLES", 2)
    predictions, drawn = predicted(tmp_path), tmp_path / "drawn.csv"
    tasks, export = tmp_path / "tasks.json", tmp_path / "export.json"
    done("sample", predictions, "-n", 60, "--label-studio", tasks, "-o", drawn)
    shown = [task["data"] for task in json.loads(tasks.read_text())]
    codes = ["yes" if int(data["post_id"]) >= 40 else "no" for data in shown]
    own = [{**data, "id": k} for k, data in enumerate(shown)]
    rows = [
        {**data, "event": code, "annotator": who, "lead_time": 2}
        for who in ("A", "B")
        for data, code in zip(own, codes, strict=True)
    ]
    export.write_text(json.dumps(rows))
    words = ["estimate", predictions, export, "--label", "event", "--positive", "yes"]
    assert "20 [20, 21]" in done(*words, "--sample", drawn).stdout
    assert "(--sample)" in refused(*words)
    said = done("agreement", export, "--label", "event", "--coder", "annotator")
    assert "60\n0 posts to adjudicate" in said.stdout
    export.write_text(json.dumps([row | {"post_id": 1} for row in rows]))
    assert "coded twice by one coder" in refused(
        "agreement", export, "--label", "event", "--coder", "annotator"
    )


def test_figures_by_day_and_place_and_nothing_for_the_terminal_to_obey(
    done: Command, refused: Command, tmp_path: Path
) -> None:
    predictions, drawn = predicted(tmp_path), tmp_path / "drawn.csv"
    done("sample", predictions, "-n", 60, "-o", drawn)
    write_table(read_table(drawn).assign(event=1), drawn)
    words = ["estimate", predictions, drawn, "--label", "event"]
    said = done(*words, "--period", "day", "--by", "place").stdout
    assert "2024-03-31 " in said
    assert r"place: \x1b[2Jhere" in said
    assert "\x1b" not in said
    said = done(*words, "--period", "day", "--timezone", "Europe/Berlin").stdout
    assert "2024-04-01 " in said
    assert "2024-03-31" not in said
    assert "add --period" in refused(*words, "--timezone", "Europe/Berlin")
    line = refused(*words, "--period", "day", "--timezone", "berlin")
    assert "'Europe/Berlin'" in line
    line = refused(*words[:3], "--label", "\x1b[2J")
    assert "\x1b" not in line


def test_all_is_saved_before_anything_is_printed(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(text: str) -> None:
        raise ZeroDivisionError(text)

    predictions, drawn = predicted(tmp_path), tmp_path / "drawn.csv"
    tasks, figures = tmp_path / "tasks.json", tmp_path / "figures.json"
    differ = tmp_path / "differ.csv"
    monkeypatch.setattr(corpus, "show", fail)
    monkeypatch.setattr(coders, "N_RESAMPLES", 2)
    run(*("sample", predictions, "-n", 60, "--label-studio", tasks, "-o", drawn))
    coded = read_table(drawn)
    both = [coded.assign(event=1, who="A"), coded.assign(event=0, who="B")]
    write_table(pd.concat(both), drawn)
    run("estimate", predictions, drawn, "--label", "event", "--json", figures)
    words = ["--label", "event", "--coder", "who", "--disagreements", differ]
    run("agreement", drawn, *words)
    assert len(json.loads(tasks.read_text())) == 60
    assert json.loads(figures.read_text())["n_coded"] == 60
    assert len(read_table(differ)) == 60


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
