from __future__ import annotations

import subprocess
import sys
from copy import copy
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from mmevent import ClipTextClassifier, ImageClassifier, TextClassifier
from mmevent._clip_encoder import ClipEncoder, ClipTextEncoder
from mmevent._encoding import Encoder
from mmevent._image_encoder import ImageEncoder
from mmevent._loading import load_encoder
from mmevent._text_encoder import TextEncoder
from mmevent.exceptions import InputError, MissingPackageError

ENCODERS = {
    "text": (TextEncoder, "tiny_text_model", "texts"),
    "image": (ImageEncoder, "tiny_image_model", "pictures"),
    "timm": (ImageEncoder, "tiny_timm_model", "pictures"),
    "clip": (ClipEncoder, "tiny_clip_model", "pictures"),
    "clip's texts": (ClipTextEncoder, "tiny_clip_model", "texts"),
}


@pytest.fixture(params=ENCODERS)
def both(request: pytest.FixtureRequest) -> tuple[Encoder, Encoder, list[Any]]:
    """Return an encoder under torch and under OpenVINO, and items for it."""
    pytest.importorskip("openvino")
    kind, fixture, items = ENCODERS[request.param]
    folder = request.getfixturevalue(fixture)
    return (
        load_encoder(kind, folder),
        load_encoder(kind, folder, backend="openvino"),
        request.getfixturevalue(items),
    )


def test_openvino_gives_what_torch_gives(
    both: tuple[Encoder, Encoder, list[Any]],
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
from mmevent._loading import load_encoder
from mmevent._text_encoder import TextEncoder
encoder = load_encoder(TextEncoder, {tiny_text_model!r}, backend="openvino")
assert encoder.compiled is not None
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


def test_a_model_that_it_computes_otherwise_is_refused(
    tiny_text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("mmevent._backends._ALIKE", 1.1)
    encoder = copy(load_encoder(TextEncoder, tiny_text_model))
    with pytest.raises(InputError, match=r"gives other features.*backend='torch'"):
        encoder.compile()


def test_a_model_that_torch_cannot_export_is_refused(
    tiny_text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    encoder = copy(load_encoder(TextEncoder, tiny_text_model))

    def strange(*inputs: Any, **options: Any) -> Any:
        raise ValueError("a branch that depends on data")

    monkeypatch.setattr("torch.export.export", strange)
    with pytest.raises(InputError, match="got: a branch that depends on data"):
        encoder.compile()
    assert encoder.compiled is None


def test_a_branch_keeps_its_backend(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    pytest.importorskip("openvino")
    y = [0, 1] * 20
    branch = ImageClassifier(model=tiny_image_model, backend="openvino", cache=None)
    proba = branch.fit(pictures, y).predict_proba(pictures)
    del branch._encoder
    assert_allclose(branch.predict_proba(pictures), proba, atol=1e-6)
    assert branch._encoder.compiled is not None
    branch.set_params(backend="torch")
    assert_allclose(branch.predict_proba(pictures), proba, atol=1e-3)
    assert branch._encoder.compiled is None


def test_a_fine_tuned_encoder_is_compiled_with_its_own_weights(
    tiny_text_model: str, texts: list[str]
) -> None:
    pytest.importorskip("openvino")
    settings = {"train": "all", "n_epochs": 1, "cache": None, "random_state": 0}
    some = texts[: len(texts) // 2 * 2]
    proba = {
        backend: TextClassifier(model=tiny_text_model, backend=backend, **settings)
        .fit(some, [0, 1] * (len(some) // 2))
        .predict_proba(some)
        for backend in ("torch", "openvino")
    }
    assert_allclose(proba["openvino"], proba["torch"], atol=1e-3)


def test_an_image_that_gives_no_numbers_marks_its_own_row(
    tiny_timm_model: str, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    encoder = load_encoder(ImageEncoder, tiny_timm_model, backend="openvino")
    expected = encoder.encode(pictures[:4])
    floats = encoder._floats

    def spoilt(batch: Any) -> Any:
        found = floats(batch)
        found[1] = np.nan
        return found

    monkeypatch.setattr(encoder, "_floats", spoilt)
    monkeypatch.setattr(encoder, "_twins", [])
    rows = encoder.encode(pictures[:4])
    assert np.isnan(rows[1]).all()
    assert_allclose(rows[[0, 2, 3]], expected[[0, 2, 3]], atol=1e-5)


def test_a_backend_that_is_not_installed_says_how_to_install_it(
    tiny_text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    branch = TextClassifier(model=tiny_text_model, backend="openvino")
    with pytest.raises(MissingPackageError, match=r'pip install "mmevent\[openvino\]"'):
        branch.fit(["a march", "a day"], [1, 0])


@pytest.mark.parametrize("backend", ["onnx", None, 1])
def test_a_backend_that_is_not_known_is_refused(
    tiny_clip_model: str, backend: Any
) -> None:
    branch = ClipTextClassifier(
        model=f"local-dir:{tiny_clip_model}", pretrained=None, backend=backend
    )
    with pytest.raises(InputError, match="expected one of 'torch', 'openvino'"):
        branch.fit(["a march", "a day"], [1, 0])


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_another_device_than_the_processor_is_refused(
    tiny_text_model: str, device: str
) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(InputError, match=rf"device '{device}'.*Use device='cpu'"):
        load_encoder(TextEncoder, tiny_text_model, device=device, backend="openvino")
