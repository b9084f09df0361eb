from __future__ import annotations

import io
from collections import UserDict, UserList
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmevent.exceptions import InputError
from mmevent.posts.duplicates import connected_groups
from mmevent.posts.posts import (
    duplicate_groups,
    flatten_images,
    parse_created_at,
    to_posts,
)

PICTURE = Image.new("RGB", (2, 2), "red")


def png(color: str = "red") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 3), color).save(stream, "PNG")
    return stream.getvalue()


def images_of(cell: Any) -> list[Any]:
    return to_posts([{"images": cell}])["images"][0]


class TestForms:
    RECORDS = (
        {"id": "a", "text": "one", "images": "1.jpg|2.jpg", "group": "g"},
        {"id": "b", "text": None, "images": None},
        {"id": "c", "text": "three"},
    )

    @pytest.mark.parametrize(
        "make",
        [
            list,
            tuple,
            pd.DataFrame,
            UserList,
            lambda records: [UserDict(record) for record in records],
            lambda records: np.array(records, dtype=object),
        ],
        ids=["list", "tuple", "DataFrame", "UserList", "mappings", "array"],
    )
    def test_frames_and_sequences_give_the_same(self, make: Any) -> None:
        posts = to_posts(make(self.RECORDS))
        assert list(posts) == ["id", "text", "images", "group"]
        assert posts["id"].tolist() == ["a", "b", "c"]
        assert posts["text"].tolist() == ["one", None, "three"]
        assert posts["images"].tolist() == [["1.jpg", "2.jpg"], [], []]
        assert posts["group"].isna().tolist() == [False, True, True]
        assert posts.index.equals(pd.RangeIndex(3))

    def test_result_comes_back_equal(self) -> None:
        posts = to_posts(self.RECORDS)
        again = to_posts(posts)
        pd.testing.assert_frame_equal(again, posts)
        assert again["text"].tolist() == posts["text"].tolist()
        part = posts.iloc[[2, 0]]
        pd.testing.assert_frame_equal(to_posts(part), part)

    def test_index_is_kept_and_rows_are_numbered(self) -> None:
        frame = pd.DataFrame({"text": ["x", "y", "z"]}, index=[7, 7, 3])
        posts = to_posts(frame)
        assert posts.index.tolist() == [7, 7, 3]
        assert posts["id"].tolist() == [0, 1, 2]
        assert posts["text"].tolist() == ["x", "y", "z"]

    def test_the_callers_data_stay_as_they_are(self) -> None:
        frame = pd.DataFrame({"text": ["x", None], "images": [["a"], "b|c"]})
        before = frame.copy(deep=True)
        posts = to_posts(frame)
        posts["images"][0].append("more")
        posts.loc[0, "id"] = 9
        pd.testing.assert_frame_equal(frame, before)

    def test_other_columns_are_left_out(self) -> None:
        posts = to_posts([{"text": "x", "likes": 5, "place": "here", "author": "me"}])
        assert list(posts) == ["id", "text", "images", "place", "author"]

    def test_long_ids_stay_exact(self) -> None:
        number = 1_234_567_890_123_456_789
        posts = to_posts([{"id": number, "text": "x"}, {"id": number + 1, "text": "x"}])
        assert posts["id"].tolist() == [number, number + 1]

    @pytest.mark.parametrize(
        "data", [[], pd.DataFrame(), pd.DataFrame({"text": []})], ids=str
    )
    def test_zero_posts_give_an_empty_frame(self, data: Any) -> None:
        posts = to_posts(data)
        assert list(posts) == ["id", "text", "images"]
        assert len(posts) == 0
        assert flatten_images(posts)[1].shape == (0,)
        assert duplicate_groups(data).shape == (0,)

    def test_one_sided_posts(self) -> None:
        assert to_posts([{"text": "x"}])["images"].tolist() == [[]]
        assert to_posts([{"images": "x"}])["text"].tolist() == [None]


@pytest.fixture(scope="module")
def table() -> Any:
    datasets = pytest.importorskip("datasets")
    image = {"bytes": png(), "path": None}
    return datasets.Dataset.from_dict(
        {
            "id": [2**60 + 1, 2**60 + 3],
            "text": ["one", None],
            "photo": [image, None],
            "photos": [[image, {"bytes": None, "path": "a.png"}], []],
            "likes": [1, 2],
        },
        features=datasets.Features(
            {
                "id": datasets.Value("int64"),
                "text": datasets.Value("string"),
                "photo": datasets.Image(),
                "photos": datasets.List(datasets.Image()),
                "likes": datasets.Value("int64"),
            }
        ),
    )


