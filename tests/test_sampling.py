"""Samples of a corpus, and what they say of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import binomtest, hypergeom

from mmevent._shares import Shares, exact_interval
from mmevent._strata import allocate, stratify
from mmevent.exceptions import InputError
from mmevent.sampling import draw_sample, estimate_corpus, expected_widths


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


def truth(audit: pd.DataFrame, event: pd.Series) -> dict[str, float]:
    y, flagged = event.to_numpy(), audit["margin"].to_numpy() >= 0
    found = (y & flagged).sum()
    return {
        "n_events": y.sum(),
        "precision": found / flagged.sum(),
        "recall": found / y.sum(),
        "f1": 2 * found / (flagged.sum() + y.sum()),
    }


# Strata and samples


def test_strata_run_from_flagged_posts_to_low_scores() -> None:
    audit, _ = make()
    strata = stratify(audit)
    assert strata.size.tolist() == [200, 200, 600, 1000]
    assert strata.flagged.tolist() == [True, False, False, False]
    flagged = audit["margin"] >= 0
    assert (strata.stratum[flagged] == 0).all()
    means = audit["score"].groupby(strata.stratum).mean()
    assert (np.diff(means) < 0).all()


def test_strata_do_not_depend_on_the_order_of_posts() -> None:
    audit, _ = make()
    audit["score"] = audit["score"].round(1)  # ties
    audit["margin"] = audit["score"] - 0.5
    mixed = audit.sample(frac=1, random_state=1)
    one = pd.Series(stratify(audit).stratum, index=audit["id"])
    other = pd.Series(stratify(mixed).stratum, index=mixed["id"])
    assert (one == other[one.index]).all()


@given(n=st.integers(40, 2000))
def test_every_post_of_a_sample_is_shared_out(n: int) -> None:
    strata = stratify(make()[0])
    count = allocate(strata, n)
    assert count.sum() == n
    assert (count <= strata.size).all()
    assert (count >= 10).all()


def test_a_sample_is_drawn_within_strata_and_mixed() -> None:
    audit, _ = make()
    sample = draw_sample(audit, 200)
    strata = stratify(audit)
    assert sample["id"].is_unique
    place = audit.reset_index().set_index("id").loc[sample["id"], "index"]
    assert (strata.stratum[place] == sample["stratum"]).all()
    drawn = sample.groupby("stratum")["inclusion_probability"]
    assert (drawn.nunique() == 1).all()
    assert_allclose(drawn.first() * strata.size, drawn.size())
    assert not sample["stratum"].is_monotonic_increasing
    assert draw_sample(audit, 200).equals(sample)
    assert not draw_sample(audit, 200, random_state=1).equals(sample)


def test_training_posts_are_left_out() -> None:
    audit, event = make()
    audit["seen_in_training"] = np.arange(2000) < 500
    sample = coded(audit, event, 200)
    assert not sample["id"].isin(audit["id"][:500]).any()
    found = estimate_corpus(audit, sample, "event")
    assert found.n_posts == 1500
    assert "500 posts that share a text or an image" in found.notes[0]


def test_probabilities_say_where_to_look() -> None:
    audit, event = make()
    audit["probability"] = np.where(audit["margin"] >= 0, 0.999, 0.2)
    count = allocate(stratify(audit), 200)
    assert count[0] < 15 < count[1]


def test_more_posts_narrow_the_intervals() -> None:
    audit, _ = make()
    few, many = expected_widths(audit, 100), expected_widths(audit, 1000)
    assert all(many[name] < few[name] for name in few)


# Intervals


def test_exact_intervals_are_those_of_clopper_and_pearson() -> None:
    for k in (0, 3, 20):
        expected = binomtest(k, 20).proportion_ci(method="exact")
        assert_allclose(exact_interval(k, 20, 10**7), expected, atol=1e-5)


def test_a_stratum_that_is_coded_whole_is_known() -> None:
    assert exact_interval(3, 10, 10) == (0.3, 0.3)


def test_a_stratum_that_is_not_coded_is_unknown() -> None:
    assert exact_interval(0, 0, 10) == (0.0, 1.0)


@pytest.mark.parametrize(("size", "n"), [(11, 10), (15, 10), (60, 40), (200, 25)])
def test_intervals_of_finite_strata_cover(size: int, n: int) -> None:
    ends = np.array([exact_interval(k, n, size) for k in range(n + 1)])
    for events in range(0, size + 1, max(size // 30, 1)):
        share = events / size
        inside = (ends[:, 0] <= share + 1e-9) & (share <= ends[:, 1] + 1e-9)
        k = np.flatnonzero(inside)
        assert hypergeom.pmf(k, size, events, n).sum() >= 0.95 - 1e-9


def test_a_mean_of_codings_lies_between_its_neighbours() -> None:
    low, high = np.array([exact_interval(k, 20, 500) for k in (3, 3.5, 4)]).T
    assert low[0] < low[1] < low[2]
    assert high[0] < high[1] < high[2]


def test_weights_below_zero_swap_the_ends() -> None:
    shares = Shares(*(np.array([v]) for v in (1.0, 0.2, 0.1, 0.5)))
    assert_allclose(shares.interval(np.array([1.0])), [0.1, 0.5])
    assert_allclose(shares.interval(np.array([-1.0])), [-0.5, -0.1])


# Estimates


def test_a_whole_corpus_that_is_coded_is_known() -> None:
    audit, event = make(300)
    found = estimate_corpus(audit, coded(audit, event, 300), "event").table
    for row in found.itertuples():
        expected = truth(audit, event)[row.figure]
        assert_allclose([row.value, row.low, row.high], expected, atol=1e-9)


def test_estimates_cover_what_is_true() -> None:
    hits: dict[str, list[bool]] = {}
    for seed in range(60):
        audit, event = make(3000, prevalence=0.03, seed=seed)
        found = estimate_corpus(audit, coded(audit, event, 200, seed), "event").table
        for row in found.itertuples():
            value = truth(audit, event)[row.figure]
            hits.setdefault(row.figure, []).append(row.low <= value <= row.high)
    assert all(np.mean(hit) >= 0.9 for hit in hits.values())


def test_estimates_are_unbiased() -> None:
    audit, event = make(1000)
    values = [
        estimate_corpus(audit, coded(audit, event, 150, seed), "event").table["value"][
            0
        ]
        for seed in range(200)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - event.sum()) < 3 * error


def test_no_event_in_the_sample_is_no_proof_that_there_is_none() -> None:
    audit, event = make()
    found = estimate_corpus(audit, coded(audit, event & False, 200), "event")
    table = found.table.set_index("figure")
    assert table.loc["n_events", "value"] == 0
    assert table.loc["n_events", "high"] > 50
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


def test_intervals_of_groups_cover() -> None:
    hits: dict[str, list[bool]] = {}
    for seed in range(40):
        audit, event = make(3000, prevalence=0.05, seed=seed)
        sample = coded(audit, event, 300, seed)
        found = estimate_corpus(audit, sample, "event", by="country").table
        inside = audit["country"] == "A"
        true = truth(audit[inside], event[audit["id"][inside]])
        for row in found[found["group"] == "country: A"].itertuples():
            hits.setdefault(row.figure, []).append(
                row.low - 1e-9 <= true[row.figure] <= row.high + 1e-9
            )
    assert all(np.mean(hit) >= 0.9 for hit in hits.values())


def test_a_group_without_coded_posts_has_a_dash() -> None:
    audit, event = make()
    sample = coded(audit, event, 100)
    place = audit["id"].isin(sample["id"])
    audit["country"] = np.where(place, "A", "B")
    found = estimate_corpus(audit, sample, "event", by="country")
    row = found.table[found.table["group"] == "country: B"].set_index("figure")
    assert np.isnan(row.loc["precision", "value"])
    assert row.loc["recall", ["low", "high"]].tolist() == [0, 1]


def test_a_time_that_is_missing_is_said() -> None:
    audit, event = make()
    audit.loc[3, "created_at"] = None
    with pytest.raises(InputError, match="created_at"):
        estimate_corpus(audit, coded(audit, event, 200), "event", period="month")


def test_probabilities_of_zero_do_not_starve_a_stratum() -> None:
    audit, _ = make()
    audit["probability"] = np.where(audit["margin"] >= 0, 0.9, 0.0)
    assert allocate(stratify(audit), 200)[-1] > 20


def test_predictions_that_tell_are_worth_more_posts() -> None:
    audit, event = make()
    telling = estimate_corpus(audit, coded(audit, event, 300), "event")
    blind = audit.assign(score=np.random.default_rng(0).random(2000))
    blind["margin"] = blind["score"] - 0.9
    guessed = estimate_corpus(blind, coded(blind, event, 300), "event")
    assert telling.effective_sample_size > 1.3 * guessed.effective_sample_size


def test_the_mean_of_several_codings_counts() -> None:
    audit, event = make()
    one = coded(audit, event, 200)
    twice = pd.concat([one, one.assign(event=1 - one["event"])])
    found = estimate_corpus(audit, twice, "event")
    assert found.n_coded == 200
    assert found.table["value"][0] == pytest.approx(1000)


def test_figures_print_and_come_as_json() -> None:
    audit, event = make()
    found = estimate_corpus(audit, coded(audit, event, 200), "event", by="country")
    assert "2,000 posts, 200 flagged, 200 coded by hand" in str(found)
    assert '"figure": "n_events"' in found.to_json()


# Bad input


def without_a_row(sample: pd.DataFrame) -> pd.DataFrame:
    return sample.iloc[1:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop(columns="event"), "has no column 'event'"),
        (lambda s: s.drop(columns="inclusion_probability"), "'inclusion_probability'"),
        (lambda s: s.drop(columns="stratum"), "Code what mmevent sample drew"),
        (lambda s: s.assign(id="x" + s["id"]), "200 coded posts are not in the pred"),
        (lambda s: s.assign(event=s["event"] + 1), "other labels than 0 and 1 in"),
        (lambda s: s.assign(event="yes"), r"got \['yes'\]"),
        (lambda s: s.assign(stratum=0), "drawn from other predictions"),
        (without_a_row, "the sample is not whole"),
        (lambda s: s[s["stratum"] < 3], "the sample is not whole"),
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
    with pytest.raises(InputError, match="7 of which were seen in training"):
        estimate_corpus(audit, sample, "event")


@pytest.mark.parametrize("n", [39, 2001, 2.5, True, "400"])
def test_a_number_of_posts_that_cannot_be_drawn(n: Any) -> None:
    with pytest.raises(InputError, match="cannot be drawn: expected a whole number fr"):
        draw_sample(make()[0], n)


def test_predictions_that_cannot_be_used() -> None:
    audit, event = make()
    with pytest.raises(InputError, match="table of predictions has no column 'margin'"):
        draw_sample(audit.drop(columns="margin"), 200)
    with pytest.raises(InputError, match="of which 1 have the id of another"):
        draw_sample(audit.assign(id=audit["id"].replace("p1", "p0")), 200)
    sample = coded(audit, event, 200)
    with pytest.raises(InputError, match="'city'.*its --keep copies"):
        estimate_corpus(audit, sample, "event", by="city")
    with pytest.raises(InputError, match="period='hour' is not known"):
        estimate_corpus(audit, sample, "event", period="hour")
