"""Strata of a corpus, and samples of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mmevent.corpus.sampling import allocate, draw_sample, expected_widths, stratify
from mmevent.exceptions import InputError


def make(n: int = 2000, *, seed: int = 0) -> pd.DataFrame:
    """Give predictions of a corpus, a tenth of it flagged."""
    rng = np.random.default_rng(seed)
    score = 1 / (1 + np.exp(3 - rng.normal(3.0 * (rng.random(n) < 0.1))))
    audit = pd.DataFrame({"id": [f"p{i}" for i in range(n)], "score": score})
    audit["margin"] = score - np.quantile(score, 0.9)
    return audit


def test_strata_run_from_flagged_posts_to_low_scores() -> None:
    audit = make()
    strata = stratify(audit)
    assert strata.size.tolist() == [200, 200, 600, 1000]
    assert strata.flagged.tolist() == [True, False, False, False]
    flagged = audit["margin"] >= 0
    assert (strata.stratum[flagged] == 0).all()
    means = audit["score"].groupby(strata.stratum).mean()
    assert (np.diff(means) < 0).all()


def test_strata_do_not_depend_on_the_order_of_posts() -> None:
    audit = make()
    audit["score"] = audit["score"].round(1)  # ties
    audit["margin"] = audit["score"] - 0.5
    mixed = audit.sample(frac=1, random_state=1)
    one = pd.Series(stratify(audit).stratum, index=audit["id"])
    other = pd.Series(stratify(mixed).stratum, index=mixed["id"])
    assert (one == other[one.index]).all()


@given(n=st.integers(40, 2000))
def test_every_post_of_a_sample_is_shared_out(n: int) -> None:
    strata = stratify(make())
    count = allocate(strata, n)
    assert count.sum() == n
    assert (count <= strata.size).all()
    assert (count >= 10).all()


def test_a_sample_is_drawn_within_strata_and_mixed() -> None:
    audit = make()
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


def test_probabilities_say_where_to_look() -> None:
    audit = make()
    audit["probability"] = np.where(audit["margin"] >= 0, 0.999, 0.2)
    count = allocate(stratify(audit), 200)
    assert count[0] < 15 < count[1]


def test_more_posts_narrow_the_intervals() -> None:
    audit = make()
    few, many = expected_widths(audit, 100), expected_widths(audit, 1000)
    assert all(many[name] < few[name] for name in few)


def test_training_posts_are_not_drawn() -> None:
    audit = make()
    audit["seen_in_training"] = np.arange(2000) < 500
    sample = draw_sample(audit, 200)
    assert not sample["id"].isin(audit["id"][:500]).any()


def test_probabilities_of_zero_do_not_starve_a_stratum() -> None:
    audit = make()
    audit["probability"] = np.where(audit["margin"] >= 0, 0.9, 0.0)
    assert allocate(stratify(audit), 200)[-1] > 20


@pytest.mark.parametrize("n", [39, 2001, 2.5, True, "400"])
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
