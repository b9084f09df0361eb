"""Device, number format, backend, folded norms and smaller batches."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from copy import copy
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch import nn
from torch.nn import BatchNorm2d
from transformers.models.resnet.modeling_resnet import ResNetConvLayer

from mmevent import (
    ClipEncoder,
    ClipZeroShotClassifier,
    ImageClassifier,
    ImageEncoder,
    TextClassifier,
    TextEncoder,
)
from mmevent.encoders import runtime
from mmevent.encoders.clip import ClipModel
from mmevent.encoders.image import ImageModel
from mmevent.encoders.loading import load_model, with_weights
from mmevent.encoders.model import Model
from mmevent.encoders.runtime import (
    BFLOAT16,
    FLOAT32,
    cast,
    dtype_of,
    folded,
    full_precision,
    halved,
    has_foldable,
    resolve_device,
)
from mmevent.encoders.text import TextModel
from mmevent.exceptions import (
    DeviceMemoryError,
    InputError,
    MissingPackageError,
    MmeventWarning,
)

# The device


def test_the_device_is_found_by_itself() -> None:
    assert resolve_device("auto") == resolve_device(resolve_device("auto"))


@pytest.mark.parametrize("device", ["gpu", "cuda:99", None, 3])
def test_a_device_that_is_not_there_is_refused(device: Any) -> None:
    with pytest.raises(InputError, match=r"`device` must be 'auto' or one .*cpu"):
        resolve_device(device)


# A batch that is too large for the device's memory

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.filterwarnings("ignore:the device's memory")
def test_encoding_goes_on_with_half_a_batch(
    tiny_text_model: str, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(TextModel, tiny_text_model)
    expected = model.encode(texts)
    forward, sizes, bar = TextModel._forward, [], []

    def small(self: TextModel, items: list[str]) -> Any:
        if len(items) > 10:
            raise RuntimeError(FULL)
        sizes.append(len(items))
        return forward(self, items)

    monkeypatch.setattr(TextModel, "_forward", small)
    with pytest.warns(MmeventWarning, match=r"32 items .* goes on with 16. Set batch"):
        rows = model.encode(
            texts, batch_size=32, found=lambda batch, _: bar.append(len(batch))
        )
    assert_allclose(rows, expected, atol=1e-6)
    assert max(sizes) == 8
    assert sum(sizes) == sum(bar) == len(texts)


def test_a_single_item_that_is_too_large_is_an_error(
    tiny_text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(TextModel, tiny_text_model)

    def full(self: TextModel, items: list[str]) -> Any:
        raise RuntimeError(FULL)

    monkeypatch.setattr(TextModel, "_forward", full)
    with pytest.raises(DeviceMemoryError, match=r"one item at a time.*device='cpu'"):
        model.encode(["a march"])


def test_another_error_is_raised_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="^shapes differ$"):
        halved(8, RuntimeError("shapes differ"), "encoding", "batch_size={}")


def test_rows_are_halved_upwards() -> None:
    with pytest.warns(MmeventWarning):
        assert halved(5, RuntimeError(FULL), "encoding", "batch_size={}") == 3


# Batch norms folded into convolutions, and activations in place


@pytest.fixture
def model(tiny_image_model: str) -> ImageModel:
    """A model whose batch norms have seen something."""
    model = with_weights(load_model(ImageModel, tiny_image_model), {}, "float32")
    draw = torch.Generator().manual_seed(0)
    for norm in norms(model.network):
        norm.running_mean.normal_(generator=draw)
        norm.running_var.uniform_(0.5, 2, generator=draw)
    return model


def norms(model: Any) -> list[BatchNorm2d]:
    """Find a model's batch norms."""
    return [module for module in model.modules() if isinstance(module, BatchNorm2d)]


def plain(model: ImageModel, picture: Image.Image) -> np.ndarray:
    """Return the features that the model itself gives."""
    with torch.inference_mode():
        batch = model._floats(torch.stack(model._views(picture)))
        return model._compute(batch).ravel().numpy()


