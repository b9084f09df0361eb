"""How figures and answers move over choices."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from mmevent import EventDetector
from mmevent.exceptions import InputError
from mmevent.report import over_choices
from mmevent.synthetic import demo_branches, make_posts


@pytest.fixture(scope="module")
def posts() -> tuple[pd.DataFrame, np.ndarray]:
    posts, y, _ = make_posts(160, random_state=0)
    return posts, y


def detector(**options: Any) -> EventDetector:
    text, _ = demo_branches()
    given = {"text": text, "image": None, "cv": 2, "inner_cv": 2, "n_trials": 2}
    given["estimate"] = "cross-fit"
    return EventDetector(**given | options)


def test_there_is_a_row_for_each_combination(posts: Any) -> None:
    over = {"seed": [0, 1], "criterion": ["smooth", "f1"]}
    seen = []

    def answer(fitted: EventDetector) -> dict[str, float]:
        seen.append(fitted)
        return {"n": int((fitted.audit(posts[0])["margin"] >= 0).sum())}

    found = over_choices(detector(), *posts, over, answer=answer)
    assert found[["seed", "criterion"]].to_numpy().tolist() == [
        [0, "smooth"],
        [0, "f1"],
        [1, "smooth"],
        [1, "f1"],
    ]
    one = clone(detector()).set_params(random_state=1, criterion="f1").fit(*posts)
    row = found.iloc[3]
    assert row["f1"] == one.estimate_.to_frame().loc["fused", "f1"]
    assert row["threshold"] == one.threshold_
    assert row["f1_low"] <= row["f1"] <= row["f1_high"]
    assert found["n"].tolist() == [answer(fitted)["n"] for fitted in seen[:4]]


def test_the_detector_stays_as_it_was(posts: Any) -> None:
    given = detector(random_state=7)
    over_choices(given, *posts, {"policy": ["f1", 0.5]})
    assert given.random_state == 7
    assert not hasattr(given, "threshold_")


def test_an_encoder_is_that_of_the_text_branch(posts: Any) -> None:
    with pytest.raises(InputError, match=r"fit with \{'encoder': '/no/such', 's"):
        over_choices(
            detector(text="auto"), *posts, {"encoder": ["/no/such"], "seed": [0]}
        )


@pytest.mark.parametrize(
    ("options", "over", "message"),
    [
        ({}, {"encoders": ["a"]}, "has the choice 'encoders', which"),
        ({}, {"seed": []}, "no values for 'seed'"),
        ({}, {"criterion": "f1"}, "no values for 'criterion'"),
        ({}, {}, "over is empty"),
        ({"estimate": None}, {"seed": [0]}, "estimate=None gives no F1"),
        ({}, {"criterion": ["f9"]}, r"the fit with \{'criterion': 'f9'\} failed"),
        ({}, {"policy": ["f1", "budget=5"]}, r"'budget=5'\} failed: estimate='cr"),
        (
            {"estimate": "auto"},
            {"policy": ["budget=5"]},
            r"'budget=5'\} failed: there is no estimate",
        ),
        (
            {"storage": "sqlite:///x.db"},
            {"rule": ["alpha-beta", "stacking"]},
            r"'stacking'\} failed: storage",
        ),
    ],
)
def test_choices_that_cannot_be_made_are_refused_before_any_fit(
    posts: Any, options: dict[str, Any], over: Any, message: str
) -> None:
    with (
        patch.object(EventDetector, "fit", side_effect=AssertionError),
        pytest.raises(InputError, match=message),
    ):
        over_choices(detector(**options), *posts, over)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([3], "expected numbers by name"),
        ([{"n": "many"}], "expected numbers by name"),
        ([{"f1": 0.5}], "with other names than"),
        ([{"n": 1}, {"m": 1}], "the same names each time"),
    ],
)
def test_answers_that_are_no_row(posts: Any, answers: list[Any], message: str) -> None:
    left = iter(answers)
    with pytest.raises(InputError, match=message):
        over_choices(detector(), *posts, {"seed": [0, 1]}, answer=lambda _: next(left))
