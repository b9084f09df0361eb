"""Estimates of a corpus from a coded sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mmevent.corpus.estimate import estimate_corpus
from mmevent.corpus.sampling import SamplePlan, draw_sample
from mmevent.exceptions import InputError


def make(
    n: int = 2000, *, prevalence: float = 0.1, seed: int = 0
) -> tuple[pd.DataFrame, pd.Series]:
    """Give predictions of a corpus, and which of its posts are events."""
    rng = np.random.default_rng(seed)
    event = rng.random(n) < prevalence
    score = 1 / (1 + np.exp(3 - rng.normal(3.0 * event)))
    audit = pd.DataFrame({"id": [f"p{i}" for i in range(n)], "score": score})
    audit["margin"] = score - np.quantile(score, 1 - prevalence)
    audit["country"] = np.where(rng.random(n) < 0.3, "A", "B")
    audit["created_at"] = np.where(rng.random(n) < 0.5, "2024-01-05", "2024-02-07")
    return audit, pd.Series(event, index=audit["id"])


def coded(audit: pd.DataFrame, event: pd.Series, n: int, seed: int = 0) -> pd.DataFrame:
    sample = draw_sample(audit, n, random_state=seed)
    return sample.assign(event=event[sample["id"]].to_numpy() * 1)


def samples(
    audit: pd.DataFrame, event: pd.Series, n: int, n_samples: int
) -> Iterator[pd.DataFrame]:
    """Draw and code several samples, which are planned once."""
    plan = SamplePlan(audit)
    for seed in range(n_samples):
        sample = plan.draw(n, seed)
        yield sample.assign(event=event[sample["id"]].to_numpy() * 1)


def truth(audit: pd.DataFrame, event: pd.Series) -> dict[str, float]:
    y, flagged = event.to_numpy(), audit["margin"].to_numpy() >= 0
    found = (y & flagged).sum()
    return {
        "n_events": y.sum(),
        "precision": found / flagged.sum(),
        "recall": found / y.sum(),
        "f1": 2 * found / (flagged.sum() + y.sum()),
    }


def test_training_posts_are_left_out() -> None:
    audit, event = make()
    audit["seen_in_training"] = np.arange(2000) < 500
    sample = coded(audit, event, 200)
    assert not sample["id"].isin(audit["id"][:500]).any()
    found = estimate_corpus(audit, sample, "event")
    assert found.n_posts == 1500
    assert "500 posts that share a text or an image" in found.notes[0]


def test_a_whole_corpus_that_is_coded_is_known() -> None:
    audit, event = make(300)
    found = estimate_corpus(audit, coded(audit, event, 300), "event").table
    for row in found.itertuples():
        expected = truth(audit, event)[row.figure]
        assert_allclose([row.value, row.low, row.high], expected, atol=1e-9)


def test_estimates_are_unbiased_and_cover_of_all_posts_and_of_a_group() -> None:
    hits: dict[tuple[str, str], list[bool]] = {}
    audit, event = make(3000, prevalence=0.05)
    inside = audit["country"] == "A"
    true = {
        "all": truth(audit, event),
        "country: A": truth(audit[inside], event[audit["id"][inside]]),
    }
    values = []
    for sample in samples(audit, event, 300, 40):
        found = estimate_corpus(audit, sample, "event", by="country").table
        values.append(found["value"][0])
        for row in found[found["group"].isin(true)].itertuples():
            value = true[row.group][row.figure]
            covers = row.low - 1e-9 <= value <= row.high + 1e-9
            hits.setdefault((row.group, row.figure), []).append(covers)
    assert len(hits) == 8
    assert all(np.mean(hit) >= 0.9 for hit in hits.values())
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - event.sum()) < 3 * error


def test_no_event_in_the_sample_is_no_proof_that_there_is_none() -> None:
    audit, event = make()
    found = estimate_corpus(audit, coded(audit, event & False, 200), "event")
    table = found.table.set_index("figure")
    assert table.loc["n_events", "value"] == 0
    assert table.loc["n_events", "high"] > 30
    assert np.isnan(table.loc["recall", "value"])
    assert "– [0.00, 1.00]" in str(found)
    assert np.isnan(found.effective_sample_size)
    assert '"effective_sample_size": null' in found.to_json()


def test_figures_of_groups_and_months() -> None:
    audit, event = make()
    sample = coded(audit, event, 400)
    found = estimate_corpus(audit, sample, "event", by="country", period="month").table
    events = found[found["figure"] == "n_events"].set_index("group")["value"]
    assert_allclose(
        events["country: A"] + events["country: B"], events["all"], rtol=0.2
    )
    assert_allclose(events["2024-01"] + events["2024-02"], events["all"], rtol=0.2)
    defined = found.dropna()
    assert (defined["low"] <= defined["value"]).all()
    assert (defined["value"] <= defined["high"]).all()


def test_a_group_without_coded_posts_has_a_dash() -> None:
    audit, event = make()
    sample = coded(audit, event, 100)
    place = audit["id"].isin(sample["id"])
    audit["country"] = np.where(place, "A", "B")
    found = estimate_corpus(audit, sample, "event", by="country")
    row = found.table[found.table["group"] == "country: B"].set_index("figure")
    assert np.isnan(row.loc["precision", "value"])
    assert_allclose(row.loc["recall", ["low", "high"]].tolist(), [0, 1])


def test_a_time_that_is_missing_is_said() -> None:
    audit, event = make()
    audit.loc[3, "created_at"] = None
    with pytest.raises(InputError, match="created_at"):
        estimate_corpus(audit, coded(audit, event, 200), "event", period="month")


def test_predictions_that_tell_are_worth_more_posts() -> None:
    audit, event = make()
    telling = estimate_corpus(audit, coded(audit, event, 300), "event")
    blind = audit.assign(score=np.random.default_rng(0).random(2000))
    blind["margin"] = blind["score"] - 0.9
    guessed = estimate_corpus(blind, coded(blind, event, 300), "event")
    assert telling.effective_sample_size > 1.3 * guessed.effective_sample_size


def noisy(
    sample: pd.DataFrame,
    names: str = "AB",
    seed: int = 0,
    right: tuple[float, float] = (0.9, 0.99),
) -> pd.DataFrame:
    """Let coders code a sample whose column event is true."""
    rng = np.random.default_rng(seed)
    event = sample["event"] == 1
    return pd.concat(
        sample.assign(
            coder=name,
            event=np.where(
                event,
                rng.random(len(sample)) < right[0],
                rng.random(len(sample)) > right[1],
            ).astype(int),
        )
        for name in names
    )


def test_several_codings_are_corrected_for_errors_of_coders() -> None:
    audit, event = make(20000, prevalence=0.005)
    sample = coded(audit, event, 600)
    codings = noisy(sample)
    found = estimate_corpus(audit, codings, "event")
    assert found.n_coded == 600
    mean = codings.groupby("id")["event"].mean()[sample["id"]].to_numpy()
    naive = (mean / sample["inclusion_probability"]).sum()
    value, low, high = found.table.loc[0, ["value", "low", "high"]]
    assert naive > 1.8 * event.sum()
    assert value < 1.4 * event.sum()
    assert low <= event.sum() <= high < 20000
    assert found.coders is not None
    assert found.coders["coder"].tolist() == ["all coders"]
    assert (
        found.coders["specificity_low"][0] < 0.99 < found.coders["specificity_high"][0]
    )
    assert "specificity 0.9" in str(found)
    assert '"specificity_low": 0.9' in found.to_json()
    assert np.isnan(found.effective_sample_size)


def test_one_coding_each_says_how_large_the_error_could_be() -> None:
    audit, event = make()
    found = estimate_corpus(audit, coded(audit, event, 200), "event")
    assert found.coders is None
    (said,) = [note for note in found.notes if "no post was coded twice" in note]
    assert "(specificity 0.99), the number of events would be" in said


def test_figures_print_and_come_as_json() -> None:
    audit, event = make()
    found = estimate_corpus(audit, coded(audit, event, 200), "event", by="country")
    assert "2,000 posts, 200 flagged, 200 coded by hand" in str(found)
    assert '"figure": "n_events"' in found.to_json()


def without_a_row(sample: pd.DataFrame) -> pd.DataFrame:
    return sample.iloc[1:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop(columns="event"), "has no column 'event'"),
        (lambda s: s.drop(columns="inclusion_probability"), "'inclusion_probability'"),
        (lambda s: s.drop(columns="stratum"), "Code what mmevent sample drew"),
        (
            lambda s: s.assign(id="x" + s["id"]),
            "200 posts of the coded sample are not",
        ),
        (lambda s: s.assign(event=s["event"] + 1), "other labels than 0 and 1 in"),
        (lambda s: s.assign(event="yes"), r"got \['yes'\]"),
        (lambda s: s.assign(stratum=0), "drawn from other predictions"),
        (without_a_row, "the coded sample is not whole"),
        (
            lambda s: s[s["stratum"] < s["stratum"].max()],
            "the coded sample is not whole",
        ),
        (lambda s: s.assign(event=s["event"].where(s.index > 2)), "3 posts of the sam"),
    ],
    ids=[
        *(
            "label",
            "probability",
            "stratum",
            "ids",
            "two",
            "words",
            "strata",
            "part",
            "low",
        ),
        "missing",
    ],
)
def test_a_sample_that_does_not_fit(change: Any, message: str) -> None:
    audit, event = make()
    with pytest.raises(InputError, match=message):
        estimate_corpus(audit, change(coded(audit, event, 200)), "event")


def test_a_coded_training_post_is_refused() -> None:
    audit, event = make()
    sample = coded(audit, event, 200)
    audit["seen_in_training"] = audit["id"].isin(sample["id"][:7])
    with pytest.raises(InputError, match="7 of which are posts that were seen"):
        estimate_corpus(audit, sample, "event")


def test_columns_and_periods_that_are_not_there() -> None:
    audit, event = make()
    sample = coded(audit, event, 200)
    with pytest.raises(InputError, match="'city'.*its --keep copies"):
        estimate_corpus(audit, sample, "event", by="city")
    with pytest.raises(InputError, match="period='hour' is not known"):
        estimate_corpus(audit, sample, "event", period="hour")


def test_a_notebook_shows_an_estimate_with_all_names_escaped() -> None:
    audit, event = make()
    audit["country"] = audit["country"].replace("A", "<script>")
    found = estimate_corpus(audit, coded(audit, event, 200), "event", by="country")
    shown = found._repr_html_()
    assert "<script" not in shown
    assert "country: &lt;script&gt;" in shown
    assert "2,000 posts" in shown
    assert repr(found).startswith("<CorpusEstimate: 2,000 posts, 200 coded by hand, ")
    assert len(repr(found)) < 100
