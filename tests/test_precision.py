from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch import nn

from mmevent import ImageClassifier, TextClassifier, _precision
from mmevent._clip_encoder import ClipEncoder
from mmevent._encoding import Encoder
from mmevent._image_encoder import ImageEncoder
from mmevent._loading import load_encoder
from mmevent._precision import BFLOAT16, FLOAT32, cast, dtype_of
from mmevent._text_encoder import TextEncoder
from mmevent.exceptions import InputError, MmeventWarning

MODELS = {
    "text": (TextEncoder, "tiny_text_model"),
    "image": (ImageEncoder, "tiny_image_model"),
    "timm": (ImageEncoder, "tiny_timm_model"),
    "clip": (ClipEncoder, "tiny_clip_model"),
}


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that computes in bfloat16, whatever this one does."""
    monkeypatch.setattr(_precision, "has_bf16", lambda device: True)


@pytest.fixture
def unable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that does not."""
    monkeypatch.setattr(_precision, "has_bf16", lambda device: False)


@pytest.fixture(params=MODELS)
def both(
    request: pytest.FixtureRequest, able: None
) -> tuple[Encoder, Encoder, list[Any]]:
    """Return the same encoder in both formats, and items for it."""
    kind, fixture = MODELS[request.param]
    folder = request.getfixturevalue(fixture)
    items = request.getfixturevalue("texts" if kind is TextEncoder else "pictures")
    wide = load_encoder(kind, folder, dtype=FLOAT32)
    return wide, load_encoder(kind, folder, dtype=BFLOAT16), items


def test_both_formats_say_nearly_the_same(
    both: tuple[Encoder, Encoder, list[Any]],
) -> None:
    wide, narrow, items = both
    assert (wide.spec["dtype"], narrow.spec["dtype"]) == (FLOAT32, BFLOAT16)
    a, b = wide.encode(items), narrow.encode(items)
    assert a.dtype == b.dtype == np.float32
    assert not np.array_equal(a, b)
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert (cosine > 0.999).all()


def test_the_format_is_part_of_the_identity(
    both: tuple[Encoder, Encoder, list[Any]],
) -> None:
    assert both[0].identity != both[1].identity


def test_a_saved_encoder_has_the_same_format(
    both: tuple[Encoder, Encoder, list[Any]], tmp_path: Path
) -> None:
    _, narrow, items = both
    narrow.save(tmp_path / "saved")
    again = load_encoder(type(narrow), str(tmp_path / "saved"), expected=narrow.spec)
    assert again.identity == narrow.identity
    assert_allclose(again.encode(items), narrow.encode(items), atol=1e-6)


