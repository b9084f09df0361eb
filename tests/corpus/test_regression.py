"""Regressions with events as outcome and as covariate."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mmevent.corpus.pseudo_outcomes import regression_table
from mmevent.corpus.regression import Regression, fit_regression
from mmevent.corpus.sampling import draw_sample
from mmevent.exceptions import InputError, MissingPackageError

FAMILIES = ["linear", "logistic", "poisson"]


def corpus(n: int = 1500, *, seed: int = 0, n_coded: int = 400) -> pd.DataFrame:
    """Give the table of a corpus whose detector errs more where income is high."""
    rng = np.random.default_rng(seed)
    country = rng.integers(0, 20, n)
    income = rng.normal(size=n)
    wealth = rng.normal(size=20).round(3)[country]
    event = rng.random(n) < 1 / (1 + np.exp(1.5 - 0.5 * income))
    score = 1 / (1 + np.exp(2 - rng.normal(3.0 * event + income)))
    audit = pd.DataFrame({"id": np.arange(n), "score": score, "margin": score - 0.5})
    audit = audit.assign(income=income, wealth=wealth, country=country, true=event * 1)
    audit["shares"] = rng.poisson(np.exp(0.5 + 0.7 * event - 0.2 * income))
    audit["kept"] = (rng.random(n) < 0.3 + 0.3 * event) * 1
    audit["created_at"] = [f"2024-{m:02d}-07" for m in rng.integers(1, 5, n)]
    coded = draw_sample(audit, n_coded, random_state=seed)
    coded["event"] = event[coded["id"]] * 1
    audit.attrs["coded"] = coded
    return audit


def table_of(audit: pd.DataFrame, **options: Any) -> pd.DataFrame:
    return regression_table(audit, audit.attrs["coded"], "event", **options)


def row(found: Regression, term: str, estimator: str = "corrected") -> pd.Series:
    table = found.table
    chosen = (table["term"] == term) & (table["estimator"] == estimator)
    return table[chosen].iloc[0]


@pytest.fixture(scope="module")
def audit() -> pd.DataFrame:
    return corpus()


@pytest.fixture(scope="module")
def table(audit: pd.DataFrame) -> pd.DataFrame:
    return table_of(audit, features="income", cluster="country")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_flagged_and_the_coded_are_those_of_statsmodels(
    table: pd.DataFrame, family: str
) -> None:
    sm = pytest.importorskip("statsmodels.api")
    kind = {"linear": "Gaussian", "logistic": "Binomial", "poisson": "Poisson"}
    kind = getattr(sm.families, kind[family])()
    found = fit_regression("event ~ income", table, family=family)
    x = sm.add_constant(table["income"])
    naive = sm.GLM(table["flagged"], x, family=kind).fit(
        cov_type="cluster", cov_kwds={"groups": pd.factorize(table["cluster"])[0]}
    )
    assert_allclose(row(found, "income", "flagged")["estimate"], naive.params["income"])
    error = row(found, "income", "flagged")["std_error"]
    assert naive.bse["income"] * 0.97 < error < naive.bse["income"] * 1.2
    part = table["n_coded"] == 1
    coded = sm.GLM(
        table["event"][part],
        x[part],
        family=kind,
        var_weights=1 / table["inclusion_probability"][part],
    ).fit()
    of_coded = row(found, "income", "coded alone")
    assert_allclose(of_coded["estimate"], coded.params["income"], rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("formula", ["event ~ income", "kept ~ event * income"])
def test_a_corpus_that_is_coded_whole_has_the_coefficients_of_its_labels(
    formula: str, family: str
) -> None:
    sm = pytest.importorskip("statsmodels.formula.api")
    families = pytest.importorskip("statsmodels.genmod.families")
    kind = {"linear": "Gaussian", "logistic": "Binomial", "poisson": "Poisson"}
    audit = corpus(400, n_coded=400)
    found = fit_regression(formula, table_of(audit), family=family)
    labels = audit.assign(event=audit["true"])
    expected = sm.glm(formula, labels, family=getattr(families, kind[family])()).fit(
        cov_type="HC1"
    )
    corrected = found.table[found.table["estimator"] == "corrected"]
    corrected = corrected.set_index("term")
    assert corrected.index.tolist() == expected.params.index.tolist()
    assert_allclose(corrected["estimate"], expected.params, rtol=1e-5, atol=1e-7)
    assert_allclose(corrected["std_error"], expected.bse, rtol=0.06)


def test_the_correction_is_near_the_truth_and_the_flagged_are_not() -> None:
    corrected, flagged = [], []
    truth = []
    for seed in range(6):
        audit = corpus(seed=seed)
        found = fit_regression("event ~ income", table_of(audit, features="income"))
        corrected.append(row(found, "income")["estimate"])
        flagged.append(row(found, "income", "flagged")["estimate"])
        truth.append(np.polyfit(audit["income"], audit["true"], 1)[0])
    assert abs(np.mean(corrected) - np.mean(truth)) < 0.012
    assert np.mean(flagged) - np.mean(truth) > 0.04


@pytest.mark.parametrize("family", FAMILIES)
def test_events_as_covariate(
    audit: pd.DataFrame, table: pd.DataFrame, family: str
) -> None:
    name = {"linear": "shares", "logistic": "kept", "poisson": "shares"}[family]
    formula = f"{name} ~ event + income"
    found = row(fit_regression(formula, table, family=family), "event")
    true = table.assign(flagged=audit["true"])
    truth = row(fit_regression(formula, true, family=family), "event", "flagged")
    flagged = row(fit_regression(formula, table, family=family), "event", "flagged")
    assert abs(found["estimate"] - truth["estimate"]) < 2.5 * found["std_error"]
    assert truth["estimate"] - flagged["estimate"] > 0.1


def test_a_list_of_columns_and_y_are_a_formula(table: pd.DataFrame) -> None:
    renamed = table.rename(columns={"wealth": "gdp per head"})
    one = fit_regression(["income", "gdp per head"], renamed)
    other = fit_regression('event ~ income + Q("gdp per head")', renamed)
    assert_allclose(one.table["estimate"], other.table["estimate"])
    one = fit_regression(["event", "income"], table, y="shares")
    other = fit_regression("shares ~ event + income", table)
    assert one.formula == other.formula == "shares ~ event + income"


def test_a_table_by_unit_and_period(audit: pd.DataFrame) -> None:
    posts = table_of(audit, cluster="country")
    cells = table_of(audit, unit="country", period="month")
    wealth = audit.groupby("country")["wealth"].first()
    cells["wealth"] = cells["country"].astype(int).map(wealth)
    # A logistic regression of shares is the same one by post and by cell.
    one, other = (
        fit_regression("event ~ wealth", t, family="logistic") for t in (posts, cells)
    )
    assert_allclose(one.table["estimate"], other.table["estimate"], rtol=1e-6)
    first = [row(found, "wealth")["std_error"] for found in (one, other)]
    assert_allclose(*first, rtol=1e-6)
    assert other.n_rows == 80
    assert other.n_clusters == 20
    one, other = (
        fit_regression("event ~ wealth", t, family="poisson", exposure="n_posts")
        for t in (posts, cells)
    )
    assert_allclose(row(one, "wealth")["estimate"], row(other, "wealth")["estimate"])
    assert "80 rows, 1,500 posts, 400 coded by hand, 20 clusters" in str(other)


def test_another_column_can_be_the_cluster(table: pd.DataFrame) -> None:
    table["half"] = np.arange(len(table)) % 200
    found = fit_regression("event ~ income", table, cluster="half")
    assert found.n_clusters == 200


def test_few_clusters_make_intervals_wider(audit: pd.DataFrame) -> None:
    audit["part"] = audit["country"] % 4
    found = fit_regression("event ~ income", table_of(audit, cluster="part"))
    income = row(found, "income")
    assert (income["high"] - income["low"]) / income["std_error"] > 2 * 3.1
    assert "rest on few clusters" in found.notes[-1]


def test_missing_covariates_are_counted(table: pd.DataFrame) -> None:
    holed = table.assign(income=table["income"].where(table.index >= 30))
    with pytest.raises(InputError, match=r"30 of 1,500 rows lack a value \('income'"):
        fit_regression("event ~ income + wealth", holed)
    found = fit_regression("event ~ income + wealth", holed, missing="drop")
    assert found.n_rows == 1470
    assert "30 rows without a value" in found.notes[0]


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("event ~ wages", {}, "has no column 'wages'.*merge the column"),
        ("event ~ C(region) + np.log(wages)", {}, "no column 'region', 'wages'"),
        ("wages ~ event", {}, "has no column 'wages'"),
        (["income", "wages"], {}, "has no column 'wages'"),
        ('event ~ Q("gdp per head")', {}, "has no column 'gdp per head'"),
        ("shares ~ income", {}, "has no events"),
        ("event ~ income + event", {}, "explains events by events"),
        ("event ~ income +", {}, "cannot be read"),
        ("event ~", {}, "has no covariates"),
        ("a ~ b ~ c", {}, "has no covariates"),
        ("shares ~ event", {"y": "kept"}, "explains 'shares' and y='kept'"),
        ("event ~ income + one", {}, "'one' is constant"),
        ("event ~ income + double", {}, "'double' is a sum of multiples"),
        ("event ~ np.log(zero)", {}, "no finite number in"),
        ("event ~ income", {"family": "cubic"}, "family='cubic' is not known"),
        ("event ~ income", {"missing": "skip"}, "missing='skip' is not known"),
        ("event ~ income", {"cluster": "school"}, "has no column 'school'"),
        ("event ~ income", {"cluster": "one"}, "all rows are in one cluster"),
        ("event ~ income", {"exposure": "n_posts"}, "has no meaning with family"),
        (
            "event ~ income",
            {"exposure": "zero", "family": "poisson"},
            "the exposure 'zero' is 0 in 1 rows",
        ),
        ("shares ~ event", {"family": "logistic"}, "no usable shares"),
        ("event ~ rare", {"family": "logistic"}, "has no solution"),
        ("event ~ income", {"missing": "drop", "drop": "coded"}, "no row has a coded"),
        ("event ~ holes", {"missing": "drop", "drop": "all"}, "no row of the table"),
    ],
)
def test_what_cannot_be_fitted_is_an_error(
    table: pd.DataFrame, model: Any, options: dict[str, Any], message: str
) -> None:
    n = len(table)
    changed = table.assign(one=1.0, double=2 * table["income"] + 3, holes=np.nan)
    changed["zero"] = np.arange(n)
    rare = (table["n_coded"] == 0) & (np.arange(n) < 40)
    changed["rare"] = rare.astype(float)
    changed.loc[rare, "pseudo_outcome"] = -0.1
    if options.pop("drop", "") == "coded":
        changed["income"] = changed["income"].where(changed["n_coded"] == 0)
    with pytest.raises(InputError, match=message):
        fit_regression(model, changed, **options)


def test_numbers_of_events_are_no_covariate(audit: pd.DataFrame) -> None:
    cells = table_of(audit, unit="country").assign(votes=np.arange(20.0))
    with pytest.raises(InputError, match="biased towards 0"):
        fit_regression("votes ~ event", cells)


def test_another_table_is_an_error(audit: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="has no column 'n_posts'"):
        fit_regression("event ~ income", audit)


def test_a_missing_package_is_named(
    table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    message = r'pip install "mmevent\[regression\]"'
    with pytest.raises(MissingPackageError, match=message):
        fit_regression("event ~ income", table)


def test_it_prints_and_goes_to_json(table: pd.DataFrame) -> None:
    found = fit_regression("event ~ income", table, family="poisson")
    assert "Poisson regression event ~ income" in str(found)
    assert "coded alone" in found._repr_html_()
    assert repr(found).startswith("<Regression, poisson: event ~ income; 1,500 posts")
    values = json.loads(found.to_json())
    assert len(values["table"]) == 6
    assert np.shape(values["covariance"]) == (2, 2)
    error = np.sqrt(np.diag(found.covariance))
    assert_allclose(error, found.table["std_error"][:2])


def test_a_table_from_a_file_gives_the_same(table: pd.DataFrame, tmp_path: Any) -> None:
    table.to_csv(tmp_path / "table.csv", index=False)
    again = pd.read_csv(tmp_path / "table.csv")
    one, other = (fit_regression("event ~ income", t) for t in (table, again))
    assert_allclose(one.table["estimate"], other.table["estimate"])
