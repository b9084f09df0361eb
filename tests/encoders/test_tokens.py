"""How much of a text is read."""

from __future__ import annotations

import pytest

from mmevent.encoders.tokens import chosen_length
from mmevent.exceptions import InputError


@pytest.mark.parametrize(
    ("wanted", "of_folder", "limit", "length"),
    [
        (None, None, 512, 512),
        (None, 128, 512, 128),
        (None, 1024, 512, 512),
        (None, None, 32_768, 8192),
        (16_384, None, 32_768, 16_384),
        (3, 128, 512, 3),
    ],
)
def test_the_length_is_the_models_own_or_the_one_asked_for(
    wanted: int | None, of_folder: int | None, limit: int, length: int
) -> None:
    assert chosen_length(wanted, of_folder, limit) == length


@pytest.mark.parametrize("wanted", [2, 513, 1.5, "many"])
def test_a_length_that_cannot_be_read_is_refused(wanted: object) -> None:
    with pytest.raises(InputError, match="a number of tokens from 3 to 512"):
        chosen_length(wanted, None, 512)
