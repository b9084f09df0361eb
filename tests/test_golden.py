"""What small detectors say is what it was; see golden/renew.py."""

from __future__ import annotations

import pytest
from golden import renew


@pytest.fixture(scope="session")
def models(
    tiny_text_model: str, tiny_image_model: str, tiny_clip_model: str
) -> renew.Models:
    return renew.Models(tiny_text_model, tiny_image_model, tiny_clip_model)


@pytest.mark.parametrize("name", renew.FILES)
def test_results_are_those_of_the_golden_file(name: str, models: renew.Models) -> None:
    found = renew.compute(name, models)
    kept, rounding = renew.read(name), renew.rounding_of(name)
    assert list(renew.differences(kept, found, rounding)) == []


def test_each_golden_file_is_computed() -> None:
    assert {path.stem for path in renew.HERE.glob("*.json")} == set(renew.FILES)
