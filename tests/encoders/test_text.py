"""Texts to pooled token embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmevent.encoders.loading import load_model
from mmevent.encoders.text import TextModel


def _reference_states(folder: str, text: str) -> tuple[Any, Any]:
    """Return one text's token states, from an unbatched call of transformers."""
    from transformers import AutoModel, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(**inputs).last_hidden_state[0], model


def test_texts_are_averaged_over_their_tokens_and_normalised(
    tiny_text_model: str,
) -> None:
    states, _ = _reference_states(tiny_text_model, "the police march")
    mean = states.mean(dim=0)
    model = load_model(TextModel, tiny_text_model)
    rows = model.encode(
        ["a long text about the union and the city", "the police march"]
    )
    np.testing.assert_allclose(rows[1], mean / mean.norm(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 60])
def test_a_text_is_encoded_alike_in_any_batch_and_order(
    tiny_text_model: str, texts: list[str], batch_size: int
) -> None:
    model = load_model(TextModel, tiny_text_model)
    order = np.random.default_rng(0).permutation(len(texts))
    alone = np.vstack([model.encode([text]) for text in texts])
    rows = model.encode([texts[i] for i in order], batch_size=batch_size)
    np.testing.assert_allclose(rows, alone[order], atol=1e-5)


def test_an_empty_text_has_an_embedding(tiny_text_model: str) -> None:
    model = load_model(TextModel, tiny_text_model)
    assert np.isfinite(model.encode(["", "   "])).all()


def test_truncation_counts_tokens_with_the_special_ones(tiny_text_model: str) -> None:
    model = load_model(TextModel, tiny_text_model)
    texts = [" ".join(["march"] * n) for n in (21, 22, 23)]
    assert model.is_truncated(texts).tolist() == [False, False, True]


def test_what_is_cut_off_has_no_effect(tiny_text_model: str) -> None:
    model = load_model(TextModel, tiny_text_model)
    start = " ".join(["march"] * 22)
    rows = model.encode([start, start + " police dog"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


@pytest.mark.parametrize("mode", ["cls", "max", "mean"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_saved_text_encoder_is_the_same_encoder(
    tiny_text_model: str, tmp_path: Path, mode: str, normalize: bool
) -> None:
    model = load_model(TextModel, tiny_text_model, max_length=12)
    preprocessing = {**model.spec["preprocessing"], "prompt": "query: "}
    pooling = {"mode": mode, "normalize": normalize}
    spec = {**model.spec, "preprocessing": preprocessing, "pooling": pooling}
    changed = TextModel(model.network, model.tokenizer, spec, device="cpu")
    changed.save(tmp_path / "new")
    again = load_model(TextModel, str(tmp_path / "new"))
    assert again.identity == changed.identity
    texts = ["the police", "a sunny day in the city"]
    np.testing.assert_allclose(again.encode(texts), changed.encode(texts), atol=1e-6)


def test_texts_of_a_batch_have_as_many_tokens(
    tiny_text_model: str, texts: list[str]
) -> None:
    model = load_model(TextModel, tiny_text_model)
    long = " ".join(["march"] * 40)
    items = [*texts, long, "march", *[long] * 20]
    batches = model._batches(items, 32)
    assert sorted(i for batch in batches for i in batch) == list(range(len(items)))
    counts = [
        np.minimum(model._n_tokens([items[i] for i in batch]), 24) for batch in batches
    ]
    order = np.concatenate(counts)
    assert model.spec["max_length"] == 24
    assert (np.diff(order) >= 0).all()
    assert max(len(batch) * max(batch) for batch in counts) <= 512
    assert max(map(len, model._batches(texts, 3))) == 3