class TestDatasets:
    @pytest.mark.parametrize("decode", [True, False])
    def test_single_images(self, table: Any, decode: bool) -> None:
        import datasets

        table = table.cast_column("photo", datasets.Image(decode=decode))
        posts = to_posts(table, columns={"images": "photo"})
        assert posts["images"].tolist() == [[{"bytes": png(), "path": None}], []]
        assert posts["text"].tolist() == ["one", None]
        assert posts["id"].tolist() == [2**60 + 1, 2**60 + 3]

    def test_lists_of_images(self, table: Any) -> None:
        posts = to_posts(table.select([1, 0]), columns={"images": "photos"})
        assert [len(cell) for cell in posts["images"]] == [0, 2]
        assert posts["images"][1][1] == {"bytes": None, "path": "a.png"}

    def test_zero_rows(self, table: Any) -> None:
        posts = to_posts(table.select([]))
        assert list(posts) == ["id", "text", "images"]
        assert len(posts) == 0

    def test_decoded_images_of_rows(self, table: Any) -> None:
        rows = list(table.select_columns(["text", "photo"]))
        posts = to_posts(rows, columns={"images": "photo"})
        assert isinstance(posts["images"][0][0], Image.Image)

    def test_dataset_without_the_columns_lists_those_that_came(
        self, table: Any
    ) -> None:
        with pytest.raises(InputError, match="got 'id', 'likes'"):
            to_posts(table.select_columns(["id", "likes"]))

    def test_dict_of_splits_is_refused(self, table: Any) -> None:
        import datasets

        with pytest.raises(InputError, match="DatasetDict one of its splits"):
            to_posts(datasets.DatasetDict({"train": table}))


class TestImageCells:
    @pytest.mark.parametrize(
        "cell", [None, np.nan, pd.NA, pd.NaT, "", "  ", "|", [], [None, "", np.nan]]
    )
    def test_missing_cells_are_no_images(self, cell: Any) -> None:
        assert images_of(cell) == []

    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            ("a.jpg", ["a.jpg"]),
            ("a.jpg|b c.jpg", ["a.jpg", "b c.jpg"]),
            (" a.jpg | b.jpg |", ["a.jpg", "b.jpg"]),
            (["a|b.jpg"], ["a|b.jpg"]),
            (("a", Path("b")), ["a", Path("b")]),
            (np.array(["a", "b"]), ["a", "b"]),
            (Path("a.jpg"), [Path("a.jpg")]),
            (b"", [b""]),
            (b"raw", [b"raw"]),
            ([b"raw", "a"], [b"raw", "a"]),
            (PICTURE, [PICTURE]),
            ([PICTURE, PICTURE], [PICTURE, PICTURE]),
            ({"bytes": b"x", "path": "y"}, [{"bytes": b"x", "path": "y"}]),
            ([{"bytes": b"x", "path": None}], [{"bytes": b"x", "path": None}]),
            ({"bytes": None, "path": "y"}, [{"bytes": None, "path": "y"}]),
            ({"bytes": None, "path": None}, []),
            ({"bytes": None, "path": ""}, []),
        ],
    )
    def test_each_form_is_read(self, cell: Any, expected: list[Any]) -> None:
        assert images_of(cell) == expected

    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            (1001, ["1001"]),
            ([1001, np.int64(7)], ["1001", "7"]),
            ('["a|b.jpg", "c.jpg"]', ["a|b.jpg", "c.jpg"]),
            ("[1].jpg", ["[1].jpg"]),
            ("[]", []),
        ],
    )
    def test_digits_and_lists_that_tables_of_text_hold(
        self, cell: Any, expected: list[str]
    ) -> None:
        assert images_of(cell) == expected

    @pytest.mark.parametrize(
        ("cell", "kind"),
        [
            (True, "bool"),
            (1.5, "float"),
            (["a", 5.0], "float"),
            ([["a"]], "list"),
            ({"url": "a"}, "dict"),
            ({"bytes": "text", "path": None}, "dict"),
            (np.zeros((2, 2, 3)), "ndarray"),
            ({"a"}, "set"),
        ],
    )
    def test_other_types_name_the_post(self, cell: Any, kind: str) -> None:
        posts = [{"id": "p1", "images": "a"}, {"id": "p2", "images": cell}]
        with pytest.raises(
            InputError,
            match=rf"images of 1 of 2 posts \(first ids: 'p2'\).*got {kind} in the",
        ):
            to_posts(posts)


