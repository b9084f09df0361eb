"""Errors of a detector by group and period."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.corpus import coder_error
from mmevent.corpus.differential import differential_errors, permutation_test
from mmevent.corpus.sampling import draw_sample
from mmevent.exceptions import InputError


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coder_error, "N_DRAWS", 200)


def corpus(
    n: int = 6000, missed: float = 0.0, seed: int = 0
) -> tuple[pd.DataFrame, pd.Series]:
    """Give predictions; `missed` of the events of country B get the score of others."""
    rng = np.random.default_rng(seed)
    event = rng.random(n) < 0.15
    country = np.where(rng.random(n) < 0.5, "A", "B")
    seen = event & ~((country == "B") & (rng.random(n) < missed))
    score = rng.normal(3.0 * seen)
    audit = pd.DataFrame({"id": np.arange(n), "score": score, "margin": score - 1.8})
    audit["country"] = country
    audit["created_at"] = np.where(rng.random(n) < 0.5, "2024-01-05", "2024-02-07")
    return audit, pd.Series(event, index=audit["id"])


def coded(audit: pd.DataFrame, event: pd.Series, n: int = 600) -> pd.DataFrame:
    sample = draw_sample(audit, n)
    return sample.assign(event=event[sample["id"]].to_numpy() * 1)


def test_more_misses_in_one_country_are_found() -> None:
    audit, event = corpus(missed=0.5)
    found = differential_errors(audit, coded(audit, event), "event", by="country")
    p = found.tests.set_index("figure")["p_value"]
    assert p["false_negative_rate"] < 0.02
    rates = found.rates.set_index(["group", "figure"])
    inside = audit["country"] == "B"
    true = event.to_numpy()[inside]
    missed = (audit["margin"][inside] < 0).to_numpy()[true].mean()
    row = rates.loc[("country: B", "false_negative_rate")]
    assert row["low"] <= missed <= row["high"]
    assert row["value"] == pytest.approx(missed, abs=0.15)
    wrong = (audit["margin"][inside] >= 0).to_numpy()[~true].mean()
    row = rates.loc[("country: B", "false_positive_rate")]
    assert row["low"] <= wrong <= row["high"]


def test_series_corrects_what_differs_and_holds_at_once() -> None:
    audit, event = corpus(missed=0.5)
    found = differential_errors(
        audit, coded(audit, event), "event", by="country", period="month"
    ).series
    assert found["by"].tolist() == ["country"] * 2 + ["month"] * 2
    assert found.loc[found["by"] == "month", "group"].tolist() == ["2024-01", "2024-02"]
    true = event.groupby(audit["country"].to_numpy()).sum()
    for row in found[:2].itertuples():
        assert row.low <= true[row.group[-1]] <= row.high
    assert found["n_posts"][:2].sum() == 6000
    assert found["n_coded"][:2].sum() == 600
    alone = differential_errors(
        audit.assign(country="A"), coded(audit, event), "event", by="country"
    ).series
    assert alone["n_events"][0] == pytest.approx(found["n_events"][:2].sum(), rel=0.15)


def test_several_codings_are_corrected_here_too() -> None:
    audit, event = corpus()
    sample = coded(audit, event)
    rng = np.random.default_rng(0)
    noisy = [
        sample.assign(
            event=np.where(rng.random(600) < 0.06, 1 - sample["event"], sample["event"])
        )
        for _ in range(2)
    ]
    found = differential_errors(audit, pd.concat(noisy), "event", by="country")
    plain = differential_errors(audit, sample, "event", by="country")
    ratio = found.series["n_events"] / plain.series["n_events"]
    assert ratio.between(0.75, 1.35).all()
    assert "corrected for errors of coders" in found.notes[2]


def test_the_test_is_right_where_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    p = []
    for _ in range(60):
        weight = np.where(rng.random(150) < 0.3, 10.0, 1.0)
        wrong = rng.random(150) < 0.1
        p.append(permutation_test(wrong, rng.integers(0, 6, 150), weight))
    assert np.mean(np.array(p) <= 0.1) <= 0.2
    assert 0.3 < np.nanmean(p) < 0.7


@pytest.mark.parametrize(
    ("wrong", "group"),
    [([0, 0, 0], [0, 1, 1]), ([1, 1, 1], [0, 1, 1]), ([1, 0, 1], [0, 0, 0])],
    ids=["none", "all", "one group"],
)
def test_nothing_to_test(wrong: list[int], group: list[int]) -> None:
    found = permutation_test(np.array(wrong, bool), np.array(group), np.ones(3))
    assert np.isnan(found)


def test_a_detector_without_errors_has_no_test_but_intervals() -> None:
    audit, event = corpus(600)
    audit["margin"] = np.where(event, 1.0, -1.0)
    audit["score"] = audit["margin"] + 2
    found = differential_errors(audit, coded(audit, event, 200), "event", by="country")
    assert found.tests["p_value"].isna().all()
    assert "no test, since no error or one group was coded" in str(found)
    assert (found.rates["value"] == 0).all()
    assert (found.rates["high"] > 0).all()
    assert '"p_value":null' in found.to_json().replace(" ", "")


def test_errors_print_and_show_in_a_notebook() -> None:
    audit, event = corpus()
    audit["country"] = audit["country"].replace("A", "<script>")
    found = differential_errors(audit, coded(audit, event), "event", by="country")
    assert "false-negative rate by country: p = " in str(found)
    shown = found._repr_html_()
    assert "<script" not in shown
    assert repr(found) == "<DifferentialErrors: 2 groups>"
    written = json.loads(found.to_json())
    assert [len(written[name]) for name in ("rates", "tests", "series")] == [4, 2, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to compare: expected by="),
        ({"by": "city"}, "'city'"),
        ({"period": "hour"}, "period='hour' is not known"),
    ],
    ids=["neither", "column", "period"],
)
def test_groups_that_are_not_there(options: dict[str, Any], message: str) -> None:
    audit, event = corpus(600)
    with pytest.raises(InputError, match=message):
        differential_errors(audit, coded(audit, event, 200), "event", **options)