def test_a_device_without_it_runs_in_float32_and_says_so(
    both: tuple[Encoder, Encoder, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, narrow, items = both
    expected = narrow.encode(items)
    monkeypatch.setattr(_precision, "has_bf16", lambda device: False)
    monkeypatch.setattr("mmevent._loading.find_encoder", lambda key: None)
    folder = narrow.spec["model"]
    with pytest.warns(MmeventWarning, match="fitted in bfloat16.*runs in float32"):
        there = load_encoder(type(narrow), folder, expected=narrow.spec)
    assert (there.dtype, there.spec) == (FLOAT32, narrow.spec)
    assert there.identity != narrow.identity
    assert_allclose(there.encode(items), expected, atol=0.05)


def test_a_fit_in_it_is_refused_where_the_device_lacks_it(
    unable: None, tiny_text_model: str
) -> None:
    branch = TextClassifier(model=tiny_text_model, dtype="bfloat16", cache=None)
    with pytest.raises(InputError, match=r"AVX512-BF16 or AMX.*Use dtype='auto'"):
        branch.fit(["a march", "a day"], [1, 0])


@pytest.mark.parametrize("dtype", ["float16", "bf16", None, torch.float32])
def test_a_format_that_is_not_known_is_refused(
    tiny_text_model: str, dtype: Any
) -> None:
    branch = TextClassifier(model=tiny_text_model, dtype=dtype)
    with pytest.raises(InputError, match="is not known: expected one of 'auto'"):
        branch.fit(["a march", "a day"], [1, 0])


def test_auto_casts_large_models_on_able_devices(able: None) -> None:
    small, large = nn.Linear(10, 10), nn.Linear(1000, 1000)
    assert dtype_of(cast(small, "auto", "cpu")) == FLOAT32
    assert dtype_of(cast(large, "auto", "cpu")) == BFLOAT16


def test_auto_casts_nothing_elsewhere(unable: None) -> None:
    assert dtype_of(cast(nn.Linear(1000, 1000), "auto", "cpu")) == FLOAT32


def test_auto_stays_with_float32_where_a_models_code_knows_no_other(
    able: None, tiny_text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_precision, "_WORTH_CASTING", 1)
    forward = TextEncoder._forward

    def choosy(self: TextEncoder, items: list[str]) -> Any:
        if self.dtype == BFLOAT16:
            raise RuntimeError("expected scalar type Float but found BFloat16")
        return forward(self, items)

    monkeypatch.setattr(TextEncoder, "_forward", choosy)
    assert load_encoder(TextEncoder, tiny_text_model).spec["dtype"] == FLOAT32


def test_statistics_of_batch_norms_keep_their_digits() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    cast(model, BFLOAT16, "cpu")
    assert model[0].weight.dtype == torch.bfloat16
    assert model[1].running_var.dtype == model[1].weight.dtype == torch.float32


def test_buffers_and_single_numbers_keep_their_digits() -> None:
    model = nn.Linear(4, 4)
    model.register_buffer("inv_freq", torch.tensor([0.123456789]), persistent=False)
    model.scale = nn.Parameter(torch.tensor(4.6052))
    cast(model, BFLOAT16, "cpu")
    assert model.weight.dtype == model.bias.dtype == torch.bfloat16
    assert model.inv_freq.dtype == model.scale.dtype == torch.float32


def test_a_training_in_it_is_refused_where_the_device_lacks_it(
    unable: None, tiny_text_model: str
) -> None:
    branch = TextClassifier(
        model=tiny_text_model, dtype="bfloat16", train="all", cache=None
    )
    with pytest.raises(InputError, match=r"AVX512-BF16 or AMX"):
        branch.fit(["a march", "a day"], [1, 0])


def test_scores_and_decisions_are_those_of_float32_to_a_tolerance(
    able: None, tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    y = [0, 1] * 20
    proba = {
        dtype: ImageClassifier(model=tiny_image_model, dtype=dtype, cache=None)
        .fit(pictures, y)
        .predict_proba(pictures)[:, 1]
        for dtype in (FLOAT32, BFLOAT16)
    }
    assert_allclose(proba[BFLOAT16], proba[FLOAT32], atol=0.02)
    clear = np.abs(proba[FLOAT32] - 0.5) > 0.02
    assert clear.sum() > 30
    assert_array_equal(proba[BFLOAT16][clear] > 0.5, proba[FLOAT32][clear] > 0.5)


def test_a_fine_tuned_encoder_is_cast_when_it_is_trained(
    able: None, tiny_text_model: str, texts: list[str], tmp_path: Path
) -> None:
    y = [0, 1] * (len(texts) // 2)
    branch = TextClassifier(
        model=tiny_text_model,
        train="all",
        n_epochs=1,
        dtype="bfloat16",
        cache=None,
        random_state=0,
    ).fit(texts[: len(y)], y)
    assert branch.pretrained_spec_["dtype"] == FLOAT32
    assert branch.encoder_spec_["dtype"] == BFLOAT16
    expected = branch.predict_proba(texts)
    del branch._encoder
    assert_allclose(branch.predict_proba(texts), expected, atol=1e-6)
    branch.save_encoder(tmp_path / "saved")
    del branch._encoder, branch._trained
    branch.encoder_spec_ = branch.encoder_spec_ | {"model": str(tmp_path / "saved")}
    assert_allclose(branch.predict_proba(texts), expected, atol=1e-6)
