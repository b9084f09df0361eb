from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmevent.branches.prompts import (
    PromptHead,
    check_lengths,
    check_prompts,
    check_templates,
    filled,
    text_features,
    unit,
)
from mmevent.encoders.clip import ClipModel
from mmevent.encoders.loading import load_model
from mmevent.exceptions import InputError, ModelUnavailableError
from mmevent.persistence.objects import from_bytes, same, to_bytes

RNG = np.random.default_rng(0)


def _unit(n: int, width: int = 6) -> Any:
    return unit(RNG.normal(size=(n, width))).astype(np.float32)


@pytest.fixture
def model(tiny_clip_model: str) -> ClipModel:
    return load_model(ClipModel, tiny_clip_model)


@pytest.fixture
def head() -> PromptHead:
    return PromptHead(_unit(3), _unit(4), 100.0)


def test_prompts_and_templates_stay_as_they_came() -> None:
    assert check_prompts("x", [" a ", "b"]) == (" a ", "b")
    assert check_templates(("a {}.", "{}")) == ("a {}.", "{}")
    assert filled("cat", ["a {}.", "{}"]) == ["a cat.", "cat"]


@pytest.mark.parametrize("prompts", [[], "a", None, [None], {"a": 1}, [""], ["\u200b"]])
def test_no_prompts_are_refused(prompts: Any) -> None:
    words = r"x=.* are no prompts: expected a list of one .* Write for example x=\["
    with pytest.raises(InputError, match=words):
        check_prompts("x", prompts)


@pytest.mark.parametrize("templates", ["{}", [], ["}"], ["{a}"], ["{}{}"], [None], 3])
def test_no_templates_are_refused(templates: Any) -> None:
    with pytest.raises(InputError, match=r"are no templates: .* with \{\} once in eac"):
        check_templates(templates)


def test_features_are_averaged_over_templates_and_scaled_again(
    model: ClipModel,
) -> None:
    templates = ["a photo of {}.", "{}"]
    rows = text_features(model, ["a dog", "a cat"], templates)
    single = model.encode_texts(["a photo of a cat.", "a cat"])
    assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    mean = single.mean(axis=0)
    assert_allclose(rows[1], mean / np.linalg.norm(mean), rtol=1e-5)


def test_a_prompt_that_gives_no_numbers_is_refused(
    model: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.ones((2, 16), np.float32)
    rows[1, 3] = np.nan
    monkeypatch.setattr(model, "encode_texts", lambda texts: rows)
    words = "does not read every prompt: expected finite .* got others for 'a cat'"
    with pytest.raises(ModelUnavailableError, match=words):
        text_features(model, ["a dog", "a cat"], ["{}"])


def test_the_longest_prompt_is_named_with_its_tokens(model: ClipModel) -> None:
    check_lengths(model, ["word " * 18], ["{}"])
    words = "1 prompts are too long: expected at most 20 tokens .* got 21 in 'word"
    with pytest.raises(InputError, match=words):
        check_lengths(model, ["word " * 19, "short"], ["{}"])


def test_both_columns_are_exact_where_the_model_is_sure(head: PromptHead) -> None:
    head.scale = 200.0
    proba = head.predict_proba(_unit(50))
    assert (proba == 1).any()
    assert len(np.unique(proba.min(axis=1))) == 50


def test_views_are_averaged(head: PromptHead) -> None:
    one, other = _unit(5), _unit(5)
    both = head.predict_proba(np.hstack([one, other]))
    assert_allclose(both, head.predict_proba(one + other), rtol=1e-4)


def test_an_image_without_features_is_even(head: PromptHead) -> None:
    assert_allclose(head.predict_proba(np.zeros((1, 6), np.float32)), 0.5)


@pytest.mark.parametrize("labels", [None, np.arange(20) % 2])
def test_a_head_comes_back_from_its_file(head: PromptHead, labels: Any) -> None:
    rows = _unit(20)
    if labels is not None:
        head.calibrate(rows, labels, None, np.arange(20))
    again = from_bytes(to_bytes(head, "the head"), "the head")
    assert same(again, head)
    assert_allclose(again.predict_proba(rows), head.predict_proba(rows))