def test_folded_norms_give_the_same_features(
    model: ImageModel, pictures: list[Image.Image]
) -> None:
    rows = model.encode(pictures[:3], batch_size=1)
    for row, picture in zip(rows, pictures, strict=False):
        assert_allclose(row, plain(model, picture), rtol=1e-4, atol=1e-5)
    assert model._twins
    assert not any(norms(twin.network) for twin in model._twins)
    assert norms(model.network)


def test_a_norm_that_does_not_follow_its_neighbour_is_not_folded(
    model: ImageModel, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    def otherwise(layer: Any, pixels: torch.Tensor) -> torch.Tensor:
        return layer.normalization(layer.activation(layer.convolution(pixels)))

    monkeypatch.setattr(ResNetConvLayer, "forward", otherwise)
    (row,) = model.encode(pictures[:1])
    assert_allclose(row, plain(model, pictures[0]), rtol=1e-5)
    assert all(norms(twin.network) for twin in model._twins)


def test_features_of_folded_norms_are_others_in_the_cache(
    model: ImageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = model.identity
    monkeypatch.setitem(vars(model), "_is_foldable", False)
    assert model.identity != before


def test_a_transformer_has_none(tiny_timm_model: str) -> None:
    assert not has_foldable(load_model(ImageModel, tiny_timm_model).network)


def test_activations_work_in_place_where_they_only_predict(
    model: ImageModel,
) -> None:
    (worker,) = model._workers(1)
    plain, lean = (
        [m.inplace for m in model.modules() if isinstance(m, nn.ReLU)]
        for model in (model.network, worker.network)
    )
    assert not any(plain)
    assert sum(lean) == 3  # two more follow a sum


def test_what_cannot_be_folded_runs_as_it_is(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    model = with_weights(load_model(ImageModel, tiny_image_model), {}, "float32")
    expected = model.encode(pictures[:2])
    other = with_weights(model, {}, "float32")
    layer = next(m for m in other.network.modules() if isinstance(m, ResNetConvLayer))
    layer.normalization.register_module("of_another_width", nn.Conv2d(3, 4, 1))
    layer.normalization.register_module("beside", BatchNorm2d(7))
    assert_allclose(other.encode(pictures[:2]), expected, atol=1e-5)
    assert all(norms(twin.network) for twin in other._twins)


def timm_network(name: str) -> Any:
    """Make a small network of timm."""
    return pytest.importorskip("timm").create_model(name, pretrained=False)


def clip_network() -> Any:
    """Make a small residual network of CLIP."""
    module = pytest.importorskip("open_clip.modified_resnet")
    return module.ModifiedResNet((1, 1, 1, 1), 8, 2, image_size=32, width=8)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(partial(timm_network, "test_resnet"), id="residual of timm"),
        # Its norms hold the activations.
        pytest.param(partial(timm_network, "test_efficientnet"), id="efficient"),
        pytest.param(clip_network, id="residual of CLIP"),
    ],
)
def test_networks_of_others_are_folded(make: Callable[[], Any]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().eval()
        for norm in norms(model):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        batch = torch.randn(2, 3, 32, 32)
    lean = folded(model)
    with torch.inference_mode():
        assert_allclose(lean(batch), model(batch), rtol=1e-3, atol=1e-4)
    assert len(norms(lean)) <= 1 < len(norms(model))  # one follows a whole stem


# Backends

BACKENDS = {
    "text": (TextModel, "tiny_text_model", "texts"),
    "image": (ImageModel, "tiny_image_model", "pictures"),
    "timm": (ImageModel, "tiny_timm_model", "pictures"),
    "clip": (ClipModel, "tiny_clip_model", "pictures"),
}


@pytest.fixture(scope="module")
def compiled(request: pytest.FixtureRequest) -> Callable[[str], Model]:
    """Return a function that gives a model under OpenVINO, which is compiled once."""
    pytest.importorskip("openvino")

    @cache
    def compile_once(name: str) -> Model:
        kind, fixture, _ = BACKENDS[name]
        folder = request.getfixturevalue(fixture)
        return load_model(kind, folder, backend="openvino")

    return compile_once


@pytest.fixture(params=BACKENDS)
def both(
    request: pytest.FixtureRequest, compiled: Callable[[str], Model]
) -> tuple[Model, Model, list[Any]]:
    """Return a model under torch and under OpenVINO, and items for it."""
    kind, fixture, items = BACKENDS[request.param]
    folder = request.getfixturevalue(fixture)
    return (
        load_model(kind, folder),
        compiled(request.param),
        request.getfixturevalue(items),
    )


def test_openvino_gives_what_torch_gives(
    both: tuple[Model, Model, list[Any]],
) -> None:
    ours, theirs, items = both
    expected = ours.encode(items)
    assert_allclose(theirs.encode(items), expected, atol=1e-4)
    assert_allclose(theirs.encode(items[:1]), expected[:1], atol=1e-4)
    assert theirs.identity != ours.identity
    assert theirs.spec == ours.spec


def test_a_compilation_logs_nothing_and_reports_to_nobody(tiny_text_model: str) -> None:
    pytest.importorskip("openvino")
    script = f"""
import logging, os
handlers = list(logging.root.handlers)
os.fork = None  # by which the package that reports would begin
from mmevent.encoders.loading import load_model
from mmevent.encoders.text import TextModel
model = load_model(TextModel, {tiny_text_model!r}, backend="openvino")
assert model.compiled is not None
assert logging.root.handlers == handlers and not logging.root.filters
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__)
import sys
assert "openvino_telemetry" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"
    assert "not found in decomp table" not in done.stderr


def test_a_model_that_it_computes_otherwise_is_refused_and_logged(
    tiny_text_model: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("openvino")
    caplog.set_level(logging.INFO, "mmevent")
    monkeypatch.setattr("mmevent.encoders.runtime._ALIKE", 1.1)
    model = copy(load_model(TextModel, tiny_text_model))
    with pytest.raises(InputError, match=r"gives other features.*backend='torch'"):
        model.compile()
    assert "OpenVINO is not used for" in caplog.text
    assert "it gives other features there" in caplog.text


def test_a_model_that_torch_cannot_export_is_refused(
    tiny_text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    model = copy(load_model(TextModel, tiny_text_model))

    def strange(*inputs: Any, **options: Any) -> Any:
        raise ValueError("a branch that depends on data")

    monkeypatch.setattr("torch.export.export", strange)
    with pytest.raises(InputError, match="got: a branch that depends on data"):
        model.compile()
    assert model.compiled is None


def test_a_branch_keeps_its_backend(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    pytest.importorskip("openvino")
    y = [0, 1] * 20
    branch = ImageClassifier(ImageEncoder(tiny_image_model, backend="openvino"))
    proba = branch.fit(pictures, y).predict_proba(pictures)
    del branch.encoder_._loaded
    assert_allclose(branch.predict_proba(pictures), proba, atol=1e-6)
    assert branch.encoder_._loaded.compiled is not None
    branch.encoder_.set_params(backend="torch")
    assert_allclose(branch.predict_proba(pictures), proba, atol=1e-3)
    assert branch.encoder_._loaded.compiled is None


def test_a_fine_tuned_encoder_is_compiled_with_its_own_weights(
    tiny_text_model: str, texts: list[str]
) -> None:
    pytest.importorskip("openvino")
    settings = {"train": "all", "n_epochs": 1, "random_state": 0}
    some = texts[:20]
    proba = {
        backend: TextClassifier(
            TextEncoder(tiny_text_model, backend=backend, cache=None), **settings
        )
        .fit(some, [0, 1] * (len(some) // 2))
        .predict_proba(some)
        for backend in ("torch", "openvino")
    }
    assert_allclose(proba["openvino"], proba["torch"], atol=1e-3)


def test_an_image_that_gives_no_numbers_marks_its_own_row(
    compiled: Callable[[str], Model],
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = compiled("timm")
    expected = model.encode(pictures[:4])
    floats = model._floats

    def spoilt(batch: Any) -> Any:
        found = floats(batch)
        found[1] = np.nan
        return found

    monkeypatch.setattr(model, "_floats", spoilt)
    monkeypatch.setattr(model, "_twins", [])
    rows = model.encode(pictures[:4])
    assert np.isnan(rows[1]).all()
    assert_allclose(rows[[0, 2, 3]], expected[[0, 2, 3]], atol=1e-5)


def test_a_backend_that_is_not_installed_says_how_to_install_it(
    tiny_text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    branch = TextClassifier(TextEncoder(tiny_text_model, backend="openvino"))
    with pytest.raises(MissingPackageError, match=r'pip install "mmevent\[openvino\]"'):
        branch.fit(["a march", "a day"], [1, 0])


@pytest.mark.parametrize("backend", ["onnx", None, 1])
def test_a_backend_that_is_not_known_is_refused(
    tiny_clip_model: str, backend: Any
) -> None:
    encoder = ClipEncoder(
        f"local-dir:{tiny_clip_model}", pretrained=None, backend=backend
    )
    with pytest.raises(InputError, match="expected one of 'torch', 'openvino'"):
        ClipZeroShotClassifier("protest", encoder=encoder).fit([])


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_another_device_than_the_processor_is_refused(
    tiny_text_model: str, device: str
) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(InputError, match=rf"device '{device}'.*Use device='cpu'"):
        load_model(TextModel, tiny_text_model, device=device, backend="openvino")


# Number formats

MODELS = {
    "text": (TextModel, "tiny_text_model"),
    "image": (ImageModel, "tiny_image_model"),
    "timm": (ImageModel, "tiny_timm_model"),
    "clip": (ClipModel, "tiny_clip_model"),
}


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that computes in bfloat16, whatever this one does."""
    monkeypatch.setattr(runtime, "has_bf16", lambda device: True)
    monkeypatch.setattr("mmevent.encoders.loading.has_bf16", lambda device: True)


@pytest.fixture
def unable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that does not."""
    monkeypatch.setattr(runtime, "has_bf16", lambda device: False)


@pytest.fixture(params=MODELS)
def formats(
    request: pytest.FixtureRequest, able: None
) -> tuple[Model, Model, list[Any]]:
    """Return the same model in both formats, and items for it."""
    kind, fixture = MODELS[request.param]
    folder = request.getfixturevalue(fixture)
    items = request.getfixturevalue("texts" if kind is TextModel else "pictures")
    wide = load_model(kind, folder, dtype=FLOAT32)
    return wide, load_model(kind, folder, dtype=BFLOAT16), items


def test_both_formats_say_nearly_the_same(
    formats: tuple[Model, Model, list[Any]],
) -> None:
    wide, narrow, items = formats
    assert (wide.spec["dtype"], narrow.spec["dtype"]) == (FLOAT32, BFLOAT16)
    a, b = wide.encode(items), narrow.encode(items)
    assert a.dtype == b.dtype == np.float32
    assert not np.array_equal(a, b)
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert (cosine > 0.999).all()


def test_the_format_is_part_of_the_identity(
    formats: tuple[Model, Model, list[Any]],
) -> None:
    assert formats[0].identity != formats[1].identity


def test_a_saved_encoder_has_the_same_format(
    formats: tuple[Model, Model, list[Any]], tmp_path: Path
) -> None:
    _, narrow, items = formats
    narrow.save(tmp_path / "saved")
    again = load_model(type(narrow), str(tmp_path / "saved"), expected=narrow.spec)
    assert again.identity == narrow.identity
    assert_allclose(again.encode(items), narrow.encode(items), atol=1e-6)


def test_a_device_without_it_runs_in_float32_and_says_so(
    formats: tuple[Model, Model, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, narrow, items = formats
    expected = narrow.encode(items)
    monkeypatch.setattr(runtime, "has_bf16", lambda device: False)
    monkeypatch.setattr("mmevent.encoders.loading.find_model", lambda key: None)
    folder = narrow.spec["model"]
    with pytest.warns(MmeventWarning, match="fitted in bfloat16.*runs in float32"):
        there = load_model(type(narrow), folder, expected=narrow.spec)
    assert (there.dtype, there.spec) == (FLOAT32, narrow.spec)
    assert there.identity != narrow.identity
    assert_allclose(there.encode(items), expected, atol=0.05)


def test_a_fit_in_it_is_refused_where_the_device_lacks_it(
    unable: None, tiny_text_model: str
) -> None:
    branch = TextClassifier(TextEncoder(tiny_text_model, dtype="bfloat16"))
    with pytest.raises(InputError, match=r"AVX512-BF16 or AMX.*Use dtype='auto'"):
        branch.fit(["a march", "a day"], [1, 0])


@pytest.mark.parametrize("dtype", ["float16", "bf16", None, torch.float32])
def test_a_format_that_is_not_known_is_refused(
    tiny_text_model: str, dtype: Any
) -> None:
    branch = TextClassifier(TextEncoder(tiny_text_model, dtype=dtype))
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
    monkeypatch.setattr(runtime, "_WORTH_CASTING", 1)
    forward = TextModel._forward

    def choosy(self: TextModel, items: list[str]) -> Any:
        if self.dtype == BFLOAT16:
            raise RuntimeError("expected scalar type Float but found BFloat16")
        return forward(self, items)

    monkeypatch.setattr(TextModel, "_forward", choosy)
    assert load_model(TextModel, tiny_text_model).spec["dtype"] == FLOAT32


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
    encoder = TextEncoder(tiny_text_model, dtype="bfloat16", cache=None)
    branch = TextClassifier(encoder, train="all")
    with pytest.raises(InputError, match=r"AVX512-BF16 or AMX"):
        branch.fit(["a march", "a day"], [1, 0])


def test_scores_and_decisions_are_those_of_float32_to_a_tolerance(
    able: None, tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    y = [0, 1] * 20
    proba = {
        dtype: ImageClassifier(ImageEncoder(tiny_image_model, dtype=dtype))
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
    encoder = TextEncoder(tiny_text_model, dtype="bfloat16", cache=None)
    branch = TextClassifier(encoder, train="all", n_epochs=1, random_state=0)
    fitted = branch.fit(texts[: len(y)], y).encoder_
    assert fitted.pretrained_spec_["dtype"] == FLOAT32
    assert fitted.spec_["dtype"] == BFLOAT16
    expected = branch.predict_proba(texts)
    del fitted._loaded
    assert_allclose(branch.predict_proba(texts), expected, atol=1e-6)
    fitted.save(tmp_path / "saved")
    del fitted._loaded, fitted._trained
    fitted.spec_ = fitted.spec_ | {"model": str(tmp_path / "saved")}
    assert_allclose(branch.predict_proba(texts), expected, atol=1e-6)


# What is done silently is logged


def test_a_network_that_is_not_folded_is_logged(
    model: ImageModel,
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mmevent")
    monkeypatch.setattr("mmevent.encoders.views._SAME", -1.0)
    model.encode(pictures[:1])
    assert "are not folded: features differ" in caplog.text
    other = with_weights(model, {}, FLOAT32)
    caplog.clear()

    def broken(network: Any) -> Any:
        raise ValueError("it has norms of its own")

    monkeypatch.setattr("mmevent.encoders.views.folded", broken)
    other.encode(pictures[:1])
    assert "are not folded: it has norms of its own" in caplog.text
    assert {record.name for record in caplog.records} == {"mmevent.encoders.views"}


def test_a_format_that_is_not_taken_is_logged(
    able: None,
    tiny_text_model: str,
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mmevent")
    monkeypatch.setattr(runtime, "_WORTH_CASTING", 1)
    forward = TextModel._forward

    def choosy(self: TextModel, items: list[str]) -> Any:
        if self.dtype == BFLOAT16:
            raise RuntimeError("expected scalar type Float but found BFloat16")
        return forward(self, items)

    monkeypatch.setattr(TextModel, "_forward", choosy)
    load_model(TextModel, tiny_text_model)
    assert f"{tiny_text_model} runs in float32, not in bfloat16" in caplog.text
    caplog.clear()
    encoder = TextEncoder(tiny_text_model, cache=None)
    TextClassifier(encoder, train=1, n_epochs=1).fit(texts, [0, 1] * 30)
    assert "runs in float32, not in bfloat16: expected scalar" in caplog.text


def test_nothing_is_logged_to_a_handler_of_ours() -> None:
    # In a new process, since a page of the documentation sets the level in this one.
    code = """
import logging
import mmevent.encoders.views
names = ("mmevent", "mmevent.encoders", "mmevent.encoders.views")
loggers = [logging.getLogger(name) for name in names]
print([(one.handlers, one.level) for one in loggers])
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert said.stdout == "[([], 0), ([], 0), ([], 0)]\n"


# Settings of the whole process


def test_precision_is_put_back_by_the_last_of_several_threads() -> None:
    from torch.backends import cudnn

    allowed = cudnn.allow_tf32
    cudnn.allow_tf32 = True
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with full_precision():
            first_in.set()
            second_in.wait(10)
        first_out.set()

    try:
        thread = threading.Thread(target=first)
        thread.start()
        first_in.wait(10)
        with full_precision():
            second_in.set()
            first_out.wait(10)
            assert not cudnn.allow_tf32
        thread.join()
        assert cudnn.allow_tf32
    finally:
        cudnn.allow_tf32 = allowed


@pytest.fixture
def roundings() -> Iterator[Callable[[], list[str]]]:
    """Read torch's own settings, which are put back after the test."""
    backends = torch.backends
    if not hasattr(backends, "fp32_precision"):
        pytest.skip("this torch has no such setting")
    cudnn, mkldnn = backends.cudnn, backends.mkldnn
    parts = [backends, backends.cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul]

    def read() -> list[str]:
        return [part.fp32_precision for part in parts]

    before = read()
    for part in parts:
        part.fp32_precision = "none"
    yield read
    for part, value in zip(parts, before, strict=True):
        part.fp32_precision = value


@pytest.mark.parametrize("whole", [True, False])
def test_roundings_of_the_caller_are_put_aside_and_back(
    roundings: Callable[[], list[str]], whole: bool
) -> None:
    plain = roundings()
    part = torch.backends if whole else torch.backends.cuda.matmul
    part.fp32_precision = "tf32"
    changed = roundings()
    with full_precision():
        assert "tf32" not in roundings()
    assert roundings() == changed
    part.fp32_precision = "none"
    assert roundings() == plain


def test_older_settings_can_be_read_meanwhile() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_setting_that_fails_leaves_none_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(wanted: str) -> None:
        raise ValueError(wanted)

    torch.set_float32_matmul_precision("high")
    torch.set_default_dtype(torch.float64)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(torch, "set_float32_matmul_precision", fail)
            with pytest.raises(ValueError, match="high"), full_precision():
                pass
        assert torch.get_default_dtype() == torch.float64
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("fixture", ["tiny_text_model", "tiny_clip_model"])
def test_settings_of_the_caller_move_no_vector(
    request: pytest.FixtureRequest,
    changed_copy: Any,
    texts: list[str],
    pictures: Any,
    fixture: str,
) -> None:
    folder = request.getfixturevalue(fixture)
    kind, items = (
        (TextModel, texts) if fixture == "tiny_text_model" else (ClipModel, pictures)
    )
    expected = load_model(kind, folder).encode(items[:4])
    before = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
            model = load_model(kind, str(changed_copy(folder)))
            rows = model.encode(items[:4])
            if fixture == "tiny_clip_model":
                assert np.isfinite(model.encode_texts(["a dog"])).all()
        seen = torch.get_default_dtype(), torch.get_float32_matmul_precision()
        assert seen == (torch.float64, "medium")
    finally:
        torch.set_default_dtype(before[0])
        torch.set_float32_matmul_precision(before[1])
    assert_allclose(rows, expected, atol=1e-5)  # bfloat16 moves them by 1e-2
    assert model.identity == load_model(kind, folder).identity
