"""Whole floats are taken as integers: plain numbers of R arrive as floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from detector.helpers import assert_same_detector, draw

from mmevent import EventDetector, ForwardInTime, TextClassifier, TextEncoder, evaluate
from mmevent._common import as_whole
from mmevent.corpus import draw_sample
from mmevent.exceptions import InputError
from mmevent.report import find_errors
from mmevent.rule import Evidence, Search, budget_threshold, tune_rule
from mmevent.synthetic import make_posts, make_scores

Number = Callable[[int], Any]


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        *((5, 5), (5.0, 5), (np.int64(5), 5), (np.float32(5), 5), (0.0, 0)),
        *((-1.0, -1), (10**400, 10**400), (5.5, None), (np.nan, None)),
        *((np.inf, None), (True, None), (np.True_, None), ("5", None), (None, None)),
    ],
)
def test_what_a_whole_number_is(value: Any, whole: int | None) -> None:
    assert as_whole(value) == whole
    assert type(as_whole(value)) is (int if whole is not None else type(None))


def test_a_detector_takes_whole_floats(text_branch: Any, image_branch: Any) -> None:
    posts, y = draw()

    def fitted(number: Number) -> EventDetector:
        settings = {"cv": 2, "inner_cv": 2, "n_trials": 5, "random_state": 0}
        whole = {name: number(value) for name, value in settings.items()}
        branches = {"text": text_branch, "image": image_branch}
        return EventDetector(**branches, **whole, n_jobs=number(1)).fit(posts, y)

    one, other = fitted(int), fitted(float)
    assert_same_detector(one, other)
    audits = [one.audit(posts, batch_size=32), other.audit(posts, batch_size=32.0)]
    pd.testing.assert_frame_equal(*audits)
    figures = [
        evaluate(detector, posts, y, seeds=[number(1)]).to_dict()
        for detector, number in ((one, int), (other, float))
    ]
    assert figures[0] == figures[1]
    for detector, number in ((one, int), (other, float)):
        detector.set_policy("budget=20")
        errors = find_errors(detector, posts, y, n=number(2), corpus_size=number(200))
        assert len(errors.table) == 4


def test_encoders_and_training_take_whole_floats(tiny_text_model: str) -> None:
    texts = ["we march", "a quiet day", "they march", "a long quiet day"] * 4

    def vectors(number: Number) -> Any:
        sizes = {"batch_size": number(3), "max_length": number(8)}
        return TextEncoder(tiny_text_model, cache=None, **sizes).transform(texts)

    np.testing.assert_array_equal(vectors(int), vectors(float))

    def probabilities(number: Number) -> Any:
        classifier = TextClassifier(
            TextEncoder(tiny_text_model, cache=None),
            train=number(1),
            n_epochs=number(1),
            train_batch_size=number(8),
            gradient_accumulation_steps=number(1),
            random_state=number(0),
        )
        return classifier.fit(texts, [1, 0] * 8).predict_proba(texts[:4])

    np.testing.assert_array_equal(probabilities(int), probabilities(float))


def _audit() -> pd.DataFrame:
    audit = pd.DataFrame({"id": range(1000)})
    audit["score"] = audit["id"] / 1000
    return audit.assign(margin=audit["score"] - 0.9)


def _tuned(number: Number) -> Any:
    evidence = Evidence.from_images([0.9, 0.1, 0.6, 0.3], [0.8, 0.2], [0, 1])
    search = Search(n_trials=number(5), random_state=number(0))
    return tune_rule(evidence, [True, False, True, False], search=search).rule


def _forward(number: Number) -> Any:
    posts = [{"text": "a", "created_at": f"2024-03-0{i}"} for i in range(1, 7)]
    return [test.tolist() for _, test in ForwardInTime(number(2)).split(posts)]


@pytest.mark.parametrize(
    "call",
    [
        lambda number: draw_sample(_audit(), number(100), random_state=number(0)),
        lambda number: budget_threshold([0.9, 0.5, 0.5, 0.1], number(2)),
        _tuned,
        _forward,
        lambda number: make_scores(number(50), random_state=number(0)).p_text,
        lambda number: make_posts(
            number(20), n_groups=number(3), image_size=number(8), random_state=number(0)
        )[0],
    ],
    ids=["draw_sample", "budget", "search", "folds", "make_scores", "make_posts"],
)
def test_functions_take_whole_floats(call: Callable[[Number], Any]) -> None:
    one, other = call(int), call(float)
    assert np.array_equal(np.asarray(one, object), np.asarray(other, object)) or (
        repr(one) == repr(other)
    )


@pytest.mark.parametrize("n_splits", [0, 1.5, True, "2"])
def test_what_is_no_number_of_splits_is_refused(n_splits: Any) -> None:
    with pytest.raises(InputError, match="gives no test part: expected a whole number"):
        ForwardInTime(n_splits).get_n_splits()
