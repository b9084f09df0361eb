from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmevent.exceptions import InputError
from mmevent.posts.duplicates import connected_groups, duplicates, normalise_text
from mmevent.posts.images import Images


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We  MARCH,\ttoday!!", "we march today"),
        ("see https://t.co/aB3?x=1 now", "see now"),
        ("see www.example.org/a now", "see now"),
        ("see pic.twitter.com/abc", "see"),
        ("cut https://t…", "cut"),
        ("看http://t.cn/abc我们", "看 我们"),
        ("RT @ana_1: hello", "hello"),
        ("rt: hello", "hello"),
        ("RT @ana: RT @bob: hello", "hello"),
        ("RTL news", "rtl news"),
        ("art @ana show", "art show"),
        ("toot @ana@social.example.org end", "toot end"),
        ("\uff26\uff35\uff2c\uff2c width", "full width"),
        ("Straße", "strasse"),
        ("हिन्दी भाषा!", "हिन्दी भाषा"),
        ("می\u200cخواهم", "میخواهم"),
        ("zero\u200bwidth", "zerowidth"),
        ("I \u2764\ufe0f it", "i it"),
        ("\u2764\ufe0f", ""),
        ("\U0001f44d\U0001f3fd", ""),
        ("3\ufe0f\u20e3 steps", "3 steps"),
        ("cut \ud83d", "cut"),
        ("naïve", "naïve"),
        ("nai\u0308ve", "naïve"),
        ("", ""),
        ("#Tag_one", "tag one"),
    ],
)
def test_normalised_texts(text: str, expected: str) -> None:
    assert normalise_text(text) == expected


@given(st.text())
def test_case_and_outer_punctuation_do_not_matter(text: str) -> None:
    normal = normalise_text(text)
    assert normalise_text(f"  {text} !") == normal
    assert normal == " ".join(normal.split())


def brute_force(labelings: list[list[Any]]) -> list[int]:
    """Merge rows pair by pair until nothing changes."""
    group = list(range(len(labelings[0])))
    for _ in group:
        for labels in labelings:
            for a, first in enumerate(labels):
                for b, second in enumerate(labels):
                    if first is not None and first == second:
                        group[a] = group[b] = min(group[a], group[b])
    order = list(dict.fromkeys(group))
    return [order.index(label) for label in group]


LABELS = st.one_of(st.none(), st.integers(0, 6))


@given(
    st.integers(0, 8).flatmap(
        lambda n: st.lists(
            st.lists(LABELS, min_size=n, max_size=n), min_size=1, max_size=3
        )
    )
)
def test_components_are_those_of_pairwise_merging(labelings: list[list[Any]]) -> None:
    assert connected_groups(*labelings).tolist() == brute_force(labelings)


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None, "a", None],
        ["a", np.nan, "a", ""],
        [2**60 + 1, None, 2**60 + 1, 2**60],
        pd.Series(["a", pd.NA, "a", " "], index=[5, 5, 6, 7]),
        pd.Series(["a", None, "a", None], dtype="category"),
        pd.Series([1, pd.NA, 1, pd.NA], dtype="Int64"),
        np.array([1.0, np.nan, 1.0, np.nan]),
        np.array(["a", "", "a", "b"]),
        pd.Index(["a", "c", "a", "b"]),
        (("x", 1), "c", ("x", 1), "b"),
    ],
    ids=repr,
)
def test_missing_labels_link_nothing(labels: Any) -> None:
    assert connected_groups(labels).tolist() == [0, 1, 0, 2]


def test_labels_of_two_labelings_are_apart() -> None:
    assert connected_groups([1, 2], [2, 1]).tolist() == [0, 1]


def test_no_labeling_is_refused() -> None:
    with pytest.raises(InputError, match="connected_groups got no labels"):
        connected_groups()


def test_different_lengths_are_listed() -> None:
    with pytest.raises(InputError, match=r"got lengths \[2, 3\]"):
        connected_groups([1, 2], [1, 2, 3])


@pytest.mark.parametrize("labels", ["abc", 5, np.zeros((2, 2)), {"a": 1}, None])
def test_labeling_that_is_not_flat(labels: Any) -> None:
    with pytest.raises(
        InputError, match=f"labeling 1 is not a flat .*got {type(labels).__name__}"
    ):
        connected_groups([1, 2], labels)


def test_labels_that_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="labels of labeling 0 cannot be compared"):
        connected_groups([["a"], ["b"]])


@pytest.mark.parametrize("same", ["1", 1.0, np.float32(1)], ids=repr)
def test_a_label_links_rows_in_every_type(same: Any) -> None:
    assert connected_groups([1, same, "01", 2]).tolist() == [0, 0, 1, 2]


def test_labels_that_became_floats_are_refused() -> None:
    with pytest.raises(InputError, match="labels of labeling 1 are not exact"):
        connected_groups([1, 2], np.array([1.8e18, np.nan]))


def test_duplicates_use_images_that_were_read() -> None:
    images = Images([b"broken", b"broken"])
    groups = duplicates(["a", None, "A!"], images, np.array([0, 1]))
    assert groups.tolist() == [0, 1, 0]
    assert groups.dtype == np.intp
