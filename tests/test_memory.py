"""A batch that is too large for the device's memory."""

from __future__ import annotations

from typing import Any

import pytest
from numpy.testing import assert_allclose

from mmevent._loading import load_encoder
from mmevent._memory import halved
from mmevent._text_encoder import TextEncoder
from mmevent.exceptions import DeviceMemoryError, MmeventWarning

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.filterwarnings("ignore:the device's memory")
def test_encoding_goes_on_with_half_a_batch(
    tiny_text_model: str, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)
    expected = encoder.encode(texts)
    forward, sizes, bar = TextEncoder._forward, [], []

    def small(self: TextEncoder, items: list[str]) -> Any:
        if len(items) > 10:
            raise RuntimeError(FULL)
        sizes.append(len(items))
        return forward(self, items)

    monkeypatch.setattr(TextEncoder, "_forward", small)
    with pytest.warns(MmeventWarning, match=r"32 items .* goes on with 16. Set batch"):
        rows = encoder.encode(texts, batch_size=32, progress=bar.append)
    assert_allclose(rows, expected, atol=1e-6)
    assert max(sizes) == 8
    assert sum(sizes) == sum(bar) == len(texts)


def test_a_single_item_that_is_too_large_is_an_error(
    tiny_text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(TextEncoder, tiny_text_model)

    def full(self: TextEncoder, items: list[str]) -> Any:
        raise RuntimeError(FULL)

    monkeypatch.setattr(TextEncoder, "_forward", full)
    with pytest.raises(DeviceMemoryError, match=r"one item at a time.*device='cpu'"):
        encoder.encode(["a march"])


def test_another_error_is_raised_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="^shapes differ$"):
        halved(8, RuntimeError("shapes differ"), "encoding", "batch_size={}")


def test_rows_are_halved_upwards() -> None:
    with pytest.warns(MmeventWarning):
        assert halved(5, RuntimeError(FULL), "encoding", "batch_size={}") == 3
