from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmevent._common import json_hash
from mmevent.encoders.base import embed
from mmevent.encoders.cache import shared_memo
from mmevent.encoders.image import ImageModel
from mmevent.encoders.loading import load_model
from mmevent.encoders.text import TextModel
from mmevent.posts.images import Images


def _keys(images: list[Image.Image]) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def test_an_output_that_is_not_finite_marks_its_own_row_only(
    tiny_text_model: str, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(TextModel, tiny_text_model)
    expected = model.encode(texts[:4])
    forward = model._forward

    def broken(items: list[str]) -> Any:
        rows = forward(items).copy()
        rows[[text == texts[2] for text in items], 0] = np.inf
        return rows

    monkeypatch.setattr(model, "_forward", broken)
    monkeypatch.setattr(model, "_twins", [])
    rows = model.encode(texts[:4])
    assert np.isnan(rows[2]).all()
    np.testing.assert_allclose(rows[[0, 1, 3]], expected[[0, 1, 3]], atol=1e-5)


def test_each_distinct_text_is_encoded_once(tiny_text_model: str) -> None:
    model = load_model(TextModel, tiny_text_model)
    before = model.n_encoded
    texts = ["a march", "a dog", "a march", "a march"]
    rows = embed(model, texts, texts).rows
    assert model.n_encoded - before == 2
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(rows[0], rows[3])


def test_embeddings_are_recomputed_without_a_memo_and_reused_in_one(
    tiny_text_model: str, texts: list[str]
) -> None:
    model = load_model(TextModel, tiny_text_model)
    before = model.n_encoded
    embed(model, texts, texts)
    embed(model, texts, texts)
    assert model.n_encoded - before == 120
    with shared_memo():
        first = embed(model, texts[:40], texts[:40]).rows
        second = embed(model, texts, texts).rows
    assert model.n_encoded - before == 180
    np.testing.assert_array_equal(first, second[:40])


def test_threads_encode_an_item_once_between_them(
    tiny_text_model: str, texts: list[str]
) -> None:
    model = load_model(TextModel, tiny_text_model)
    before = model.n_encoded
    with shared_memo(), ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda _: embed(model, texts, texts).rows, range(8)))
    assert model.n_encoded - before == 60
    np.testing.assert_array_equal(rows[0], rows[7])


def test_no_items_give_no_rows(tiny_text_model: str) -> None:
    model = load_model(TextModel, tiny_text_model)
    assert embed(model, [], []).rows.shape == (0, 16)
    assert model.is_truncated([]).shape == (0,)


def test_a_bar_is_shown_on_stderr_only_when_verbose(
    tiny_text_model: str, texts: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    model = load_model(TextModel, tiny_text_model)
    embed(model, texts, texts)
    assert capfd.readouterr() == ("", "")
    embed(model, texts, texts, verbose=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "60/60" in err


def test_identity_has_no_name_in_it(tiny_text_model: str, changed_copy: Any) -> None:
    copy = changed_copy(tiny_text_model)
    original = load_model(TextModel, tiny_text_model)
    assert load_model(TextModel, str(copy)).identity == original.identity


@pytest.mark.parametrize("part", ["weights_sha256", "pooling", "max_length"])
def test_identity_changes_with_what_determines_the_output(
    tiny_text_model: str, part: str
) -> None:
    model = load_model(TextModel, tiny_text_model)
    spec = model.spec
    other = TextModel(model.network, model.tokenizer, {**spec, part: "x"}, device="cpu")
    assert other.identity != model.identity


def test_tf32_is_allowed_again_after_encoding(tiny_text_model: str) -> None:
    from torch.backends import cudnn

    allowed = cudnn.allow_tf32
    load_model(TextModel, tiny_text_model).encode(["a march"])
    assert cudnn.allow_tf32 == allowed


def test_a_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert json_hash({"a": 1, "b": [2]}) == json_hash({"b": [2], "a": 1})


def test_each_thread_has_batches_of_its_own(
    tiny_text_model: str,
    texts: list[str],
    threads: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = load_model(TextModel, tiny_text_model)
    threads(1)
    expected = model.encode(texts, batch_size=2)
    seen: list[tuple[int, int]] = []
    forward = TextModel._forward
    met = threading.Barrier(3, timeout=60)  # each batch waits for the other threads'

    def watched(self: TextModel, items: list[str]) -> Any:
        met.wait()
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return forward(self, items)

    monkeypatch.setattr(TextModel, "_forward", watched)
    threads(3)
    rows = model.encode(texts[:12], batch_size=2)
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
    model = load_model(TextModel, tiny_text_model)
    calls: list[int] = []

    def broken(self: TextModel, items: list[str]) -> Any:
        calls.append(len(items))
        if len(calls) > 2:
            threading.Event().wait(0.05)  # until the first error is seen
        raise RuntimeError("the model broke")

    monkeypatch.setattr(TextModel, "_forward", broken)
    threads(2)
    with pytest.raises(RuntimeError, match="the model broke"):
        model.encode(texts, batch_size=1)
    assert len(calls) < len(texts)
    assert torch.get_num_threads() == 2


def test_threads_share_the_weights(tiny_image_model: str) -> None:
    model = load_model(ImageModel, tiny_image_model)
    twin = model._twin()
    assert twin.network is not model.network
    ours, theirs = model.network.state_dict(), twin.network.state_dict()
    assert all(theirs[name].data_ptr() == ours[name].data_ptr() for name in ours)


def test_identity_changes_with_the_code_that_pools(
    tiny_text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(TextModel, tiny_text_model)
    before = model.identity
    monkeypatch.setattr("mmevent.encoders.model.POOLING_VERSION", 2)
    assert model.identity != before


@pytest.mark.parametrize("which", ["own", "barrier"])
def test_threads_that_do_not_start_are_not_waited_for(
    tiny_text_model: str,
    texts: list[str],
    threads: Any,
    monkeypatch: pytest.MonkeyPatch,
    which: str,
) -> None:
    model = load_model(TextModel, tiny_text_model)
    threads(3)
    set_num_threads = torch.set_num_threads
    wait = threading.Event()

    def hindered(number: int) -> None:
        if number == 1 and threading.current_thread() is not threading.main_thread():
            if which == "own":
                raise OSError("no more threads")
            wait.wait(5)  # longer than the others wait for it
        set_num_threads(number)

    monkeypatch.setattr("mmevent.encoders.model._START", 0.2)
    monkeypatch.setattr(torch, "set_num_threads", hindered)
    with pytest.raises((threading.BrokenBarrierError, RuntimeError)):
        model.encode(texts, batch_size=2)
    wait.set()
    assert torch.get_num_threads() == 3


def test_a_row_that_is_found_again_has_no_status_unless_it_is_finite(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    model = load_model(ImageModel, tiny_image_model)
    images = Images([pictures[0], b"", pictures[0], b"x"])
    keys = ["a", "b", "a", "c"]
    with shared_memo():
        assert embed(model, images[:2], keys[:2]).statuses.tolist() == ["ok", "corrupt"]
        found = embed(model, images, keys)
    assert found.statuses.tolist() == ["ok", "", "ok", "unsupported"]
    assert np.isnan(found.rows).all(axis=1).tolist() == [False, True, False, True]
