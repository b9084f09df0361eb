from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmevent._cache import shared_memo
from mmevent._encoding import embed, json_hash
from mmevent._image_encoder import ImageEncoder
from mmevent._loading import load_encoder
from mmevent._text_encoder import TextEncoder


def _keys(images: list[Image.Image]) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


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
    encoder = load_encoder(TextEncoder, tiny_text_model)
    rows = encoder.encode(
        ["a long text about the union and the city", "the police march"]
    )
    np.testing.assert_allclose(rows[1], mean / mean.norm(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_images_become_the_input_of_the_classifying_layer(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    encoder = load_encoder(ImageEncoder, tiny_image_model)
    pixels = encoder.processor(pictures[0], return_tensors="pt")["pixel_values"]
    pooled = encoder.model.resnet(pixels).pooler_output.flatten()
    # Pillow resizes there and torch here, which round differently.
    np.testing.assert_allclose(encoder.encode(pictures[:1])[0], pooled, atol=1e-2)


def test_timm_images_become_the_input_of_the_classifying_layer(
    tiny_timm_model: str, pictures: list[Image.Image]
) -> None:
    encoder = load_encoder(ImageEncoder, tiny_timm_model)
    pixels = encoder.processor(pictures[0], return_tensors="pt")["pixel_values"]
    timm_model = encoder.model.timm_model
    pooled = timm_model.forward_head(
        timm_model.forward_features(pixels), pre_logits=True
    )
    np.testing.assert_allclose(encoder.encode(pictures[:1])[0], pooled[0], atol=1e-2)


@pytest.mark.parametrize("batch_size", [1, 3, 60])
def test_a_text_is_encoded_alike_in_any_batch_and_order(
    tiny_text_model: str, texts: list[str], batch_size: int
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    order = np.random.default_rng(0).permutation(len(texts))
    alone = np.vstack([encoder.encode([text]) for text in texts])
    rows = encoder.encode([texts[i] for i in order], batch_size=batch_size)
    np.testing.assert_allclose(rows, alone[order], atol=1e-5)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 60])
def test_an_image_is_encoded_alike_in_any_batch_and_order(
    tiny_image_model: str,
    pictures: list[Image.Image],
    batch_size: int,
    n_threads: int,
    threads: Any,
) -> None:
    threads(n_threads)
    encoder = load_encoder(ImageEncoder, tiny_image_model)
    order = np.random.default_rng(0).permutation(len(pictures))
    alone = np.vstack([encoder.encode([picture]) for picture in pictures])
    rows = encoder.encode([pictures[i] for i in order], batch_size=batch_size)
    np.testing.assert_allclose(rows, alone[order], atol=1e-5)


@pytest.mark.parametrize("model", ["tiny_image_model", "tiny_timm_model"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 3)])
def test_pictures_of_odd_shape_are_encoded(
    request: pytest.FixtureRequest,
    pictures: list[Image.Image],
    model: str,
    size: tuple[int, int],
) -> None:
    encoder = load_encoder(ImageEncoder, request.getfixturevalue(model))
    rows = encoder.encode([pictures[0], Image.new("RGB", size), pictures[1]])
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows[::2], encoder.encode(pictures[:2]), atol=1e-5)


