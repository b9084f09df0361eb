from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

from mmevent.encoders.cache import (
    MemoryStore,
    active_store,
    call_at_end,
    kept_soon,
    shared_memo,
)
from mmevent.encoders.loading import load_model
from mmevent.encoders.text import TextModel


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


def test_a_model_is_kept_by_the_memo_and_dropped_with_it(
    tiny_text_model: str,
) -> None:
    with shared_memo():
        model = weakref.ref(load_model(TextModel, tiny_text_model))
        gc.collect()
        assert model() is not None
        assert load_model(TextModel, tiny_text_model) is model()
    gc.collect()
    assert model() is None


def test_a_model_in_use_is_found_without_a_memo(tiny_text_model: str) -> None:
    model = load_model(TextModel, tiny_text_model)
    assert load_model(TextModel, tiny_text_model) is model


# What is called at the end


def test_a_function_is_called_when_the_outer_memo_closes() -> None:
    called: list[str] = []
    with shared_memo():
        with shared_memo():
            call_at_end(lambda: called.append("inner"))
        assert called == []
    assert called == ["inner"]
    call_at_end(lambda: called.append("without a memo"))
    assert called == ["inner", "without a memo"]


@pytest.mark.parametrize("inner", [True, False], ids=["inner", "outer"])
def test_a_function_is_not_called_after_an_error(inner: bool) -> None:
    called: list[int] = []

    def fit() -> None:
        with shared_memo():
            with shared_memo():
                call_at_end(lambda: called.append(1))
                if inner:
                    raise KeyError
            raise KeyError

    with pytest.raises(KeyError):
        fit()
    with shared_memo():
        pass
    assert called == []


def test_one_fits_success_is_not_taken_for_that_of_another_beside_it() -> None:
    called: list[str] = []
    registered, failed = threading.Event(), threading.Event()

    def failing_fit() -> None:
        try:
            with shared_memo():
                call_at_end(lambda: called.append("failed"))
                registered.set()
                raise KeyError
        except KeyError:
            failed.set()

    thread = threading.Thread(target=failing_fit)
    with shared_memo():
        thread.start()
        registered.wait(10)
        failed.wait(10)
    thread.join()
    assert called == []


def test_a_fit_that_ends_first_waits_for_no_later_one() -> None:
    called: list[str] = []
    opened, finish = threading.Event(), threading.Event()

    def later_fit() -> None:
        with shared_memo():
            opened.set()
            finish.wait(10)

    thread = threading.Thread(target=later_fit)
    with shared_memo():
        call_at_end(lambda: called.append("first"))
        thread.start()
        opened.wait(10)
    assert called == ["first"]
    finish.set()
    thread.join()


def test_vectors_are_kept_while_others_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("mmevent.encoders.cache.time.monotonic", lambda: clock[0])
    first, second = MemoryStore(), MemoryStore()
    row = np.zeros(2, np.float32)
    with kept_soon([first, second], "model") as keep:
        keep({"a": row})
        assert not first.get_many("model", "a")
        clock[0] = 3.0
        keep({"b": row})
        assert first.get_many("model", "abc").keys() == {"a", "b"}
        keep({"c": row})
        assert not second.get_many("model", "c")
    assert second.get_many("model", "abc").keys() == {"a", "b", "c"}
