"""A saved detector, and posts and models that a test may take away."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from persistence.helpers import (
    Coded,
    Known,
    demo_detector,
    words,
)
from sklearn.ensemble import VotingClassifier
from sklearn.svm import SVC

from mmevent import (
    EventDetector,
    ImageClassifier,
    ImageEncoder,
    TextClassifier,
    TextEncoder,
)
from mmevent.synthetic.posts import make_posts


@pytest.fixture(scope="session")
def coded() -> Coded:
    posts, y, _ = make_posts(120, image_size=16, random_state=0)
    return posts, y


@pytest.fixture(scope="session")
def fitted(coded: Coded) -> EventDetector:
    posts, y = coded
    labels = pd.Series(np.where(y == 1, "protest", "other"), name="code")
    detector = demo_detector(pos_label="protest", estimate="nested")
    return detector.fit(posts, labels)


@pytest.fixture(scope="session")
def original(fitted: EventDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    fitted.save(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of a saved detector, to be changed by a test."""
    return Path(shutil.copytree(original, tmp_path / "model"))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the pictures and models that saved detectors refer to."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def illustrated(home: Path) -> Coded:
    """Fifty posts whose pictures are files, some without any."""
    posts, y, _ = make_posts(
        50, image_size=16, folder=home / "pictures", random_state=1
    )
    return posts[["id", "text", "images"]], y


@pytest.fixture(scope="session")
def models(tiny_text_model: str, tiny_image_model: str, home: Path) -> dict[str, str]:
    """Copies of the tiny models, which a test can take away for a moment."""
    return {
        "text": str(shutil.copytree(tiny_text_model, home / "models" / "text")),
        "image": str(shutil.copytree(tiny_image_model, home / "models" / "image")),
    }


@pytest.fixture(scope="session")
def encoded(models: dict[str, str], illustrated: Coded, home: Path) -> Known:
    """A detector with encoders in an ensemble and alone."""
    texts = TextEncoder(models["text"], device="cpu")
    ensemble = VotingClassifier(
        [
            ("logistic", TextClassifier(texts)),
            ("svm", TextClassifier(texts, head=SVC())),
            ("words", words()),
        ],
        voting="soft",
    )
    image = ImageClassifier(ImageEncoder(models["image"], device="cpu"))
    detector = demo_detector(text=ensemble, image=image, image_root=home / "pictures")
    return Known.of(detector.fit(*illustrated), illustrated)


@pytest.fixture(scope="session")
def tuned(models: dict[str, str], illustrated: Coded, home: Path) -> Known:
    """A detector whose encoders were fine-tuned."""
    short: dict[str, Any] = {"n_epochs": 1, "learning_rate": 1e-3}
    texts = TextEncoder(models["text"], device="cpu")
    pictures = ImageEncoder(models["image"], device="cpu")
    detector = demo_detector(
        text=TextClassifier(texts, train=1, **short),
        image=ImageClassifier(pictures, train="all", **short),
        image_root=home / "pictures",
    )
    return Known.of(detector.fit(*illustrated), illustrated)
