"""The model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from persistence.helpers import (
    Coded,
    demo_detector,
)

from mmevent import (
    load,
)


def test_the_card_tells_a_person_what_to_know(original: Path, folder: Path) -> None:
    card = (original / "README.md").read_text()
    detector = load(folder)
    for stated in (
        "posts labelled `'protest'` of `code` from posts labelled `'other'`",
        "120 posts, of them",
        f"score reaches **{detector.threshold_:.4g}**",
        f"(p_text + {detector.alpha_:.4g} × p_image)",
        "nested cross-validation: 120 posts",
        "| fused | ",
        "### Notes",
        "images unusable",
        "another period, place",
        "mmevent.load(",
        "mmevent predict",
    ):
        assert stated in card
    assert str(original.parent) not in card


@pytest.mark.parametrize(
    ("parameters", "stated"),
    [
        pytest.param({"image": None}, "| has text | p_text |", id="text-only"),
        pytest.param({"text": None}, "has a usable image |", id="image-only"),
        pytest.param({}, "No estimate was made", id="no-estimate"),
    ],
)
def test_the_card_leaves_out_what_there_is_not(
    parameters: dict[str, Any],
    stated: str,
    coded: Coded,
    tmp_path: Path,
) -> None:
    posts, y = coded
    demo_detector(**parameters).fit(posts, y).save(tmp_path / "model")
    assert stated in (tmp_path / "model" / "README.md").read_text()
