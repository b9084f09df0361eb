"""What is registered and reported: filled in from a folder, and blank elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from persistence.helpers import Coded, demo_detector

from mmevent import load
from mmevent.persistence.checklist import checklist
from mmevent.persistence.folder import facts_of

ITEMS = [
    *("1a", "1b", "1c", "2a", "2b", "2c", "2d", "2e"),
    *("3a", "3b", "3c", "3d", "3e", "3f", "3g", "4a", "4b", "4c"),
    *("5a", "5b", "5c", "5d", "5e", "5f", "6a", "6b", "6c"),
    *("7a", "7b", "7c", "8a", "8b"),
]


def filled_in(folder: Path) -> str:
    return checklist(load(folder), *facts_of(folder))


def item(text: str, number: str) -> str:
    """Return what stands under one item."""
    found = re.search(
        rf"\*\*{number}\. .*?\n\n(.*?)(?=\n\n(\*\*\d|###)|\Z)", text, re.S
    )
    assert found
    return found[1]


@pytest.fixture(scope="module")
def sheet(original: Path) -> str:
    return filled_in(original)


def test_all_items_of_reforms_are_there_in_order(sheet: str) -> None:
    assert re.findall(r"^\*\*(\d[a-g])\. ", sheet, re.M) == ITEMS
    assert len(ITEMS) == 32
    assert all(item(sheet, number) for number in ITEMS)


def test_figures_are_those_of_the_estimate(original: Path, sheet: str) -> None:
    detector = load(original)
    row = detector.estimate_.to_frame().loc["fused"]
    figure = f"F1 {row['f1']:.3f} [{row['f1_low']:.3f}, {row['f1_high']:.3f}]"
    assert figure in sheet.partition("## Checklist")[0]
    assert figure in item(sheet, "7b")
    assert f"score reaches {detector.threshold_:.6g} (policy 'f1')" in sheet
    assert "Nested cross-validation" in item(sheet, "5c")
    assert "- flag all: " in item(sheet, "5f")


def test_missing_data_are_counted_by_class(original: Path, sheet: str) -> None:
    tested = load(original).fitted_.record.tested
    without = tested["p_image"].isna()
    for event in (True, False):
        assert f"{without[tested['event'] == event].mean():.1%}" in item(sheet, "3f")


def test_what_the_folder_does_not_know_is_left_blank(sheet: str) -> None:
    for number in ("1a", "1b", "1c", "3b", "3c", "3g", "5b", "8a"):
        assert item(sheet, number).startswith("[TO FILL IN: "), number
    n_blanks = int(re.findall(r"(\d+) places begin with", sheet)[0])
    assert n_blanks == sheet.count("[TO FILL IN: ")
    assert "period" not in item(sheet, "8b").split("[TO FILL IN: ")[1]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        pytest.param(
            {"image": None},
            ["reads the texts of a post", "does not use a usable image"],
            id="text-only",
        ),
        pytest.param(
            {"text": None, "policy": "budget=7"},
            [
                "reads the images of a post",
                "among the 7 highest",
                "No estimate was made in the fit",
                "has [TO FILL IN: F1, precision",
            ],
            id="image-only, budget, no estimate",
        ),
        pytest.param(
            {"estimate": "cross-fit", "second_stage": True},
            ["slightly optimistic", "stage 2 judges the post"],
            id="second stage, cross-fitted",
        ),
    ],
)
def test_it_follows_the_detector(
    parameters: dict[str, Any], words: list[str], coded: Coded, tmp_path: Path
) -> None:
    demo_detector(**parameters).fit(*coded).save(tmp_path / "model")
    text = filled_in(tmp_path / "model")
    assert [part for part in words if part not in text] == []


def test_a_worthless_detector_is_called_one_first(coded: Coded, tmp_path: Path) -> None:
    posts, y = coded
    random = np.random.default_rng(1).permutation(y)
    detector = demo_detector(estimate="nested", image_root=tmp_path).fit(posts, random)
    detector.save(tmp_path / "model")
    said = "**By F1, this detector is not shown to be better than flagging every post"
    text = checklist(
        load(tmp_path / "model", image_root=tmp_path), *facts_of(tmp_path / "model")
    )
    for document in (text, read_card(tmp_path / "model")):
        assert document.split("\n\n")[1].startswith(said)
    assert str(tmp_path) not in text
    detector.set_policy("fbeta=2")
    detector.save(tmp_path / "another")
    assert "another one, 'fbeta=2', is set now" in read_card(tmp_path / "another")


def read_card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_both_rules_are_described(coded: Coded, tmp_path: Path, sheet: str) -> None:
    paper, stacking = "the alpha/beta rule of Zhang and Pan (2019)", "by stacking, a"
    assert f"It scores posts by {paper}. A post is flagged if" in sheet
    assert "with alpha from 0 to 99 and beta from 0.5 to 2" in item(sheet, "5e")
    demo_detector(rule="stacking").fit(*coded).save(tmp_path / "model")
    other = filled_in(tmp_path / "model")
    assert stacking in other.partition("## Checklist")[0]
    assert "The rule is a logistic regression" in item(other, "5e")
    assert "logistic(" in item(other, "5a")
    assert paper not in other
    assert "alpha from" not in other
    assert "`rule=stacking`" in item(other, "2e")
