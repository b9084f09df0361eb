"""`mmevent card`: the model card, and what to register and to report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_the_card_is_that_of_the_folder(done: Command, model: Path) -> None:
    said = done("card", model).stdout
    assert said == (model / "README.md").read_text(encoding="utf-8")


def test_the_checklist_is_printed_or_written(
    done: Command, model: Path, tmp_path: Path
) -> None:
    said = done("card", model, "--checklist").stdout
    assert said.startswith("# Preregistration and checklist\n")
    result = done("card", model, "--checklist", "-o", tmp_path / "report.md")
    assert result.stdout == ""
    assert "Written to " in result.stderr
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == said


def test_nothing_is_written_into_the_model_or_nowhere(
    refused: Command, model: Path, tmp_path: Path
) -> None:
    assert "lies in the folder of the model" in refused(
        "card", model, "-o", model / "card.md"
    )
    line = refused("card", model, "-o", tmp_path / "absent" / "card.md")
    assert "Correct --output." in line
    assert "does not exist" in refused("card", tmp_path / "absent")
