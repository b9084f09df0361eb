"""Maps from scores to probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

import mmevent
from mmevent import EventDetector, evaluate
from mmevent.calibration import fit_calibration
from mmevent.exceptions import InputError
from mmevent.synthetic import demo_branches, make_posts

METHODS = ["sigmoid", "isotonic-forced"]


def make(n: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give scores whose share of events is a logistic curve of them."""
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    return score, rng.random(n) < 1 / (1 + np.exp(4 - 8 * score))


@pytest.mark.parametrize("method", METHODS)
def test_a_known_curve_is_found(method: str) -> None:
    score, event = make(20_000)
    found = fit_calibration(method, score, event, ["text"] * len(score))
    at = np.array([0.2, 0.5, 0.8])
    np.testing.assert_allclose(
        found.predict(at, ["text"] * 3), 1 / (1 + np.exp(4 - 8 * at)), atol=0.03
    )


@pytest.mark.parametrize("method", METHODS)
@given(scores=st.lists(st.floats(0, 2), min_size=1, max_size=20))
def test_probabilities_rise_with_the_score(method: str, scores: list[float]) -> None:
    found = fit_calibration(method, *make(300), ["text"] * 300)
    p = found.predict(np.sort(scores), ["both"] * len(scores))
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= 0).all()


def test_isotonic_is_that_of_scikit_learn() -> None:
    score, event = make(500)
    found = fit_calibration("isotonic-forced", score, event, ["text"] * 500)
    curve = IsotonicRegression(out_of_bounds="clip").fit(score, event)
    at = np.linspace(-0.1, 1.1, 50)
    np.testing.assert_allclose(found.predict(at, ["text"] * 50), curve.predict(at))


def test_a_case_of_few_posts_has_the_map_of_all() -> None:
    score, event = make(1000)
    case = np.repeat(["both", "text", "image"], [500, 350, 150])
    event[case == "both"] = np.random.default_rng(1).random(500) < 0.5
    found = fit_calibration("sigmoid", score, event, case)
    assert sorted(found.maps) == ["all", "both", "text"]
    p = {name: found.predict([0.9], [name])[0] for name in ("both", "text", "image")}
    assert p["both"] < 0.7 < p["image"] < p["text"]


def test_an_isotonic_map_of_a_case_needs_as_many_posts() -> None:
    score, event = make(1500)
    case = np.repeat(["both", "text"], [1000, 500])
    assert sorted(fit_calibration("isotonic", score, event, case).maps) == [
        "all",
        "both",
    ]


def test_a_case_of_one_class_has_the_map_of_all() -> None:
    score, event = make(600)
    event[:300] = False
    found = fit_calibration("sigmoid", score, event, np.repeat(["text", "both"], 300))
    assert sorted(found.maps) == ["all", "both"]


def test_an_isotonic_map_of_few_posts_is_refused() -> None:
    with pytest.raises(InputError, match="expected 1,000 or more, got 999"):
        fit_calibration("isotonic", *make(999), ["text"] * 999)
    fit_calibration("isotonic", *make(1000), ["text"] * 1000)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="calibration='beta' is not known"):
        fit_calibration("beta", *make(10), ["text"] * 10)


# Of a detector


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    text, image = demo_branches()
    return {
        "text": text,
        "image": image,
        "cv": 2,
        "inner_cv": 2,
        "n_trials": 5,
        "calibration": "sigmoid",
        "random_state": 0,
    }


@pytest.fixture(scope="module")
def data() -> tuple[pd.DataFrame, NDArray[np.intp]]:
    posts, y, _ = make_posts(500, image_size=16, random_state=0)
    return posts, y


@pytest.fixture(scope="module")
def fitted(settings: dict[str, Any], data: Any) -> EventDetector:
    return EventDetector(**settings).fit(*data)


def test_probabilities_are_in_the_audit_and_decide_nothing(
    fitted: EventDetector, settings: dict[str, Any], data: Any
) -> None:
    posts, y = data
    audit = fitted.audit(posts)
    p = fitted.predict_proba(posts)[:, 1]
    np.testing.assert_array_equal(p, audit["probability"])
    assert abs(p.mean() - y.mean()) < 0.05
    without = EventDetector(**settings | {"calibration": None, "estimate": None})
    plain = without.fit(posts, y).audit(posts)
    columns = ["prediction", "margin", "score"]
    pd.testing.assert_frame_equal(audit[columns], plain[columns])
    assert "probability" not in plain


def test_a_change_of_policy_leaves_them(fitted: EventDetector, data: Any) -> None:
    before = fitted.audit(data[0])["probability"]
    threshold = fitted.threshold_
    after = fitted.set_policy(0.9).audit(data[0])["probability"]
    fitted.set_policy("f1")
    assert fitted.threshold_ == threshold
    pd.testing.assert_series_equal(before, after)


def test_the_estimate_says_how_good_they_are(fitted: EventDetector) -> None:
    brier = fitted.estimate_.brier.set_index("probabilities")["value"]
    assert brier["calibrated"] < brier["prevalence for all"]
    table = fitted.estimate_.reliability
    assert len(table) == 10
    assert table["n_posts"].sum() == 500
    assert (table["low"] < table["high"]).all()
    near = (table["low"] <= table["probability"]) & (
        table["probability"] <= table["high"]
    )
    assert near.mean() >= 0.7
    assert "Events by calibrated probability" in str(fitted.estimate_)


def test_they_come_back_from_a_folder(
    fitted: EventDetector, data: Any, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    loaded = mmevent.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.audit(data[0]), fitted.audit(data[0]))
    pd.testing.assert_frame_equal(
        loaded.estimate_.reliability, fitted.estimate_.reliability
    )
    others, y, _ = make_posts(100, image_size=16, random_state=1)
    others["id"] = "new" + others["id"].astype(str)
    held_out = evaluate(loaded, others, y, held_out=True, drop_seen=True)
    assert held_out.brier["value"].notna().all()


def test_few_posts_are_refused_before_any_work(
    settings: dict[str, Any], data: Any
) -> None:
    detector = EventDetector(**settings | {"calibration": "isotonic", "text": "auto"})
    with pytest.raises(InputError, match="needs more posts"):
        detector.fit(*data)
    with pytest.raises(InputError, match="calibration='platt' is not known"):
        detector.set_params(calibration="platt").fit(*data)
