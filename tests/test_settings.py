"""Settings of the whole process change nothing, and are as before after a call."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
import torch
from other_settings import EACH, of_locale, of_torch
from PIL import Image

from mmevent import ImageClassifier, ImageEncoder, TextClassifier, TextEncoder
from mmevent._settings import own_settings, with_own_settings
from mmevent.encoders.runtime import full_precision
from mmevent.posts import parse_created_at, to_posts
from mmevent.rule import fuse


def state() -> list[Any]:
    config = sklearn.get_config()
    return [
        {name: config[name] for name in ("transform_output", "assume_finite")},
        config["enable_metadata_routing"],
        np.geterr(),
        torch.get_default_dtype(),
        torch.get_default_device().type,
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
    ]


@pytest.mark.parametrize("name", EACH)
def test_settings_are_put_aside_and_back(name: str) -> None:
    plain = state()
    with EACH[name]():
        changed = state()
        with own_settings():
            assert state() == plain
            with own_settings():
                assert state() == plain
        assert state() == changed
        with pytest.raises(KeyError):
            with_own_settings({}.__getitem__)("missing")
        assert state() == changed
    assert state() == plain


@pytest.mark.parametrize("first_of", [own_settings, full_precision])
def test_a_thread_keeps_its_format_when_another_ends(first_of: Any) -> None:
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with first_of():
            first_in.set()
            second_in.wait(10)
        first_out.set()

    torch.set_default_dtype(torch.float64)
    try:
        thread = threading.Thread(target=first)
        thread.start()
        first_in.wait(10)
        with own_settings():
            second_in.set()
            first_out.wait(10)
            assert torch.get_default_dtype() == torch.float32
        thread.join()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", EACH)
def test_a_text_branch_learns_the_same(
    name: str, tiny_text_model: str, texts: list[str]
) -> None:
    some, labels = texts[:12], [0, 1] * 6
    branch = TextClassifier(TextEncoder(tiny_text_model, cache=None))
    expected = branch.fit(some, labels).predict_proba(some)
    with EACH[name]():
        found = branch.fit(some, labels).predict_proba(some)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_fine_tuning_learns_the_same_under_all(
    tiny_text_model: str, texts: list[str]
) -> None:
    some, labels = texts[:12], [0, 1] * 6
    encoder = TextEncoder(tiny_text_model, cache=None)
    branch = TextClassifier(encoder, train="all", n_epochs=1, random_state=0)
    expected = branch.fit(some, labels).predict_proba(some)
    with ExitStack() as stack:
        for settings in EACH.values():
            stack.enter_context(settings())
        found = branch.fit(some, labels).predict_proba(some)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_image_branch_learns_the_same(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    some, labels = pictures[:12], [0, 1] * 6
    branch = ImageClassifier(ImageEncoder(tiny_image_model, cache=None))
    expected = branch.fit(some, labels).predict_proba(some)
    with of_torch():
        found = branch.fit(some, labels).predict_proba(some)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_features_come_as_the_caller_asked_for(tiny_text_model: str) -> None:
    encoder = TextEncoder(tiny_text_model, cache=None)
    plain = encoder.transform(["a march"])
    with EACH["scikit-learn"]():
        table = encoder.transform(["a march"])
    assert table.columns[0] == "textencoder0"
    np.testing.assert_array_equal(table.to_numpy(), plain)


def test_the_smallest_scores_are_no_error() -> None:
    with np.errstate(all="raise"):
        assert fuse([1e-310], [1e-310], alpha=1.0, beta=1.0)[0] < 1e-300


def test_times_do_not_depend_on_the_language(tmp_path: Path) -> None:
    posts = to_posts(
        [{"text": "a", "created_at": "Wed May 08 17:30:00 +0000 2024"}]
        + [{"text": "a", "created_at": "thu oct 3 17:30:00 +0200 2024"}]
    )
    with of_locale(tmp_path):
        found = parse_created_at(posts)
    assert [time.isoformat() for time in found] == [
        "2024-05-08T17:30:00+00:00",
        "2024-10-03T15:30:00+00:00",
    ]