class TestTextCells:
    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            (" kept as is\n", " kept as is\n"),
            ("NA", "NA"),
            ("", None),
            (" \u3000\t\n", None),
            (None, None),
            (np.nan, None),
            (pd.NA, None),
            (123, "123"),
            (np.int64(2**60 + 1), str(2**60 + 1)),
            (7.0, "7.0"),
            (np.float32(1.5), "1.5"),
            (Decimal("1.50"), "1.50"),
            (True, "True"),
            (np.bool_(False), "False"),
            (np.str_("x"), "x"),
            ("cut \ud83d", "cut \ufffd"),
        ],
    )
    def test_text_or_none(self, cell: Any, expected: str | None) -> None:
        text = to_posts([{"text": cell}])["text"][0]
        assert text == expected
        assert type(text) in (str, type(None))

    @pytest.mark.parametrize("cell", [b"bytes", ["a"], {"a": 1}, date(2024, 1, 1)])
    def test_other_types_name_the_post(self, cell: Any) -> None:
        posts = [{"id": row, "text": cell} for row in range(7)]
        with pytest.raises(
            InputError,
            match=r"text of 7 of 7 posts \(first ids: 0, 1, 2, 3, 4\).*a string",
        ):
            to_posts(posts)

    @given(st.lists(st.text()))
    def test_every_string_survives_or_is_blank(self, texts: list[str]) -> None:
        found = to_posts([{"text": text} for text in texts])["text"].tolist()
        assert found == [text if text.strip() else None for text in texts]


class TestIds:
    def test_duplicate_ids_are_counted_and_listed(self) -> None:
        frame = pd.DataFrame({"id": [1, 2, 1, 3, 2, 1], "text": "x"})
        with pytest.raises(InputError, match=r"2 ids occur more than once.*got 1, 2 "):
            to_posts(frame)

    @pytest.mark.parametrize("missing", [None, np.nan, pd.NA, "", " "])
    def test_missing_ids_are_counted_with_their_rows(self, missing: Any) -> None:
        posts = [{"id": "a", "text": "x"}, {"id": missing, "text": "y"}]
        with pytest.raises(InputError, match="1 of 2 posts have no id.*in rows 1"):
            to_posts(posts)

    def test_ids_that_cannot_be_compared(self) -> None:
        with pytest.raises(InputError, match="ids cannot be compared.*unhashable"):
            to_posts([{"id": ["a"], "text": "x"}, {"id": ["b"], "text": "x"}])

    def test_numbers_and_strings_differ(self) -> None:
        posts = to_posts([{"id": 1, "text": "x"}, {"id": "1", "text": "x"}])
        assert posts["id"].tolist() == [1, "1"]


