"""Samples of a corpus, their size, and what is expected of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mmevent.corpus.estimate import estimate_corpus
from mmevent.corpus.sampling import (
    SamplePlan,
    draw_sample,
    expected_widths,
    sample_size,
)
from mmevent.corpus.strata import stratify
from mmevent.exceptions import InputError


def make(n: int = 2000, *, seed: int = 0) -> pd.DataFrame:
    """Give predictions of a corpus, a tenth of it flagged."""
    rng = np.random.default_rng(seed)
    score = 1 / (1 + np.exp(3 - rng.normal(3.0 * (rng.random(n) < 0.1))))
    audit = pd.DataFrame({"id": [f"p{i}" for i in range(n)], "score": score})
    audit["margin"] = score - np.quantile(score, 0.9)
    return audit


def test_a_sample_is_drawn_within_strata_and_mixed() -> None:
    audit = make()
    sample = draw_sample(audit, 200)
    strata = stratify(audit).merged(sample["stratum"].unique())
    assert sample["id"].is_unique
    place = audit.reset_index().set_index("id").loc[sample["id"], "index"]
    assert (strata.first[strata.stratum[place]] == sample["stratum"]).all()
    drawn = sample.groupby("stratum")["inclusion_probability"]
    assert (drawn.nunique() == 1).all()
    assert_allclose(drawn.first().to_numpy() * strata.size, drawn.size())
    assert not sample["stratum"].is_monotonic_increasing
    assert draw_sample(audit, 200).equals(sample)
    assert not draw_sample(audit, 200, random_state=1).equals(sample)


def test_more_posts_narrow_the_intervals() -> None:
    audit = make()
    few, many = expected_widths(audit, 100), expected_widths(audit, 1000)
    assert all(many[name] < few[name] for name in few)


def test_training_posts_are_not_drawn() -> None:
    audit = make()
    audit["seen_in_training"] = np.arange(2000) < 500
    sample = draw_sample(audit, 200)
    assert not sample["id"].isin(audit["id"][:500]).any()


@pytest.mark.parametrize("target", ["events", "precision", "recall", "f1"])
def test_the_figure_asked_for_gets_the_narrowest_interval(target: str) -> None:
    name = {"events": "n_events"}.get(target, target)
    audit = make()
    targets = ("events", "precision", "recall", "f1")
    widths = {t: expected_widths(audit, 150, target=t)[name] for t in targets}
    assert widths[target] <= 1.03 * min(widths.values())


def test_a_size_is_found_for_a_width() -> None:
    audit = make()
    n = sample_size(audit, 0.2, target="precision")
    assert expected_widths(audit, n, target="precision")["precision"] <= 0.2
    fewer = expected_widths(audit, int(0.95 * n), target="precision")
    assert fewer["precision"] > 0.2
    assert (
        sample_size(audit, 0.2, target="precision", add_to=draw_sample(audit, 90)) > 0
    )


@pytest.mark.parametrize(
    ("width", "target"), [(0, "f1"), (1.0, "recall"), (0.5, "events"), ("a", "f1")]
)
def test_a_width_that_is_none(width: Any, target: str) -> None:
    with pytest.raises(InputError, match="is no width of an interval for"):
        sample_size(make(), width, target=target)


def test_a_width_that_no_number_of_posts_reaches() -> None:
    audit = make(300).assign(probability=0.0)  # no event: recall stays unknown
    with pytest.raises(InputError, match="reached by no number of posts.*all 300"):
        sample_size(audit, 0.1, target="recall")


def test_a_figure_that_is_not_known() -> None:
    with pytest.raises(InputError, match="target='kappa' is not known: expected one"):
        draw_sample(make(), 200, target="kappa")


@pytest.mark.parametrize("probability", [True, False], ids=["known", "typical"])
def test_expected_widths_are_those_of_samples(probability: bool) -> None:
    rng = np.random.default_rng(0)
    event = rng.random(4000) < 0.02
    evidence = rng.normal(2.5 * event)
    audit = pd.DataFrame({"id": range(4000), "score": 1 / (1 + np.exp(-evidence))})
    audit["margin"] = audit["score"] - audit["score"].quantile(0.98)
    if probability:
        audit["probability"] = 1 / (1 + 49 * np.exp(2.5**2 / 2 - 2.5 * evidence))
    expected = expected_widths(audit, 200)
    found: dict[str, list[float]] = {name: [] for name in expected}
    plan = SamplePlan(audit)
    for seed in range(30):
        sample = plan.draw(200, seed)
        sample["event"] = event[sample["id"]]
        for row in estimate_corpus(audit, sample, "event").table.itertuples():
            found[row.figure].append(row.high - row.low)
    for name, widths in found.items():
        assert expected[name] == pytest.approx(np.mean(widths), rel=0.1)


def test_a_sample_that_joins_another_leaves_its_posts_out() -> None:
    audit = make()
    first = draw_sample(audit, 60)
    more = draw_sample(audit, 90, add_to=first, random_state=1)
    last = draw_sample(audit, 50, add_to=[first, more], random_state=2)
    drawn = pd.concat([first, more, last])
    assert len(drawn) == 200
    assert drawn["id"].is_unique
    assert "draw_number" not in first
    assert last["draw_number"].unique().tolist() == [3]
    rows = audit.reset_index().set_index("id")["index"]
    strata = stratify(audit).merged(drawn["stratum"].unique())
    n_coded = np.bincount(strata.stratum[rows[drawn["id"]]])
    place = strata.stratum[rows[last["id"]]]
    assert (last["stratum"] == strata.first[place]).all()
    assert_allclose(last["inclusion_probability"], (n_coded / strata.size)[place])


def test_what_is_left_can_be_drawn_to_the_last_post() -> None:
    audit = make(200)
    first = draw_sample(audit, 150)
    assert len(draw_sample(audit, 50, add_to=first)) == 50
    with pytest.raises(
        InputError, match="to 50, the posts that were not seen in train"
    ):
        draw_sample(audit, 51, add_to=first)


def test_a_sample_cannot_join_one_of_other_predictions() -> None:
    first = draw_sample(make(), 200)
    with pytest.raises(InputError, match="added to was drawn from other predictions"):
        draw_sample(make(seed=1), 100, add_to=first)
    with pytest.raises(
        InputError, match="200 posts of the sample that is added to are"
    ):
        draw_sample(make().assign(id=range(2000)), 100, add_to=first)
    with pytest.raises(InputError, match="sample that is added to is not whole"):
        draw_sample(make(), 100, add_to=first[:150])
    with pytest.raises(InputError, match="has no column 'stratum'"):
        draw_sample(make(), 100, add_to=first[["id"]])
    with pytest.raises(InputError, match="there is no sample that is added to"):
        draw_sample(make(), 100, add_to=[])


@pytest.mark.parametrize("n", [1, 2001, 2.5, True, "400"])
def test_a_number_of_posts_that_cannot_be_drawn(n: Any) -> None:
    with pytest.raises(InputError, match="cannot be drawn: expected a whole number fr"):
        draw_sample(make(), n)


def test_predictions_that_cannot_be_used() -> None:
    audit = make()
    with pytest.raises(InputError, match="table of predictions has no column 'margin'"):
        draw_sample(audit.drop(columns="margin"), 200)
    with pytest.raises(InputError, match="of which 1 have the id of another"):
        draw_sample(audit.assign(id=audit["id"].replace("p1", "p0")), 200)


@pytest.mark.parametrize("name", ["score", "margin", "probability"])
def test_predictions_without_a_number_are_refused(name: str) -> None:
    audit = make().assign(probability=0.5)
    audit.loc[3, name] = np.nan
    with pytest.raises(InputError, match=f"no usable {name} in 1 of 2,000 rows"):
        draw_sample(audit, 200)
