"""The encoders as scikit-learn transformers."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from mmevent import ClipEncoder, ImageEncoder, TextEncoder
from mmevent.encoders.base import Encoder
from mmevent.encoders.cache import shared_memo
from mmevent.encoders.disk_cache import DiskStore
from mmevent.encoders.text import TextModel
from mmevent.exceptions import (
    InputError,
    ModelUnavailableError,
    UnusableInputWarning,
)
from mmevent.posts.images import Images

KINDS = {
    "text": (TextEncoder, "tiny_text_model", "texts", 16),
    "image": (ImageEncoder, "tiny_image_model", "pictures", 16),
    "clip": (ClipEncoder, "tiny_clip_model", "pictures", 32),
}
Case = tuple[Encoder, Any, int]


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest) -> Case:
    """Return an encoder, items for it, and the width of its features."""
    kind, folder, items, width = KINDS[request.param]
    encoder = kind(request.getfixturevalue(folder))
    return encoder, request.getfixturevalue(items), width


def test_items_become_rows_without_a_fit(case: Case) -> None:
    encoder, items, width = case
    rows = encoder.transform(items)
    assert rows.shape == (len(items), width)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert encoder.fit(items) is encoder
    assert_array_equal(encoder.fit_transform(items), rows)
    assert encoder.transform(items[:0]).shape == (0, width)
    found = encoder.encode(items)
    assert_array_equal(found.rows, rows)
    assert set(found.statuses) == {"ok"}


def test_columns_have_names(case: Case) -> None:
    encoder, items, width = case
    names = encoder.get_feature_names_out()
    prefix = type(encoder).__name__.lower()
    assert names.tolist() == [f"{prefix}{i}" for i in range(width)]
    assert names.dtype == object
    frame = clone(encoder).set_output(transform="pandas").transform(items[:3])
    assert frame.columns.tolist() == names.tolist()


def test_it_works_in_a_pipeline(case: Case) -> None:
    encoder, items, _ = case
    y = np.arange(len(items)) % 2
    steps = [StandardScaler(), PCA(3, random_state=0), LogisticRegression()]
    pipeline = make_pipeline(encoder, *steps).fit(items, y)
    assert pipeline.predict_proba(items).shape == (len(items), 2)
    assert_array_equal(
        clone(pipeline).fit(items, y).predict(items), pipeline.predict(items)
    )
    stored = pickle.loads(pickle.dumps(pipeline))
    assert_array_equal(stored.predict(items), pipeline.predict(items))
    assert pipeline[:-2].get_feature_names_out()[0].endswith("encoder0")


def test_its_parameters_are_searched(tiny_text_model: str, texts: list[str]) -> None:
    pipeline = make_pipeline(TextEncoder(tiny_text_model), LogisticRegression())
    grid = {"textencoder__max_length": [4, 24], "logisticregression__C": [0.1, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    search.fit(texts, np.arange(60) % 2)
    best = search.best_estimator_[0]
    assert best.load().spec["max_length"] == best.max_length


def test_it_reads_a_column_of_texts(tiny_text_model: str, texts: list[str]) -> None:
    frame = pd.DataFrame({"text": texts, "likes": np.arange(60.0)})
    columns = ColumnTransformer(
        [
            ("text", TextEncoder(tiny_text_model), "text"),
            ("likes", StandardScaler(), ["likes"]),
        ]
    )
    rows = columns.fit_transform(frame)
    assert_allclose(rows[:, :16], TextEncoder(tiny_text_model).transform(texts))
    assert columns.get_feature_names_out()[[0, 16]].tolist() == [
        "text__textencoder0",
        "likes__likes",
    ]


def test_copies_hold_no_weights(case: Case) -> None:
    encoder, items, _ = case
    rows = encoder.transform(items)
    stored = pickle.dumps(encoder)
    assert len(stored) < 5_000
    for other in (pickle.loads(stored), copy.deepcopy(encoder), clone(encoder)):
        assert not hasattr(other, "_loaded")
        assert_array_equal(other.transform(items), rows)


def test_nothing_is_checked_or_loaded_before_it_is_needed() -> None:
    wrong = {"batch_size": 0, "device": "x", "dtype": 3, "cache": 5}
    for kind, *_ in KINDS.values():
        encoder = kind(3, **wrong)
        assert {name: encoder.get_params()[name] for name in wrong} == wrong
        assert clone(encoder).fit([]).get_params()["model"] == 3


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ("batch_size", 0, "`batch_size` must be a whole number"),
        ("dtype", "float16", "dtype='float16' is not known"),
        ("backend", "onnx", "backend='onnx' is not known"),
        ("device", "tpu", "`device` must be 'auto'"),
        ("cache", 3, "cache=3 names no file"),
        ("views", ("left",), "`views` must be distinct names"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_loaded(
    case: Case, monkeypatch: pytest.MonkeyPatch, parameter: str, value: Any, words: str
) -> None:
    encoder, items, _ = case
    if parameter not in encoder.get_params():
        return
    monkeypatch.setattr(encoder.model_class, "from_source", None)
    with pytest.raises(InputError, match=words):
        clone(encoder).set_params(**{parameter: value}).transform(items)


def test_a_model_that_is_not_there_is_refused(case: Case) -> None:
    encoder, items, _ = case
    with pytest.raises(ModelUnavailableError, match="does not exist"):
        clone(encoder).set_params(model="./nowhere").transform(items)


@pytest.mark.parametrize("kind", ["image", "clip"])
def test_an_image_that_cannot_be_used_is_nan_and_has_a_status(
    request: pytest.FixtureRequest, pictures: list[Image.Image], kind: str
) -> None:
    make, folder, _, width = KINDS[kind]
    encoder = make(request.getfixturevalue(folder))
    images = Images([pictures[0], b"", "gone.png", b"<html>", pictures[1]])
    with pytest.warns(UnusableInputWarning, match="3 images cannot be used") as caught:
        rows = encoder.transform(images)
    assert caught[0].filename == __file__
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, True, True, False]
    assert_allclose(rows[[0, 4]], encoder.transform(pictures[:2]), atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        statuses = encoder.encode(images).statuses
        with shared_memo():
            encoder.encode(images)
            again = encoder.encode(images).statuses
    expected = ["ok", "corrupt", "missing file", "unsupported", "ok"]
    assert statuses.tolist() == again.tolist() == expected
    assert images.with_statuses(statuses).statuses.tolist() == expected


def test_a_text_whose_features_are_not_finite_is_nan(
    tiny_text_model: str, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = TextModel._forward

    def broken(self: TextModel, items: list[str]) -> Any:
        rows = forward(self, items).copy()
        rows[["%" in text for text in items], 1] = np.inf
        return rows

    monkeypatch.setattr(TextModel, "_forward", broken)
    encoder = TextEncoder(tiny_text_model)
    with pytest.warns(UnusableInputWarning, match="1 texts cannot be used"):
        rows = encoder.transform(["10 %", *texts[:3]])
    assert np.isnan(rows[0]).all()
    assert np.isfinite(rows[1:]).all()


def test_what_is_no_sequence_of_items_is_refused(case: Case) -> None:
    encoder, _, _ = case
    for wrong in ("a text", 3, None, b"bytes"):
        with pytest.raises(InputError, match="X must be a sequence of"):
            encoder.transform(wrong)


def test_a_pinned_encoder_keeps_to_its_model(case: Case, changed_copy: Any) -> None:
    encoder, items, _ = case
    folder = changed_copy(encoder.model)
    encoder = clone(encoder).set_params(model=str(folder))
    encoder.pin()
    rows = encoder.transform(items)
    encoder.set_params(model="./nowhere")
    assert_array_equal(encoder.transform(items), rows)
    stored = pickle.loads(pickle.dumps(encoder))
    assert stored.spec_ == encoder.spec_
    del encoder._loaded
    _change_weights(folder)
    words = "weights are not the ones the model was fitted with"
    with pytest.raises(ModelUnavailableError, match=words):
        stored.transform(items)
    free = clone(stored).set_params(model=str(folder))
    assert not hasattr(free, "spec_")
    assert np.abs(free.transform(items) - rows).max() > 1e-3


def test_a_saved_encoder_gives_the_same(case: Case, tmp_path: Path) -> None:
    encoder, items, _ = case
    encoder.save(tmp_path / "new")
    other = clone(encoder).set_params(model=tmp_path / "new")
    assert_allclose(other.transform(items), encoder.transform(items), atol=1e-6)
    with pytest.raises(InputError, match="`folder` must be new or empty"):
        encoder.save(tmp_path / "new")


def test_a_model_is_found_without_being_loaded(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, _, _ = case
    monkeypatch.setattr(encoder.model_class, "from_source", None)
    encoder.find()
    with pytest.raises(ModelUnavailableError, match="does not exist"):
        clone(encoder).set_params(model="./nowhere").find()


def test_tags_say_that_no_fit_is_needed(case: Case) -> None:
    encoder, _, _ = case
    tags = get_tags(encoder)
    assert not tags.requires_fit
    assert not tags.input_tags.two_d_array
    is_text = isinstance(encoder, TextEncoder)
    assert tags.input_tags.string is tags.input_tags.one_d_array is is_text


def test_progress_is_shown_where_it_is_asked_for(
    case: Case, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder, items, _ = case
    encoder.transform(items)
    assert capfd.readouterr().err == ""
    encoder.encode(items, verbose=True)
    assert f"{len(items)}/{len(items)}" in capfd.readouterr().err


def _change_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    (path,) = folder.glob("*.safetensors")
    tensors = load_file(path)
    changed = {
        name: tensor + 1 if tensor.is_floating_point() and tensor.dim() else tensor
        for name, tensor in tensors.items()
    }
    save_file(changed, path, metadata={"format": "pt"})


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_interrupt_keeps_what_was_encoded(
    tiny_text_model: str,
    texts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: Any,
    n_threads: int,
) -> None:
    encoder = TextEncoder(tiny_text_model, batch_size=2, cache=tmp_path / "c.sqlite")
    encoder.transform(["a text"])  # which loads it
    threads(n_threads)
    attempt, before, given = TextModel._attempt, threading.active_count(), []

    def interrupted(self: TextModel, items: Any, batch: Any, limit: Any) -> Any:
        given.append(batch)
        if len(given) == 12:
            raise KeyboardInterrupt
        return attempt(self, items, batch, limit)

    monkeypatch.setattr(TextModel, "_attempt", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoder.transform(texts)
    assert threading.active_count() == before
    assert len(given) < 20
    kept = sum(DiskStore(tmp_path / "c.sqlite").usage().by_encoder.values()) - 1
    assert kept >= 20
    monkeypatch.setattr(TextModel, "_attempt", attempt)
    n_before = encoder.load().n_encoded
    encoder.transform(texts)
    assert encoder.load().n_encoded - n_before == len(texts) - kept
