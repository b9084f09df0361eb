"""Where the pictures of a table lie, as a model remembers it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from mmevent.cli import pictures
from mmevent.detector.reading import Reading
from mmevent.exceptions import UnusableInputWarning


@pytest.mark.parametrize(
    ("root", "kept"),
    [("data", "."), ("data/pics", "pics"), ("pics", None), (".", None)],
)
def test_a_folder_is_remembered_from_that_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, kept: str | None
) -> None:
    (tmp_path / "data" / "pics").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert pictures.folder_below(Path("data/posts.csv"), Path(root)) == kept


@pytest.mark.parametrize(
    ("saved", "given", "used"),
    [
        ("pics", None, "data/pics"),
        (".", None, "data"),
        (None, None, "data"),
        ("elsewhere", None, "data"),
        ("../secret", None, "data"),
        ("pics/../../secret", None, "data"),
        ("/", None, "data"),
        ("link", None, "data"),
        ("C:pics", None, "data"),
        ("C:\\pics", None, "data"),
        ("\\pics", None, "data"),
        ("pics\\..\\..\\secret", None, "data"),
        ("pics", "other", "other"),
    ],
)
def test_a_model_names_no_folder_outside_that_of_the_table(
    tmp_path: Path, saved: str | None, given: str | None, used: str
) -> None:
    (tmp_path / "data" / "pics").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "secret")
    if saved is not None and saved not in ("elsewhere", "/") and os.sep != "\\":
        (tmp_path / "data" / saved).mkdir(exist_ok=True)  # a name like any other
    facts = {"parameters": {"image_root": saved}}
    (tmp_path / "detector.json").write_text(json.dumps(facts))
    detector: Any = SimpleNamespace()
    options = {
        "image_root": None if given is None else tmp_path / given,
        "allow_outside_root": True,
    }
    posts = tmp_path / "data" / "posts.csv"
    pictures.place_images(detector, tmp_path, posts, options)
    assert detector.image_root == tmp_path / used
    assert detector.allow_outside_root


def test_text_alone_is_warned_of(tmp_path: Path) -> None:
    reading = Reading({"images": "photo"}, tmp_path, False, False)
    frame = pd.DataFrame({"text": ["a"]})
    with pytest.warns(
        UnusableInputWarning, match="no column 'photo': posts are judged"
    ):
        assert pictures.warn_of_text_only(reading, frame)
    with pytest.warns(UnusableInputWarning, match="none of the 1 images can be used"):
        assert pictures.warn_of_text_only(reading, frame.assign(photo="gone.jpg"))
    assert not pictures.warn_of_text_only(reading, frame.assign(photo=None))


def test_columns_that_a_prediction_does_without() -> None:
    fitted = SimpleNamespace(needed=lambda: {"text": "", "images": ""})
    detector: Any = SimpleNamespace(fitted_=fitted)
    lacking = pictures.not_needed(detector, {"allow_text_only": False})
    assert lacking == {"group", "created_at", "place", "author"}
    assert "images" in pictures.not_needed(detector, {"allow_text_only": True})
