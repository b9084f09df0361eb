"""What branches see of posts, and their probabilities on rows they never saw."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import AdaBoostClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from threadpoolctl import threadpool_info, threadpool_limits

from mmevent import ImageClassifier, TextClassifier
from mmevent.branches.fitting import (
    Side,
    examine,
    fit_branch,
    is_fine_tuned,
    predict_branch,
)
from mmevent.encoders.cache import shared_memo
from mmevent.evaluation.folds import Task
from mmevent.evaluation.nested import merge, run_tasks, to_evidence
from mmevent.exceptions import InputError
from mmevent.posts import decoding
from mmevent.posts.images import Images
from mmevent.posts.labels import Labels
from mmevent.posts.prepared import Material, Prepared

NAN = float("nan")


class Recorder(ClassifierMixin, BaseEstimator):
    """A classifier that keeps what it was fitted with."""

    def fit(
        self, X: Any, y: Any, *, groups: Any = None, sample_weight: Any = None
    ) -> Recorder:
        self.given_ = {"X": X, "y": y, "groups": groups, "weight": sample_weight}
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        p = np.array([len(str(item)) / 100 for item in X])
        return np.column_stack([1 - p, p])


class Routed(Recorder):
    __metadata_request__fit = {"groups": True, "sample_weight": True}


class Plain(ClassifierMixin, BaseEstimator):
    """A classifier whose fit takes nothing but items and labels."""

    def fit(self, X: Any, y: Any) -> Plain:
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        return np.tile([0.25, 0.75], (len(X), 1))


class WatchedLogistic(LogisticRegression):
    """A classifier that takes weights, without a request for them."""

    seen: list[Any] = []

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> WatchedLogistic:
        self.seen.append(sample_weight)
        return super().fit(X, y, sample_weight)


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def material() -> Material:
    red, blue = png("red"), png("blue")
    posts = pd.DataFrame(
        {
            "text": ["a", None, "ccc", "  ", "eeeee", "f"],
            "images": [[red, blue], red, [b"broken"], None, [blue, b""], [red] * 3],
        }
    )
    return Prepared.of(
        posts, columns=None, image_root=None, allow_outside_root=False
    ).material


LABELS = Labels(np.array([1, 0, 1, 0, 0, 1], dtype=bool), np.array([0, 1, 2, 3, 4, 0]))
ALL = np.arange(6)


def test_the_text_side_is_the_posts_that_have_text(material: Material) -> None:
    assert list(material.text.items) == ["a", "ccc", "eeeee", "f"]
    assert material.text.post.tolist() == [0, 2, 4, 5]
    assert material.text.weight.tolist() == [1] * 4


def test_the_image_side_is_the_usable_images_each_with_a_share(
    material: Material,
) -> None:
    side = material.image
    assert side.post.tolist() == [0, 0, 1, 4, 5, 5, 5]
    assert side.weight.tolist() == [0.5, 0.5, 1, 1, *[1 / 3] * 3]
    assert len(side.items) == 7
    assert side.items[3].getpixel((0, 0)) == (0, 0, 255)


def test_a_branch_learns_from_items_with_their_posts_label_group_and_weight(
    material: Material,
) -> None:
    rows = np.array([0, 1, 5])
    fitted = fit_branch(Recorder(), material.image, rows, LABELS)
    given = fitted.given_
    assert given["y"].tolist() == [1, 1, 0, 1, 1, 1]
    assert given["groups"].tolist() == [0, 0, 1, 0, 0, 0]
    assert given["weight"].tolist() == [0.5, 0.5, 1, *[1 / 3] * 3]
    assert len(given["X"]) == 6


def test_a_branch_learns_events_as_1_whatever_the_labels(material: Material) -> None:
    fitted = fit_branch(Recorder(), material.text, ALL, LABELS)
    assert fitted.given_["X"] == ["a", "ccc", "eeeee", "f"]
    assert fitted.given_["y"].tolist() == [1, 1, 0, 1]
    assert fitted.given_["y"].dtype.kind == "i"


def test_weights_that_are_all_1_are_not_passed(material: Material) -> None:
    fitted = fit_branch(Recorder(), material.text, ALL, LABELS)
    assert fitted.given_["weight"] is None


def test_the_branch_that_was_passed_is_left_as_it_was(material: Material) -> None:
    branch = Recorder()
    fit_branch(branch, material.text, ALL, LABELS)
    assert vars(branch) == {}


def test_a_branch_that_takes_nothing_more_is_given_nothing_more(
    material: Material,
) -> None:
    fitted = fit_branch(Plain(), material.image, ALL, LABELS)
    assert fitted.classes_.tolist() == [0, 1]


@pytest.mark.parametrize("wrap", ["pipeline", "voting", "voting of pipelines"])
def test_parts_of_a_branch_get_what_they_request(material: Material, wrap: str) -> None:
    part = Routed()
    branch: Any = make_pipeline(part)
    if wrap == "voting":
        branch = VotingClassifier([("one", part)], voting="soft")
    elif wrap == "voting of pipelines":
        branch = VotingClassifier([("one", make_pipeline(part))], voting="soft")
    fitted = fit_branch(branch, material.image, ALL, LABELS)
    while not isinstance(fitted, Recorder):
        fitted = (
            fitted.steps[-1][1] if hasattr(fitted, "steps") else fitted.estimators_[0]
        )
    assert fitted.given_["groups"].tolist() == [0, 0, 1, 4, 0, 0, 0]
    assert fitted.given_["weight"].tolist() == material.image.weight.tolist()


def mean_colours() -> Any:
    """Make a pipeline over images whose last step takes weights, and says nothing."""
    colours = FunctionTransformer(
        lambda images: [np.asarray(image).mean(axis=(0, 1)) for image in images]
    )
    return make_pipeline(colours, WatchedLogistic())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda branch: branch,
        lambda branch: VotingClassifier([("one", branch)], voting="soft"),
        lambda branch: VotingClassifier(
            [("one", branch), ("two", Routed())], voting="soft"
        ),
        lambda branch: make_pipeline("passthrough", branch),
    ],
    ids=["pipeline", "voting", "beside one that requests", "nested"],
)
def test_parts_that_can_take_the_weights_of_images_get_them(
    material: Material, wrap: Any
) -> None:
    given: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WatchedLogistic, "seen", given)
        branch = wrap(mean_colours())
        fitted = fit_branch(branch, material.image, ALL, LABELS)
    assert given[-1].tolist() == material.image.weight.tolist()
    assert np.isfinite(predict_branch(fitted, material.image, np.arange(7))).all()
    assert "_metadata_request" not in vars(branch)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda branch: GridSearchCV(branch, {"watchedlogistic__C": [1.0]}, cv=2),
        lambda branch: GridSearchCV(
            branch, {"watchedlogistic": [WatchedLogistic(C=0.1)]}, cv=2
        ),
        lambda branch: CalibratedClassifierCV(branch, cv=2),
        lambda branch: VotingClassifier(
            [("one", branch), ("two", CalibratedClassifierCV(branch, cv=2))],
            voting="soft",
        ),
    ],
    ids=["search", "search of estimators", "calibrated", "beside a calibrated one"],
)
@pytest.mark.filterwarnings("ignore:Since Pipeline does not appear to accept")
def test_within_other_meta_estimators_nothing_gets_weights_unasked(
    material: Material, wrap: Any
) -> None:
    given: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WatchedLogistic, "seen", given)
        fitted = fit_branch(wrap(mean_colours()), material.image, ALL, LABELS)
    assert given
    assert all(weights is None for weights in given)
    assert np.isfinite(predict_branch(fitted, material.image, np.arange(7))).all()


def test_a_meta_estimator_without_routing_is_fitted_without_weights(
    material: Material,
) -> None:
    branch = mean_colours()
    branch.steps[-1] = ("boost", AdaBoostClassifier(n_estimators=2))
    fitted = fit_branch(branch, material.image, ALL, LABELS)
    assert np.isfinite(predict_branch(fitted, material.image, np.arange(7))).all()


def test_a_frozen_part_is_not_asked_for_anything(material: Material) -> None:
    inside = mean_colours()
    inside.fit(list(material.image.items), [0, 1] * 3 + [0])
    frozen = FrozenEstimator(inside)
    ensemble = VotingClassifier([("a", frozen), ("b", mean_colours())], voting="soft")
    for branch in (frozen, ensemble):
        fit_branch(branch, material.image, ALL, LABELS)
    assert all("_metadata_request" not in vars(step) for _, step in inside.steps)


def test_a_part_that_declines_weights_is_left_alone(material: Material) -> None:
    branch = mean_colours()
    with config_context(enable_metadata_routing=True):
        branch[-1].set_fit_request(sample_weight=False)
    given: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WatchedLogistic, "seen", given)
        fit_branch(branch, material.image, ALL, LABELS)
    assert given == [None]


def test_a_branch_that_cannot_be_routed_says_what_to_set(material: Material) -> None:
    search = GridSearchCV(
        mean_colours(),
        {"watchedlogistic__C": [1.0]},
        cv=2,
        scoring="roc_auc",
        error_score="raise",  # else some versions of scikit-learn hide the reason
    )
    both = VotingClassifier([("one", search), ("two", Routed())], voting="soft")
    with pytest.raises(InputError, match=r"VotingClassifier does not say.*set_fit_req"):
        fit_branch(both, material.image, ALL, LABELS)


def test_parts_that_request_nothing_get_nothing(material: Material) -> None:
    branch = make_pipeline(TfidfVectorizer(analyzer="char"), LogisticRegression())
    assert fit_branch(branch, material.text, ALL, LABELS) is not None


@pytest.mark.parametrize("rows", [[0, 2], [4], [], [1, 3]], ids=str)
def test_a_branch_without_both_classes_is_not_fitted(
    material: Material, rows: list[int]
) -> None:
    chosen = np.array(rows, dtype=np.intp)
    assert fit_branch(Recorder(), material.text, chosen, LABELS) is None


def test_no_branch_and_no_items_have_no_probabilities(material: Material) -> None:
    assert np.isnan(predict_branch(None, material.text, np.arange(2))).all()
    fitted = fit_branch(Recorder(), material.text, ALL, LABELS)
    assert predict_branch(fitted, material.text, ALL[:0]).shape == (0,)


# Which column is an event's


@pytest.mark.parametrize(
    "classes", [(0, 1), (1, 0), (-1, 0), (1, 2), ("no", "yes"), (True, False)], ids=str
)
def test_a_branch_that_is_fitted_here_says_1_for_an_event(
    material: Material, classes: tuple[Any, Any]
) -> None:
    fitted = fit_branch(Recorder(), material.text, ALL, LABELS)
    p = predict_branch(fitted, material.text, np.arange(4), classes=classes)
    assert p.tolist() == [0.01, 0.03, 0.05, 0.01]


@pytest.mark.parametrize(
    ("labels", "classes", "column"),
    [
        ((0, 1), (0, 1), 1),
        ((0, 1), (1, 0), 0),
        (("no", "yes"), ("no", "yes"), 1),
        (("no", "yes"), ("yes", "no"), 0),
        ((0, 1), ("no", "yes"), 1),
        ((0, 1), (-1, 0), 1),
        ((False, True), (0, 1), 1),
        ((1, 2), (2, 1), 0),
    ],
    ids=str,
)
def test_a_frozen_branch_knows_the_callers_labels_or_0_and_1(
    material: Material, labels: Any, classes: Any, column: int
) -> None:
    frozen = FrozenEstimator(Plain().fit(None, labels))
    p = predict_branch(frozen, material.text, np.arange(1), classes=classes)
    assert p[0] == (0.25, 0.75)[column]


@pytest.mark.parametrize("labels", [("no", "yes"), (1, 2), (0, 1, 2)], ids=str)
def test_a_frozen_branch_with_other_labels_is_refused(
    material: Material, labels: Any
) -> None:
    frozen = FrozenEstimator(Plain().fit(None, labels))
    with pytest.raises(InputError, match=r"knows other classes: expected \[0, 1\]"):
        predict_branch(frozen, material.text, np.arange(1))


def test_a_frozen_branch_is_never_refitted(material: Material) -> None:
    inside = Recorder().fit(["x"], [0])
    inside.classes_ = np.array([0, 1])
    fitted = fit_branch(FrozenEstimator(inside), material.text, ALL, LABELS)
    assert fitted.estimator is inside
    assert inside.given_["X"] == ["x"]


# Tasks


def test_tasks_predict_what_they_test_and_nothing_else(material: Material) -> None:
    tasks = [Task(ALL[3:], ALL[:3]), Task(ALL[:3], ALL[3:])]
    results = run_tasks({"text": Recorder()}, material, LABELS, tasks)
    first, second = (result["text"] for result in results)
    np.testing.assert_array_equal(first, [0.01, 0.03, NAN, NAN])
    # Rows 0 and 2 are both events: nothing can be learnt from them.
    assert np.isnan(second).all()


def test_a_task_learns_from_its_training_rows_alone(material: Material) -> None:
    seen: list[list[str]] = []

    class Watcher(Recorder):
        def fit(self, X: Any, y: Any, **given: Any) -> Recorder:
            seen.append(X)
            return super().fit(X, y)

    tasks = [Task(ALL[[0, 4]], ALL[[2]]), Task(ALL[[2, 4]], ALL[[5]])]
    run_tasks({"text": Watcher()}, material, LABELS, tasks)
    assert seen == [["a", "eeeee"], ["ccc", "eeeee"]]


def test_threads_give_the_same(material: Material) -> None:
    tasks = [Task(np.delete(ALL, i), ALL[[i]]) for i in ALL]
    branches = {"text": Recorder(), "image": Recorder()}
    alone = merge(run_tasks(branches, material, LABELS, tasks))
    threaded = merge(run_tasks(branches, material, LABELS, tasks, n_jobs=2))
    for name in branches:
        np.testing.assert_array_equal(alone[name], threaded[name])


def test_merged_tasks_have_every_tested_post() -> None:
    parts = [{"text": np.array([0.1, NAN, NAN])}, {"text": np.array([NAN, 0.2, NAN])}]
    np.testing.assert_array_equal(merge(parts)["text"], [0.1, 0.2, NAN])
    np.testing.assert_array_equal(parts[0]["text"], [0.1, NAN, NAN])


def test_probabilities_of_items_become_rows_of_posts(material: Material) -> None:
    p_text = np.array([0.1, 0.2, 0.3, 0.4])
    p_image = np.array([0.9, 0.1, 0.5, 0.6, 0.2, 0.3, 0.1])
    evidence = to_evidence({"text": p_text, "image": p_image}, material, pool="max")
    np.testing.assert_array_equal(evidence.p_text, [0.1, NAN, 0.2, NAN, 0.3, 0.4])
    np.testing.assert_array_equal(
        evidence.pooled["image", "max"], [0.9, 0.5, NAN, NAN, 0.6, 0.3]
    )


def test_posts_of_no_branch_have_no_probabilities(material: Material) -> None:
    evidence = to_evidence({"text": np.full(4, 0.5)}, material)
    assert not evidence.has_image.any()
    evidence = to_evidence({"image": np.full(7, 0.5)}, material)
    assert not evidence.has_text.any()


def test_the_items_of_some_posts_are_found() -> None:
    side = Side(["x", "y", "z"], np.array([0, 2, 2]), np.ones(3))
    assert side.of(np.array([2]), 3).tolist() == [1, 2]
    assert side.of(np.array([1]), 3).tolist() == []


class _BlasWitness(ClassifierMixin, BaseEstimator):
    """Remembers how many threads BLAS had while it was fitted."""

    def fit(self, X: Any, y: Any) -> _BlasWitness:
        pools = threadpool_info()
        self.threads_ = [p["num_threads"] for p in pools if p["user_api"] == "blas"]
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        assert set(self.threads_) == {1}
        return np.full((len(X), 2), 0.5)


def test_blas_has_one_thread_in_every_worker_and_gets_its_threads_back(
    material: Material,
) -> None:
    tasks = [Task(np.delete(ALL, i), ALL[[i]]) for i in ALL]
    with threadpool_limits(2, user_api="blas"):
        results = run_tasks({"text": _BlasWitness()}, material, LABELS, tasks, n_jobs=2)
        after = [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]
    assert len(results) == len(tasks)
    assert set(after) == {2}


def test_a_part_that_is_fine_tuned_is_found() -> None:
    text_model, frozen = TextClassifier(train="all"), TextClassifier()
    voters = [("a", frozen), ("b", text_model)]
    assert is_fine_tuned(text_model)
    assert is_fine_tuned(VotingClassifier(voters))
    assert is_fine_tuned(make_pipeline("passthrough", text_model))
    assert not is_fine_tuned(frozen)
    assert not is_fine_tuned(None)
    assert not is_fine_tuned(FrozenEstimator(text_model))
    assert not is_fine_tuned(VotingClassifier([("a", FrozenEstimator(text_model))]))


# Images that are examined once


def test_images_are_examined_by_the_branches_that_see_them(
    tiny_image_model: str, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = Images([b"", *map(_png, pictures), "gone.png", b"<html>"])
    branch = ImageClassifier(tiny_image_model)
    decoded: list[Any] = []

    def watched(content: Any, *options: Any) -> Any:
        decoded.append(content)
        return decoding.decoded(content, *options)

    monkeypatch.setattr("mmevent.posts.sources.decoded", watched)
    with shared_memo():
        found = examine(images, [branch, TfidfVectorizer()])
        assert len(decoded) == len(pictures) + 2
        assert found.statuses.tolist() == [
            "corrupt",
            *["ok"] * 40,
            "missing file",
            "unsupported",
        ]
        usable = found[found.usable]
        fitted = clone(branch).fit(usable, np.arange(40) % 2)
        fitted.predict(usable)
        assert len(decoded) == len(pictures) + 2
        examine(images, [FrozenEstimator(fitted)])
    assert not hasattr(branch, "encoder_")
    assert found is not images
    assert found.sources == images.sources


def test_images_are_scanned_where_no_branch_encodes_them(
    pictures: list[Image.Image],
) -> None:
    images = Images([b"", *pictures[:2]])
    for branches in ([], [ImageClassifier(Pixels())], [Pixels()]):
        found = examine(images, branches)
        assert found.statuses.tolist() == ["corrupt", "ok", "ok"]
    assert len(examine(Images([]), [ImageClassifier()])) == 0


def test_a_branch_with_wrong_parameters_is_refused_before_images_are_seen(
    pictures: list[Image.Image],
) -> None:
    with pytest.raises(InputError, match="`head` must be None"):
        examine(Images(pictures), [ImageClassifier(head="svm")])


class Pixels(TransformerMixin, BaseEstimator):
    """The mean of each picture."""

    def fit(self, X: Any, y: Any = None) -> Pixels:
        return self

    def transform(self, X: Any) -> Any:
        return np.array([[np.mean(image)] for image in X])


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
