"""How a detector's figures grow with the number of labelled posts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from detector.helpers import Data
from sklearn.exceptions import NotFittedError

from mmevent import EventDetector, evaluate
from mmevent.detector.learning import learning_curve
from mmevent.exceptions import InputError
from mmevent.report import plots as plots
from mmevent.synthetic.posts import make_posts


@pytest.fixture(scope="module")
def data() -> Data:
    posts, y, _ = make_posts(160, random_state=0)
    return posts, y


@pytest.fixture(scope="module")
def settings(text_branch: Any, image_branch: Any) -> dict[str, Any]:
    return {
        "text": text_branch,
        "image": image_branch,
        "cv": 3,
        "inner_cv": 2,
        "n_trials": 20,
        "estimate": None,
        "random_state": 0,
    }


@pytest.fixture(scope="module")
def detector(data: Data, settings: dict[str, Any]) -> EventDetector:
    return EventDetector(**settings).fit(*data)


def test_a_learning_curve_keeps_the_test_parts(
    detector: EventDetector, data: Data
) -> None:
    posts, y = data
    curve = learning_curve(detector, posts, y, shares=[0.25, 0.5, 1])
    assert curve["share"].tolist() == [0.25, 0.5, 1]
    assert curve["n_posts"].is_monotonic_increasing
    assert curve["n_posts"].iloc[0] == pytest.approx(
        curve["n_posts"].iloc[2] / 4, abs=3
    )
    whole = evaluate(detector, posts, y).to_frame().loc["fused"]
    assert curve["f1"].iloc[2] == pytest.approx(whole["f1"])
    assert curve["average_precision"].iloc[2] == pytest.approx(
        whole["average_precision"]
    )


def test_a_learning_curve_is_of_the_detectors_estimate_and_policy(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y = data
    changed = {"estimate": "cross-fit", "policy": "fbeta=2"}
    detector = EventDetector(**settings | changed).fit(posts, y)
    curve = learning_curve(detector, posts, y, shares=[1])
    assert curve["f1"][0] == detector.estimate_.to_frame().loc["fused", "f1"]
    with pytest.raises(InputError, match="are not those of the training"):
        learning_curve(detector, posts[:-1], y[:-1])
    with pytest.raises(InputError, match="these groups are not those of the fit"):
        learning_curve(detector, posts, y, groups=np.arange(len(y)) // 4)
    detector.set_policy("budget=20")
    with pytest.raises(InputError, match="^policy='budget=20' is for a whole corpus"):
        learning_curve(detector, posts, y)


def test_a_share_that_leaves_too_few_posts_is_left_out(
    detector: EventDetector, data: Data
) -> None:
    curve = learning_curve(detector, *data, shares=[0.001, 1])
    assert curve["share"].tolist() == [1]
    with pytest.raises(InputError, match="no share leaves enough posts"):
        learning_curve(detector, *data, shares=[0.001])


@pytest.mark.parametrize("shares", [[], [0], [1.5], [0.5, -1], 0.5, ["a"]])
def test_what_are_no_shares(detector: EventDetector, data: Data, shares: Any) -> None:
    with pytest.raises(InputError, match="are no shares of the training posts"):
        learning_curve(detector, *data, shares=shares)


def test_a_fit_without_an_estimate_has_a_curve_of_every_row(
    detector: EventDetector, data: Data
) -> None:
    with pytest.raises(NotFittedError):
        learning_curve(EventDetector(), *data)
    assert detector.estimate_ is None
    curve = learning_curve(detector, *data, shares=[1])
    columns = ["share", "n_posts", "n_events", "f1", "f1_low", "f1_high"]
    assert curve.columns.tolist()[:6] == columns
    assert curve["f1_low"][0] <= curve["f1"][0] <= curve["f1_high"][0]
