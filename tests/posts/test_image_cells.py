"""What separates several pictures in one cell, decided by the column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmevent import to_posts
from mmevent.exceptions import InputError
from mmevent.posts.prepared import Prepared


def images_of(*cells: Any, root: Path | None = None) -> list[Any]:
    posts = to_posts([{"images": cell} for cell in cells], image_root=root)
    found: list[Any] = posts["images"].tolist()
    return found


@pytest.mark.parametrize(
    "cell",
    [
        "a.jpg|b.JPG",
        " a.jpg | b.JPG ",
        "a.jpg;b.JPG",
        "a.jpg; b.JPG;",
        "a.jpg,b.JPG",
        "a.jpg , b.JPG",
        "a.jpg b.JPG",
        "a.jpg\tb.JPG",
        "a.jpg\r\nb.JPG",
        '["a.jpg", "b.JPG"]',
        "['a.jpg', 'b.JPG']",
        "['a.jpg' 'b.JPG']",
        "[a.jpg, b.JPG]",
        ["a.jpg", "b.JPG"],
        '"a.jpg","b.JPG"',
        '"a.jpg"; "b.JPG"',
        '"a.jpg" "b.JPG"',
        'a.jpg|"b.JPG"',
    ],
)
def test_every_separator_is_recognised(cell: Any) -> None:
    assert images_of("c.png", cell, None) == [["c.png"], ["a.jpg", "b.JPG"], []]


def test_names_in_quotes_may_hold_signs() -> None:
    assert images_of('"a, b.jpg"', '"c d.jpg","e;f.jpg"') == [
        ["a, b.jpg"],
        ["c d.jpg", "e;f.jpg"],
    ]


@pytest.mark.parametrize("end", ["mp4", "MOV", "webm", "m4v", "avi", "mkv"])
@pytest.mark.parametrize("sign", [";", ",", " "])
def test_pictures_beside_a_video_are_found(end: str, sign: str) -> None:
    cells = [f"a.jpg{sign}b.{end}", f"b.{end}{sign}a.jpg"]
    assert images_of(*cells) == [["a.jpg", f"b.{end}"], [f"b.{end}", "a.jpg"]]


@pytest.mark.parametrize(
    "cell",
    [
        "Paris, 2019.jpg",
        "my photo.jpg",
        "a;b.jpg",
        "https://example.org/a,b.jpg",
        "https://example.org/a.jpg?size=1,2",
        "data:image/png;base64,AAAA",
        "[1] cat.jpg",
        "7,8",
    ],
)
def test_a_sign_in_a_name_does_not_split_it(cell: str) -> None:
    assert images_of(cell, "a.jpg,b.jpg") == [[cell], ["a.jpg", "b.jpg"]]


def test_several_urls_are_several_pictures() -> None:
    cell = "https://example.org/a?format=jpg, https://example.org/b"
    assert images_of(cell) == [cell.split(", ")]


def test_a_file_of_the_whole_name_is_one_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg, b.jpg").touch()
    cells = "a.jpg, b.jpg", "a.jpg, c.jpg"
    expected = [["a.jpg, b.jpg"], ["a.jpg", "c.jpg"]]
    assert images_of(*cells, root=tmp_path) == expected
    prepared = Prepared.of(
        [{"images": cell} for cell in cells],
        columns=None,
        image_root=tmp_path,
        allow_outside_root=False,
    )
    assert prepared.posts["images"].tolist() == expected


def test_names_without_an_end_follow_the_other_rows(tmp_path: Path) -> None:
    for name in ("4", "5"):
        (tmp_path / name).touch()
    assert images_of("4,9", "4,5", root=tmp_path) == [["4", "9"], ["4", "5"]]
    assert images_of("4,9", root=tmp_path) == [["4,9"]]


def test_names_of_digits_are_names() -> None:
    assert images_of(4, 5.0, [6], None) == [["4"], ["5"], ["6"], []]


def test_a_row_does_not_change_how_others_are_read() -> None:
    odd = ["[", "[1, 2", ",", ";;", "a.jpg, x", "'", "[]", "[null]"]
    for cell in odd:
        assert images_of("a.jpg,b.jpg", cell)[0] == ["a.jpg", "b.jpg"]
    assert images_of("[]", "[null]", ",", " ") == [[], [], [], []]


def test_media_of_an_export_are_named() -> None:
    media = '[{"media_key": "3_0", "type": "photo", "url": "https://x/0.jpg"}]'
    with pytest.raises(InputError, match="1 of 1 posts.*mmevent import-posts"):
        images_of(media)
