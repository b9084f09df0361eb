"""The table for regressions: pseudo-outcomes of posts, and their sums by cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mmevent.corpus.pseudo_outcomes import COUNTS, regression_table
from mmevent.corpus.sampling import draw_sample
from mmevent.exceptions import InputError, UnusableInputWarning


def corpus(n: int = 1500, *, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Give predictions that err more where `income` is high, and the events."""
    rng = np.random.default_rng(seed)
    income = rng.normal(size=n).round(2)
    event = rng.random(n) < 1 / (1 + np.exp(1.5 - 0.5 * income))
    score = 1 / (1 + np.exp(2 - rng.normal(3.0 * event + income)))
    audit = pd.DataFrame({"id": [f"p{i}" for i in range(n)], "score": score})
    audit["margin"] = score - 0.5
    audit["income"], audit["country"] = income, rng.choice([*"abcdefghijkl"], n)
    audit["created_at"] = [f"2024-{m:02d}-07" for m in rng.integers(1, 5, n)]
    return audit, event


def coded(
    audit: pd.DataFrame, event: np.ndarray, n: int = 300, seed: int = 0
) -> pd.DataFrame:
    sample = draw_sample(audit, n, random_state=seed)
    labels = pd.Series(event * 1, index=audit["id"])
    return sample.assign(event=labels[sample["id"]].to_numpy())


@pytest.mark.parametrize("prediction", ["cross-fit", "flagged", "guess"])
def test_a_pseudo_outcome_is_the_prediction_and_its_weighted_error(
    prediction: str,
) -> None:
    audit, event = corpus()
    audit["guess"] = 0.3
    table = regression_table(
        audit, coded(audit, event), "event", prediction=prediction
    ).set_index("id")
    is_coded = table["n_coded"] == 1
    assert is_coded.sum() == 300
    assert table["event"].notna().equals(is_coded)
    assert table.loc[~is_coded, "pseudo_outcome"].equals(
        table.loc[~is_coded, "predicted"]
    )
    part = table[is_coded]
    expected = (
        part["predicted"]
        + (part["event"] - part["predicted"]) / (part["inclusion_probability"])
    )
    assert_allclose(part["pseudo_outcome"], expected)
    assert_allclose(table["coded_weight"].sum(), len(audit))
    assert "margin" not in table
    assert table["predicted"].between(0, 1).all()


def test_pseudo_outcomes_average_to_the_labels_over_samples() -> None:
    audit, event = corpus(600)
    sums = [
        regression_table(audit, coded(audit, event, 150, seed), "event")[
            "pseudo_outcome"
        ].sum()
        for seed in range(12)
    ]
    error = np.std(sums) / np.sqrt(len(sums))
    assert abs(np.mean(sums) - event.sum()) < 3 * error


def test_a_corpus_that_is_coded_whole_has_its_labels() -> None:
    audit, event = corpus(200)
    table = regression_table(audit, coded(audit, event, 200), "event")
    assert_allclose(table["pseudo_outcome"], event)
    assert table["extra_variance"].eq(0).all()


def test_neither_the_order_of_posts_nor_of_codes_matters() -> None:
    audit, event = corpus(600)
    sample = coded(audit, event, 150)
    one = regression_table(audit, sample, "event", features="income")
    order = np.random.default_rng(1).permutation(600)
    other = regression_table(
        audit.iloc[order], sample[::-1], "event", features=["income"]
    )
    found = other.set_index("id").loc[one["id"], "pseudo_outcome"].to_numpy()
    assert_allclose(found, one["pseudo_outcome"], atol=1e-6)


def test_no_coded_post_helps_to_predict_itself() -> None:
    audit, event = corpus(600)
    sample = coded(audit, event, 150)
    other = sample.assign(event=sample["event"].where(sample.index != 7, 1))
    other.loc[7, "event"] = 1 - sample.loc[7, "event"]
    tables = [regression_table(audit, s, "event") for s in (sample, other)]
    one, two = (t.set_index("id")["predicted"] for t in tables)
    assert one[sample.loc[7, "id"]] == two[sample.loc[7, "id"]]
    assert (one != two).mean() > 0.5


def test_features_make_the_prediction_better_where_the_detector_errs_by_them() -> None:
    audit, event = corpus(3000)
    audit["region"] = np.where(audit["income"] > 0, "north", "south")
    sample = coded(audit, event, 800)
    for features in ("income", "region"):
        with_, without = (
            regression_table(audit, sample, "event", features=names)["predicted"]
            for names in (features, ())
        )
        assert ((with_ - event) ** 2).mean() < ((without - event) ** 2).mean()


def test_cells_have_the_sums_of_their_posts() -> None:
    audit, event = corpus()
    sample = coded(audit, event)
    posts = regression_table(audit, sample, "event")
    cells = regression_table(audit, sample, "event", unit="country", period="month")
    assert len(cells) == 12 * 4
    assert cells["period"].unique().tolist() == [f"2024-0{m}-01" for m in range(1, 5)]
    assert cells["cluster"].equals(cells["country"])
    expected = posts.groupby(["country", "created_at"])[COUNTS].sum()
    assert_allclose(cells[COUNTS], expected, atol=1e-12)
    units = regression_table(audit, sample, "event", unit="country")
    assert_allclose(units[COUNTS], posts.groupby("country")[COUNTS].sum())
    months = regression_table(audit, sample, "event", period="month")
    assert len(months) == 4
    assert months["cluster"].is_unique


