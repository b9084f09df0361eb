"""Coded samples as people and programs bring them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.corpus.estimate import estimate_corpus
from mmevent.corpus.sampling import draw_sample
from mmevent.exceptions import InputError

SCORE = np.arange(300) / 300
AUDIT = pd.DataFrame({"id": np.arange(300), "score": SCORE, "margin": SCORE - 0.9})
DRAWN = draw_sample(AUDIT, 100)
CODED = DRAWN.assign(event=(DRAWN["id"] > 260).astype(int))
FOUND = estimate_corpus(AUDIT, CODED, "event").table


def same(coded: pd.DataFrame, audit: pd.DataFrame = AUDIT, **asked: Any) -> bool:
    return estimate_corpus(audit, coded, "event", **asked).table.equals(FOUND)


@pytest.mark.parametrize("kind", [str, float, "string", "Int64", object])
def test_ids_join_in_every_type(kind: Any) -> None:
    assert same(CODED.assign(id=CODED["id"].astype(kind)))
    assert same(CODED, AUDIT.assign(id=AUDIT["id"].astype(kind)))


@pytest.mark.parametrize(
    "labels",
    [("1", "0"), (True, False), ("TRUE", "FALSE"), (1.0, 0.0), ("true", 0)],
    ids=str,
)
def test_labels_are_read_however_they_are_written(labels: tuple[Any, Any]) -> None:
    written = [labels[0] if event else labels[1] for event in CODED["event"]]
    assert same(CODED.assign(event=pd.Series(written, dtype=object)))


def test_numbers_of_a_sample_may_have_a_decimal_comma() -> None:
    comma = CODED["inclusion_probability"].astype(str).str.replace(".", ",")
    assert same(CODED.assign(inclusion_probability=comma))


def test_words_are_labels_where_one_is_named_as_the_event() -> None:
    words = CODED.assign(event=np.where(CODED["event"] == 1, "protest", "other"))
    assert same(words, pos_label="protest")
    with pytest.raises(InputError, match="or say which label is an event"):
        same(words)
    with pytest.raises(InputError, match="differ by case or spaces.*'Protest'"):
        same(words, pos_label="Protest")
    words.loc[3, "event"] = "Other "
    with pytest.raises(InputError, match="'event' has labels that differ by case"):
        same(words, pos_label="protest")
    words.loc[3, "event"] = "unclear"
    with pytest.raises(InputError, match="other labels than two: expected 'protest'"):
        same(words, pos_label="protest")


def test_labels_are_joined_to_the_sample_that_was_drawn() -> None:
    labels = CODED[["id", "event"]].sample(frac=1, random_state=0)
    labels["id"] = labels["id"].astype(str)
    assert same(labels, sample=DRAWN)
    with pytest.raises(InputError, match="pass the table that was drawn as well"):
        same(labels)
    with pytest.raises(InputError, match="1 posts of the sample have no label"):
        same(labels[1:], sample=DRAWN)
    with pytest.raises(InputError, match=r"100 coded posts are not in the sample"):
        same(labels.assign(id="x" + labels["id"]), sample=DRAWN)
    with pytest.raises(InputError, match="posts without an id, or twice"):
        same(labels, sample=pd.concat([DRAWN, DRAWN]))


def test_ids_that_a_program_numbered_anew_are_told_by_the_texts() -> None:
    drawn = DRAWN.assign(text=[f"post  {k}" for k in DRAWN["id"]])
    labels = CODED[["id", "event"]].assign(text=[f"post {k} " for k in DRAWN["id"]])
    assert same(labels, sample=drawn)
    anew = labels.assign(id=np.sort(labels["id"]))
    with pytest.raises(InputError, match=r"another one in \d+ of 100 rows"):
        same(anew, sample=drawn)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("id", None, r"1 rows of the coded sample have no id.*rows \[3\]"),
        ("id", " ", "have no id"),
        ("stratum", "a", r"no usable stratum in 1 of 100 rows.*got \['a'\]"),
        ("stratum", None, "no usable stratum in 1 of 100 rows"),
        ("inclusion_probability", 2, "number from 0 to 1 in each, got"),
        ("inclusion_probability", "half", "no usable inclusion_probability"),
        ("event", [1], "labels in the column 'event' cannot be compared"),
    ],
    ids=str,
)
def test_a_cell_that_cannot_be_used_is_named(
    column: str, value: Any, message: str
) -> None:
    cells = CODED[column].astype(object).tolist()
    cells[3] = value
    with pytest.raises(InputError, match=message):
        same(CODED.assign(**{column: pd.Series(cells, dtype=object)}))


def test_predictions_need_ids_that_differ_as_text() -> None:
    ids = [*AUDIT["id"].tolist()[:-1], "0"]
    with pytest.raises(InputError, match="of which 1 have the id of another and 0"):
        same(CODED, AUDIT.assign(id=pd.Series(ids, dtype=object)))
