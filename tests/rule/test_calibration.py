"""Maps from scores to probabilities."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import _sigmoid_calibration
from sklearn.isotonic import IsotonicRegression

from mmevent.exceptions import InputError
from mmevent.rule.calibration import METHODS, Calibration, fit_calibration, fit_maps


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


def test_a_sigmoid_is_that_of_platt() -> None:
    score, event = make(500)
    slope, offset = _sigmoid_calibration(score, event.astype(float))
    found = fit_calibration("sigmoid", score, event, ["text"] * 500).maps["text"]
    assert found["slope"] == pytest.approx([-slope], rel=1e-4)
    assert found["intercept"] == pytest.approx([-offset], rel=1e-4)


@pytest.mark.parametrize("width", [1.0, 1e-6])
def test_separated_classes_have_no_probability_of_0_or_1(width: float) -> None:
    rng = np.random.default_rng(0)
    score = np.r_[rng.uniform(0.1, 0.4, 48), rng.uniform(0.7, 0.9, 12)] * width
    event = np.arange(60) >= 48
    found = fit_calibration("sigmoid", score, event, ["text"] * 60)
    p = found.predict(score, ["text"] * 60)
    # The mean is that of Platt's targets.
    assert p.mean() == pytest.approx((12 * 13 / 14 + 48 / 50) / 60, abs=1e-5)
    assert 0.001 < p.min() < p.max() < 0.999


def test_equal_scores_have_the_mean_of_the_targets() -> None:
    found = fit_calibration("sigmoid", [0.3] * 10, [1] * 3 + [0] * 7, ["text"] * 10)
    p = found.predict([0.3, 0.9], ["text"] * 2)
    assert p == pytest.approx((3 * 4 / 5 + 7 / 9) / 10)


@cache
def maps(method: str, n: int) -> Calibration:
    """Fit the maps on few posts, as folds do."""
    return fit_maps(method, *make(n), np.full(n, "text"))


@pytest.mark.parametrize("method", METHODS)
@given(scores=st.lists(st.floats(0, 2), min_size=1, max_size=20))
def test_probabilities_rise_with_the_score(method: str, scores: list[float]) -> None:
    found = maps(method, 300)
    p = found.predict(np.sort(scores), ["both"] * len(scores))
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= 0).all()


def test_isotonic_is_that_of_scikit_learn() -> None:
    score, event = make(500)
    found = maps("isotonic", 500)
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


@pytest.mark.parametrize(
    ("score", "y", "case", "message"),
    [
        ([0.5] * 4, [1, -1, 1, -1], ["text"] * 4, "which posts are events.* -1, 1"),
        ([0.5] * 4, list("0101"), ["text"] * 4, "which posts are events.*'0', '1'"),
        ([0.5] * 4, [1, 0, 1, np.nan], ["text"] * 4, "which posts are events.*nan"),
        ([0.5, np.nan] * 2, [1, 0, 1, 0], ["text"] * 4, "for 2 of 4 posts"),
        ([0.5] * 4, [1, 0, 1, 0], ["text"] * 3, r"case does not fit.*\(3,\)"),
        ([0.5] * 4, [1, 1, 1, 1], ["text"] * 4, "4 events of 4 posts"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    score: Any, y: Any, case: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit_calibration("sigmoid", score, y, case)


def test_a_case_need_not_be_a_string() -> None:
    score, event = make(400)
    found = fit_calibration("sigmoid", score, event, [1] * 400)
    p = found.predict([0.1, 0.9], [1, 1])
    assert 0 < p[0] < p[1] < 1
    assert p.tolist() == found.predict([0.1, 0.9], ["1", "1"]).tolist()


def test_scores_without_a_case_each_are_refused() -> None:
    found = Calibration({"all": {"slope": [4.0], "intercept": [-2.0]}})
    with pytest.raises(InputError, match="one for each of 2 posts"):
        found.predict([0.1, 0.9], ["text"])
