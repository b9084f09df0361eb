from __future__ import annotations

import copy
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, get_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags

from mmevent import ClipEncoder, TextEncoder
from mmevent.branches.image import ImageClassifier
from mmevent.encoders.cache import shared_memo
from mmevent.encoders.image import DEFAULT_IMAGE_MODEL, ImageEncoder, ImageModel
from mmevent.exceptions import (
    InputError,
    ModelUnavailableError,
    UnusableInputWarning,
)
from mmevent.posts.images import Images

Y = np.arange(40) % 2


def _bytes(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def fitted_once(tiny_image_model: str, pictures: list[Image.Image]) -> ImageClassifier:
    return ImageClassifier(tiny_image_model).fit(pictures, Y)


@pytest.fixture
def fitted(fitted_once: ImageClassifier) -> ImageClassifier:
    """A copy, which a test may change."""
    return copy.deepcopy(fitted_once)


@pytest.fixture
def files(pictures: list[Image.Image]) -> list[bytes]:
    return [_bytes(picture) for picture in pictures]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Pixels of every picture that an encoder is given, but for a load's first try."""
    given: list[bytes] = []
    views = ImageModel._views

    def watched(self: ImageModel, image: Image.Image) -> Any:
        if image.size != (32, 32):
            given.append(image.tobytes())
        return views(self, image)

    monkeypatch.setattr(ImageModel, "_views", watched)
    return given


def test_it_learns_and_gives_probabilities(
    fitted: ImageClassifier, pictures: list[Image.Image]
) -> None:
    proba = fitted.predict_proba(pictures)
    assert_allclose(proba.sum(axis=1), 1)
    assert_array_equal(fitted.predict(pictures), proba.argmax(axis=1))
    assert fitted.score(pictures, Y) > 0.8


def test_a_timm_model_learns(tiny_timm_model: str, pictures: list[Image.Image]) -> None:
    branch = ImageClassifier(tiny_timm_model).fit(pictures, Y)
    assert branch.score(pictures, Y) > 0.8
    spec = branch.encoder_.spec_
    assert spec["preprocessing"]["class"] == "TimmWrapperImageProcessor"
    assert json.loads(json.dumps(spec)) == spec


def test_parameters_are_stored_untouched_and_nothing_is_checked_before_fit() -> None:
    wrong = {"encoder": 3, "head": "x", "train": 0, "augment": "x"}
    branch = ImageClassifier(**wrong)  # type: ignore[arg-type]
    assert {name: branch.get_params()[name] for name in wrong} == wrong
    assert ImageClassifier().encoder == DEFAULT_IMAGE_MODEL


def test_images_are_read_lazily_from_files_and_bytes(
    fitted: ImageClassifier,
    pictures: list[Image.Image],
    files: list[bytes],
    tmp_path: Path,
) -> None:
    for i, content in enumerate(files):
        (tmp_path / f"{i}.png").write_bytes(content)
    names = [f"{i}.png" for i in range(len(files))]
    expected = fitted.predict_proba(pictures)
    assert_allclose(fitted.predict_proba(Images(files)), expected, atol=1e-6)
    from_paths = Images(names, image_root=tmp_path)
    assert_allclose(fitted.predict_proba(from_paths), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [list, tuple])
def test_sequences_of_pictures_are_read(
    fitted: ImageClassifier, pictures: list[Image.Image], kind: Any
) -> None:
    expected = fitted.predict_proba(pictures)
    assert_array_equal(fitted.predict_proba(kind(pictures)), expected)


def test_an_object_array_of_pictures_is_read(
    fitted: ImageClassifier, pictures: list[Image.Image]
) -> None:
    array = np.empty(len(pictures), dtype=object)
    array[:] = pictures
    expected = fitted.predict_proba(pictures)
    assert_array_equal(fitted.predict_proba(array), expected)


@pytest.mark.parametrize(
    "X", ["a.png", b"x", 3, None, {"a": 1}, Image.new("RGB", (2, 2))]
)
def test_what_is_no_sequence_of_images_is_refused(
    fitted: ImageClassifier, X: Any
) -> None:
    with pytest.raises(InputError, match="X must be a sequence of images; got"):
        fitted.predict(X)


@pytest.mark.parametrize("item", ["a.png", b"x", None, np.zeros((4, 4, 3))])
def test_a_row_that_is_no_image_is_named(
    fitted: ImageClassifier, pictures: list[Image.Image], item: Any
) -> None:
    with pytest.raises(InputError, match="X must hold one PIL image .* row 1 is of"):
        fitted.predict([pictures[0], item])


def test_an_array_of_pixels_is_refused(fitted: ImageClassifier) -> None:
    with pytest.raises(InputError, match="row 0 is of type ndarray"):
        fitted.predict(np.zeros((2, 8, 8, 3), dtype=np.uint8))


def test_no_images_give_no_rows(fitted: ImageClassifier) -> None:
    for none in ([], (), Images([]), np.empty(0, dtype=object)):
        assert fitted.predict_proba(none).shape == (0, 2)
        assert fitted.predict(none).shape == (0,)


def test_broken_images_are_left_out_of_the_fit(
    tiny_image_model: str, files: list[bytes], pictures: list[Image.Image]
) -> None:
    branch = ImageClassifier(tiny_image_model)
    words = "2 images cannot be used and are left out of the fit"
    with pytest.warns(UnusableInputWarning, match=words) as caught:
        branch.fit(Images([b"", *files, b"html"]), [0, *Y, 0], groups=np.arange(42))
    assert caught[0].filename == __file__
    expected = clone(branch).fit(Images(files), Y).predict_proba(pictures)
    assert_allclose(branch.predict_proba(pictures), expected, atol=1e-6)


def test_a_broken_image_is_nan_and_changes_its_own_row_only(
    fitted: ImageClassifier, files: list[bytes]
) -> None:
    expected = fitted.predict_proba(Images(files))
    broken = Images([*files[:5], b"broken", *files[5:]])
    words = "1 images cannot be used and are given NaN"
    with pytest.warns(UnusableInputWarning, match=words) as caught:
        proba = fitted.predict_proba(broken)
    assert caught[0].filename == __file__
    assert np.isnan(proba[5]).all()
    assert_allclose(np.delete(proba, 5, axis=0), expected, atol=1e-6)
    with pytest.warns(UnusableInputWarning, match=words):
        assert fitted.predict(broken)[5] == 0


def test_a_fit_on_broken_images_alone_is_refused(tiny_image_model: str) -> None:
    branch = ImageClassifier(tiny_image_model)
    with (
        pytest.warns(UnusableInputWarning),
        pytest.raises(InputError, match="got 0 of 2 rows"),
    ):
        branch.fit(Images([b"", b"x"]), [0, 1])


def test_a_prediction_of_broken_images_alone_is_all_nan(
    fitted: ImageClassifier,
) -> None:
    with pytest.warns(UnusableInputWarning):
        assert np.isnan(fitted.predict_proba(Images([b"", b"x"]))).all()


def test_very_long_pictures_do_no_harm(
    fitted: ImageClassifier, pictures: list[Image.Image]
) -> None:
    expected = fitted.predict_proba(pictures[:2])
    odd = [
        Image.new("RGB", (1, 5000)),
        pictures[0],
        Image.new("L", (1, 1)),
        pictures[1],
    ]
    proba = fitted.predict_proba(odd)
    assert np.isfinite(proba).all()
    assert_allclose(proba[[1, 3]], expected, atol=1e-5)


def test_an_image_does_not_depend_on_its_neighbours(
    fitted: ImageClassifier, pictures: list[Image.Image]
) -> None:
    order = np.random.default_rng(0).permutation(40)
    together = fitted.predict_proba(pictures)
    shuffled = fitted.predict_proba([pictures[i] for i in order])
    assert_allclose(shuffled, together[order], atol=1e-5)
    assert_allclose(fitted.predict_proba(pictures[7:8]), together[7:8], atol=1e-5)


def test_each_distinct_image_is_encoded_once(
    tiny_image_model: str, files: list[bytes], encoded: list[bytes]
) -> None:
    branch = ImageClassifier(tiny_image_model)
    ensemble = VotingClassifier(
        [("a", branch), ("b", clone(branch).set_params(head=LinearSVC()))],
        voting="soft",
    )
    X = Images(files + files[:10])
    y = np.r_[Y, Y[:10]]
    with shared_memo():
        for estimator in (branch, ensemble):
            cross_validate(estimator, X, y, cv=3, error_score="raise")
        branch.fit(X, y).predict(X)
    assert len(encoded) == len(set(encoded)) == 40


def test_equal_images_are_not_split(
    tiny_image_model: str, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmevent.branches import base as _frozen

    seen = {}
    original = _frozen.fit_head

    def watched(rows: Any, y: Any, **kwargs: Any) -> Any:
        seen.update(kwargs)
        return original(rows, y, **kwargs)

    monkeypatch.setattr(_frozen, "fit_head", watched)
    branch = ImageClassifier(tiny_image_model)
    branch.fit(Images([*files[:38], files[0], files[1]]), Y)
    found = seen["groups"].tolist()
    assert found[0] == found[38] != found[1] == found[39]


def test_weights_reach_the_head(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    branch = ImageClassifier(tiny_image_model, class_weight=None)
    plain = branch.fit(pictures, Y).predict_proba(pictures)[:, 1]
    branch.fit(pictures, Y, sample_weight=1 + 9 * Y)
    assert branch.predict_proba(pictures)[:, 1].mean() > plain.mean()


def test_copies_and_pickles_hold_no_weights(
    fitted: ImageClassifier, pictures: list[Image.Image]
) -> None:
    expected = fitted.predict_proba(pictures)
    stored = pickle.dumps(fitted)
    assert len(stored) < 20_000
    copied = copy.deepcopy(fitted)
    del fitted.encoder_._loaded
    assert_array_equal(copied.predict_proba(pictures), expected)
    assert_array_equal(pickle.loads(stored).predict_proba(pictures), expected)


@pytest.mark.parametrize("model", ["tiny_image_model", "tiny_timm_model"])
def test_a_stored_branch_works_with_a_saved_encoder(
    request: pytest.FixtureRequest,
    pictures: list[Image.Image],
    tmp_path: Path,
    model: str,
) -> None:
    branch = ImageClassifier(request.getfixturevalue(model)).fit(pictures, Y)
    expected = branch.predict_proba(pictures)
    branch.encoder_.save(tmp_path / "encoder")
    skops.io.dump(branch, tmp_path / "branch.skops")
    trusted = skops.io.get_untrusted_types(file=tmp_path / "branch.skops")
    assert set(trusted) == {
        "mmevent.branches.image.ImageClassifier",
        "mmevent.encoders.image.ImageEncoder",
    }
    loaded = skops.io.load(tmp_path / "branch.skops", trusted=trusted)
    loaded.encoder_.spec_["model"] = str(tmp_path / "encoder")
    del branch
    assert_allclose(loaded.predict_proba(pictures), expected, atol=1e-6)


def test_weights_that_changed_since_the_fit_are_refused(
    tiny_image_model: str, pictures: list[Image.Image], changed_copy: Any
) -> None:
    from safetensors.torch import load_file, save_file

    folder = changed_copy(tiny_image_model)
    branch = ImageClassifier(str(folder)).fit(pictures, Y)
    del branch.encoder_._loaded
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.1.bias"] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    words = "weights are not the ones the model was fitted with"
    with pytest.raises(ModelUnavailableError, match=words):
        branch.predict(pictures)


def test_the_default_model_is_not_looked_for_with_local_files_only(
    pictures: list[Image.Image],
) -> None:
    with pytest.raises(ModelUnavailableError, match="'microsoft/resnet-50' is not"):
        ImageClassifier(ImageEncoder(local_files_only=True)).fit(pictures, Y)


def test_the_image_branch_works_in_a_grid_search_with_routing(
    tiny_image_model: str, files: list[bytes]
) -> None:
    branch = ImageClassifier(tiny_image_model, head=LogisticRegression())
    with config_context(enable_metadata_routing=True):
        scorer = get_scorer("accuracy").set_score_request(sample_weight=False)
        search = GridSearchCV(
            branch,
            {"head__C": [0.01, 1.0]},
            cv=GroupKFold(2),
            scoring=scorer,
            error_score="raise",
        )
        search.fit(
            Images(files), Y, groups=np.arange(40) // 2, sample_weight=np.ones(40)
        )
    assert search.best_estimator_.head_.C == search.best_params_["head__C"]


def test_tags_say_what_goes_in_and_out() -> None:
    tags = get_tags(ImageClassifier())
    assert not tags.input_tags.two_d_array
    assert tags.target_tags.required
    assert tags.estimator_type == "classifier"


def test_the_whole_view_sees_the_ends_of_a_long_picture(tiny_image_model: str) -> None:
    pictures = []
    for i in range(40):
        picture = Image.new("RGB", (120, 40), "white")
        picture.paste((255, i, 0) if i % 2 else (0, i, 255), (0, 0, 20, 40))
        pictures.append(picture)
    whole, centre = (
        ImageClassifier(ImageEncoder(tiny_image_model, views=views), random_state=0)
        for views in (("whole",), ["centre"])
    )
    whole.fit(pictures, Y)
    centre.fit(pictures, Y)
    assert whole.score(pictures, Y) == 1.0
    assert np.ptp(centre.predict_proba(pictures)[:, 1]) < 1e-6


@pytest.mark.parametrize(
    "views", ["centre", (), ("centre", "centre"), ("left",), None, 3, [["whole"]]]
)
def test_views_that_are_none_are_refused(
    tiny_image_model: str, pictures: list[Image.Image], views: Any
) -> None:
    words = "`views` must be distinct names, one or more, from 'centre', 'whole'; got"
    with pytest.raises(InputError, match=words):
        ImageClassifier(ImageEncoder(tiny_image_model, views=views)).fit(pictures, Y)


def test_views_are_part_of_what_is_saved(
    tiny_image_model: str, pictures: list[Image.Image], tmp_path: Path
) -> None:
    branch = ImageClassifier(ImageEncoder(tiny_image_model, views=("whole",)))
    branch.fit(pictures, Y)
    assert branch.encoder_.spec_["pooling"]["views"] == ["whole"]
    branch.encoder_.save(tmp_path / "encoder")
    moved = copy.deepcopy(branch)
    moved.encoder_.spec_["model"] = str(tmp_path / "encoder")
    assert_array_equal(moved.predict_proba(pictures), branch.predict_proba(pictures))


# A linear probe on CLIP


@pytest.fixture
def probe(tiny_clip_model: str) -> ImageClassifier:
    return ImageClassifier(ClipEncoder(tiny_clip_model))


def test_the_probe_learns(probe: ImageClassifier, pictures: list[Image.Image]) -> None:
    probe.fit(pictures, Y)
    assert probe.score(pictures, Y) > 0.8
    spec = probe.encoder_.spec_
    assert spec["pooling"]["views"] == ["centre", "whole"]
    assert json.loads(json.dumps(spec)) == spec


def test_the_probe_is_sensible_with_eight_positives(
    probe: ImageClassifier, pictures: list[Image.Image]
) -> None:
    few = np.r_[np.arange(1, 16, 2), np.arange(0, 16, 2)]
    others = np.setdiff1d(np.arange(40), few)
    probe.fit([pictures[i] for i in few], Y[few])
    p = probe.predict_proba([pictures[i] for i in others])[:, 1]
    assert average_precision_score(Y[others], p) > 0.8
    unrelated = np.random.default_rng(3).permutation(Y[few])
    probe.fit([pictures[i] for i in few], unrelated)
    p = probe.predict_proba([pictures[i] for i in others])[:, 1]
    assert 0.2 < p.min() < p.max() < 0.8


def test_the_probe_takes_any_head(
    probe: ImageClassifier, pictures: list[Image.Image]
) -> None:
    probe.set_params(head=LinearSVC(), encoder__views=("centre",)).fit(pictures, Y)
    assert probe.predict_proba(pictures).shape == (40, 2)
    with pytest.raises(InputError, match="`head` must be None or a scikit-learn"):
        clone(probe).set_params(head="svm").fit(pictures, Y)


def test_the_probe_is_not_fine_tuned(
    probe: ImageClassifier, pictures: list[Image.Image]
) -> None:
    with pytest.raises(InputError, match=r"train=1 cannot train the encoder ClipEnc"):
        probe.set_params(train=1).fit(pictures, Y)


# An encoder of one's own


class Colours(TransformerMixin, BaseEstimator):
    """The mean colour of each picture, less that of the fit."""

    def fit(self, X: Any, y: Any = None) -> Colours:
        self.mean_ = self._means(X).mean(axis=0)
        self.n_seen_ = len(X)
        return self

    def transform(self, X: Any) -> Any:
        return self._means(X) - self.mean_

    def _means(self, X: Any) -> Any:
        return np.array([np.asarray(image).mean(axis=(0, 1)) for image in X])


def test_any_transformer_of_pictures_is_an_encoder(
    pictures: list[Image.Image], files: list[bytes]
) -> None:
    branch = ImageClassifier(Colours())
    words = "1 images cannot be used and are left out of the fit"
    with pytest.warns(UnusableInputWarning, match=words):
        branch.fit(Images([b"broken", *files]), [0, *Y])
    assert branch.encoder_.n_seen_ == 40
    with pytest.warns(UnusableInputWarning, match="given NaN"):
        proba = branch.predict_proba(Images([b"broken", *files]))
    assert np.isnan(proba[0]).all()
    expected = ImageClassifier(Colours()).fit(pictures, Y)
    assert_allclose(expected.predict_proba(pictures), proba[1:], atol=1e-9)
    with pytest.warns(UnusableInputWarning):
        assert np.isnan(branch.predict_proba(Images([b""]))).all()


def test_it_is_searched_with_a_head_of_ones_own(pictures: list[Image.Image]) -> None:
    branch = ImageClassifier(make_pipeline(Colours(), PCA(2)), head=LinearSVC())
    search = GridSearchCV(
        branch, {"encoder__pca__n_components": [1, 3]}, cv=2, error_score="raise"
    )
    search.fit(Images(pictures), Y)
    assert search.best_estimator_.score(pictures, Y) > 0.8
    assert_array_equal(
        pickle.loads(pickle.dumps(search)).predict(pictures), search.predict(pictures)
    )


@pytest.mark.parametrize(
    "encoder", [None, 3, TextEncoder(), LinearSVC(), ImageEncoder], ids=repr
)
def test_what_is_no_encoder_of_images_is_refused(
    pictures: list[Image.Image], encoder: Any
) -> None:
    words = r"`encoder` must be .* an encoder of images, .*encoder=ImageEncoder\(\)"
    with pytest.raises(InputError, match=words):
        ImageClassifier(encoder).fit(pictures, Y)
