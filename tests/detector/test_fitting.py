"""The fit: whatever share of posts has texts and images, and whatever the branches."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from detector.helpers import Data, assert_same_detector, draw
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from mmevent import (
    EventDetector,
    ImageClassifier,
    TextClassifier,
    duplicate_groups,
    fuse,
)
from mmevent.encoders.image import ImageEncoder, ImageModel
from mmevent.encoders.text import TextEncoder, TextModel
from mmevent.exceptions import (
    InputError,
    MmeventWarning,
    ModelUnavailableError,
    PolicyError,
    UnusableInputWarning,
)
from mmevent.posts import decoding
from mmevent.posts.images import Images
from mmevent.posts.posts import flatten_images, to_posts
from mmevent.rule.smoothing import smooth_threshold

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


@pytest.mark.parametrize(
    ("sources", "reasons"),
    [
        ([b"", "gone.png"], "80 corrupt, 80 missing file"),
        (["gone.png"], "80 missing file"),
    ],
)
def test_images_of_which_none_can_be_used_are_refused_before_any_fit(
    settings: dict[str, Any], data: Data, sources: list[Any], reasons: str
) -> None:
    posts, y = data
    broken = posts.assign(images=[sources] * len(posts))
    message = rf"images can be used \({reasons}\).*texts alone, pass image=None"
    with pytest.raises(InputError, match=message):
        EventDetector(**settings | {"text": object_that_is_not_fitted()}).fit(broken, y)
    settings = settings | {"image": None}
    detector = EventDetector(**settings).fit(broken, y)
    text_only = EventDetector(**settings).fit(posts.drop(columns="images"), y)
    assert detector.threshold_ == text_only.threshold_
    audit = detector.audit(broken)
    assert set(audit["rule"]) == {"text", "none"}
    assert audit["image_status"].notna().all()


def object_that_is_not_fitted() -> Any:
    """Return a branch whose fit fails the test."""

    class Never(LogisticRegression):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            raise AssertionError("fitted")

    return Never()


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
    empty = posts.assign(text=None, images=None)
    with pytest.raises(InputError, match="no branch can be fitted: expected posts of"):
        EventDetector(**settings).fit(empty, y)


# Branches


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


def test_a_frozen_branch_that_is_not_fitted_says_so(
    settings: dict[str, Any], data: Data, text_branch: Any
) -> None:
    frozen = FrozenEstimator(clone(text_branch))
    with pytest.raises((NotFittedError, AttributeError)):
        EventDetector(**settings | {"text": frozen}).fit(*data)


def test_an_unknown_model_leaves_nothing(settings: dict[str, Any], data: Data) -> None:
    unknown = TextClassifier(TextEncoder("no-one/no-such-model", local_files_only=True))
    detector = EventDetector(**settings | {"text": unknown})
    with pytest.raises(ModelUnavailableError, match="no-one/no-such-model"):
        detector.fit(*data)
    with pytest.raises(NotFittedError):
        detector.predict(data[0])


# Groups, threads and generators


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


# Folds


class Unseeded:
    """A splitter that makes other halves each time, and counts how often."""

    def __init__(self) -> None:
        self.n_asked = 0

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        self.n_asked += 1
        return KFold(2, shuffle=True).split(X)


@pytest.mark.parametrize(
    ("kind", "n_inner"), [("nested", 2), ("cross-fit", 0), (None, 0)], ids=str
)
def test_a_splitter_without_a_seed_is_asked_once_a_fit(
    settings: dict[str, Any], kind: str | None, n_inner: int
) -> None:
    posts, y = draw(120, share_reposts=0)
    outer, inner = Unseeded(), Unseeded()
    given = {"cv": outer, "inner_cv": inner, "estimate": kind, "second_stage": "auto"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MmeventWarning)
        detector = EventDetector(**settings | given).fit(posts, y)
    assert (outer.n_asked, inner.n_asked) == (1, n_inner)
    assert sorted(set(detector.out_of_fold_["fold"])) == [0, 1]


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


def test_a_policy_of_the_fit_is_that_of_set_policy(
    settings: dict[str, Any], data: Data
) -> None:
    fixed = EventDetector(**settings | {"policy": 0.4, "estimate": "nested"}).fit(*data)
    assert fixed.threshold_ == fixed.policy_ == 0.4
    flagged = fixed.estimate_.to_frame()["n_flagged"]
    assert flagged["flag all"] == 80
    changed = EventDetector(**settings).fit(*data).set_policy(0.4)
    np.testing.assert_array_equal(fixed.predict(data[0]), changed.predict(data[0]))


def test_a_policy_that_folds_cannot_show_flags_nothing_there(
    settings: dict[str, Any], data: Data
) -> None:
    policy = {"policy": "recall>=0.85", "estimate": "nested"}
    detector = EventDetector(**settings | policy)
    with pytest.raises(PolicyError, match="cannot be met"):
        clone(detector).set_params(policy="recall>=0.99").fit(*data)
    estimate = detector.fit(*data).estimate_
    n_unmet = np.isinf(estimate.parameters["threshold"]).sum()
    assert any("none of these posts is flagged" in note for note in estimate.notes) == (
        n_unmet > 0
    )


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
    text, image = TextEncoder(tiny_text_model), ImageEncoder(tiny_image_model)
    held = (text.load(), image.load())
    with pytest.MonkeyPatch.context() as patch:
        read, look = TextModel._forward, ImageModel._forward

        def count_texts(self: TextModel, items: list[str]) -> Any:
            texts.update(items)
            return read(self, items)

        def count_pictures(self: ImageModel, items: list[Any]) -> Any:
            pictures.append(sum(len(views) > 0 for views in items))
            return look(self, items)

        patch.setattr(TextModel, "_forward", count_texts)
        patch.setattr(ImageModel, "_forward", count_pictures)
        ensemble = VotingClassifier(
            [
                ("default", TextClassifier(text)),
                (
                    "other head",
                    TextClassifier(text, head=LogisticRegression(C=0.1)),
                ),
                ("tfidf", make_pipeline(TfidfVectorizer(), LogisticRegression())),
            ],
            voting="soft",
        )
        detector = EventDetector(
            text=ensemble,
            image=ImageClassifier(image),
            cv=2,
            inner_cv=2,
            n_trials=3,
            random_state=0,
        ).fit(posts, y)
    assert held[0] is detector.text_.estimators_[0].encoder_.load()
    assert held[1] is detector.image_.encoder_.load()
    return detector, texts, pictures


def test_each_picture_is_decoded_once(
    tiny_image_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Any] = []

    def watched(source: Any, *options: Any) -> Any:
        decoded.append(source)
        return decoding.decoded(source, *options)

    monkeypatch.setattr("mmevent.posts.sources.decoded", watched)
    posts, y = draw(60, share_broken=0.05)
    n_distinct = len(set(Images(flatten_images(to_posts(posts))[0]).digests))
    branch = ImageClassifier(ImageEncoder(tiny_image_model, cache=tmp_path / "cache"))
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


def test_texts_that_are_cut_off_are_named(
    encoded: tuple[EventDetector, Counter[str], list[int]],
) -> None:
    detector, _, _ = encoded
    posts = [{"text": "the police march"}, {"text": "police " * 40}, {"text": None}]
    posts[0]["images"] = None
    assert detector.audit(posts)["text_truncated"].tolist() == [False, True, False]
