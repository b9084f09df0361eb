"""Tiny models with random weights, and no network for any test."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from tiny_models import (
    WORDS,
    write_clip_model,
    write_clip_with,
    write_detection_model,
    write_image_model,
    write_text_model,
    write_timm_model,
)

# Read when the libraries are first imported: one thread a test process, an empty hub
# cache, and no offline mode that would hide an attempt to use the network.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="mmevent-hub-")
for _name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT"):
    os.environ.pop(_name, None)
os.environ["MMEVENT_CACHE"] = "off"


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def _freeze_what_lives() -> None:
    """Let later garbage collections pass over libraries, tests and shared models.

    Each training ends with one, which would take a second for all that lives here.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def network_attempts() -> list[str]:
    """What tried to use the network so far; a test that expects some clears it."""
    return []


@pytest.fixture(autouse=True)
def _no_network(
    monkeypatch: pytest.MonkeyPatch, network_attempts: list[str]
) -> Iterator[None]:
    """Refuse every connection and name look-up, and fail the test that tried one."""
    connect = socket.socket.connect

    def refuse(*args: Any, **kwargs: Any) -> Any:
        network_attempts.append(repr(args[:2]))
        raise OSError(f"no network in tests: {args[:2]!r}")

    def connect_local(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None):
            refuse(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_local)
    monkeypatch.setattr(socket.socket, "connect_ex", connect_local)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "gethostbyname", refuse)
    yield
    assert not network_attempts


@pytest.fixture(scope="session")
def tiny_text_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a 2-layer BERT with 16 dimensions that reads 24 tokens."""
    return write_text_model(tmp_path_factory.mktemp("tiny_text_model"))


@pytest.fixture(scope="session")
def tiny_detection_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of an object detector with random weights that sees people and cars."""
    return write_detection_model(tmp_path_factory.mktemp("tiny_detection_model"))


@pytest.fixture(scope="session")
def tiny_image_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a 2-stage ResNet with 8 features that sees 16 x 16 pixels."""
    return write_image_model(tmp_path_factory.mktemp("tiny_image_model"))


@pytest.fixture(scope="session")
def tiny_timm_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a 1-layer vision transformer of timm that sees 16 x 16 pixels."""
    pytest.importorskip("timm")
    return write_timm_model(tmp_path_factory.mktemp("tiny_timm_model"))


@pytest.fixture(scope="session")
def tiny_clip_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a CLIP of two 1-layer transformers that sees 16 x 16 pixels."""
    return write_clip_model(tmp_path_factory.mktemp("tiny_clip_model"))


@pytest.fixture(scope="session")
def write_clip() -> Any:
    """Return a function that writes a CLIP with a given text tower to a folder."""
    return write_clip_with


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Sixty texts: every second one is about a protest."""
    rng = np.random.default_rng(0)
    about = (WORDS, ["protest", "march", "police", "strike", "crowd", "rally"])
    return [
        " ".join(
            [*rng.choice(WORDS, size=4), *rng.choice(about[i % 2], size=3), str(i)]
        )
        for i in range(60)
    ]


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Forty pictures of 20 x 24 pixels: every second one is rather red."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(40, 24, 20, 3))
    pixels[1::2, ..., 0] = rng.integers(150, 256, size=(20, 24, 20))
    return [Image.fromarray(p.astype(np.uint8)) for p in pixels]


@pytest.fixture
def changed_copy(tmp_path: Path) -> Any:
    """Return a function that copies a model's folder, to be changed by a test."""

    def copy(folder: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "copy"))

    return copy


class KeywordBranch(ClassifierMixin, BaseEstimator):
    """A text branch that learns the odds of each word, in a millisecond."""

    def __init__(self, *, smoothing: float = 0.5) -> None:
        self.smoothing = smoothing

    def fit(self, X: Any, y: Any) -> KeywordBranch:
        self.classes_ = np.unique(y)
        positive = np.asarray(y) == self.classes_[1]
        counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        for text, label in zip(X, positive, strict=True):
            counts[int(label)].update(set(text.lower().split()))
        a, b = self.smoothing, np.bincount(positive, minlength=2) + 2 * self.smoothing
        self.odds_ = {
            word: float(
                np.log((counts[1][word] + a) / b[1])
                - np.log((counts[0][word] + a) / b[0])
            )
            for word in {*counts[0], *counts[1]}
        }
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        evidence = [
            sum(self.odds_.get(word, 0.0) for word in set(text.lower().split()))
            for text in X
        ]
        p = 1 / (1 + np.exp(-np.array(evidence, dtype=float)))
        return np.column_stack([1 - p, p])


class ColourBranch(ClassifierMixin, BaseEstimator):
    """An image branch that learns how warm the pictures of each class are."""

    def fit(self, X: Any, y: Any, *, sample_weight: Any = None) -> ColourBranch:
        self.classes_ = np.unique(y)
        warmth = self._warmth(X)
        weight = np.ones(len(warmth)) if sample_weight is None else sample_weight
        means = [
            np.average(warmth[y == label], weights=weight[y == label])
            for label in self.classes_
        ]
        self.middle_ = float(np.mean(means))
        self.slope_ = float((means[1] - means[0]) / (np.var(warmth) + 1e-3))
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        p = 1 / (1 + np.exp(-self.slope_ * (self._warmth(X) - self.middle_)))
        return np.column_stack([1 - p, p])

    def _warmth(self, X: Any) -> NDArray[np.float64]:
        means = [np.asarray(X[i], dtype=float).mean(axis=(0, 1)) for i in range(len(X))]
        rgb = np.array(means).reshape(-1, 3) / 255
        return rgb[:, 0] - rgb[:, 2]


@pytest.fixture(scope="session")
def text_branch() -> Any:
    """An unfitted text branch that learns from words, without any model."""
    return KeywordBranch()


@pytest.fixture(scope="session")
def image_branch() -> Any:
    """An unfitted image branch that learns from colours, without any model."""
    return ColourBranch()


@pytest.fixture
def encoded_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that an encoder is given, in order, but for a load's first try."""
    from mmevent.encoders.text import TextModel

    given: list[str] = []
    forward = TextModel._forward

    def watched(self: TextModel, items: list[str]) -> Any:
        given.extend(item for item in items if item != "a text")
        return forward(self, items)

    monkeypatch.setattr(TextModel, "_forward", watched)
    return given
