from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

from mmevent._cache import MemoryStore, active_store, shared_memo
from mmevent._loading import load_encoder
from mmevent._text_encoder import TextEncoder


def test_a_store_returns_only_what_it_was_given() -> None:
    store = MemoryStore()
    store.put_many("encoder", {"a": np.ones(2), "b": np.zeros(2)})
    found = store.get_many("encoder", ["b", "c"])
    assert list(found) == ["b"]
    np.testing.assert_array_equal(found["b"], 0)


def test_a_store_keeps_identities_apart() -> None:
    store = MemoryStore()
    store.put_many("encoder", {"a": np.ones(2)})
    assert store.get_many("other", ["a"]) == {}


def test_there_is_no_store_without_a_memo() -> None:
    assert active_store() is None


def test_an_inner_memo_joins_the_outer_one() -> None:
    with shared_memo():
        outer = active_store()
        with shared_memo():
            assert active_store() is outer
        assert active_store() is outer
    assert active_store() is None


def test_a_memo_is_forgotten_after_an_error() -> None:
    with pytest.raises(KeyError), shared_memo():
        raise KeyError
    assert active_store() is None


def test_other_threads_see_the_memo() -> None:
    seen = []
    with shared_memo():
        thread = threading.Thread(target=lambda: seen.append(active_store()))
        thread.start()
        thread.join()
        assert seen == [active_store()]


def test_a_memo_lasts_until_the_last_thread_closes_it() -> None:
    opened, finish = threading.Event(), threading.Event()

    def work() -> None:
        with shared_memo():
            opened.set()
            finish.wait(10)

    thread = threading.Thread(target=work)
    with shared_memo():
        store = active_store()
        thread.start()
        opened.wait(10)
    assert active_store() is store
    finish.set()
    thread.join()
    assert active_store() is None


def test_an_encoder_is_kept_by_the_memo_and_dropped_with_it(
    tiny_text_model: str,
) -> None:
    with shared_memo():
        encoder = weakref.ref(load_encoder(TextEncoder, tiny_text_model))
        gc.collect()
        assert encoder() is not None
        assert load_encoder(TextEncoder, tiny_text_model) is encoder()
    gc.collect()
    assert encoder() is None


def test_an_encoder_in_use_is_found_without_a_memo(tiny_text_model: str) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    assert load_encoder(TextEncoder, tiny_text_model) is encoder
