"""Pictures of an export, found by name in a folder or a zip."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from mmevent.exceptions import InputError
from mmevent.posts.finding import Pictures


def place_of(kind: str, folder: Path, *names: str, **contents: str) -> Path:
    files = dict.fromkeys(names, "") | contents
    if kind == "zip":
        with zipfile.ZipFile(folder / "pictures.zip", "w") as file:
            for name, content in files.items():
                file.writestr(name, content)
        return folder / "pictures.zip"
    for name, content in files.items():
        path = folder / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder / "pictures"


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("https://x.com/media/a.jpg", "a.jpg"),
        ("https://x.com/media/a.jpg:large", "a.jpg"),
        ("https://x.com/media/A.JPG?name=small", "a.jpg"),
        ("https://x.com/media/b?format=jpg&name=large", "b.jpg"),
        ("https://x.com/media/q?format=png", "x.com/media/q?format=png"),
        ("https://x.com/media/c%20d.png", "c d.png"),
        ("photos\\e\u0301.jpg", "é.jpg"),
        ("one/f.jpg", "one/f.jpg"),
        ("https://x.com/two/f.jpg", "two/f.jpg"),
        ("https://x.com/f.jpg", None),
        ("https://x.com/none.jpg", None),
        ("not exported", None),
        ("../a.jpg", "a.jpg"),
    ],
)
def test_a_picture_is_found_by_what_its_name_ends_with(
    kind: str, source: str, found: str | None, tmp_path: Path
) -> None:
    names = ["a.jpg", "b.jpg", "x.com/media/q?format=png", "c d.png", "é.jpg"]
    place = place_of(kind, tmp_path, *names, "one/f.jpg", "two/f.jpg", "none.txt")
    assert Pictures(place).find(source, "1", 1, 1) == found


def test_a_picture_is_found_by_the_id_of_its_post(tmp_path: Path) -> None:
    place = place_of("folder", tmp_path, "12_1.jpg", "12-2.png", "13.jpg", "14.txt")
    pictures = Pictures(place)
    assert pictures.find("https://x/a", "12", 1, 2) == "12_1.jpg"
    assert pictures.find("https://x/b", "12", 2, 2) == "12-2.png"
    assert pictures.find("https://x/c", "13", 1, 1) == "13.jpg"
    assert pictures.find("https://x/c", "13", 1, 2) is None
    assert pictures.find("https://x/c", "14", 1, 1) is None


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_the_list_that_4cat_writes_is_used(kind: str, tmp_path: Path) -> None:
    listed = {
        "https://x/a.jpg": {"filename": "0001.jpg", "success": True},
        "https://x/b.jpg": {"filename": "../b.jpg", "success": True},
        "https://x/c.jpg": {"filename": "", "success": False},
    }
    metadata = {".metadata.json": json.dumps(listed)}
    place = place_of(kind, tmp_path, "0001.jpg", "a.jpg", **metadata)
    pictures = Pictures(place)
    assert pictures.find("https://x/a.jpg", "1", 1, 1) == "0001.jpg"
    assert pictures.find("https://x/b.jpg", "1", 1, 1) is None
    assert pictures.find("https://x/c.jpg", "1", 1, 1) is None


def test_the_names_are_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets: list[set[str]] = []

    def counted(names: list[str]) -> set[str]:
        sets.append({*names})
        return sets[-1]

    monkeypatch.setattr("mmevent.posts.finding.set", counted, raising=False)
    listed = {f"https://x/{n}": {"filename": "a.jpg"} for n in range(9)}
    metadata = {".metadata.json": json.dumps(listed)}
    Pictures(place_of("folder", tmp_path, "a.jpg", **metadata))
    assert len(sets) == 1


@pytest.mark.parametrize("content", ["", "[]", "{", '{"https://x/a.jpg": 5}'])
def test_a_list_that_cannot_be_read_is_passed_over(
    content: str, tmp_path: Path
) -> None:
    place = place_of("folder", tmp_path, "a.jpg", **{".metadata.json": content})
    assert Pictures(place).find("https://x/a.jpg", "1", 1, 1) == "a.jpg"


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none' holds no pictures: expected a folder"):
        Pictures(tmp_path / "none")
