"""How a sample is shared out to strata."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from mmevent.corpus.allocation import (
    Held,
    Planner,
    mean_widths,
    mean_widths_at_random,
)
from mmevent.corpus.strata import stratify
from tests.corpus.test_sampling import make


def corpus(prevalence: float, apart: float, n: int = 20_000) -> pd.DataFrame:
    """Give calibrated predictions of a corpus."""
    rng = np.random.default_rng(0)
    evidence = rng.normal(apart * (rng.random(n) < prevalence))
    odds = prevalence / (1 - prevalence) * np.exp(apart * evidence - apart**2 / 2)
    audit = pd.DataFrame({"id": range(n), "score": 1 / (1 + np.exp(-evidence))})
    audit["margin"] = audit["score"] - audit["score"].quantile(1 - 1.2 * prevalence)
    return audit.assign(probability=odds / (1 + odds))


@pytest.mark.parametrize("apart", [0.0, 3.0])
@pytest.mark.parametrize(("prevalence", "n"), [(0.001, 50), (0.02, 200), (0.2, 200)])
def test_no_sample_is_wider_than_one_at_random(
    prevalence: float, apart: float, n: int
) -> None:
    strata = stratify(corpus(prevalence, apart))
    design = Planner(strata, "events").choose(n)
    assert design.n_coded.sum() == n
    width = mean_widths(design.strata, design.n_coded)["n_events"]
    at_random = mean_widths_at_random(strata, n)["n_events"]
    assert width < 1.05 * at_random
    if apart == 3 and prevalence >= 0.02 and n == 200:
        assert width < 0.8 * at_random


@pytest.mark.parametrize("target", ["events", "precision", "recall", "f1"])
@pytest.mark.parametrize("n", [2, 7, 40, 333, 2000])
def test_every_post_of_a_sample_is_shared_out(target: str, n: int) -> None:
    design = Planner(stratify(make()), target).choose(n)
    assert design.n_coded.sum() == n
    assert (design.n_coded <= design.strata.size).all()
    assert (design.n_coded >= 1).all()


def test_precision_takes_flagged_posts() -> None:
    design = Planner(stratify(make()), "precision").choose(150)
    assert design.n_coded[0] >= 135


def test_probabilities_say_where_to_look() -> None:
    audit = make()
    audit["probability"] = np.where(audit["margin"] >= 0, 0.999, 0.2)
    sure = Planner(stratify(audit), "events").choose(200).n_coded[0]
    audit["probability"] = np.where(audit["margin"] >= 0, 0.5, 0.001)
    assert sure < Planner(stratify(audit), "events").choose(200).n_coded[0]


def test_probabilities_of_zero_do_not_starve_a_stratum() -> None:
    audit = make()
    audit["probability"] = np.where(audit["margin"] >= 0, 0.9, 0.0)
    assert Planner(stratify(audit), "events").choose(200).n_coded[-1] > 20


def test_what_is_held_is_kept_and_strata_are_cut_where_posts_are_added() -> None:
    strata = stratify(corpus(0.02, 3.0))
    held = Held(np.array([10, 0, 5, 20, 60]), np.array([0, 1]))
    design = Planner(strata, "events", held).choose(900)
    assert {0, 1} < set(design.strata.first.tolist())
    before = np.add.reduceat(held.n_coded, design.strata.first)
    new = ~np.isin(design.strata.first, held.first)
    assert (design.n_coded >= before + new).all()
    same = Planner(strata, "events", held).choose(95)
    assert_array_equal(same.strata.first, held.first)
    assert_array_equal(same.n_coded, [10, 85])


@pytest.mark.parametrize("margin", [-1.0, 1.0], ids=["none", "all"])
def test_a_corpus_where_no_post_is_flagged_or_all_are(margin: float) -> None:
    strata = stratify(make().assign(margin=margin))
    for target in ("events", "precision", "recall", "f1"):
        assert Planner(strata, target).choose(100).n_coded.sum() == 100
