"""Detectors with calibrated probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import mmevent
from mmevent import EventDetector, evaluate
from mmevent.exceptions import InputError
from mmevent.synthetic.demo import demo_branches
from mmevent.synthetic.posts import make_posts


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
    posts, y, _ = make_posts(300, image_size=16, random_state=0)
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
    assert table["n_posts"].sum() == 300
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
