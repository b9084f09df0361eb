"""The audit: what was decided of each post, and why."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from detector.helpers import Data, draw
from PIL import Image
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import (
    GridSearchCV,
)

from mmevent import (
    EventDetector,
    TextClassifier,
    TextEncoder,
    fuse,
)
from mmevent.exceptions import (
    InputError,
    UnusableInputWarning,
)


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


def test_no_posts_have_no_predictions(fitted: EventDetector, data: Data) -> None:
    for empty in ([], data[0][:0]):
        assert fitted.predict(empty).shape == (0,)
        assert fitted.predict(empty).dtype == fitted.classes_.dtype
        assert fitted.predict_proba(empty).shape == (0, 2)
        assert fitted.decision_function(empty).shape == (0,)
        assert len(fitted.audit(empty)) == 0


@pytest.mark.parametrize(
    ("posts", "message"),
    [
        (["a post"], "post in row 0 is not a mapping"),
        (
            [{"id": 1, "text": "a", "images": None}, {"id": 1, "text": "b"}],
            "ids occur more than once",
        ),
        ([{"tweet": "a"}], "no column 'text', which the detector needs.*'tweet' is"),
        (
            [{"text": "a", "media": "a.jpg"}],
            "no column 'images', which .* pass an empty column of images",
        ),
        ([{"text": ["a"], "images": None}], "text of 1 of 1 posts"),
    ],
    ids=["no mapping", "ids", "no text", "no images", "text"],
)
def test_bad_posts_are_refused_at_predict(
    fitted: EventDetector, posts: Any, message: str
) -> None:
    for method in (fitted.predict, fitted.audit):
        with pytest.raises(InputError, match=message):
            method(posts)


# In batches


@pytest.mark.parametrize("batch_size", [1, 17, 1000])
def test_an_audit_in_batches_is_the_same(
    fitted: EventDetector, data: Data, batch_size: int
) -> None:
    whole, parts = fitted.audit(data[0]), fitted.audit(data[0], batch_size=batch_size)
    pd.testing.assert_frame_equal(whole, parts)
    none = fitted.audit(data[0][:0], batch_size=batch_size)
    assert list(none.columns) == list(whole.columns)
    assert len(none) == 0


def test_a_budget_is_for_all_batches_of_an_audit(
    fitted: EventDetector, data: Data
) -> None:
    detector = copy.deepcopy(fitted).set_policy("budget=7")
    parts = detector.audit(data[0], batch_size=9)
    pd.testing.assert_frame_equal(detector.audit(data[0]), parts)
    assert (parts["prediction"] == 1).sum() <= 7


def test_ids_are_checked_as_a_whole_and_not_by_batch(
    fitted: EventDetector, data: Data
) -> None:
    posts = data[0].head(22)
    ids = [1_234_567_890_123_400_000 + 10_000 * row for row in range(len(posts))]
    ids[0] += 7
    posts = posts.assign(id=ids)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "id of")
        audit = fitted.audit(posts, batch_size=20)
    assert audit["id"].tolist() == ids


@pytest.mark.parametrize("batch_size", [0, -3, 2.5, True, "many"])
def test_a_batch_size_that_is_none_is_refused(
    fitted: EventDetector, data: Data, batch_size: Any
) -> None:
    with pytest.raises(InputError, match=r"batch_size=.*Use batch_size=500"):
        fitted.audit(data[0], batch_size=batch_size)


@pytest.mark.parametrize("policy", ["f1", "budget=7", 0.9], ids=str)
def test_batches_of_any_form_of_posts_are_the_same(
    settings: dict[str, Any], data: Data, policy: Any
) -> None:
    names = {"text": "tweet", "images": "photos", "id": "key"}
    theirs = data[0].rename(columns=names).set_axis(range(500, 580))
    detector = EventDetector(**settings, columns=names, calibration="sigmoid")
    detector.fit(theirs, data[1]).set_policy(policy)
    others = draw(70, seed=3, share_no_text=0.3)[0].rename(columns=names)
    for posts in (others.set_axis(range(9, 79)), others.to_dict("records")):
        whole = detector.audit(posts)
        for batch_size in (16, np.int64(69)):
            parts = detector.audit(posts, batch_size=batch_size)
            pd.testing.assert_frame_equal(whole, parts)


def test_posts_without_ids_are_numbered_across_batches(fitted: EventDetector) -> None:
    posts = draw(30, seed=3)[0].drop(columns="id")
    assert fitted.audit(posts, batch_size=7)["id"].tolist() == list(range(30))


@pytest.mark.parametrize("batch_size", [None, 5])
def test_no_usable_image_is_said_once(
    fitted: EventDetector, batch_size: int | None
) -> None:
    posts = draw(20, seed=3)[0].assign(images=[["gone.png"]] * 9 + [None] * 11)
    message = "none of the 9 images can be used, such as 'gone.png: missing file': th"
    with pytest.warns(UnusableInputWarning, match=message) as caught:
        audit = fitted.audit(posts, batch_size=batch_size)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert (audit["image_status"][:9] == "gone.png: missing file").all()


@pytest.mark.parametrize("image", ["gone.png", b""], ids=["missing", "corrupt"])
@pytest.mark.parametrize("batch_size", [None, 5])
def test_ten_images_of_which_none_can_be_used_are_refused(
    fitted: EventDetector, batch_size: int | None, image: Any
) -> None:
    posts = draw(20, seed=3)[0].assign(images=[[image]] * 10 + [None] * 10)
    message = "none of the 10 images can be used.* pass an empty column of images"
    with pytest.raises(InputError, match=message):
        fitted.audit(posts, batch_size=batch_size)
    audit = fitted.audit(posts.assign(images=None), batch_size=batch_size)
    assert set(audit["rule"]) <= {"text", "none"}


# Texts that are cut off


@pytest.mark.parametrize(
    "wrap",
    [
        lambda branch: CalibratedClassifierCV(branch, cv=2),
        lambda branch: GridSearchCV(branch, {"encoder__batch_size": [8]}, cv=2),
    ],
    ids=["calibrated", "searched"],
)
def test_texts_that_are_cut_off_are_named_within_meta_estimators(
    wrap: Any, tiny_text_model: str, data: Data
) -> None:
    posts, y = data
    branch = TextClassifier(TextEncoder(tiny_text_model, max_length=5))
    detector = EventDetector(
        text=wrap(branch), image=None, cv=2, estimate=None, n_trials=1, random_state=0
    ).fit(posts, y)
    assert detector.audit(posts)["text_truncated"].sum() > 40


def test_an_audit_shows_no_picture_and_cuts_long_names(fitted: EventDetector) -> None:
    link = f"data:image/jpeg;base64,{'A' * 100_000}"
    posts = pd.DataFrame(
        {"text": ["long " * 5000] * 2, "images": [[bytes(100_000)], [link]]}
    )
    with pytest.warns(UnusableInputWarning):
        audit = fitted.audit(posts)
    assert len(audit._repr_html_()) < 5000
    assert audit["image_status"].str.len().max() < 500
    assert audit["image_status"].str.endswith(": remote").tolist() == [False, True]
