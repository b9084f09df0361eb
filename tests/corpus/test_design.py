"""Covariates from formulas and columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mmevent.corpus.design import columns_of, make_design, read_model
from mmevent.exceptions import InputError

TABLE = pd.DataFrame(
    {"income": [1.0, 2.0, 4.0, 8.0], "region": [*"abba"], "shares": [1, 0, 2, 5]}
)


@pytest.mark.parametrize(
    ("model", "y", "formula"),
    [
        ("income", "event", "event ~ income"),
        ("~ income", "event", "event ~ income"),
        ("event ~ income + C(region)", "event", "event ~ income + C(region)"),
        ("shares~event", "shares", "shares ~ event"),
        (["income", "a b"], "event", "event ~ income + Q('a b')"),
        ([], "event", "event ~ 1"),
    ],
)
def test_a_model_is_read(model: str | list[str], y: str, formula: str) -> None:
    assert str(read_model(model, y)) == formula


@pytest.mark.parametrize(
    "formula",
    [
        "event ~ income",
        "event ~ np.log(income) * region",
        "event ~ C(region, Treatment(reference='b')) + income",
        "event ~ bs(income, df=3) + Q('shares') + I(income ** 2)",
        "event ~ center(income) - 1",
    ],
)
def test_only_columns_are_looked_for(formula: str) -> None:
    found = columns_of(read_model(formula, "event"), TABLE)
    assert set(found) <= set(TABLE)
    assert "income" in found


def test_both_values_of_the_event_have_one_coding() -> None:
    model = read_model("shares ~ event * region", "event")
    design = make_design(model, TABLE)
    assert design.names == ["Intercept", "region[T.b]", "event", "event:region[T.b]"]
    assert design.event is not None
    assert_allclose(design.event[:, 2] - design.without[:, 2], 1)
    assert_allclose(design.event[:, 3], design.event[:, 1])
    assert_allclose(design.without[:, 3], 0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e8])
def test_a_scale_is_no_reason_to_refuse(scale: float) -> None:
    table = TABLE.assign(income=TABLE["income"] * scale)
    assert len(make_design(read_model("event ~ income", "event"), table).names) == 2


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("event ~ fixed", "'fixed' is constant"),
        ("event ~ nought - 1", "'nought' is constant"),
        ("event ~ income + I(2 * income)", "is a sum of multiples"),
        ("event ~ C(income) + region + shares", "on 4 rows|is a sum of multiples"),
        ("event ~ income + undefined(income)", "cannot be computed"),
        ("event ~ 0", "has 0 terms"),
    ],
)
def test_covariates_that_cannot_be_told_apart(formula: str, message: str) -> None:
    table = TABLE.assign(fixed=3.0, nought=0.0)
    with pytest.raises(InputError, match=message):
        make_design(read_model(formula, "event"), table)


def test_one_constant_may_be_the_intercept() -> None:
    table = TABLE.assign(fixed=3.0)
    design = make_design(read_model("event ~ fixed + income - 1", "event"), table)
    assert np.linalg.matrix_rank(design.without) == 2