def test_a_cell_without_posts_has_no_events() -> None:
    audit, event = corpus()
    audit["created_at"] = np.where(
        audit["country"] == "d", "2024-01-02", audit["created_at"]
    )
    audit = audit[audit["created_at"] != "2024-03-07"].reset_index(drop=True)
    sample = coded(audit, np.resize(event, len(audit)))
    cells = regression_table(audit, sample, "event", unit="country", period="month")
    empty = cells[cells["n_posts"] == 0]
    assert len(empty) == 11 + 3
    assert empty["pseudo_outcome"].eq(0).all()


def test_a_unit_without_a_coded_post_is_said() -> None:
    audit, event = corpus()
    sample = coded(audit, event)
    few = audit["id"].isin(sample["id"]).to_numpy()
    audit["country"] = np.where(~few & (audit["income"] > 1), "far", "near")
    with pytest.warns(UnusableInputWarning, match=r"1 of 2 units, such as \['far'\]"):
        cells = regression_table(audit, sample, "event", unit="country")
    assert cells.set_index("country").loc["far", "n_coded"] == 0


def test_posts_of_the_training_are_left_out_and_counted() -> None:
    audit, event = corpus()
    audit["seen_in_training"] = np.arange(1500) < 100
    with pytest.warns(UnusableInputWarning, match="100 posts that share"):
        table = regression_table(audit, coded(audit, event), "event")
    assert len(table) == 1400
    assert table["pseudo_outcome"].notna().all()


def test_a_stratum_without_a_seen_error_is_not_without_error() -> None:
    audit, event = corpus()
    sample = coded(audit, event)
    lowest = sample["stratum"] == sample["stratum"].max()
    sample.loc[lowest, "event"] = 0
    table = regression_table(audit, sample, "event", prediction="flagged")
    part = table[(table["n_coded"] == 1) & (table["stratum"] == table["stratum"].max())]
    assert part["inclusion_probability"].lt(1).all()
    assert (part["extra_variance"] > 0).all()


def test_a_sample_without_an_error_counts_one_all_the_same() -> None:
    audit, _ = corpus()
    sample = coded(audit, audit["margin"].to_numpy() >= 0)
    table = regression_table(audit, sample, "event", prediction="flagged")
    assert_allclose(table["pseudo_outcome"], table["flagged"])
    chance = table["inclusion_probability"]
    factor = (1 - chance) / chance**2
    errors = (table["extra_variance"] / factor).sum()
    assert errors >= 1 - 1e-9
    assert_allclose(table["extra_square"], table["extra_variance"] * factor)


def other_sample(audit: pd.DataFrame, event: np.ndarray) -> dict[str, Any]:
    others, labels = corpus(seed=5)
    others["score"] = others["score"].to_numpy()[::-1]
    others["margin"] = others["score"] - 0.7
    return {"coded": coded(others, labels)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_sample, "sample was drawn from other predictions"),
        (lambda a, e: {"features": "wage"}, "has no column 'wage'"),
        (lambda a, e: {"features": "id"}, "'id' cannot help to predict"),
        (lambda a, e: {"features": "gap"}, "750 rows without a value"),
        (lambda a, e: {"prediction": "income"}, "no usable income"),
        (lambda a, e: {"prediction": "p"}, "has no column 'p'"),
        (
            lambda a, e: {"prediction": "flagged", "features": "income"},
            "do nothing with prediction='flagged'",
        ),
        (lambda a, e: {"cluster": "author"}, "has no column 'author'"),
        (lambda a, e: {"cluster": "country", "unit": "country"}, "has no meaning with"),
        (lambda a, e: {"unit": "gap"}, "750 posts have no 'gap'"),
        (lambda a, e: {"unit": "flagged"}, "has no column|name of a column"),
        (lambda a, e: {"period": "hour"}, "period='hour' is not known"),
        (lambda a, e: {"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        (
            lambda a, e: {"audit": a.assign(stratum=1)},
            "the columns 'stratum', which the table needs for itself",
        ),
        (
            lambda a, e: {"coded": coded(a, e).assign(inclusion_probability=0)},
            "an inclusion_probability of 0",
        ),
    ],
)
def test_what_cannot_be_a_table_is_an_error(change: Any, message: str) -> None:
    audit, event = corpus()
    audit["gap"] = np.where(np.arange(1500) % 2, 1.0, np.nan)
    given = {"audit": audit, "coded": coded(audit, event)} | change(audit, event)
    with pytest.raises(InputError, match=message):
        regression_table(label="event", **given)


def test_too_many_cells_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmevent.corpus.pseudo_outcomes._MOST_CELLS", 40)
    audit, event = corpus()
    with pytest.raises(InputError, match="12 units by 4 periods are too many rows"):
        regression_table(
            audit, coded(audit, event), "event", unit="country", period="month"
        )
