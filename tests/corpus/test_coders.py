"""Coders: how far they agree, and where they do not."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from mmevent.corpus import coders
from mmevent.corpus.coders import agreement
from mmevent.exceptions import InputError, MissingPackageError


def codings(n: int = 200, wrong: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Give the labels of two coders, of whom the second errs at random."""
    rng = np.random.default_rng(seed)
    one = (rng.random(n) < 0.3).astype(int)
    other = np.where(rng.random(n) < wrong, 1 - one, one)
    return pd.DataFrame(
        {
            "id": np.tile(np.arange(n), 2),
            "coder": np.repeat(["Ann", "Ben"], n),
            "event": np.r_[one, other],
        }
    )


def test_kappa_is_that_of_scikit_learn_and_alpha_is_near() -> None:
    coded = codings()
    found = agreement(coded, "event", coder="coder")
    alpha, kappa = found.table.itertuples()
    halves = coded["event"].to_numpy().reshape(2, -1)
    assert kappa.value == pytest.approx(cohen_kappa_score(*halves))
    assert alpha.value == pytest.approx(kappa.value, abs=0.01)
    assert alpha.low < alpha.value < alpha.high
    assert kappa.agreed == (halves[0] == halves[1]).mean()
    assert len(found.disagreements) == (halves[0] != halves[1]).sum()
    assert found.disagreements.columns.tolist() == ["id", "Ann", "Ben"]
    assert "posts to adjudicate" in str(found)


def test_alpha_is_that_of_a_textbook() -> None:
    # Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", part C.
    rows = {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    }
    coded = pd.DataFrame(rows).rename_axis("id").reset_index()
    coded = coded.melt("id", var_name="coder", value_name="code")
    found = agreement(coded, "code", coder="coder").table
    assert found["value"][0] == pytest.approx(0.743, abs=5e-4)
    assert len(found) == 1 + 6


@pytest.mark.parametrize("n_events", [1, 3, 30])
def test_perfect_agreement_is_not_certain(n_events: int) -> None:
    event = np.tile(np.arange(200) < n_events, 2).astype(int)
    found = agreement(codings(200).assign(event=event), "event", coder="coder").table
    assert (found["value"] == 1).all()
    assert (found["high"] == 1).all()
    # Of 200 posts 1.5% may be disagreements that this sample has none of.
    share, p = 1 - 0.05 ** (1 / 200), n_events / 200
    expected = max(1 - share / (2 * p * (1 - p)), -1)
    np.testing.assert_allclose(found["low"], expected, atol=0.01)
    assert "1.000 [1.00, 1.00]" not in str(
        agreement(codings(200).assign(event=event), "event", coder="coder")
    )


@pytest.mark.parametrize(
    ("prevalence", "correct", "n"), [(0.02, 0.995, 300), (0.3, 0.9, 60)]
)
def test_the_interval_of_kappa_and_alpha_covers(
    prevalence: float, correct: float, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coders, "N_RESAMPLES", 40)
    wrong = 1 - correct
    yes = prevalence * correct + (1 - prevalence) * wrong
    truth = 1 - correct * wrong / (yes * (1 - yes))
    missed, runs = 0, 40
    rng = np.random.default_rng(0)
    for _ in range(runs):
        event = rng.random(n) < prevalence
        codes = event ^ (rng.random((2, n)) >= correct)
        table = agreement(
            codings(n).assign(event=codes.ravel().astype(int)), "event", coder="coder"
        ).table
        ends = table[["low", "high"]].to_numpy()
        assert (np.isnan(ends) | (np.abs(ends) <= 1)).all()
        missed += not (ends[0, 0] <= truth <= ends[0, 1])
    assert missed <= runs * 0.05 + 3 * np.sqrt(runs * 0.05 * 0.95)


def test_words_can_be_labels() -> None:
    coded = codings()
    words = coded.assign(event=np.where(coded["event"] == 1, "protest", "other"))
    one, other = (agreement(c, "event", coder="coder") for c in (coded, words))
    pd.testing.assert_frame_equal(one.table, other.table)


