"""transformers' Trainer: which epoch was best, and who prepares batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone

from mmevent import ImageClassifier, ImageEncoder, TextClassifier, TextEncoder

Y = np.arange(60) % 2
SHORT: dict[str, Any] = {"n_epochs": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def text_model(tiny_text_model: str) -> TextClassifier:
    encoder = TextEncoder(tiny_text_model, cache=None)
    return TextClassifier(encoder, train="all", **SHORT)


@pytest.fixture(scope="module")
def image_model(tiny_image_model: str) -> ImageClassifier:
    encoder = ImageEncoder(tiny_image_model, cache=None)
    return ImageClassifier(encoder, train="all", **SHORT)


def test_the_best_epoch_is_found_where_the_batch_was_halved() -> None:
    from transformers import TrainerState

    from mmevent.branches.trainer import best_epoch

    # Three epochs of 20 steps, then others of 17.
    log = [
        {"step": step, "epoch": epoch, "eval_average_precision": 0.5}
        for step, epoch in [(20, 1.0), (40, 2.0), (60, 3.0), (77, 4.0)]
    ]
    state = TrainerState(log_history=log, max_steps=136, best_global_step=60)
    assert best_epoch(state) == 3
    state.best_global_step = None
    assert best_epoch(state) == 0


def test_training_stops_where_validation_rows_are_no_longer_ordered_better(
    text_model: TextClassifier, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmevent.branches import network as _network
    from mmevent.branches import trainer as _trainer

    forward, steps = _network.Network.forward, []
    figures = iter([0.5, 0.7, 0.6, 0.7])

    def watched(self: Any, inputs: Any, labels: Any, weight: Any) -> Any:
        if self.training:
            steps.append(len(labels))
        return forward(self, inputs, labels, weight)

    monkeypatch.setattr(_network.Network, "forward", watched)
    monkeypatch.setattr(
        _trainer, "average_precision_score", lambda *args, **kwargs: next(figures)
    )
    branch = clone(text_model).set_params(n_epochs=8).fit(texts, Y)
    assert branch.n_epochs_ == 2  # and two more pass
    n_learning = sum(steps[:4])
    assert 50 < n_learning < 53  # all but a seventh
    assert sum(steps) == 4 * n_learning + 2 * 60  # then two epochs on all rows


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_batches_can_be_prepared_by_other_processes(
    image_model: ImageClassifier,
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mmevent.branches import trainer as _trainer

    monkeypatch.setattr(_trainer, "n_workers", lambda device: 2)
    branch = clone(image_model).set_params(n_epochs=1).fit(pictures, Y[:40])
    assert np.isfinite(branch.predict_proba(pictures)).all()
