"""The text branch on CLIP's text tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mmevent import (
    ClipProbeClassifier,
    ClipTextClassifier,
    EventDetector,
    evaluate,
    load,
)
from mmevent._clip_encoder import ClipEncoder, ClipTextEncoder
from mmevent._encoding import spec_identity
from mmevent._loading import load_encoder
from mmevent.exceptions import InputError, ModelUnavailableError
from mmevent.synthetic import make_posts

Y = np.arange(60) % 2


@pytest.fixture(scope="module")
def fitted(tiny_clip_model: str, texts: list[str]) -> ClipTextClassifier:
    return ClipTextClassifier(model=tiny_clip_model).fit(texts, Y)


def test_features_are_those_that_prompts_have(
    tiny_clip_model: str, texts: list[str]
) -> None:
    encoder = load_encoder(ClipTextEncoder, tiny_clip_model)
    rows = encoder.encode(texts, batch_size=7)
    assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    prompts = load_encoder(ClipEncoder, tiny_clip_model).encode_texts(texts)
    assert_allclose(rows, prompts, atol=1e-6)


def test_the_two_towers_have_different_identities(tiny_clip_model: str) -> None:
    text = load_encoder(ClipTextEncoder, tiny_clip_model)
    image = load_encoder(ClipEncoder, tiny_clip_model)
    assert text.spec["weights_sha256"] == image.spec["weights_sha256"]
    assert text.identity != image.identity


def test_another_tokenizer_is_another_encoder(
    tiny_clip_model: str, fitted: ClipTextClassifier
) -> None:
    spec = fitted.encoder_spec_
    other = spec["preprocessing"] | {"tokenizer_sha256": "0" * 64}
    changed = spec | {"preprocessing": other}
    assert spec_identity("clip-text", changed) != spec_identity("clip-text", spec)
    with pytest.raises(ModelUnavailableError, match="The tokenizer is not the ones"):
        load_encoder(ClipTextEncoder, tiny_clip_model, expected=changed)


def test_longer_texts_are_cut_off_and_said(fitted: ClipTextClassifier) -> None:
    assert fitted.encoder_spec_["max_length"] == 20
    short, long = "a march", "a march " * 30
    assert fitted.is_truncated([short, long]).tolist() == [False, True]
    p = fitted.predict_proba([long, long + "and more"])
    assert_array_equal(p[0], p[1])


def test_one_model_can_do_both_sides(tiny_clip_model: str, tmp_path: Path) -> None:
    posts, y, _ = make_posts(60, image_size=16, random_state=0)
    detector = EventDetector(
        text=ClipTextClassifier(model=tiny_clip_model),
        image=ClipProbeClassifier(model=tiny_clip_model),
        cv=2,
        inner_cv=2,
        n_trials=5,
        random_state=0,
    ).fit(posts, y)
    expected = detector.audit(posts)
    assert expected["text_truncated"].dtype == bool
    detector.save(tmp_path / "model", standalone=True)
    loaded = load(tmp_path / "model")
    assert loaded.audit(posts).equals(expected)
    assert evaluate(loaded, posts, y).table.equals(detector.estimate_.table)
    assert len(list((tmp_path / "model" / "encoders").iterdir())) == 2


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"model": "ViT-B-33"}, ModelUnavailableError, "ViT-B-32"),
        ({"pretrained": "openia", "model": "RN50"}, ModelUnavailableError, "openai"),
        ({"head": "svm"}, InputError, "scikit-learn classifier"),
        ({"batch_size": 0}, InputError, "batch_size"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    parameters: dict[str, Any], error: type[Exception], message: str, texts: list[str]
) -> None:
    with pytest.raises(error, match=message):
        ClipTextClassifier(**parameters).fit(texts, Y)
