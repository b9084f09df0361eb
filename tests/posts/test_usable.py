"""Whether any picture can be used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmevent.exceptions import InputError
from mmevent.posts.images import Images
from mmevent.posts.usable import check_any_usable, why_unusable

PICTURE = Image.new("RGB", (4, 4))


@pytest.mark.parametrize(
    "sources",
    [[], [PICTURE], ["gone.jpg"] * 40 + [PICTURE], [b"", PICTURE, "gone.jpg"]],
    ids=["none", "one", "the last", "the second"],
)
def test_one_usable_picture_is_enough(sources: list[Any]) -> None:
    assert why_unusable([Images(sources)]) is None
    assert why_unusable([Images(["gone.jpg"]), Images([*sources, PICTURE])]) is None
    check_any_usable([Images(sources)], "", decoding=True)


def test_a_picture_that_is_there_need_not_decode() -> None:
    check_any_usable([Images(["gone.jpg", b"<html>"])], "")
    with pytest.raises(InputError, match=r"1 missing file, 1 unsupported"):
        check_any_usable([Images(["gone.jpg", b"<html>"])], "", decoding=True)


def test_no_picture_is_looked_at_after_the_first_that_can_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = Images([PICTURE] + ["gone.jpg"] * 100)
    assert why_unusable([images]) is None
    assert (images._store._failures == "").all()


def test_the_first_is_shown_with_its_place_and_the_reason(tmp_path: Path) -> None:
    images = Images(["a/1.jpg", "a/2.jpg", "../3.jpg"], image_root=tmp_path)
    place = tmp_path.resolve() / "a" / "1.jpg"
    message = (
        rf"none of the 3 images can be used \(2 missing file, 1 outside root\): .* got "
        rf"'a/1.jpg' as the first, whose status is 'missing file': it was looked for "
        rf"as '{place}'\. Correct the paths or image_root; or, go on\.$"
    )
    with pytest.raises(InputError, match=message):
        check_any_usable([images], "go on")


def test_a_link_out_of_the_root_is_named_with_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    PICTURE.save(tmp_path / "far" / "1.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "images").symlink_to(tmp_path / "far")
    images = Images(["images/1.png"], image_root=tmp_path / "root")
    far = (tmp_path / "far" / "1.png").resolve()
    words = rf"leads to '{far}', and only pictures in .*root' are opened, unless allow_"
    assert re.search(words, why_unusable([images]) or "")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "https://x.org/1.jpg",
            "nothing is fetched from a network, so download them first",
        ),
        (b"<html>", "one without a path, whose status is 'unsupported'"),
        ({"bytes": b"", "path": "a.jpg"}, "one without a path, whose status is 'corr"),
        ({"bytes": None, "path": "a.jpg"}, "got 'a.jpg' as the first"),
        ("../a.jpg", "whose status is 'outside root': "),
    ],
)
def test_what_the_first_is(source: Any, words: str) -> None:
    reason = why_unusable([Images([source])])
    assert reason is not None
    assert words in reason


def test_of_few_pictures_all_may_be_broken() -> None:
    check_any_usable([Images(["a"] * 5), Images(["a"] * 4)], "", fewest=10)
    with pytest.raises(InputError, match="none of the 10 images"):
        check_any_usable([Images(["a"] * 5), Images(["a"] * 5)], "", fewest=10)
