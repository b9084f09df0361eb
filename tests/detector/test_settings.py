"""The parameters of a detector: which are refused, and what is made of them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from detector.helpers import Data, assert_same_detector
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from mmevent import (
    EventDetector,
    FalsePositiveFilter,
    ForwardInTime,
    ImageClassifier,
    TextClassifier,
    TextEncoder,
)
from mmevent.detector.reading import Reading
from mmevent.detector.settings import Settings
from mmevent.exceptions import (
    InputError,
)

# Branches


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


# Seeds, columns and labels


def test_a_random_state_is_a_seed_or_a_generator(
    settings: dict[str, Any], data: Data
) -> None:
    folds = []
    for random_state in (0, 0, 1, np.random.RandomState(3), np.random.RandomState(3)):
        detector = EventDetector(**settings | {"random_state": random_state})
        folds.append(detector.fit(*data).out_of_fold_["fold"].tolist())
    assert folds[0] == folds[1] != folds[2]
    assert folds[3] == folds[4]


def test_strings_need_a_positive_class(settings: dict[str, Any], data: Data) -> None:
    posts, y = data
    with pytest.raises(InputError, match="cannot be told from y.*pass pos_label='yes'"):
        EventDetector(**settings).fit(posts, np.array(["no", "yes"])[y])


def test_columns_may_have_other_names(
    settings: dict[str, Any], data: Data, fitted: EventDetector
) -> None:
    posts, y = data
    theirs = posts.rename(columns={"text": "tweet", "images": "photos", "id": "key"})
    columns = {"text": "tweet", "images": "photos", "id": "key"}
    detector = EventDetector(**settings, columns=columns).fit(theirs, y)
    assert_same_detector(detector, fitted)
    pd.testing.assert_frame_equal(detector.audit(theirs), fitted.audit(posts))


# Bad input


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
        (
            {"posts": [{"id": 1, "text": "a", "images": ""}] * 80},
            "1 ids occur more than once",
        ),
        (
            {"posts": [{"tweet": "a"}] * 80},
            "no column 'text', which the detector needs",
        ),
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


# One value


def test_settings_are_one_value_that_holds_the_branches_once(
    settings: dict[str, Any], image_branch: Any
) -> None:
    named = [("a", image_branch), ("b", clone(image_branch))]
    found = Settings.of(EventDetector(**settings | {"image": named}))
    assert list(found.branches) == ["text", "a", "b"]
    assert found.branches["text"] is settings["text"]
    assert list(found.image_branches) == ["a", "b"]
    assert found.second is None
    with pytest.raises(FrozenInstanceError):
        found.seed = 3  # type: ignore[misc]


def test_branches_that_are_left_open_are_ours_with_the_detectors_seed() -> None:
    found = Settings.of(EventDetector(random_state=7, verbose=True))
    assert [type(one) for one in found.all_branches] == [
        TextClassifier,
        ImageClassifier,
    ]
    for branch in found.all_branches:
        assert (branch.random_state, branch.verbose) == (7, True)
    assert list(Settings.of(EventDetector(text=None)).branches) == ["image"]


def test_a_verbose_detector_shows_the_bars_of_branches_that_were_passed() -> None:
    encoder = TextEncoder("some/model")
    frozen = FrozenEstimator(TextClassifier(encoder=encoder))
    steps = [("ours", TextClassifier(encoder=encoder)), ("frozen", frozen)]
    vote = VotingClassifier(steps, voting="soft")
    image = make_pipeline(LogisticRegression(verbose=0))
    detector = EventDetector(text=vote, image=image, verbose=True)
    found = Settings.of(detector).branches
    shown = found["text"].get_params()
    assert shown["ours__verbose"]
    assert shown["ours__encoder__verbose"]
    assert not shown["frozen"].estimator.verbose
    assert not shown["verbose"]  # what is not of this package stays as it is
    assert found["image"] is image
    assert not steps[0][1].verbose
    assert not encoder.verbose
    detector.set_params(verbose=False)
    assert Settings.of(detector).branches["text"] is vote


def test_a_seed_is_drawn_where_none_is_given(settings: dict[str, Any]) -> None:
    open_ = EventDetector(**settings | {"random_state": None})
    first, second = (Settings.of(open_) for _ in range(2))
    assert first.seed != second.seed
    for one in (first, Settings.of(open_, seed=5)):
        assert one.search.random_state == one.seed
    assert Settings.of(open_, seed=5).seed == 5


def test_a_second_stage_takes_the_text_branch_where_it_names_none(
    settings: dict[str, Any], text_branch: Any
) -> None:
    for wanted, only_if_better in ((True, False), ("auto", True)):
        found = Settings.of(EventDetector(**settings | {"second_stage": wanted})).second
        assert found is not None
        assert found.branch is settings["text"]
        assert found.only_if_better is only_if_better
    own = FalsePositiveFilter(text=clone(text_branch), only_if_better=True)
    found = Settings.of(EventDetector(**settings | {"second_stage": own})).second
    assert found is not None
    assert found.branch is own.text


# Which estimate


@pytest.mark.parametrize(
    ("estimate", "train", "kind"),
    [
        ("auto", "head", "nested"),
        ("auto", "all", "cross-fit"),
        ("auto", 1, "cross-fit"),
        ("nested", "all", "nested"),
        ("cross-fit", "head", "cross-fit"),
        (None, "head", None),
    ],
)
def test_an_estimate_is_nested_but_where_encoders_are_trained(
    settings: dict[str, Any], estimate: str | None, train: Any, kind: str | None
) -> None:
    text = TextClassifier(train=train)
    found = Settings.of(
        EventDetector(**settings | {"text": text, "estimate": estimate})
    )
    assert found.kind_of_fit() == kind
    assert found.trains_encoders is (train != "head")
    ensemble = VotingClassifier([("a", text)], voting="soft")
    within = Settings.of(EventDetector(**settings | {"text": ensemble}))
    assert within.trains_encoders is (train != "head")


def test_a_budget_has_no_estimate_at_the_fit(settings: dict[str, Any]) -> None:
    given = settings | {"policy": "budget=7", "estimate": "auto"}
    found = Settings.of(EventDetector(**given))
    assert found.kind_of_fit() is None
    assert found.usual_kind() == "nested"
    asked = Settings.of(EventDetector(**given | {"estimate": "cross-fit"}))
    with pytest.raises(InputError, match=r"cannot be made with policy='budget=7'"):
        asked.kind_of_fit()


# How posts are read


def test_reading_takes_the_present_parameters(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    detector = EventDetector(**settings, columns={"text": "tweet"}, image_root=tmp_path)
    theirs = pd.DataFrame({"tweet": ["a"], "images": ["gone.png"]})
    prepared = Reading.of(detector).read(theirs, {})
    assert prepared.posts["text"].tolist() == ["a"]
    assert prepared.images.statuses.tolist() == ["missing file"]
    own = Reading.of(detector).read_own(prepared.posts)
    assert own.posts["text"].tolist() == ["a"]
    detector.set_params(columns={"text": "message"})
    with pytest.raises(InputError, match="posts have no column 'message'"):
        Reading.of(detector).read(theirs, {})


@pytest.mark.parametrize("branch", ["auto", None])
def test_a_branch_of_a_list_is_a_classifier(
    settings: dict[str, Any], data: Data, image_branch: Any, branch: Any
) -> None:
    for branches in (
        [("a", branch)],
        [("image", branch)],
        [("a", branch), ("b", image_branch)],
    ):
        with pytest.raises(InputError, match="is no classifier: expected one with"):
            EventDetector(**settings | {"image": branches}).fit(*data)
