"""Parameters that name labels, as a detector passes them to its branches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from mmevent import (
    ClipZeroShotClassifier,
    EventDetector,
    FalsePositiveFilter,
    TextClassifier,
    evaluate,
)
from mmevent.branches.label_keys import with_coded_labels
from mmevent.exceptions import InputError
from mmevent.synthetic import make_posts

CODING = ["no", "yes"]
WEIGHTS, CODED = {"yes": 20, "no": 2}, {1: 20, 0: 2}


def logistic(weight: Any) -> LogisticRegression:
    return LogisticRegression(class_weight=weight)


BRANCHES = {
    "itself": (lambda w: TextClassifier(class_weight=w), "class_weight"),
    "head": (lambda w: TextClassifier(head=logistic(w)), "head__class_weight"),
    "step": (
        lambda w: make_pipeline(CountVectorizer(), logistic(w)),
        "logisticregression__class_weight",
    ),
    "member": (
        lambda w: make_pipeline(
            CountVectorizer(), VotingClassifier([("one", logistic(w))])
        ),
        "votingclassifier__one__class_weight",
    ),
    "search": (
        lambda w: GridSearchCV(logistic(w), {"C": [1.0]}),
        "estimator__class_weight",
    ),
}


@pytest.mark.parametrize("kind", BRANCHES)
def test_weights_are_given_to_the_labels_that_they_name(kind: str) -> None:
    make, name = BRANCHES[kind]
    branch = make(WEIGHTS)
    assert with_coded_labels(branch, CODING).get_params()[name] == CODED
    assert branch.get_params()[name] == WEIGHTS
    turned = with_coded_labels(make({1: 20, 2: 1}), [2, 1])
    assert turned.get_params()[name] == {1: 20, 0: 1}
    with pytest.raises(
        InputError, match=r"expected some of \['no', 'yes'\], got \[0, 1"
    ):
        with_coded_labels(make({0: 1, 1: 20}), CODING)
    with pytest.raises(InputError, match=r"names other labels .* got \['maybe'\]"):
        with_coded_labels(make({"yes": 1, "maybe": 20}), CODING)


def test_the_grid_of_a_search_is_translated() -> None:
    grid = [{"class_weight": [WEIGHTS, None, "balanced"], "C": [1.0]}, {"C": [2.0]}]
    found = with_coded_labels(GridSearchCV(logistic(None), grid), CODING)
    assert found.param_grid == [
        {"class_weight": [CODED, None, "balanced"], "C": [1.0]},
        {"C": [2.0]},
    ]


def test_estimators_in_a_grid_are_translated() -> None:
    steps = {"logisticregression": [logistic(WEIGHTS), logistic(None)]}
    search = GridSearchCV(make_pipeline(logistic(None)), steps)
    one, other = with_coded_labels(search, CODING).param_grid["logisticregression"]
    assert one.class_weight == CODED
    assert other.class_weight is None


@pytest.mark.parametrize(
    "branch",
    [
        logistic("balanced"),
        logistic(None),
        FrozenEstimator(logistic(WEIGHTS)),
        make_pipeline(FrozenEstimator(logistic(WEIGHTS))),
        object(),
    ],
    ids=["word", "none", "frozen", "frozen step", "no parameters"],
)
def test_what_names_no_labels_is_left_alone(branch: Any) -> None:
    assert with_coded_labels(branch, CODING) is branch


def test_the_label_of_an_event_is_translated_in_our_classifiers() -> None:
    branch = ClipZeroShotClassifier("protest", pos_label="yes")
    assert with_coded_labels(branch, CODING).pos_label == 1


def mean_p(positive: Any, y: Any, weight: Any, *, again: bool = False) -> float:
    posts, _, _ = make_posts(80, random_state=0, image_size=8)
    text = make_pipeline(CountVectorizer(), logistic(weight))
    detector = EventDetector(
        text=text,
        image=None,
        cv=2,
        n_trials=2,
        pos_label=positive,
        random_state=0,
        estimate="cross-fit" if again else None,
        second_stage=FalsePositiveFilter(only_if_better=True),
    )
    detector.fit(posts, y)
    if again:
        f1 = evaluate(detector, posts, y).table["f1"].to_numpy()
        first = detector.estimate_.table["f1"].to_numpy()
        np.testing.assert_array_equal(f1, first)
    return float(detector.audit(posts)["p_text"].mean())


@pytest.mark.filterwarnings("ignore:the second stage does not")
def test_a_detector_weighs_the_label_that_is_named() -> None:
    y = make_posts(80, random_state=0, image_size=8)[1]
    words, codes = np.where(y == 1, "yes", "no"), np.where(y == 1, 2, 1)
    plain = mean_p("yes", words, None)
    assert mean_p("yes", words, {"yes": 20}) > plain
    assert mean_p(2, codes, {2: 20, 1: 1}, again=True) > plain
    assert mean_p(2, codes, {1: 20, 2: 1}) < plain
    assert mean_p(0, 1 - y, {0: 20}) > plain