class TestCreatedAt:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("2024-03-09T18:30:00+01:00", "2024-03-09T17:30:00+00:00"),
            ("2024-03-09T18:30:00.250Z", "2024-03-09T18:30:00.250000+00:00"),
            ("2024-03-09 18:30", "2024-03-09T18:30:00+00:00"),
            ("2024-03-09", "2024-03-09T00:00:00+00:00"),
            (20240309, "2024-03-09T00:00:00+00:00"),
            ("Sat Mar 09 17:30:00 +0000 2024", "2024-03-09T17:30:00+00:00"),
            (datetime(2024, 3, 9, 18), "2024-03-09T18:00:00+00:00"),
            (date(2024, 3, 9), "2024-03-09T00:00:00+00:00"),
            (
                pd.Timestamp("2024-03-09T18:30", tz="Europe/Paris"),
                "2024-03-09T17:30:00+00:00",
            ),
            (np.datetime64("2024-03-09"), "2024-03-09T00:00:00+00:00"),
        ],
    )
    @pytest.mark.parametrize("other", ["2020-01-01", None], ids=["mixed", "alone"])
    def test_forms_that_are_read(
        self, value: Any, expected: str, other: str | None
    ) -> None:
        values = [value] if other is None else [other, value]
        posts = to_posts([{"text": "x", "created_at": item} for item in values])
        times = parse_created_at(posts)
        assert times.iloc[-1].isoformat() == expected
        assert str(times.dt.tz) == "UTC"

    def test_index_of_the_posts_is_kept(self) -> None:
        frame = pd.DataFrame(
            {"text": "x", "created_at": pd.to_datetime(["2024-03-09", "2024-03-10"])},
            index=["r", "s"],
        )
        assert parse_created_at(to_posts(frame)).index.tolist() == ["r", "s"]

    @pytest.mark.parametrize(
        "value",
        [
            None,
            pd.NaT,
            "",
            "soon",
            "now",
            " Today",
            "03/09/2024",
            "2024-13-01",
            1_546_300_800,
            1_546_300_800.5,
            True,
            b"2024-03-09",
            ["2024-03-09"],
        ],
    )
    def test_others_are_counted_and_named(self, value: Any) -> None:
        posts = to_posts(
            [
                {"id": "p", "text": "x", "created_at": "2024-03-09"},
                {"id": "q", "text": "x", "created_at": value},
            ]
        )
        with pytest.raises(
            InputError,
            match=r"created_at of 1 of 2 posts \(first ids: 'q'\).*expected ISO 8601",
        ):
            parse_created_at(posts)

    def test_column_of_floats_is_refused(self) -> None:
        frame = pd.DataFrame({"text": "x", "created_at": [1_546_300_800.0]})
        with pytest.raises(InputError, match="1546300800.0 in the first"):
            parse_created_at(to_posts(frame))

    def test_missing_column_is_named(self) -> None:
        with pytest.raises(InputError, match="have no times.*got 'id', 'text'"):
            parse_created_at(to_posts([{"text": "x"}]))


class TestDuplicateGroups:
    def test_same_text_or_same_image(self) -> None:
        posts = [
            {"text": "We march today! https://t.co/a", "images": png("red")},
            {"text": "A quiet day", "images": [png("blue"), png("lime")]},
            {"text": "RT @ana: we MARCH today"},
            {"text": None, "images": [png("lime"), png("red")]},
            {"text": " "},
            {"text": " "},
            {"text": "Alone", "images": png("black")},
        ]
        assert duplicate_groups(posts).tolist() == [0, 0, 0, 0, 1, 2, 3]

    def test_texts_that_normalise_to_nothing_link_nothing(self) -> None:
        posts = [{"text": "\U0001f600"}, {"text": "!!!"}, {"text": "@ana"}]
        assert duplicate_groups(posts).tolist() == [0, 1, 2]

    def test_unusable_images_link_nothing(self) -> None:
        posts = [{"images": b"broken"}, {"images": b"broken"}, {"images": "none.jpg"}]
        assert duplicate_groups(posts).tolist() == [0, 1, 2]

    def test_image_root_and_columns_are_used(self, tmp_path: Path) -> None:
        for name in ("a.png", "b.png"):
            (tmp_path / name).write_bytes(png())
        posts = [{"photo": "a.png"}, {"photo": "b.png"}]
        groups = duplicate_groups(
            posts, columns={"images": "photo"}, image_root=tmp_path
        )
        assert groups.tolist() == [0, 0]
        outside = [{"images": str(tmp_path / name)} for name in ("a.png", "b.png")]
        inner = tmp_path / "inner"
        inner.mkdir()
        assert duplicate_groups(outside, image_root=inner).tolist() == [0, 1]
        assert duplicate_groups(
            outside, image_root=inner, allow_outside_root=True
        ).tolist() == [0, 0]

    def test_joined_with_groups_of_the_caller(self) -> None:
        posts = to_posts(
            [
                {"text": "a", "group": "g"},
                {"text": "b", "group": "g"},
                {"text": "b", "group": None},
                {"text": "c", "group": None},
            ]
        )
        groups = connected_groups(posts["group"], duplicate_groups(posts))
        assert groups.tolist() == [0, 0, 0, 1]


def test_flatten_images_keeps_the_order() -> None:
    posts = to_posts([{"images": "a|b"}, {"images": None}, {"images": [b"c"]}])
    sources, post = flatten_images(posts)
    assert sources == ["a", "b", b"c"]
    assert post.tolist() == [0, 0, 2]
