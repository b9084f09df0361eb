"""Which weights are trained, and the layer on top of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image
from sklearn.base import clone
from torch import nn

from mmevent import ImageClassifier, ImageEncoder, TextClassifier, TextEncoder
from mmevent.branches.head import fit_head
from mmevent.branches.network import find_blocks, layer_of, with_layer

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


def test_the_last_blocks_alone_are_trained(
    text_model: TextClassifier, texts: list[str]
) -> None:
    branch = clone(text_model).set_params(train=1).fit(texts, Y)
    trained = branch.encoder_._trained
    assert any(name.startswith("encoder.layer.1.") for name in trained)
    assert not any(
        name.startswith(("embeddings.", "encoder.layer.0.")) for name in trained
    )


def test_batch_norms_keep_their_statistics(
    image_model: ImageClassifier,
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch.nn import BatchNorm2d, Conv2d

    from mmevent.branches import network as _network

    forward, modes = _network.Network.forward, []

    def watched(self: Any, inputs: Any, labels: Any, weight: Any) -> Any:
        if self.training:
            for module in self.modules():
                if isinstance(module, (BatchNorm2d, Conv2d)):
                    modes.append((type(module), module.training))
        return forward(self, inputs, labels, weight)

    monkeypatch.setattr(_network.Network, "forward", watched)
    clone(image_model).set_params(n_epochs=1).fit(pictures, Y[:40])
    assert set(modes) == {(BatchNorm2d, False), (Conv2d, True)}


def test_a_head_is_a_layer_and_back() -> None:
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(30, 4)), np.arange(30) % 2
    head = fit_head(rows, y)
    wide = with_layer(head, layer_of(head), 2)
    twice = np.hstack([rows, rows])
    assert_allclose(wide.predict_proba(twice), head.predict_proba(rows), atol=1e-9)
    assert head[0].mean_.shape == (4,)


def test_blocks_are_found_in_the_list_that_holds_most_weights() -> None:
    layers = nn.ModuleList([nn.Linear(9, 9) for _ in range(3)])
    network = nn.ModuleDict({"table": nn.Embedding(99, 9), "layers": layers})
    assert find_blocks(network) == list(layers)
    assert find_blocks(nn.Linear(3, 3)) == []
