from __future__ import annotations

import copy
import io
import json
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_validate
from sklearn.svm import LinearSVC

import mmevent
from mmevent import (
    ClipEncoder,
    ClipZeroShotClassifier,
    EventDetector,
    ImageClassifier,
    ImageEncoder,
)
from mmevent.encoders.cache import shared_memo
from mmevent.encoders.clip import (
    DEFAULT_CLIP_MODEL,
    DEFAULT_CLIP_PRETRAINED,
    ClipModel,
)
from mmevent.encoders.disk_cache import DiskStore
from mmevent.exceptions import (
    InputError,
    MmeventWarning,
    ModelUnavailableError,
    UnusableInputWarning,
)
from mmevent.posts.images import Images
from mmevent.synthetic.posts import make_posts

Y = np.arange(40) % 2
PROMPTS = ["a red picture", "something warm"]
CONTRAST = ["a blue picture", "something cold", "noise"]


def _bytes(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def files(pictures: list[Image.Image]) -> list[bytes]:
    return [_bytes(picture) for picture in pictures]


@pytest.fixture
def probe(tiny_clip_model: str) -> ImageClassifier:
    return ImageClassifier(ClipEncoder(tiny_clip_model))


@pytest.fixture
def zero_shot(tiny_clip_model: str) -> ClipZeroShotClassifier:
    return ClipZeroShotClassifier(
        PROMPTS, CONTRAST, encoder=ClipEncoder(tiny_clip_model)
    )


@pytest.fixture
def branches(probe: Any, zero_shot: Any) -> dict[str, Any]:
    return {"probe": probe, "zero-shot": zero_shot}


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Pixels of every picture that an encoder is given, but for a load's first try."""
    given: list[bytes] = []
    views = ClipModel._views

    def watched(self: ClipModel, image: Image.Image) -> Any:
        if image.size != (32, 32):
            given.append(image.tobytes())
        return views(self, image)

    monkeypatch.setattr(ClipModel, "_views", watched)
    return given


def test_the_default_model_stands_in_one_place() -> None:
    assert ClipZeroShotClassifier().encoder == DEFAULT_CLIP_MODEL == "ViT-B-32"
    assert ClipEncoder().model == DEFAULT_CLIP_MODEL
    assert ClipEncoder().pretrained == DEFAULT_CLIP_PRETRAINED == "laion2b_s34b_b79k"


# Zero-shot without labels


def test_without_labels_the_score_is_the_share_of_the_softmax(
    zero_shot: ClipZeroShotClassifier, pictures: list[Image.Image]
) -> None:
    zero_shot.set_params(templates=["{}"], encoder__views=("centre",)).fit(pictures)
    assert zero_shot.classes_.tolist() == [0, 1]
    assert zero_shot.calibration_ is None
    model = zero_shot.encoder_.load()
    image, text = model.encode(pictures), model.encode_texts(PROMPTS + CONTRAST)
    odds = np.exp(model.scale * image @ text.T)
    positive, negative = odds[:, :2].mean(axis=1), odds[:, 2:].mean(axis=1)
    proba = zero_shot.predict_proba(pictures)
    assert_allclose(proba[:, 1], positive / (positive + negative), rtol=1e-4)
    assert_allclose(proba.sum(axis=1), 1)
    assert_array_equal(zero_shot.predict(pictures), proba[:, 1] > 0.5)


def test_without_labels_no_image_is_encoded_or_needed(
    zero_shot: ClipZeroShotClassifier,
    pictures: list[Image.Image],
    encoded: list[bytes],
) -> None:
    expected = clone(zero_shot).fit(pictures).predict_proba(pictures[:3])
    assert len(encoded) == 3
    assert_array_equal(zero_shot.fit([]).predict_proba(pictures[:3]), expected)
    with pytest.raises(InputError, match="X must be a sequence of images; got str"):
        zero_shot.fit("a.png")


def test_swapping_the_sides_swaps_the_score(
    zero_shot: ClipZeroShotClassifier, pictures: list[Image.Image]
) -> None:
    one = clone(zero_shot).fit([]).predict_proba(pictures)
    zero_shot.set_params(event=CONTRAST, negative=PROMPTS).fit([])
    assert_allclose(zero_shot.predict_proba(pictures), one[:, ::-1], atol=1e-9)


def test_a_prompt_twice_changes_nothing(
    zero_shot: ClipZeroShotClassifier, pictures: list[Image.Image]
) -> None:
    expected = clone(zero_shot).fit([]).predict_proba(pictures)
    zero_shot.set_params(event=PROMPTS * 2).fit([])
    assert_allclose(zero_shot.predict_proba(pictures), expected, atol=1e-9)


def test_a_pack_is_taken_by_its_name(tiny_clip_model: str) -> None:
    pack = mmevent.event_packs()["flood"]
    branch = ClipZeroShotClassifier("flood", encoder=tiny_clip_model).fit([])
    assert branch.positive_ == pack.positive
    assert branch.negative_ == tuple(pack.contrast)
    assert branch.templates_ == pack.templates
    branch.set_params(negative=["a river"], templates=["{}!"]).fit([])
    assert (branch.negative_, branch.templates_) == (("a river",), ("{}!",))


def test_a_pack_of_the_users_own_is_taken(tiny_clip_model: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[strike]\npositive = ["a strike"]\ncontrast = {"a queue" = "so"}')
    branch = ClipZeroShotClassifier("strike", packs=path, encoder=tiny_clip_model)
    assert clone(branch).fit([]).negative_ == ("a queue",)
    with pytest.raises(InputError, match="'strik' is no event pack.*such as 'strike'"):
        branch.set_params(event="strik").fit([])


# What is refused


@pytest.mark.parametrize("y", [None, Y], ids=["no labels", "labels"])
@pytest.mark.parametrize("event", [["a protest"], PROMPTS])
def test_prompts_without_a_contrast_are_refused(
    tiny_clip_model: str, pictures: list[Image.Image], event: list[str], y: Any
) -> None:
    branch = ClipZeroShotClassifier(event, encoder=tiny_clip_model)
    words = "has no contrast.*always near to the only description.*Write for example"
    with pytest.raises(InputError, match=words):
        branch.fit(pictures, y)


@pytest.mark.parametrize("event", [None, [], [""], ["a", 3], 3, b"a"])
def test_what_are_no_prompts_is_refused(event: Any) -> None:
    with pytest.raises(InputError, match=r"event=.* are no prompts: expected a list"):
        ClipZeroShotClassifier(event, ["a parade"]).fit([])


@pytest.mark.parametrize("negative", [[], "a parade", [" "]])
def test_what_is_no_contrast_is_refused(negative: Any) -> None:
    with pytest.raises(InputError, match=r"negative=.* are no prompts"):
        ClipZeroShotClassifier("protest", negative).fit([])


@pytest.mark.parametrize(
    "templates", [[], "a {}", ["a photo"], ["{} {}"], ["{0}"], ["{"], [3]]
)
def test_what_are_no_templates_is_refused(templates: Any) -> None:
    words = r"templates=.* are no templates: expected a list of sentences with \{\}"
    with pytest.raises(InputError, match=words):
        ClipZeroShotClassifier("protest", templates=templates).fit([])


def test_an_unknown_pack_names_those_that_are_near() -> None:
    words = "'Protests' is no event pack.*such as 'protest'.*of your own, write"
    with pytest.raises(InputError, match=words):
        ClipZeroShotClassifier("Protests").fit([])


def test_a_prompt_that_is_too_long_is_refused_with_its_tokens(
    zero_shot: ClipZeroShotClassifier, files: list[bytes], encoded: list[bytes]
) -> None:
    zero_shot.set_params(event=["word " * 15, "word " * 30], templates=["a {}", "{}"])
    words = "2 prompts are too long: expected at most 20 tokens .* got 33 in 'a word"
    with pytest.raises(InputError, match=words):
        zero_shot.fit(Images(files), Y)
    assert encoded == []
    zero_shot.set_params(event=["word " * 17], templates=["a {}"])
    zero_shot.fit([])


@pytest.mark.parametrize(
    "encoder",
    [ImageEncoder(), LinearSVC(), PCA(), None],
    ids=["image", "svm", "pca", "none"],
)
def test_what_is_no_clip_encoder_is_refused(encoder: Any) -> None:
    with pytest.raises(InputError, match=r"encoder.*ClipEncoder\(\)"):
        ClipZeroShotClassifier("protest", encoder=encoder).fit([])


def test_labels_are_checked_before_anything_is_loaded(
    pictures: list[Image.Image],
) -> None:
    branch = ClipZeroShotClassifier("protest", encoder="/no/such/folder")
    with pytest.raises(InputError, match="y has 3 classes: expected two"):
        branch.fit(pictures, np.arange(40) % 3)
    names = np.where(Y, "yes", "no")
    with pytest.raises(InputError, match="positive class cannot be told from y"):
        branch.fit(pictures, names)
    with pytest.raises(InputError, match="pos_label='maybe' is no label of y"):
        branch.set_params(pos_label="maybe").fit(pictures, names)


@pytest.mark.parametrize("name", ["probe", "zero-shot"])
def test_an_unknown_model_or_device_is_refused(
    branches: dict[str, Any], pictures: list[Image.Image], name: str
) -> None:
    branch = branches[name]
    with pytest.raises(InputError, match="`device` must be 'auto' or one that"):
        clone(branch).set_params(encoder__device="tpu").fit(pictures, Y)
    with pytest.raises(ModelUnavailableError, match="such as 'ViT-B-32'"):
        branch.set_params(encoder__model="ViT-B32").fit(pictures, Y)
    with pytest.raises(InputError, match="`views` must be distinct names"):
        branch.set_params(encoder__views=("left",)).fit(pictures, Y)


# Calibration


def _margin(branch: ClipZeroShotClassifier, pictures: Any) -> NDArray[np.float64]:
    p = branch.fit([]).predict_proba(pictures)
    return np.log(p[:, 1] / p[:, 0])


def _labels(margin: NDArray[np.float64], *, noise: float = 1.0) -> NDArray[np.bool_]:
    noisy = np.random.default_rng(0).normal(margin, noise * margin.std())
    return noisy > np.quantile(noisy, 0.7)


def test_labels_calibrate_the_score_and_keep_its_order(
    zero_shot: ClipZeroShotClassifier, pictures: list[Image.Image]
) -> None:
    margin = _margin(zero_shot, pictures)
    y = _labels(margin)
    proba = zero_shot.fit(pictures, y).predict_proba(pictures)[:, 1]
    assert_array_equal(np.argsort(proba), np.argsort(margin))
    assert abs(proba.mean() - y.mean()) < 0.02
    assert zero_shot.classes_.tolist() == [False, True]
    names = [name for name, _ in zero_shot.calibration_.steps]
    assert names == ["scale", "logistic"]


def test_the_calibration_is_grouped_and_takes_weights(
    zero_shot: ClipZeroShotClassifier,
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mmevent.branches import prompts as _prompts

    seen: dict[str, Any] = {}
    original = _prompts.fit_head

    def watched(rows: Any, y: Any, **kwargs: Any) -> Any:
        seen.update(kwargs)
        return original(rows, y, **kwargs)

    monkeypatch.setattr(_prompts, "fit_head", watched)
    y = _labels(_margin(zero_shot, pictures))
    plain = zero_shot.fit(pictures, y).predict_proba(pictures)[:, 1]
    groups = np.arange(40) // 4
    weight = np.where(y, 9.0, 1.0)
    weight[0] = 0
    zero_shot.fit(pictures, y, groups=groups, sample_weight=weight)
    assert zero_shot.predict_proba(pictures)[:, 1].mean() > plain.mean() + 0.1
    assert_array_equal(seen["groups"] == seen["groups"][3], groups[1:] == 1)
    assert len(seen["sample_weight"]) == 39
    assert seen["class_weight"] is None


def test_with_two_labels_the_calibration_stays_near_their_share(
    zero_shot: ClipZeroShotClassifier, pictures: list[Image.Image]
) -> None:
    order = np.argsort(_margin(zero_shot, pictures))
    zero_shot.fit([pictures[order[0]], pictures[order[-1]]], [0, 1])
    proba = zero_shot.predict_proba(pictures)[:, 1]
    assert_array_equal(np.argsort(proba), order)
    assert 0.4 < proba.min() < 0.5 < proba.max() < 0.6


def test_names_of_classes_need_the_one_of_an_event(
    zero_shot: ClipZeroShotClassifier, pictures: list[Image.Image]
) -> None:
    margin = _margin(zero_shot, pictures)
    y = np.where(_labels(margin), "event", "other")
    zero_shot.set_params(pos_label="event").fit(pictures, y)
    assert zero_shot.classes_.tolist() == ["event", "other"]
    proba = zero_shot.predict_proba(pictures)[:, 0]
    assert_array_equal(np.argsort(proba), np.argsort(margin))


def test_prompts_that_run_against_the_labels_are_warned_of(
    zero_shot: ClipZeroShotClassifier, pictures: list[Image.Image]
) -> None:
    y = 1 - _labels(_margin(zero_shot, pictures), noise=0.1)
    words = "the prompts run against the labels: images that are labelled 1 are less"
    with pytest.warns(MmeventWarning, match=words) as caught:
        zero_shot.fit(pictures, y)
    assert caught[0].filename == __file__


# Images that are broken, and what is encoded


@pytest.mark.parametrize("name", ["probe", "zero-shot"])
def test_a_broken_image_changes_its_own_row_only(
    branches: dict[str, Any], files: list[bytes], name: str
) -> None:
    branch = branches[name].fit(Images(files), Y)
    expected = branch.predict_proba(Images(files))
    words = "1 images cannot be used and are given NaN"
    with pytest.warns(UnusableInputWarning, match=words):
        proba = branch.predict_proba(Images([*files[:5], b"broken", *files[5:]]))
    assert np.isnan(proba[5]).all()
    assert_allclose(np.delete(proba, 5, axis=0), expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore:the prompts run:mmevent.exceptions.MmeventWarning")
def test_each_distinct_image_and_prompt_is_encoded_once(
    branches: dict[str, Any], files: list[bytes], encoded: list[bytes]
) -> None:
    X, y = Images(files + files[:10]), np.r_[Y, Y[:10]]
    with shared_memo():
        for branch in branches.values():
            cross_validate(branch, X, y, cv=3, error_score="raise")
        fitted = branches["zero-shot"].fit(X, y)
    assert len(encoded) == len(set(encoded)) == 40
    assert fitted.encoder_.load().n_texts_encoded == 5 * 3


def test_a_cache_on_disk_spares_the_encoder(
    branches: dict[str, Any], files: list[bytes], encoded: list[bytes], tmp_path: Path
) -> None:
    for branch in branches.values():
        branch.set_params(encoder__cache=tmp_path / "cache.sqlite").fit(
            Images(files), Y
        )
        branch.predict(Images(files))
    assert len(encoded) == 40
    assert list(DiskStore(tmp_path / "cache.sqlite").usage().by_encoder.values()) == [
        40
    ]


# Copies, and what is saved


def test_branches_with_other_weights_are_told_apart_before_the_fit() -> None:
    from mmevent.persistence.references import _settings

    one, other = (ClipEncoder(pretrained=tag) for tag in ("openai", "laion"))
    assert _settings(one) != _settings(other) != _settings(ClipEncoder())
    assert _settings(one) == _settings(clone(one))


@pytest.mark.parametrize("name", ["probe", "zero-shot"])
def test_copies_hold_no_weights_and_predict_the_same(
    branches: dict[str, Any], pictures: list[Image.Image], name: str
) -> None:
    branch = branches[name].fit(pictures, Y)
    expected = branch.predict_proba(pictures)
    stored = pickle.dumps(branch)
    assert len(stored) < 20_000
    assert_array_equal(pickle.loads(stored).predict_proba(pictures), expected)
    assert_array_equal(copy.deepcopy(branch).predict_proba(pictures), expected)
    again = clone(branch)
    assert str(again.get_params()) == str(branch.get_params())
    assert_array_equal(again.fit(pictures, Y).predict_proba(pictures), expected)


def test_other_weights_than_those_of_the_fit_are_refused(
    probe: ImageClassifier, pictures: list[Image.Image], changed_copy: Any
) -> None:
    from safetensors.torch import load_file, save_file

    folder = changed_copy(probe.encoder.model)
    probe.set_params(encoder__model=f"local-dir:{folder}").fit(pictures, Y)
    del probe.encoder_._loaded
    path = folder / "open_clip_model.safetensors"
    tensors = load_file(path)
    tensors["visual.proj"] += 1
    save_file(tensors, path)
    with pytest.raises(ModelUnavailableError, match="weights are not the ones the mod"):
        probe.predict(pictures)


@pytest.fixture
def posts() -> tuple[Any, NDArray[np.intp]]:
    posts, y, _ = make_posts(60, image_size=16, share_broken=0.1, random_state=0)
    return posts, y


def _detector(image: Any, text: Any) -> EventDetector:
    return EventDetector(
        text=text, image=image, cv=2, estimate=None, n_trials=5, random_state=0
    )


@pytest.mark.filterwarnings("ignore::mmevent.exceptions.MmeventWarning")
@pytest.mark.parametrize("standalone", [False, True], ids=["referred to", "copied"])
def test_a_detector_with_both_comes_back_from_its_folder(
    branches: dict[str, Any],
    text_branch: Any,
    posts: Any,
    changed_copy: Any,
    tmp_path: Path,
    standalone: bool,
) -> None:
    folder = changed_copy(branches["probe"].encoder.model)
    for branch in branches.values():
        branch.set_params(encoder__model=str(folder))
    table, y = posts
    detector = _detector(list(branches.items()), None).fit(table, y)
    expected = detector.audit(table)
    detector.save(tmp_path / "model", standalone=standalone)
    if standalone:
        shutil.rmtree(folder)
    again = mmevent.load(tmp_path / "model")
    pd.testing.assert_frame_equal(again.audit(table), expected)
    assert {type(branch) for _, branch in again.image} == {
        ImageClassifier,
        ClipZeroShotClassifier,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusableInputWarning)
        again.fit(table, y)
    pd.testing.assert_frame_equal(again.audit(table), expected)


def test_a_saved_detector_names_the_encoder(
    probe: ImageClassifier, posts: Any, tmp_path: Path
) -> None:
    detector = _detector(probe, None).fit(*posts)
    detector.save(tmp_path / "model", standalone=True)
    facts = tmp_path / "model" / "detector.json"
    encoders = sorted(json.loads(facts.read_text())["encoders"][0].items())
    assert ("kind", "clip-image") in encoders
    card = (tmp_path / "model" / "README.md").read_text()
    assert "clip-image encoder" in card


@pytest.mark.filterwarnings("ignore::mmevent.exceptions.MmeventWarning")
def test_a_score_without_labels_can_be_a_frozen_branch(
    zero_shot: ClipZeroShotClassifier, text_branch: Any, posts: Any
) -> None:
    table, y = posts
    detector = _detector(FrozenEstimator(zero_shot.fit([])), None).fit(table, y)
    audit = detector.audit(table)
    assert audit["p_image"].notna().sum() > 10
    assert detector.image_.calibration_ is None


def test_a_model_of_the_hub_is_found_in_its_cache_without_a_socket(
    tiny_clip_model: str,
    pictures: list[Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"
    shutil.copytree(tiny_clip_model, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    encoder = ClipEncoder(local_files_only=True)
    branch = ImageClassifier(encoder).fit(pictures, Y)
    assert branch.encoder_.spec_["model"] == "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert branch.encoder_.spec_["revision"] == commit
    again = pickle.loads(pickle.dumps(branch))
    assert_array_equal(again.predict(pictures), branch.predict(pictures))
    name = "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    named = ImageClassifier(ClipEncoder(name, local_files_only=True))
    assert named.fit(pictures, Y).encoder_.spec_ == branch.encoder_.spec_


def test_a_model_that_is_not_here_says_how_to_fetch_it(
    pictures: list[Image.Image],
) -> None:
    words = "'laion/CLIP-.*' is not available.*open_clip_config.json.*hf download"
    with pytest.raises(ModelUnavailableError, match=words):
        ClipEncoder(local_files_only=True).transform(pictures)
