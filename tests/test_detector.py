"""EventDetector: whatever the posts, the labels and the branches."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import sklearn
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedKFold,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted

from mmevent import (
    EventDetector,
    ForwardInTime,
    ImageClassifier,
    TextClassifier,
    duplicate_groups,
    evaluate,
    fuse,
)
from mmevent._decoding import decode
from mmevent._image_encoder import VIEWS, ImageEncoder
from mmevent._loading import load_encoder
from mmevent._text_encoder import TextEncoder
from mmevent.decision import choose_threshold
from mmevent.exceptions import (
    InputError,
    ModelUnavailableError,
    PolicyError,
    UnusableInputWarning,
)
from mmevent.image_io import Images
from mmevent.posts import flatten_images, to_posts
from mmevent.synthetic import make_posts
from mmevent.tuning import smooth_threshold

Data = tuple[pd.DataFrame, NDArray[np.int64]]


def draw(n: int = 80, seed: int = 0, **settings: Any) -> Data:
    posts, y, _ = make_posts(n, image_size=8, random_state=seed, **settings)
    return posts, y


@pytest.fixture(scope="module")
def data() -> Data:
    return draw()


@pytest.fixture(scope="module")
def settings(text_branch: Any, image_branch: Any) -> dict[str, Any]:
    """Parameters of a detector that is fitted in a moment, without an estimate."""
    return {
        "text": text_branch,
        "image": image_branch,
        "cv": 2,
        "inner_cv": 2,
        "n_trials": 5,
        "estimate": None,
        "random_state": 0,
    }


@pytest.fixture(scope="module")
def fitted(data: Data, settings: dict[str, Any]) -> EventDetector:
    return EventDetector(**settings).fit(*data)


def assert_same_detector(first: EventDetector, second: EventDetector) -> None:
    for name in ("alpha_", "beta_", "pool_", "threshold_", "image_name_"):
        assert getattr(first, name) == getattr(second, name), name
    pd.testing.assert_frame_equal(first.out_of_fold_, second.out_of_fold_)
    pd.testing.assert_frame_equal(first.trials_, second.trials_)
    one, other = first.estimate_, second.estimate_
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.to_dict() == other.to_dict()


# The rule, and what follows from it


def test_a_post_is_an_event_where_its_margin_is_0_or_greater(
    fitted: EventDetector,
) -> None:
    posts, _ = draw(60, seed=1, share_no_text=0.3)
    audit = fitted.audit(posts)
    assert set(audit["rule"]) == {"both", "text", "image", "none"}
    score = fuse(
        audit["p_text"], audit["p_image"], alpha=fitted.alpha_, beta=fitted.beta_
    )
    np.testing.assert_array_equal(audit["score"], score)
    np.testing.assert_array_equal(audit["margin"], score - fitted.threshold_)
    np.testing.assert_array_equal(audit["prediction"], (audit["margin"] >= 0) * 1)
    np.testing.assert_array_equal(fitted.predict(posts), audit["prediction"])
    np.testing.assert_array_equal(fitted.decision_function(posts), audit["margin"])
    proba = fitted.predict_proba(posts)
    np.testing.assert_array_equal(proba[:, 1], np.clip(score, 0, 1))
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert (audit.loc[audit["rule"] == "none", "prediction"] == 0).all()


def test_a_margin_of_0_is_an_event(fitted: EventDetector, data: Data) -> None:
    posts, _ = data
    detector = EventDetector(**fitted.get_params(deep=False)).fit(*data)
    score = detector.audit(posts)["score"]
    detector.set_policy(float(score.iloc[0]))
    audit = detector.audit(posts)
    assert audit["margin"].iloc[0] == 0
    assert detector.predict(posts)[0] == 1
    assert (detector.predict(posts) == (score >= score.iloc[0])).all()


def test_the_audit_has_the_columns_that_it_promises(
    fitted: EventDetector, data: Data
) -> None:
    columns = (
        "id prediction margin score rule p_text p_image n_images n_usable best_image "
        "image_status text_truncated seen_in_training"
    )
    assert fitted.audit(data[0]).columns.tolist() == columns.split()


def test_the_audit_names_what_is_wrong_with_an_image(
    fitted: EventDetector, tmp_path: Path
) -> None:
    for colour in ("red", "blue"):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{colour}.png")
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    detector = EventDetector(**fitted.get_params(deep=False))
    detector.__dict__.update(vars(fitted))
    detector.set_params(image_root=tmp_path)
    audit = detector.audit(
        [
            {"text": "calm", "images": "red.png|blue.png"},
            {"text": "calm", "images": "gone.png|red.png|page.jpg"},
            {"text": "calm", "images": "gone.png"},
            {"text": "calm", "images": [b"", (tmp_path / "red.png").read_bytes()]},
            {"text": "calm", "images": "https://example.org/a.png|../out.png"},
            {"text": "calm"},
        ]
    )
    assert audit["n_images"].tolist() == [2, 3, 1, 2, 2, 0]
    assert audit["n_usable"].tolist() == [2, 1, 0, 1, 0, 0]
    best = ["red.png", "red.png", None, "image 2", None, None]
    assert audit["best_image"].tolist() == best
    assert audit["image_status"].tolist() == [
        None,
        "gone.png: missing file; page.jpg: unsupported",
        "gone.png: missing file",
        "image 1: corrupt",
        "https://example.org/a.png: remote; ../out.png: outside root",
        None,
    ]
    assert audit["rule"].tolist() == ["both", "both", "text", "both", "text", "text"]


def test_one_broken_image_among_many_is_no_error(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y = data
    images = [list(sources) for sources in posts["images"]]
    row = next(i for i, sources in enumerate(images) if len(sources) == 1)
    images[row] = ["gone.png"]
    detector = EventDetector(**settings).fit(posts.assign(images=images), y)
    audit = detector.audit(posts.assign(images=images)).loc[row]
    assert audit["rule"] in ("text", "none")
    assert audit["image_status"] == "gone.png: missing file"


# With all, some, few and no images or texts


@pytest.mark.parametrize(
    ("shares", "rules"),
    [
        ({"share_images": 1.0, "share_broken": 0}, {"both", "image"}),
        ({"share_images": 0.6}, {"both", "image", "text", "none"}),
        ({"share_images": 0.15}, {"both", "image", "text", "none"}),
        ({"share_images": 0.0}, {"text", "none"}),
        ({"share_no_text": 1.0, "share_broken": 0}, {"image", "none"}),
        ({"share_no_text": 0.0, "share_images": 1.0, "share_broken": 0}, {"both"}),
    ],
    ids=["all images", "some", "few", "none", "no texts", "all of both"],
)
def test_posts_may_have_any_share_of_images_and_texts(
    settings: dict[str, Any], shares: dict[str, float], rules: set[str]
) -> None:
    posts, y = draw(120, **shares)
    detector = EventDetector(**settings | {"estimate": "nested"}).fit(posts, y)
    audit = detector.audit(posts)
    assert set(audit["rule"]) <= rules
    assert (detector.predict(posts) == audit["prediction"]).all()
    assert average_precision_score(y, detector.decision_function(posts)) > 0.5
    assert (detector.text_ is None) == (not rules & {"both", "text"})
    assert detector.estimate_ is not None
    assert "fused" in detector.estimate_.to_frame().index


@pytest.mark.parametrize("missing", ["text", "image"])
def test_a_branch_may_be_left_out(
    settings: dict[str, Any], data: Data, missing: str
) -> None:
    posts, y = data
    detector = EventDetector(**settings | {missing: None, "estimate": "nested"})
    audit = detector.fit(posts, y).audit(posts)
    other = "image" if missing == "text" else "text"
    assert set(audit["rule"]) == {other, "none"}
    assert audit[f"p_{missing}"].isna().all()
    assert getattr(detector, f"{missing}_") is None
    assert detector.alpha_ == 0
    assert not detector.beta_identified_
    # As good as a table without them, where copies are still kept together.
    column = "text" if missing == "text" else "images"
    groups = duplicate_groups(posts)
    bare = clone(detector).fit(posts.drop(columns=column), y, groups=groups)
    np.testing.assert_array_equal(
        bare.predict(posts.drop(columns=column)), audit["prediction"]
    )


def test_with_all_images_broken_it_works_as_text_only(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y = data
    broken = posts.assign(images=[[b"", "gone.png"]] * len(posts))
    detector = EventDetector(**settings)
    message = (
        r"none of the 160 images can be used \(80 corrupt, 80 missing file\): the "
        r"detector works as text only\. Check image_root"
    )
    with pytest.warns(UnusableInputWarning, match=message) as caught:
        detector.fit(broken, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert detector.image_ is None
    text_only = EventDetector(**settings).fit(posts.drop(columns="images"), y)
    assert detector.threshold_ == text_only.threshold_
    audit = detector.audit(broken)
    assert set(audit["rule"]) == {"text", "none"}
    assert audit["image_status"].notna().all()
    # A picture met later has no branch to judge it.
    assert set(detector.audit(posts)["rule"]) == {"text", "none"}


def test_a_branch_whose_items_are_of_one_class_is_left_out(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y = data
    images = [
        sources if event else []
        for sources, event in zip(posts["images"], y, strict=True)
    ]
    with pytest.warns(
        UnusableInputWarning, match="image branch cannot be fitted: .* of one"
    ):
        detector = EventDetector(**settings).fit(posts.assign(images=images), y)
    assert detector.image_ is None
    assert set(detector.audit(posts)["rule"]) == {"text", "none"}


def test_no_branch_at_all_is_refused(settings: dict[str, Any], data: Data) -> None:
    posts, y = data
    empty = posts.assign(text=None).drop(columns="images")
    with pytest.raises(InputError, match="no branch can be fitted: expected posts of"):
        EventDetector(**settings).fit(empty, y)


def test_one_of_several_image_branches_is_chosen_out_of_fold(
    settings: dict[str, Any], data: Data, image_branch: Any
) -> None:
    class Coin(type(image_branch)):  # type: ignore[misc]
        """Learns its pictures by heart, and nothing else."""

        def fit(self, X: Any, y: Any) -> Coin:
            self.classes_ = np.unique(y)
            self.known_ = dict(zip(self._warmth(X), y, strict=True))
            return self

        def predict_proba(self, X: Any) -> NDArray[np.float64]:
            p = np.array([self.known_.get(w, w % 0.01 * 100) for w in self._warmth(X)])
            return np.column_stack([1 - p, p])

    branches = [("coin", Coin()), ("colour", image_branch)]
    posts, y = draw(120, share_images=1.0, share_no_text=0.8)
    detector = EventDetector(**settings | {"image": branches, "estimate": "nested"})
    detector.fit(posts, y)
    assert detector.image_name_ == "colour"
    assert type(detector.image_) is type(image_branch)
    assert set(detector.trials_["image"]) == {"coin", "colour"}
    alone = EventDetector(**settings).fit(posts, y)
    audit = detector.audit(posts)
    if detector.pool_ == alone.pool_:
        np.testing.assert_array_equal(audit["p_image"], alone.audit(posts)["p_image"])
    assert set(detector.estimate_.parameters["image"]) <= {"coin", "colour"}


# Branches


def test_an_ensemble_can_be_the_text_branch(
    settings: dict[str, Any], data: Data, text_branch: Any
) -> None:
    ensemble = VotingClassifier(
        [
            ("words", text_branch),
            ("tfidf", make_pipeline(TfidfVectorizer(), LogisticRegression())),
        ],
        voting="soft",
    )
    posts, y = data
    detector = EventDetector(**settings | {"text": ensemble}).fit(posts, y)
    has_text = posts["text"].notna().to_numpy()
    parts = clone(ensemble).fit(list(posts["text"][has_text]), y[has_text])
    expected = parts.predict_proba(list(posts["text"][has_text]))[:, 1]
    audit = detector.audit(posts)
    np.testing.assert_allclose(audit["p_text"][has_text], expected)


@pytest.mark.parametrize("labels", [(0, 1), ("calm", "march")], ids=str)
def test_a_frozen_branch_is_never_refitted(
    settings: dict[str, Any], data: Data, text_branch: Any, labels: Any
) -> None:
    other, truth = draw(60, seed=5)
    has_text = other["text"].notna().to_numpy()
    inside = clone(text_branch).fit(
        list(other["text"][has_text]), np.array(labels)[truth[has_text]]
    )
    odds = dict(inside.odds_)
    posts, y = data
    detector = EventDetector(
        **settings | {"text": FrozenEstimator(inside), "pos_label": labels[1]}
    )
    detector.fit(posts, np.array(labels)[y])
    assert detector.text_.estimator is inside
    assert inside.odds_ == odds
    texts = posts["text"].dropna()
    expected = inside.predict_proba(list(texts))[:, 1]
    np.testing.assert_array_equal(
        detector.audit(posts).loc[texts.index, "p_text"], expected
    )
    out_of_fold = detector.out_of_fold_.loc[texts.index, "p_text"]
    np.testing.assert_array_equal(out_of_fold, expected)


def strings_frozen(text_branch: Any, data: Data) -> FrozenEstimator:
    posts, y = data
    fitted = clone(text_branch)
    fitted.fit(posts["text"].fillna("").tolist(), y).classes_ = np.array(["b", "a"])
    return FrozenEstimator(fitted)


def test_a_frozen_part_that_learnt_other_labels_is_refused(
    settings: dict[str, Any], data: Data, text_branch: Any
) -> None:
    posts, y = data
    frozen = strings_frozen(text_branch, data)
    ensemble = VotingClassifier([("a", frozen), ("b", text_branch)], voting="soft")
    detector = EventDetector(**settings | {"text": ensemble, "pos_label": "a"})
    with pytest.raises(InputError, match=r"a frozen part of VotingClassifier.*0 and 1"):
        detector.fit(posts, np.where(y == 1, "a", "b"))
    # Alone, or at the end of a pipeline, it may know the caller's labels.
    for branch in (frozen, make_pipeline("passthrough", frozen)):
        detector.set_params(text=branch).fit(posts, np.where(y == 1, "a", "b"))
        assert set(detector.predict(posts)) == {"a", "b"}


def test_a_frozen_part_that_learnt_0_and_1_is_taken(
    settings: dict[str, Any], data: Data, text_branch: Any
) -> None:
    posts, y = data
    texts = posts["text"].fillna("").tolist()
    frozen = FrozenEstimator(clone(text_branch).fit(texts, y))
    ensemble = VotingClassifier([("a", frozen), ("b", text_branch)], voting="soft")
    detector = EventDetector(**settings | {"text": ensemble}).fit(posts, y)
    assert average_precision_score(y, detector.decision_function(posts)) > 0.5
    with pytest.raises(InputError, match=r"got \[0, 1\] where the labels are \[1, 0\]"):
        detector.set_params(pos_label=0).fit(posts, y)


def test_a_frozen_branch_that_is_not_fitted_says_so(
    settings: dict[str, Any], data: Data, text_branch: Any
) -> None:
    frozen = FrozenEstimator(clone(text_branch))
    with pytest.raises((NotFittedError, AttributeError)):
        EventDetector(**settings | {"text": frozen}).fit(*data)


@pytest.mark.parametrize(
    ("name", "branch"),
    [
        ("text", "sentence-transformers/some-model"),
        ("image", "microsoft/resnet-50"),
        ("text", LinearSVC()),
        ("text", make_pipeline(TfidfVectorizer(), LinearSVC())),
        ("image", [("one", LinearSVC())]),
        ("text", TfidfVectorizer()),
        ("text", 3),
    ],
    ids=repr,
)
def test_what_gives_no_probabilities_is_no_branch(
    settings: dict[str, Any], data: Data, name: str, branch: Any
) -> None:
    with pytest.raises(InputError, match="is no classifier: expected one with fit and"):
        EventDetector(**settings | {name: branch}).fit(*data)


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", "text"]], ids=str)
def test_image_branches_need_names_of_their_own(
    settings: dict[str, Any], data: Data, image_branch: Any, names: list[str]
) -> None:
    branches = [(name, image_branch) for name in names]
    with pytest.raises(InputError, match="names no image branches: expected a list"):
        EventDetector(**settings | {"image": branches}).fit(*data)


def test_a_list_of_unnamed_branches_is_refused(
    settings: dict[str, Any], data: Data, image_branch: Any
) -> None:
    with pytest.raises(InputError, match="names no image branches: expected a list"):
        EventDetector(**settings | {"image": [image_branch]}).fit(*data)


# Labels


LABELS = {
    "bool": [False, True],
    "int": [0, 1],
    "other int": [-1, 0],
    "float": [0.0, 2.0],
    "str": ["no event", "protest"],
}


@pytest.mark.parametrize("last", [True, False], ids=["last", "first"])
@pytest.mark.parametrize(
    ("kind", "as_object"),
    [*((kind, False) for kind in LABELS), ("bool", True), ("str", True)],
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


def test_strings_need_a_positive_class(settings: dict[str, Any], data: Data) -> None:
    posts, y = data
    with pytest.raises(InputError, match="cannot be told from y.*Pass pos_label='yes'"):
        EventDetector(**settings).fit(posts, np.array(["no", "yes"])[y])


# Forms of posts


def test_the_index_of_a_frame_is_kept(settings: dict[str, Any], data: Data) -> None:
    posts, y = data
    odd = posts.set_axis([f"row {i % 7}" for i in range(len(posts))])
    labels = pd.Series(y, index=np.arange(len(y))[::-1])
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


def test_columns_may_have_other_names(
    settings: dict[str, Any], data: Data, fitted: EventDetector
) -> None:
    posts, y = data
    theirs = posts.rename(columns={"text": "tweet", "images": "photos", "id": "key"})
    columns = {"text": "tweet", "images": "photos", "id": "key"}
    detector = EventDetector(**settings, columns=columns).fit(theirs, y)
    assert_same_detector(detector, fitted)
    pd.testing.assert_frame_equal(detector.audit(theirs), fitted.audit(posts))


def test_no_posts_have_no_predictions(fitted: EventDetector, data: Data) -> None:
    for empty in ([], data[0][:0]):
        assert fitted.predict(empty).shape == (0,)
        assert fitted.predict(empty).dtype == fitted.classes_.dtype
        assert fitted.predict_proba(empty).shape == (0, 2)
        assert fitted.decision_function(empty).shape == (0,)
        assert len(fitted.audit(empty)) == 0


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


def test_groups_are_joined_with_duplicates(settings: dict[str, Any]) -> None:
    posts, y = draw(80, share_reposts=0.3)
    groups = np.random.default_rng(0).integers(60, size=80)
    detector = EventDetector(**settings).fit(posts, y, groups=groups)
    fold = pd.Series(detector.out_of_fold_["fold"].to_numpy())
    duplicates = duplicate_groups(posts)
    for together in (groups, duplicates, detector.out_of_fold_["group"].to_numpy()):
        assert (fold.groupby(together).nunique() == 1).all()
    assert detector.out_of_fold_["group"].nunique() < len(set(groups))
    # Duplicates alone would have left some of a group apart, and groups alone copies.
    assert len(set(zip(groups, duplicates, strict=True))) > len(set(groups))


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


# Fitting again


def test_two_fits_are_equal(settings: dict[str, Any], data: Data) -> None:
    full = settings | {"estimate": "nested"}
    assert_same_detector(
        EventDetector(**full).fit(*data), EventDetector(**full).fit(*data)
    )


def test_threads_give_the_same(settings: dict[str, Any], data: Data) -> None:
    full = settings | {"estimate": "nested"}
    assert_same_detector(
        EventDetector(**full).fit(*data), EventDetector(**full, n_jobs=2).fit(*data)
    )


@pytest.mark.parametrize("search", ["optuna", "exact"])
def test_a_fit_starts_afresh(settings: dict[str, Any], data: Data, search: str) -> None:
    other = draw(70, seed=4, share_images=0.0)
    detector = EventDetector(**settings | {"search": search})
    detector.fit(*data)
    before = {name for name in vars(detector) if name.endswith("_")}
    detector.fit(*other)
    fresh = EventDetector(**settings | {"search": search}).fit(*other)
    assert_same_detector(detector, fresh)
    assert {name for name in vars(detector) if name.endswith("_")} == before
    assert (detector.study_ is None) == (search == "exact")
    assert detector.image_ is None


def test_a_fit_that_fails_leaves_nothing_partial(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y = data
    missing = TextClassifier(model="no-one/no-such-model", local_files_only=True)
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


def test_a_random_state_is_a_seed_or_a_generator(
    settings: dict[str, Any], data: Data
) -> None:
    folds = []
    for random_state in (0, 0, 1, np.random.RandomState(3), np.random.RandomState(3)):
        detector = EventDetector(**settings | {"random_state": random_state})
        folds.append(detector.fit(*data).out_of_fold_["fold"].tolist())
    assert folds[0] == folds[1] != folds[2]
    assert folds[3] == folds[4]


def test_the_state_of_random_generators_is_left_alone(
    settings: dict[str, Any], data: Data
) -> None:
    import random

    before = (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    EventDetector(**settings).fit(*data).predict(data[0])
    after = (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    assert before == after


def test_the_data_are_left_alone(settings: dict[str, Any], data: Data) -> None:
    posts, y = data
    before, labels = posts.copy(deep=True), y.copy()
    EventDetector(**settings).fit(posts, y).audit(posts)
    pd.testing.assert_frame_equal(posts, before)
    np.testing.assert_array_equal(y, labels)


# What a fit keeps


def test_the_rule_is_the_best_trial(fitted: EventDetector, data: Data) -> None:
    out_of_fold, y = fitted.out_of_fold_, data[1]
    best = fitted.trials_.loc[fitted.trials_["value"].idxmax()]
    flagged = out_of_fold["score"] >= fitted.threshold_
    assert smooth_threshold(out_of_fold["score"], y == 1) == pytest.approx(
        (best["threshold"], best["value"])
    )
    assert 0 < flagged.sum() < len(y)
    complete = [trial for trial in fitted.study_.trials if trial.state.is_finished()]
    assert len(fitted.trials_) == len(complete) == 5
    columns = ["id", "event", "group", "fold", "p_text", "p_image", "score"]
    assert out_of_fold.columns.tolist() == columns
    assert out_of_fold["event"].tolist() == (y == 1).tolist()
    assert len(fitted.cv_results_["params"]) == 5
    assert {"split0_test_score", "split1_test_score"} <= set(fitted.cv_results_)


def test_the_score_out_of_fold_is_that_of_the_rule(fitted: EventDetector) -> None:
    table = fitted.out_of_fold_
    score = fuse(
        table["p_text"], table["p_image"], alpha=fitted.alpha_, beta=fitted.beta_
    )
    np.testing.assert_array_equal(table["score"], score)


def test_the_exact_search_has_no_study(settings: dict[str, Any], data: Data) -> None:
    detector = EventDetector(**settings | {"search": "exact", "pool": "max"}).fit(*data)
    assert detector.study_ is None
    assert len(detector.trials_) == 201


def test_a_storage_keeps_and_resumes_the_study_of_the_fit(
    settings: dict[str, Any], data: Data
) -> None:
    storage = optuna.storages.InMemoryStorage()
    given = settings | {"storage": storage, "estimate": "nested"}
    EventDetector(**given).fit(*data)
    (name,) = optuna.get_all_study_names(storage)
    longer = EventDetector(**given | {"n_trials": 8}).fit(*data)
    assert longer.study_.study_name == name
    assert optuna.get_all_study_names(storage) == [name]
    assert len(longer.trials_) == 8


def test_nothing_is_shown_unless_asked(
    settings: dict[str, Any], data: Data, capfd: pytest.CaptureFixture[str]
) -> None:
    EventDetector(**settings).fit(*data).predict(data[0])
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    EventDetector(**settings, verbose=True).fit(*data)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Fitting folds: 100%" in captured.err


# Policies


def test_a_policy_is_set_without_fitting(settings: dict[str, Any], data: Data) -> None:
    posts, y = data
    detector = EventDetector(**settings).fit(posts, y)
    threshold, score = detector.threshold_, detector.audit(posts)["score"]
    assert detector.set_policy(0.9) is detector
    assert (detector.threshold_, detector.policy_, detector.policy) == (0.9, 0.9, "f1")
    np.testing.assert_array_equal(detector.predict(posts), (score >= 0.9) * 1)
    detector.set_policy("f1")
    assert detector.threshold_ == threshold


def test_a_policy_of_the_fit_is_that_of_set_policy(
    settings: dict[str, Any], data: Data
) -> None:
    fixed = EventDetector(**settings | {"policy": 0.4, "estimate": "nested"}).fit(*data)
    assert fixed.threshold_ == fixed.policy_ == 0.4
    flagged = fixed.estimate_.to_frame()["n_flagged"]
    assert flagged["flag all"] == 80
    changed = EventDetector(**settings).fit(*data).set_policy(0.4)
    np.testing.assert_array_equal(fixed.predict(data[0]), changed.predict(data[0]))


def test_an_unknown_policy_changes_nothing(fitted: EventDetector) -> None:
    before = fitted.threshold_
    with pytest.raises(InputError, match="policy='precise' is not known"):
        fitted.set_policy("precise")
    with pytest.raises(PolicyError, match="precision>=0.99' cannot be met"):
        fitted.set_policy("precision>=0.99")
    assert (fitted.threshold_, fitted.policy_) == (before, "f1")


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
    posts = pd.DataFrame({"text": texts})
    score = detector.audit(posts)["score"]
    detector.set_policy("recall>=0.5", holdout=(posts, y))
    assert detector.threshold_ == choose_threshold("recall>=0.5", score, y)
    detector.set_policy("f1", holdout=(posts, y))
    assert detector.threshold_ == choose_threshold("f1", score, y)
    with pytest.raises(InputError, match="y has other labels than the training"):
        detector.set_policy("f1", holdout=(posts, np.where(y == 1, "yes", "no")))
    with pytest.raises(InputError, match="no posts to choose a policy"):
        detector.set_policy("f1", holdout=(posts[:0], y[:0]))
    with pytest.raises(InputError, match="78 of 80 held-out posts were training posts"):
        detector.set_policy("f1", holdout=data)


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


def test_a_budget_has_an_estimate_where_the_corpus_is_known(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y = data
    detector = EventDetector(**settings | {"policy": "budget=800"}).fit(posts, y)
    with pytest.raises(InputError, match="expected corpus_size"):
        evaluate(detector, posts, y)
    flagged = evaluate(detector, posts, y, corpus_size=8000).to_frame()["n_flagged"]
    assert flagged["flag all"] == 80
    assert flagged.drop("flag all").between(1, 8).all()
    detector.set_policy("f1")
    assert evaluate(detector, posts, y).to_frame().loc["fused", "n_flagged"] > 10
    with pytest.raises(InputError, match="corpus_size=8000 is for a budget"):
        evaluate(detector, posts, y, corpus_size=8000)
    with pytest.raises(InputError, match=r"cannot be made with policy='budget=800'"):
        detector.set_params(estimate="nested").fit(posts, y)


def test_a_policy_that_folds_cannot_show_flags_nothing_there(
    settings: dict[str, Any], data: Data
) -> None:
    policy = {"policy": "recall>=0.85", "estimate": "nested"}
    detector = EventDetector(**settings | policy)
    with pytest.raises(PolicyError, match="cannot be met"):
        clone(detector).set_params(policy="recall>=0.99").fit(*data)
    estimate = detector.fit(*data).estimate_
    n_unmet = np.isinf(estimate.parameters["threshold"]).sum()
    assert any("none of them is flagged" in note for note in estimate.notes) == (
        n_unmet > 0
    )


# Bad input


def few_of_a_class(data: Data) -> Data:
    posts, y = data
    return posts, (np.arange(len(y)) < 1) * 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.ones(80)}, "y has 1 class"),
        ({"y": np.arange(80) % 3}, "y has 3 classes: expected two"),
        ({"y": [None, *range(79)]}, r"missing labels.*1 of 80, first in rows \[0\]"),
        ({"y": np.ones(79)}, r"one label for each of 80 posts, got shape \(79,\)"),
        ({"y": np.arange(80) < 1}, "cv=2 folds are too many.*got 1 in the rarer"),
        ({"groups": np.ones(80)}, "cv=2 folds are too many.*got 1 in the rarer"),
        ({"groups": np.ones(79)}, "groups do not fit the posts.*each of 80 posts"),
        ({"posts": []}, "there are no posts to fit"),
        ({"posts": ["a post"] * 80}, "post in row 0 is not a mapping.*got str"),
        ({"posts": 3}, "posts are of type int"),
        ({"posts": [{"id": 1, "text": "a"}] * 80}, "1 ids occur more than once"),
        ({"posts": [{"tweet": "a"}] * 80}, "neither a column 'text' nor 'images'"),
        ({"columns": {"text": "tweet"}}, "posts have no column 'tweet'"),
        ({"image_root": "no/such/folder"}, "no/such/folder"),
        ({"alpha_bounds": (-1, 3)}, r"alpha_bounds=\(-1, 3\)"),
        ({"alpha_bounds": (0, np.inf)}, "alpha_bounds=.*two numbers"),
        ({"beta_bounds": (0, 3)}, r"beta_bounds=\(0, 3\)"),
        ({"beta_bounds": (-2, np.nan)}, "beta_bounds=.*two numbers"),
        (
            {"pool": "median"},
            "pool='median' is not a way to pool images: expected 'auto",
        ),
        ({"search": "grid"}, "search='grid' is not known"),
        ({"criterion": "auc"}, "criterion='auc' is not known"),
        ({"n_trials": 0}, "n_trials=0"),
        ({"estimate": "loo"}, "estimate='loo' is not known: expected 'auto', 'nested'"),
        ({"policy": "best"}, "policy='best' is not known"),
        ({"policy": np.ones(2)}, "policy=.*is not known"),
        ({"image": ImageClassifier}, "the image branch .*is no classifier"),
        ({"n_jobs": 0}, "n_jobs=0 is no number of threads"),
        ({"random_state": -1}, "random_state=-1 is no seed"),
        ({"random_state": np.random.default_rng()}, "random_state=.*is no seed"),
        ({"pos_label": 2}, "pos_label=2 is no label of y"),
        ({"text": None, "image": None}, "leave nothing to learn from"),
        ({"cv": 1}, "cv=1 makes no folds"),
        ({"cv": ForwardInTime(2), "columns": {"created_at": "id"}}, "created_at of 80"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_refused_before_anything_is_fitted(
    settings: dict[str, Any], data: Data, change: dict[str, Any], message: str
) -> None:
    fits: list[int] = []

    class Watched(type(settings["text"])):  # type: ignore[misc]
        def fit(self, X: Any, y: Any) -> Any:
            fits.append(len(X))
            return super().fit(X, y)

    given = {"posts": data[0], "y": data[1], "groups": None}
    given |= {name: value for name, value in change.items() if name in given}
    parameters = settings | {"text": Watched()}
    parameters |= {name: value for name, value in change.items() if name not in given}
    detector = EventDetector(**parameters)
    with pytest.raises(InputError, match=message):
        detector.fit(given["posts"], given["y"], groups=given["groups"])
    assert not fits
    with pytest.raises(NotFittedError):
        detector.predict(data[0])


@pytest.mark.parametrize(
    ("posts", "message"),
    [
        (["a post"], "post in row 0 is not a mapping"),
        ([{"id": 1, "text": "a"}, {"id": 1, "text": "b"}], "ids occur more than once"),
        ([{"tweet": "a"}], "neither a column 'text' nor 'images'"),
        ([{"text": ["a"]}], "text of 1 of 1 posts"),
    ],
    ids=["no mapping", "ids", "columns", "text"],
)
def test_bad_posts_are_refused_at_predict(
    fitted: EventDetector, posts: Any, message: str
) -> None:
    for method in (fitted.predict, fitted.audit):
        with pytest.raises(InputError, match=message):
            method(posts)


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


# Encoders


@pytest.fixture(scope="module")
def encoded(
    tiny_text_model: str, tiny_image_model: str
) -> tuple[EventDetector, Counter[str], list[int]]:
    """A detector with an estimate, and what its encoders saw during the fit."""
    texts: Counter[str] = Counter()
    pictures: list[int] = []
    posts, y = draw(60, share_reposts=0.2, share_broken=0.05)
    # Held from here on: loading an encoder tries it on a text or a picture.
    held = (
        load_encoder(TextEncoder, tiny_text_model),
        load_encoder(ImageEncoder, tiny_image_model, views=VIEWS),
    )
    with pytest.MonkeyPatch.context() as patch:
        read, look = TextEncoder._forward, ImageEncoder._forward

        def count_texts(self: TextEncoder, items: list[str]) -> Any:
            texts.update(items)
            return read(self, items)

        def count_pictures(self: ImageEncoder, items: list[Any]) -> Any:
            pictures.append(sum(len(views) > 0 for views in items))
            return look(self, items)

        patch.setattr(TextEncoder, "_forward", count_texts)
        patch.setattr(ImageEncoder, "_forward", count_pictures)
        ensemble = VotingClassifier(
            [
                ("default", TextClassifier(model=tiny_text_model)),
                (
                    "other head",
                    TextClassifier(
                        model=tiny_text_model, head=LogisticRegression(C=0.1)
                    ),
                ),
                ("tfidf", make_pipeline(TfidfVectorizer(), LogisticRegression())),
            ],
            voting="soft",
        )
        detector = EventDetector(
            text=ensemble,
            image=ImageClassifier(model=tiny_image_model),
            cv=2,
            inner_cv=2,
            n_trials=3,
            random_state=0,
        ).fit(posts, y)
    assert held[0] is detector.text_.estimators_[0]._encoder
    return detector, texts, pictures


def test_each_picture_is_decoded_once(
    tiny_image_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Any] = []

    def watched(source: Any, *options: Any) -> Any:
        decoded.append(source)
        return decode(source, *options)

    monkeypatch.setattr("mmevent._sources.decode", watched)
    posts, y = draw(60, share_broken=0.05)
    n_distinct = len(set(Images(flatten_images(to_posts(posts))[0]).digests))
    branch = ImageClassifier(model=tiny_image_model, cache=tmp_path / "cache")
    detector = EventDetector(
        text=make_pipeline(TfidfVectorizer(), LogisticRegression()),
        image=branch,
        cv=2,
        inner_cv=2,
        n_trials=3,
        random_state=0,
    ).fit(posts, y)
    assert 0 < len(decoded) <= n_distinct
    decoded.clear()
    first = detector.audit(posts)
    broken = (first["n_usable"] < first["n_images"]).sum()
    assert 0 < broken
    assert len(decoded) <= broken  # what the cache has did decode
    assert detector.audit(posts).equals(first)


def test_every_distinct_text_and_image_is_encoded_once(
    encoded: tuple[EventDetector, Counter[str], list[int]],
) -> None:
    detector, texts, pictures = encoded
    posts = to_posts(draw(60, share_reposts=0.2, share_broken=0.05)[0])
    distinct = set(posts["text"].dropna())
    assert len(distinct) < posts["text"].notna().sum()
    assert texts == dict.fromkeys(distinct, 1)
    images = Images(flatten_images(posts)[0])
    assert sum(pictures) == len(set(images.digests[images.usable]))
    assert detector.estimate_ is not None


@pytest.mark.parametrize(
    "wrap",
    [
        lambda branch: CalibratedClassifierCV(branch, cv=2),
        lambda branch: GridSearchCV(branch, {"batch_size": [8]}, cv=2),
    ],
    ids=["calibrated", "searched"],
)
def test_texts_that_are_cut_off_are_named_within_meta_estimators(
    wrap: Any, tiny_text_model: str, data: Data
) -> None:
    posts, y = data
    branch = TextClassifier(model=tiny_text_model, max_length=5)
    detector = EventDetector(
        text=wrap(branch), image=None, cv=2, estimate=None, n_trials=1, random_state=0
    ).fit(posts, y)
    assert detector.audit(posts)["text_truncated"].sum() > 40


def test_texts_that_are_cut_off_are_named(
    encoded: tuple[EventDetector, Counter[str], list[int]],
) -> None:
    detector, _, _ = encoded
    posts = [{"text": "the police march"}, {"text": "police " * 40}, {"text": None}]
    assert detector.audit(posts)["text_truncated"].tolist() == [False, True, False]


def test_an_unknown_model_leaves_nothing(settings: dict[str, Any], data: Data) -> None:
    unknown = TextClassifier(model="no-one/no-such-model", local_files_only=True)
    detector = EventDetector(**settings | {"text": unknown})
    with pytest.raises(ModelUnavailableError, match="no-one/no-such-model"):
        detector.fit(*data)
    with pytest.raises(NotFittedError):
        detector.predict(data[0])
