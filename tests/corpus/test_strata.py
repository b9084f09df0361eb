"""Strata of a corpus, how they are merged, and typical shares of events."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from mmevent.corpus.strata import stratify, typical_shares
from tests.corpus.test_sampling import make


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


def test_merged_strata_keep_their_posts_and_their_number() -> None:
    audit = make().assign(probability=lambda a: a["score"].clip(0, 1))
    audit["seen_in_training"] = np.arange(2000) < 100
    strata = stratify(audit)
    merged = strata.merged([0, 2])
    assert merged.first.tolist() == [0, 2]
    assert merged.size.tolist() == [strata.size[:2].sum(), strata.size[2:].sum()]
    assert (merged.stratum[strata.stratum < 0] == -1).all()
    assert (merged.stratum[strata.stratum >= 2] == 1).all()
    inside = audit["score"][merged.stratum == 1]
    assert merged.probability is not None
    assert merged.probability[1] == pytest.approx(inside.mean())


def test_flagged_posts_are_never_merged_with_others() -> None:
    strata = stratify(make())
    found = list(strata.partitions([0, 3]))
    assert found == [(0, 1, 3), (0, 1, 2, 3)]


@pytest.mark.parametrize("apart", [0.0, 1.0, 3.0])
def test_typical_shares_are_those_of_two_normal_distributions(apart: float) -> None:
    rng = np.random.default_rng(0)
    event = rng.random(400_000) < 0.05
    evidence = rng.normal(apart * event)
    audit = pd.DataFrame({"id": range(400_000), "score": norm.cdf(evidence)})
    audit["margin"] = audit["score"] - audit["score"].quantile(0.95)
    strata = stratify(audit)
    expected = np.bincount(strata.stratum, event) / strata.size
    assert_allclose(typical_shares(strata, apart), expected, atol=0.01)


@pytest.mark.parametrize("margin", [-1.0, 1.0], ids=["none", "all"])
def test_shares_where_no_post_is_flagged_or_all_are(margin: float) -> None:
    strata = stratify(make().assign(margin=margin))
    share = typical_shares(strata, 2.5)
    assert ((share >= 0) & (share <= 1)).all()