def test_a_very_long_picture_is_cut_about_its_centre(tiny_image_model: str) -> None:
    encoder = load_encoder(ImageEncoder, tiny_image_model)
    long = Image.new("RGB", (1, 5000))
    middle = Image.new("RGB", (1, 32), (255, 0, 0))
    long.paste(middle, (0, 2484))
    rows = encoder.encode([long, middle])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_a_picture_that_the_processor_refuses_changes_its_own_row_only(
    tiny_image_model: str,
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = load_encoder(ImageEncoder, tiny_image_model)
    monkeypatch.setattr(encoder, "steps", None)
    monkeypatch.setattr(encoder, "_twins", [])
    expected = encoder.encode(pictures[:3])
    process = encoder.processor

    def choosy(image: Image.Image, **kwargs: Any) -> Any:
        if image.size == (7, 7):
            raise ValueError("cannot take it")
        return process(image, **kwargs)

    monkeypatch.setattr(encoder, "processor", choosy)
    encoder._twins.clear()
    rows = encoder.encode([*pictures[:2], Image.new("RGB", (7, 7)), pictures[2]])
    assert np.isnan(rows[2]).all()
    np.testing.assert_allclose(rows[[0, 1, 3]], expected, atol=1e-5)


def test_an_output_that_is_not_finite_marks_its_own_row_only(
    tiny_text_model: str, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    expected = encoder.encode(texts[:4])
    forward = encoder._forward

    def broken(items: list[str]) -> Any:
        rows = forward(items).copy()
        rows[[text == texts[2] for text in items], 0] = np.inf
        return rows

    monkeypatch.setattr(encoder, "_forward", broken)
    monkeypatch.setattr(encoder, "_twins", [])
    rows = encoder.encode(texts[:4])
    assert np.isnan(rows[2]).all()
    np.testing.assert_allclose(rows[[0, 1, 3]], expected[[0, 1, 3]], atol=1e-5)


def test_each_distinct_text_is_encoded_once(tiny_text_model: str) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    before = encoder.n_encoded
    texts = ["a march", "a dog", "a march", "a march"]
    rows = embed(encoder, texts, texts)
    assert encoder.n_encoded - before == 2
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(rows[0], rows[3])


def test_embeddings_are_recomputed_without_a_memo_and_reused_in_one(
    tiny_text_model: str, texts: list[str]
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    before = encoder.n_encoded
    embed(encoder, texts, texts)
    embed(encoder, texts, texts)
    assert encoder.n_encoded - before == 120
    with shared_memo():
        first = embed(encoder, texts[:40], texts[:40])
        second = embed(encoder, texts, texts)
    assert encoder.n_encoded - before == 180
    np.testing.assert_array_equal(first, second[:40])


def test_threads_encode_an_item_once_between_them(
    tiny_text_model: str, texts: list[str]
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    before = encoder.n_encoded
    with shared_memo(), ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda _: embed(encoder, texts, texts), range(8)))
    assert encoder.n_encoded - before == 60
    np.testing.assert_array_equal(rows[0], rows[7])


def test_no_items_give_no_rows(tiny_text_model: str) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    assert embed(encoder, [], []).shape == (0, 16)
    assert encoder.is_truncated([]).shape == (0,)


def test_an_empty_text_has_an_embedding(tiny_text_model: str) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    assert np.isfinite(encoder.encode(["", "   "])).all()


def test_truncation_counts_tokens_with_the_special_ones(tiny_text_model: str) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    texts = [" ".join(["march"] * n) for n in (21, 22, 23)]
    assert encoder.is_truncated(texts).tolist() == [False, False, True]


def test_what_is_cut_off_has_no_effect(tiny_text_model: str) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    start = " ".join(["march"] * 22)
    rows = encoder.encode([start, start + " police dog"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_a_bar_is_shown_on_stderr_only_when_verbose(
    tiny_text_model: str, texts: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    embed(encoder, texts, texts)
    assert capfd.readouterr() == ("", "")
    embed(encoder, texts, texts, verbose=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "60/60" in err


def test_identity_has_no_name_in_it(tiny_text_model: str, changed_copy: Any) -> None:
    copy = changed_copy(tiny_text_model)
    original = load_encoder(TextEncoder, tiny_text_model)
    assert load_encoder(TextEncoder, str(copy)).identity == original.identity


@pytest.mark.parametrize("part", ["weights_sha256", "pooling", "max_length"])
def test_identity_changes_with_what_determines_the_output(
    tiny_text_model: str, part: str
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    spec = encoder.spec
    other = TextEncoder(
        encoder.model, encoder.tokenizer, {**spec, part: "x"}, device="cpu"
    )
    assert other.identity != encoder.identity


def test_tf32_is_allowed_again_after_encoding(tiny_text_model: str) -> None:
    from torch.backends import cudnn

    allowed = cudnn.allow_tf32
    load_encoder(TextEncoder, tiny_text_model).encode(["a march"])
    assert cudnn.allow_tf32 == allowed


@pytest.mark.parametrize("mode", ["cls", "max", "mean"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_saved_text_encoder_is_the_same_encoder(
    tiny_text_model: str, tmp_path: Path, mode: str, normalize: bool
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model, max_length=12)
    preprocessing = {**encoder.spec["preprocessing"], "prompt": "query: "}
    pooling = {"mode": mode, "normalize": normalize}
    spec = {**encoder.spec, "preprocessing": preprocessing, "pooling": pooling}
    changed = TextEncoder(encoder.model, encoder.tokenizer, spec, device="cpu")
    changed.save(tmp_path / "new")
    again = load_encoder(TextEncoder, str(tmp_path / "new"))
    assert again.identity == changed.identity
    texts = ["the police", "a sunny day in the city"]
    np.testing.assert_allclose(again.encode(texts), changed.encode(texts), atol=1e-6)


@pytest.mark.parametrize("model", ["tiny_image_model", "tiny_timm_model"])
def test_a_saved_image_encoder_is_the_same_encoder(
    request: pytest.FixtureRequest,
    pictures: list[Image.Image],
    tmp_path: Path,
    model: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    encoder = load_encoder(ImageEncoder, request.getfixturevalue(model))
    capfd.readouterr()  # what the making of the model wrote
    encoder.save(tmp_path / "new")
    again = load_encoder(ImageEncoder, str(tmp_path / "new"))
    assert again.identity == encoder.identity
    rows = embed(again, pictures, _keys(pictures))
    np.testing.assert_allclose(rows, encoder.encode(pictures), atol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_a_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert json_hash({"a": 1, "b": [2]}) == json_hash({"b": [2], "a": 1})


@pytest.fixture
def threads() -> Iterator[Any]:
    """What sets torch's threads, which are put back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_each_thread_has_batches_of_its_own(
    tiny_text_model: str,
    texts: list[str],
    threads: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    threads(1)
    expected = encoder.encode(texts, batch_size=2)
    seen: list[tuple[int, int]] = []
    forward = TextEncoder._forward
    met = threading.Barrier(3, timeout=60)  # each batch waits for the other threads'

    def watched(self: TextEncoder, items: list[str]) -> Any:
        met.wait()
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return forward(self, items)

    monkeypatch.setattr(TextEncoder, "_forward", watched)
    threads(3)
    rows = encoder.encode(texts[:12], batch_size=2)
    np.testing.assert_allclose(rows, expected[:12], atol=1e-6)
    assert len({thread for thread, _ in seen}) == 3
    assert {n for _, n in seen} == {1}
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 3
    assert torch.get_num_threads() == 3


def test_an_error_in_a_thread_ends_the_encoding(
    tiny_text_model: str,
    texts: list[str],
    threads: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    calls: list[int] = []

    def broken(self: TextEncoder, items: list[str]) -> Any:
        calls.append(len(items))
        if len(calls) > 2:
            threading.Event().wait(0.05)  # until the first error is seen
        raise RuntimeError("the model broke")

    monkeypatch.setattr(TextEncoder, "_forward", broken)
    threads(2)
    with pytest.raises(RuntimeError, match="the model broke"):
        encoder.encode(texts, batch_size=1)
    assert len(calls) < len(texts)
    assert torch.get_num_threads() == 2


def test_threads_share_the_weights(tiny_image_model: str) -> None:
    encoder = load_encoder(ImageEncoder, tiny_image_model)
    twin = encoder._twin()
    assert twin.model is not encoder.model
    ours, theirs = encoder.model.state_dict(), twin.model.state_dict()
    assert all(theirs[name].data_ptr() == ours[name].data_ptr() for name in ours)


def test_texts_of_a_batch_have_as_many_tokens(
    tiny_text_model: str, texts: list[str]
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    long = " ".join(["march"] * 40)
    items = [*texts, long, "march", *[long] * 20]
    batches = encoder._batches(items, 32)
    assert sorted(i for batch in batches for i in batch) == list(range(len(items)))
    counts = [
        np.minimum(encoder._n_tokens([items[i] for i in batch]), 24)
        for batch in batches
    ]
    order = np.concatenate(counts)
    assert encoder.spec["max_length"] == 24
    assert (np.diff(order) >= 0).all()
    assert max(len(batch) * max(batch) for batch in counts) <= 512
    assert max(map(len, encoder._batches(texts, 3))) == 3
