"""Stacking in place of the alpha/beta rule, wherever a detector uses its rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from detector.helpers import Data, draw, new_posts
from persistence.helpers import seal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from mmevent import EventDetector, evaluate, load
from mmevent.exceptions import InputError, ModelFolderError
from mmevent.report import draw_plots, find_errors, learning_curve, over_choices
from mmevent.rule import StackedRule
from mmevent.synthetic import demo_branches

SYSTEMS = ["flag all", "text only", "image only", "equal average", "alpha-beta"]


@pytest.fixture(scope="module")
def posts() -> Data:
    return draw(100)


@pytest.fixture(scope="module")
def stacking(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {"rule": "stacking", "estimate": "nested", "criterion": "f1"}


@pytest.fixture(scope="module")
def detector(posts: Data, stacking: dict[str, Any]) -> EventDetector:
    return EventDetector(**stacking).fit(*posts)


def test_the_score_is_that_of_the_regression(
    detector: EventDetector, posts: Data
) -> None:
    rule, table = detector.rule_, detector.audit(posts[0])
    assert isinstance(rule, StackedRule)
    p = table[["p_text", "p_image"]].clip(1e-6, 1 - 1e-6)
    text, image = np.log(p / (1 - p)).to_numpy().T
    text, image = rule.weight_text * text, rule.weight_image * image
    sums = {
        "both": rule.intercept_both + text + image,
        "text": rule.intercept_text + text,
        "image": rule.intercept_image + image,
    }
    for case, z in sums.items():
        rows = (table["rule"] == case).to_numpy()
        assert rows.any()
        expected = 1 / (1 + np.exp(-z[rows]))
        np.testing.assert_allclose(table["score"][rows], expected, rtol=1e-9)
    assert (table["score"][table["rule"] == "none"] == 0).all()
    assert ((table["margin"] >= 0) == (table["prediction"] == 1)).all()


def test_the_rule_of_the_paper_stands_beside_it(detector: EventDetector) -> None:
    estimate = detector.estimate_
    assert estimate is not None
    assert estimate.to_frame().index.tolist() == [*SYSTEMS, "fused"]
    differences = estimate.differences.set_index("baseline")
    assert np.isfinite(differences.loc["alpha-beta", ["low", "high"]].tolist()).all()
    parameters = estimate.parameters
    assert {"weight_text", "intercept_both", "threshold"} <= set(parameters)
    assert not {"alpha", "beta", "beta_identified"} & set(parameters)
    assert len(parameters) == 2
    assert len(estimate.threshold) == 1


def test_the_figures_of_a_rule_are_those_of_it_as_a_baseline(
    detector: EventDetector, posts: Data, stacking: dict[str, Any]
) -> None:
    other = EventDetector(**stacking | {"rule": "alpha-beta"}).fit(*posts)
    assert detector.estimate_ is not None
    assert other.estimate_ is not None
    one, two = detector.estimate_.to_frame(), other.estimate_.to_frame()
    for first, second in (("fused", "stacking"), ("alpha-beta", "fused")):
        pd.testing.assert_series_equal(
            one.loc[first], two.loc[second], check_names=False
        )


def test_there_is_no_alpha_and_no_study(detector: EventDetector, posts: Data) -> None:
    for name in ("alpha_", "beta_"):
        with pytest.raises(AttributeError, match=f"{name} is a.*rule='stacking'"):
            getattr(detector, name)
        assert not hasattr(detector, name)
    assert detector.study_ is None
    assert detector.trials_["pool"].tolist() == ["max", "mean", "noisy-or"]
    results = detector.cv_results_
    assert results["params"][0] == {"pool": "max", "image": "image"}
    assert len(results["mean_test_score"]) == 3
    assert "text: " in repr(detector.fitted_)
    assert detector.estimate_ is not None
    plots = draw_plots(detector, *posts, detector.estimate_)
    assert "expected a detector with rule='alpha-beta'" in str(plots["alpha-beta"])
    for name in ("precision-recall", "threshold", "learning-curve"):
        assert not isinstance(plots[name], str)


@pytest.mark.parametrize(
    "changes",
    [
        {"estimate": None, "calibration": "sigmoid", "policy": "fbeta=2"},
        {"second_stage": True},
        {"policy": "budget=5", "estimate": "auto", "image": None},
        {"text": None, "estimate": "cross-fit", "criterion": "smooth", "pool": "mean"},
    ],
    ids=str,
)
def test_it_goes_with_the_other_settings_and_comes_back_from_a_folder(
    changes: dict[str, Any], posts: Data, stacking: dict[str, Any], tmp_path: Path
) -> None:
    text, image = demo_branches()
    settings = stacking | {"text": text, "image": image} | changes
    detector = EventDetector(**settings).fit(*posts)
    others, y = new_posts(50)
    size = 400 if changes.get("policy") == "budget=5" else None
    held_out = evaluate(detector, others, y, held_out=True, corpus_size=size)
    has_both = {"image", "text"}.isdisjoint(changes)
    assert ("alpha-beta" in held_out.to_frame().index) == has_both
    detector.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.rule == "stacking"
    assert loaded.rule_ == detector.rule_
    assert loaded.stages_ == detector.stages_
    pd.testing.assert_frame_equal(loaded.audit(others), detector.audit(others))
    pd.testing.assert_frame_equal(loaded.trials_, detector.trials_)
    assert list(loaded.cv_results_) == list(detector.cv_results_)
    assert "by stacking, a" in (tmp_path / "model" / "README.md").read_text("utf-8")
    if "second_stage" in changes:
        assert isinstance(detector.stages_.second, StackedRule)
        assert "weight_image_2" in detector.estimate_.parameters
        assert set(detector.audit(others)["stage"]) <= {1, 2}


def change(folder: Path, **rule: Any) -> None:
    path = folder / "detector.json"
    facts = json.loads(path.read_text("utf-8"))
    facts["rule"] |= rule
    path.write_text(json.dumps(facts), "utf-8")
    seal(folder)


@pytest.fixture(scope="module")
def saved(
    posts: Data, stacking: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    text, _ = demo_branches()
    settings = stacking | {"text": text, "image": None, "estimate": None}
    folder = tmp_path_factory.mktemp("saved") / "model"
    EventDetector(**settings).fit(*posts).save(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight_text", float("nan"), "rule, weight_text as nan.*0 or above"),
        ("weight_image", -0.1, "rule, weight_image as -0.1.*0 or above"),
        ("intercept_both", float("inf"), "rule, intercept_both as inf"),
        ("intercept_text", "1", "rule, intercept_text as '1'"),
        ("intercept_image", -1e300, "rule, intercept_image"),
        ("threshold", 0, "rule, threshold as 0.*above 0"),
        ("pool", "median", "rule, pool as 'median'"),
        ("alpha", 1.0, "rule as .*expected weight_text, .* of the rule stacking"),
    ],
)
def test_a_number_that_no_fit_gives_is_refused(
    name: str, value: Any, message: str, saved: Path
) -> None:
    before = (saved / "detector.json").read_bytes()
    try:
        change(saved, **{name: value})
        with pytest.raises(ModelFolderError, match=message):
            load(saved)
    finally:
        (saved / "detector.json").write_bytes(before)


def test_it_is_a_parameter_like_others(posts: Data, stacking: dict[str, Any]) -> None:
    quick = EventDetector(**stacking | {"estimate": None})
    assert clone(quick).rule == "stacking"
    assert quick.set_params(rule="alpha-beta").get_params()["rule"] == "alpha-beta"
    rules = ["alpha-beta", "stacking"]
    grid = GridSearchCV(quick, {"rule": rules}, cv=2).fit(*posts)
    assert len(grid.cv_results_["params"]) == 2
    table = over_choices(EventDetector(**stacking), *posts, over={"rule": rules})
    assert table["rule"].tolist() == rules
    assert table["f1"].between(0, 1).all()


def test_another_policy_needs_no_fit(detector: EventDetector, posts: Data) -> None:
    moved = clone(detector).set_params(estimate=None).fit(*posts)
    assert 0 < moved.set_policy("recall>=0.3").threshold_ < 1
    moved.set_policy("f1", holdout=new_posts(80))
    assert moved.rule_ == detector.rule_


def test_errors_and_curves_know_it(detector: EventDetector, posts: Data) -> None:
    errors = find_errors(detector, *posts)
    assert (errors.table["kind"] != "").all()
    assert "with text and images logistic(" in errors.to_html()
    curve = learning_curve(detector, *posts, shares=[0.5, 1])
    assert detector.estimate_ is not None
    assert curve["f1"][1] == detector.estimate_.to_frame().loc["fused", "f1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "average"}, "rule='average' is not known: expected one of"),
        ({"rule": None}, "rule=None is not known"),
        ({"rule": ["stacking"]}, r"rule=\['stacking'\] is not known"),
        ({"storage": "sqlite:///x.db"}, "storage=None with rule='stacking'"),
    ],
    ids=str,
)
def test_what_cannot_be_combined_is_refused_before_any_work(
    changes: dict[str, Any], message: str, stacking: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=message):
        EventDetector(**stacking | changes).fit([{"text": 3}], [1, 0, 1])
