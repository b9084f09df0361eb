"""The order of posts to adjudicate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.corpus import coder_error
from mmevent.corpus.adjudication import to_adjudicate
from mmevent.exceptions import InputError


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coder_error, "N_DRAWS", 300)


def codings() -> pd.DataFrame:
    """Give two coders' codings of 40 posts with many events and 200 with few."""
    rng = np.random.default_rng(0)
    n = 240
    stratum = np.where(np.arange(n) < 40, 0, 1)
    event = rng.random(n) < np.where(stratum == 0, 0.6, 0.01)
    tables = [
        pd.DataFrame(
            {
                "id": np.arange(n),
                "stratum": stratum,
                "inclusion_probability": np.where(stratum == 0, 0.5, 0.01),
                "who": name,
                "event": np.where(event, rng.random(n) < 0.9, rng.random(n) > 0.97) * 1,
            }
        )
        for name in ("Ann", "Ben")
    ]
    return pd.concat(tables, ignore_index=True)


def test_what_moves_the_estimate_most_comes_first() -> None:
    coded = codings()
    found = to_adjudicate(coded, "event", coder="who")
    assert found.columns.tolist() == ["id", "Ann", "Ben", "chance", "moves"]
    assert (np.diff(found["moves"]) <= 0).all()
    assert found["chance"].between(0, 1).all()
    assert ((found["Ann"] == 1) | (found["Ben"] == 1)).all()
    agreed = found[(found["Ann"] == 1) & (found["Ben"] == 1) & (found["id"] < 40)]
    assert agreed["moves"].max() < found["moves"][0] / 10
    assert found["id"][0] >= 40  # a rare event stands for a hundred posts


def test_an_export_takes_strata_from_the_sample() -> None:
    coded = codings()
    drawn = coded[:240].drop(columns=["who", "event"])
    bare = coded[["id", "who", "event"]].assign(id=coded["id"].astype(str))
    found = to_adjudicate(bare, "event", coder="who", sample=drawn)
    expected = to_adjudicate(coded, "event", coder="who")
    assert found["id"].astype(int).tolist() == expected["id"].tolist()
    words = bare.replace({"event": {0: "no", 1: "yes"}})
    found = to_adjudicate(words, "event", coder="who", sample=drawn, pos_label="yes")
    assert found["moves"].tolist() == expected["moves"].tolist()
    assert set(found["Ann"]) == {"no", "yes"}


def test_a_coder_may_have_a_name_of_ours() -> None:
    coded = codings().replace({"who": {"Ann": "moves", "Ben": "id"}})
    found = to_adjudicate(coded, "event", coder="who")
    assert found.columns.tolist() == ["id", "(id)", "(moves)", "chance", "moves"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.drop(columns="stratum"), "no column 'stratum'.*--sample"),
        (lambda c: c.drop(columns="who"), "no column 'who'"),
        (lambda c: c.assign(event="yes"), r"other labels than 0 and 1.*\['yes'\]"),
        (lambda c: c[:240], "no post was coded twice"),
        (lambda c: pd.concat([c, c[:2]]), "2 posts are coded twice by one coder"),
    ],
    ids=["stratum", "coder", "words", "once", "twice"],
)
def test_codings_that_show_no_errors(change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_adjudicate(change(codings()), "event", coder="who")


def test_codings_of_another_sample() -> None:
    coded = codings()
    with pytest.raises(InputError, match="2 codings are of posts that are not in the"):
        to_adjudicate(coded, "event", coder="who", sample=coded[1:240])