def test_one_label_leaves_nothing_to_measure() -> None:
    found = agreement(codings().assign(event=0), "event", coder="coder")
    assert found.table["value"].isna().all()
    assert (found.table["agreed"] == 1).all()
    assert "undefined: one label" in str(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.drop(columns="coder"), "has no column 'coder'"),
        (
            lambda c: c.assign(event=c["event"].where(c["coder"] == "Ann")),
            "nothing.*Ben",
        ),
        (lambda c: c.assign(event=c["event"] * 2), r"not of the scheme.*got \[2\]"),
        (lambda c: pd.concat([c, c[:3]]), "3 posts are coded twice by one coder"),
        (
            lambda c: c.assign(coder=c["coder"].where(c["id"] > 2)),
            "6 rows have no coder: .*'coder'",
        ),
        (lambda c: c.assign(id=np.arange(len(c))), "no post was coded by two coders"),
    ],
    ids=["column", "idle", "scheme", "twice", "nobody", "apart"],
)
def test_codings_that_cannot_be_compared(change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        agreement(change(codings()), "event", coder="coder", labels=[0, 1])


def test_one_coder_agrees_with_nobody() -> None:
    coded = codings()
    with pytest.raises(
        InputError, match=r"no post was coded by two.*200 posts of 1 coder\."
    ):
        agreement(coded[coded["coder"] == "Ann"], "event", coder="coder")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "krippendorff", None)
    with pytest.raises(MissingPackageError, match=r'pip install "mmevent\[coders\]"'):
        agreement(codings(), "event", coder="coder")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.assign(id=c["id"].astype(str).where(c["coder"] == "Ann", c["id"])),
        lambda c: c.assign(id=c["id"].where(c["coder"] == "Ann", c["id"] + 0.0)),
        lambda c: c.assign(
            event=c["event"].astype(object).where(c["id"] % 2 == 0, c["event"].map(str))
        ),
    ],
    ids=["ids as text", "ids as floats", "labels as text"],
)
def test_ids_and_labels_are_compared_in_every_type(
    change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coders, "N_RESAMPLES", 2)
    plain = agreement(codings(), "event", coder="coder").table
    found = agreement(change(codings()), "event", coder="coder", labels=["0", 1])
    assert found.table[["value", "n_posts"]].equals(plain[["value", "n_posts"]])


def test_a_coder_in_two_types_is_one_coder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coders, "N_RESAMPLES", 2)
    coded = codings().assign(coder=[1, "1"] * 100 + [2, 2.0] * 100)
    found = agreement(coded, "event", coder="coder")
    assert found.table["coders"].tolist() == ["all", "1, 2"]


def test_a_coder_may_be_called_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coders, "N_RESAMPLES", 2)
    coded = codings().replace({"coder": {"Ann": "id"}})
    found = agreement(coded, "event", coder="coder")
    assert found.table["coders"].tolist() == ["all", "Ben, id"]
    assert found.disagreements.columns.tolist() == ["id", "Ben", "(id)"]
    assert found.disagreements["id"].dtype.kind == "i"


def test_codings_need_ids_and_three_columns() -> None:
    coded = codings()
    with pytest.raises(InputError, match=r"2 codings have no id.*rows \[0, 200\]"):
        agreement(
            coded.assign(id=coded["id"].where(coded["id"] > 0)), "event", coder="coder"
        )
    with pytest.raises(InputError, match="not two columns beside 'id'"):
        agreement(coded, "event", coder="id")


def test_a_notebook_shows_agreement_with_all_names_escaped() -> None:
    posts = {"id": [*range(20)] * 2, "event": [0, 1] * 10 + [1, 0] * 5 + [0, 1] * 5}
    coders = ["<script>"] * 20 + ["B"] * 20
    found = agreement(pd.DataFrame(posts | {"coder": coders}), "event", coder="coder")
    shown = found._repr_html_()
    assert "<script" not in shown
    assert "10 posts to adjudicate" in shown
    assert repr(found).startswith("<Agreement: alpha 0.0")
    assert len(repr(found)) < 100


def test_labels_that_differ_by_case_or_spaces_are_no_disagreement() -> None:
    words = codings().replace({"event": {0: "no", 1: "yes"}})
    words.loc[0, "event"] = words.loc[0, "event"].upper()
    with pytest.raises(InputError, match="'event' has labels that differ by case"):
        agreement(words, "event", coder="coder")
