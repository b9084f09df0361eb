"""Static models: what they refuse, and what a long text does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_sentences import write_model2vec
from tokenizers import Tokenizer

from mmevent import TextClassifier, TextEncoder
from mmevent.encoders.loading import load_model
from mmevent.encoders.static import StaticModel
from mmevent.encoders.text import TextModel
from mmevent.exceptions import InputError

TEXTS = ["a march", "a protest", "a dog", "a sunny day", "", "police"] * 3


@pytest.fixture(scope="module")
def static_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("static")
    write_model2vec(folder)
    return str(folder)


def test_a_folder_of_model2vec_needs_no_list_of_modules(
    static_model: str, changed_copy: object
) -> None:
    copy: Path = changed_copy(static_model)  # type: ignore[operator]
    (copy / "modules.json").unlink()
    np.testing.assert_array_equal(
        load_model(TextModel, str(copy)).encode(TEXTS),
        load_model(TextModel, static_model).encode(TEXTS),
    )


@pytest.mark.parametrize("train", ["all", 1])
def test_a_static_model_cannot_be_trained(static_model: str, train: str | int) -> None:
    encoder = TextEncoder(static_model, cache=None, device="cpu")
    branch = TextClassifier(encoder, train=train)
    with pytest.raises(InputError, match=f"train={train!r} cannot .* static one"):
        branch.fit(TEXTS, [1, 1, 0, 0, 0, 1] * 3)


def test_a_head_is_fitted_on_a_static_model(static_model: str) -> None:
    encoder = TextEncoder(static_model, cache=None, device="cpu")
    branch = TextClassifier(encoder).fit(TEXTS, [1, 1, 0, 0, 0, 1] * 3)
    assert branch.predict_proba(["a march"]).shape == (1, 2)
    assert not branch.is_truncated([" ".join(["march"] * 2000)]).any()


def test_a_length_is_refused(static_model: str) -> None:
    with pytest.raises(InputError, match="max_length=64 cannot be used .* static"):
        TextEncoder(static_model, max_length=64).load()


def test_a_limit_of_the_tokenizer_is_known(
    static_model: str, changed_copy: object
) -> None:
    copy: Path = changed_copy(static_model)  # type: ignore[operator]
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    tokenizer.enable_truncation(3)
    tokenizer.save(str(copy / "tokenizer.json"))
    model = load_model(TextModel, str(copy))
    assert isinstance(model, StaticModel)
    assert model.spec["max_length"] == 3
    assert model.is_truncated(["a dog day", "a dog day a"]).tolist() == [False, True]


def test_texts_without_tokens_and_in_any_batch_are_encoded_alike(
    static_model: str,
) -> None:
    model = load_model(TextModel, static_model)
    alone = np.vstack([model.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(model.encode(TEXTS), alone, atol=1e-6)
    assert np.isfinite(alone).all()
