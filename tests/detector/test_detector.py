"""EventDetector: a scikit-learn estimator, its labels, and its policies."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from detector.helpers import Data, assert_same_detector, draw
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedKFold,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from mmevent import (
    EventDetector,
    TextClassifier,
    TextEncoder,
)
from mmevent.exceptions import (
    InputError,
    ModelUnavailableError,
    PolicyError,
)
from mmevent.rule.policies import choose_threshold

# Labels


LABELS = {
    "bool": [False, True],
    "int": [0, 1],
    "other int": [-1, 0],
    "float": [0.0, 2.0],
    "str": ["no event", "protest"],
}


@pytest.mark.parametrize(
    ("kind", "as_object", "last"),
    [
        *((kind, False, True) for kind in LABELS),
        ("bool", True, False),
        ("int", False, False),
        ("str", True, False),
    ],
)
def test_labels_of_any_type_come_back(
    settings: dict[str, Any],
    data: Data,
    fitted: EventDetector,
    kind: str,
    as_object: bool,
    last: bool,
) -> None:
    posts, y = data
    classes = np.array(LABELS[kind], dtype=object if as_object else None)
    event = y == 1
    labels = classes[np.where(event, int(last), int(not last))]
    positive = classes[int(last)]
    detector = EventDetector(**settings | {"pos_label": positive}).fit(posts, labels)
    assert detector.classes_.tolist() == classes.tolist()
    assert detector.classes_.dtype == classes.dtype
    assert detector.pos_label_ == positive
    # The same posts are events, however they are labelled.
    predicted = detector.predict(posts)
    assert predicted.dtype == classes.dtype
    np.testing.assert_array_equal(predicted == positive, fitted.predict(posts) == 1)
    margin = detector.audit(posts)["margin"]
    np.testing.assert_array_equal(margin, fitted.audit(posts)["margin"])
    sign = 1 if last else -1
    np.testing.assert_array_equal(detector.decision_function(posts), sign * margin)
    proba = detector.predict_proba(posts)
    np.testing.assert_array_equal(
        proba[:, int(last)], fitted.predict_proba(posts)[:, 1]
    )
    if kind == "str" or not as_object:  # scikit-learn's accuracy takes no others
        assert detector.score(posts, labels) == np.mean(predicted == labels)


@pytest.mark.parametrize("last", [True, False], ids=["last", "first"])
@pytest.mark.parametrize("labels", [(0, 1), ("a", "b")], ids=["numbers", "strings"])
def test_scorers_read_the_evidence_for_the_right_class(
    settings: dict[str, Any], data: Data, labels: Any, last: bool
) -> None:
    posts, y = data
    named = np.array(labels)[np.where(y == 1, int(last), int(not last))]
    positive = labels[int(last)]
    detector = EventDetector(**settings | {"pos_label": positive}).fit(posts, named)
    score = detector.audit(posts)["score"]
    auc = sklearn.metrics.get_scorer("roc_auc")(detector, posts, named)
    assert auc == pytest.approx(roc_auc_score(y, score))
    assert auc > 0.8
    precision = sklearn.metrics.make_scorer(
        average_precision_score,
        response_method=("decision_function", "predict_proba"),
        pos_label=positive,
    )(detector, posts, named)
    assert precision == pytest.approx(average_precision_score(y, score))
    if labels == (0, 1) and last:
        plain = sklearn.metrics.get_scorer("average_precision")
        assert plain(detector, posts, named) == pytest.approx(precision)


# Forms of posts


def test_the_index_of_a_frame_is_kept(settings: dict[str, Any], data: Data) -> None:
    posts, y = data
    odd = posts.set_axis([f"row {i % 7}" for i in range(len(posts))])
    labels = pd.Series(y, index=odd.index)
    detector = EventDetector(**settings).fit(odd, labels)
    plain = EventDetector(**settings).fit(posts, y)
    assert detector.out_of_fold_.index.tolist() == odd.index.tolist()
    audit = detector.audit(odd)
    assert audit.index.tolist() == odd.index.tolist()
    pd.testing.assert_frame_equal(
        audit.reset_index(drop=True), plain.audit(posts).reset_index(drop=True)
    )


def test_a_list_of_mappings_does_as_well(
    settings: dict[str, Any], data: Data, fitted: EventDetector
) -> None:
    posts, y = data
    records = posts.to_dict("records")
    detector = EventDetector(**settings).fit(records, y.tolist())
    assert_same_detector(detector, fitted)
    np.testing.assert_array_equal(detector.predict(records), fitted.predict(posts))


# Within scikit-learn


@pytest.mark.parametrize("form", ["frame", "list"])
def test_cross_validate_splits_posts(
    settings: dict[str, Any], data: Data, form: str
) -> None:
    posts, y = data
    given = posts if form == "frame" else posts.to_dict("records")
    found = cross_validate(
        EventDetector(**settings),
        given,
        y,
        cv=StratifiedKFold(2),
        scoring=["f1", "roc_auc", "average_precision"],
        error_score="raise",
        return_estimator=True,
    )
    assert len(found["test_f1"]) == 2
    assert all(found["test_roc_auc"] > 0.6)
    assert [len(e.out_of_fold_) for e in found["estimator"]] == [40, 40]


def test_grid_search_sees_the_parameters_of_detector_and_branches(
    settings: dict[str, Any], data: Data
) -> None:
    grid = GridSearchCV(
        EventDetector(**settings),
        {"pool": ["max", "mean"], "text__smoothing": [0.5]},
        scoring="f1",
        cv=2,
        error_score="raise",
    ).fit(*data)
    assert grid.best_estimator_.pool_ == grid.best_params_["pool"]
    assert grid.best_estimator_.text_.smoothing == 0.5
    assert grid.predict(data[0]).shape == (80,)


def test_a_pipeline_may_end_in_a_detector(
    settings: dict[str, Any], data: Data, fitted: EventDetector
) -> None:
    posts, y = data
    groups = np.arange(80) // 2
    pipeline = Pipeline([("detect", EventDetector(**settings))])
    np.testing.assert_array_equal(
        pipeline.fit(posts, y).predict(posts), fitted.predict(posts)
    )
    pipeline.fit(posts, y, detect__groups=groups)
    direct = EventDetector(**settings).fit(posts, y, groups=groups)
    assert_same_detector(pipeline[-1], direct)
    fold = pd.Series(direct.out_of_fold_["fold"].to_numpy())
    assert (fold.groupby(groups).nunique() == 1).all()


def test_groups_are_routed(settings: dict[str, Any], data: Data) -> None:
    posts, y = data
    groups = np.arange(80) // 4
    with sklearn.config_context(enable_metadata_routing=True):
        detector = EventDetector(**settings).set_fit_request(groups=True)
        found = cross_validate(
            detector,
            posts,
            y,
            cv=GroupKFold(2),
            params={"groups": groups},
            return_estimator=True,
            return_indices=True,
            error_score="raise",
        )
    for estimator, rows in zip(
        found["estimator"], found["indices"]["train"], strict=True
    ):
        fold = pd.Series(estimator.out_of_fold_["fold"].to_numpy())
        assert (fold.groupby(groups[rows]).nunique() == 1).all()


def test_a_clone_is_unfitted_and_fits_alike(fitted: EventDetector, data: Data) -> None:
    copy = clone(fitted)
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    assert_same_detector(copy.fit(*data), fitted)


def test_parameters_are_set_and_stored_untouched(settings: dict[str, Any]) -> None:
    detector = EventDetector()
    given = settings | {"alpha_bounds": [0, 5], "cv": 2.0, "columns": {}}
    detector.set_params(**given)
    for name, value in given.items():
        assert detector.get_params(deep=False)[name] is value
    detector.set_params(text__smoothing=2.0)
    assert detector.text.smoothing == 2.0
    detector.set_params(text__smoothing=0.5)


def test_an_unfitted_detector_says_so(data: Data) -> None:
    detector = EventDetector()
    for method in (
        detector.predict,
        detector.predict_proba,
        detector.decision_function,
        detector.audit,
    ):
        with pytest.raises(NotFittedError, match="EventDetector"):
            method(data[0])
    with pytest.raises(NotFittedError):
        detector.set_policy("f1")


# Fitting again


def test_a_fit_starts_afresh(settings: dict[str, Any], data: Data) -> None:
    other = draw(70, seed=4, share_images=0.0)
    detector = EventDetector(**settings)
    detector.fit(*data)
    before = {name for name in vars(detector) if name.endswith("_")}
    detector.fit(*other)
    fresh = EventDetector(**settings).fit(*other)
    assert_same_detector(detector, fresh)
    assert {name for name in vars(detector) if name.endswith("_")} == before
    assert detector.image_ is None


def test_a_fit_that_fails_at_its_end_leaves_nothing_fitted(
    settings: dict[str, Any], data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise MemoryError("no room for the figures")

    detector = EventDetector(**settings | {"estimate": "cross-fit"}).fit(*data)
    monkeypatch.setattr("mmevent.evaluation.sample.summarise", fail)
    with pytest.raises(MemoryError):
        detector.fit(*data)
    with pytest.raises(NotFittedError):
        detector.predict(data[0])
    assert not hasattr(detector, "threshold_")


def test_a_fit_that_fails_leaves_nothing_partial(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y = data
    missing = TextClassifier(TextEncoder("no-one/no-such-model", local_files_only=True))
    for change in ({"cv": 60}, {"text": missing}, {"policy": "best"}):
        detector = EventDetector(**settings).fit(posts, y).set_params(**change)
        with pytest.raises((InputError, ModelUnavailableError)):
            detector.fit(posts, y)
        assert [name for name in vars(detector) if name == "estimate_"] == []
        for method in (detector.predict, detector.audit, detector.predict_proba):
            with pytest.raises(NotFittedError):
                method(posts)
        with pytest.raises(NotFittedError):
            detector.set_policy("f1")


# Policies


def test_a_policy_is_set_without_fitting(settings: dict[str, Any], data: Data) -> None:
    posts, y = data
    detector = EventDetector(**settings).fit(posts, y)
    threshold, score = detector.threshold_, detector.audit(posts)["score"]
    assert detector.set_policy(0.9) is detector
    assert (detector.threshold_, detector.policy_) == (0.9, 0.9)
    assert detector.get_params()["policy"] == 0.9
    np.testing.assert_array_equal(detector.predict(posts), (score >= 0.9) * 1)
    detector.set_policy("f1")
    assert detector.threshold_ == threshold
    costs = [[0, 1], [5, 0]]
    assert clone(detector.set_policy(costs)).fit(*data).policy_ == costs


def test_an_unknown_policy_changes_nothing(fitted: EventDetector) -> None:
    before = fitted.threshold_
    with pytest.raises(InputError, match="policy='precise' is not known"):
        fitted.set_policy("precise")
    with pytest.raises(PolicyError, match="precision>=0.99' cannot be met"):
        fitted.set_policy("precision>=0.99")
    assert (fitted.threshold_, fitted.policy_) == (before, "f1")
    assert fitted.get_params()["policy"] == "f1"


def test_policies_are_applied_to_the_out_of_fold_scores(fitted: EventDetector) -> None:
    detector = copy.deepcopy(fitted)
    table = detector.out_of_fold_
    for policy in ("fbeta=2", "recall>=0.5", [[0, 1], [5, 0]]):
        detector.set_policy(policy)
        assert detector.threshold_ == choose_threshold(
            policy,
            table["score"],
            table["event"],
            criterion=detector.criterion,
            groups=table["group"],
        )
        assert detector.policy_ == policy


def test_a_policy_can_be_chosen_on_posts_that_were_held_out(
    fitted: EventDetector, data: Data
) -> None:
    detector = copy.deepcopy(fitted)
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(500)]
    texts = [" ".join(rng.choice(words, 4)) for _ in range(60)]
    y = np.arange(60) % 2
    posts = pd.DataFrame({"text": texts, "images": None})
    score = detector.audit(posts)["score"]
    detector.set_policy("recall>=0.5", holdout=(posts, y))
    assert detector.threshold_ == choose_threshold("recall>=0.5", score, y)
    detector.set_policy("f1", holdout=(posts, y))
    assert detector.threshold_ == choose_threshold("f1", score, y)
    seen = posts.assign(id=[f"new {i}" for i in range(60)])
    seen.loc[3, "id"] = data[0]["id"].iloc[0]
    with pytest.raises(InputError, match="1 of 60 held-out posts were training posts"):
        detector.set_policy("f1", holdout=(seen, y))
    with pytest.raises(InputError, match="y has other labels than the training"):
        detector.set_policy("f1", holdout=(posts, np.where(y == 1, "yes", "no")))
    with pytest.raises(InputError, match="no posts to choose a policy"):
        detector.set_policy("f1", holdout=(posts[:0], y[:0]))
    with pytest.raises(InputError, match="80 of 80 held-out posts were training posts"):
        detector.set_policy("f1", holdout=data)
    for label in (0, 1):
        with pytest.raises(InputError, match=f"got {60 * label} events among 60 posts"):
            detector.set_policy("recall>=0.5", holdout=(posts, np.full(60, label)))
    for wrong in (posts, (posts,), 3):
        with pytest.raises(InputError, match=r"`holdout` must be labelled posts and"):
            detector.set_policy("f1", holdout=wrong)


def test_another_policy_is_chosen_by_the_criterion_of_the_fit(
    fitted: EventDetector,
) -> None:
    detector = copy.deepcopy(fitted).set_params(criterion="f1")
    assert fitted.criterion == "smooth"
    expected = copy.deepcopy(fitted).set_policy("fbeta=2").threshold_
    assert detector.set_policy("fbeta=2").threshold_ == expected


def test_a_budget_is_that_of_the_posts_of_a_call(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y = data
    detector = EventDetector(**settings | {"policy": "budget=7", "estimate": "auto"})
    detector.fit(posts, y)
    assert detector.estimate_ is None
    assert np.isnan(detector.threshold_)
    assert detector.predict(posts).sum() == 7
    audit = detector.audit(posts)
    assert ((audit["margin"] >= 0) == (audit["prediction"] == 1)).all()
    assert detector.predict(posts[:20]).sum() == 7
    assert detector.set_policy("f1").predict(posts).sum() > 7
