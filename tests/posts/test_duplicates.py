from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmevent.exceptions import InputError
from mmevent.posts.duplicates import connected_groups, duplicates
from mmevent.posts.images import Images
from mmevent.posts.texts import cut_beginning, normalise_text


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


def grouped(*texts: str | None) -> list[int]:
    return duplicates(texts, Images([]), np.zeros(0, dtype=np.intp)).tolist()


LONG = (
    "Thousands of people are marching to the main square of the town today and the "
    "police have closed all of the roads around it"
)


class TestCutTexts:
    @pytest.mark.parametrize(
        "cut",
        [
            f"RT @ana: {LONG[:110]}…",
            f"RT @ana: {LONG[:110]}...",
            f"RT @ana: RT @ben: {LONG[:70]} ...",
            f"RT @ana: {LONG[:60]}… https://t.co/ab…",
            f"{LONG[:90]}… https://t.co/abc",
        ],
    )
    def test_a_cut_copy_is_linked_to_the_longer_one(self, cut: str) -> None:
        assert grouped("x", cut, LONG, None) == [0, 1, 1, 2]

    def test_two_cuts_of_a_post_that_is_not_there_are_linked(self) -> None:
        assert grouped(f"RT @a: {LONG[:90]}…", f"RT @a: RT @b: {LONG[:80]}…") == [0, 0]

    def test_escaped_signs_do_not_tell_copies_apart(self) -> None:
        assert grouped("bread & roses", "bread &amp; roses") == [0, 0]

    def test_a_short_beginning_joins_nothing(self) -> None:
        texts = [f"{LONG[:30]} {word} and more" for word in ("one", "two", "three")]
        assert grouped(f"RT @ana: {LONG[:30]}…", *texts) == [0, 1, 2, 3]

    def test_a_text_that_was_not_cut_joins_nothing(self) -> None:
        assert grouped(LONG[:90], LONG, f"{LONG[:90]}… but no") == [0, 1, 2]

    def test_a_cut_does_not_join_what_goes_on_otherwise(self) -> None:
        """A chain of beginnings ends where the texts part."""
        other = f"{LONG[:50]} but it is another one"
        cuts = [f"RT @a: {LONG[:n]}…" for n in (100, 90, 80, 70)]
        assert grouped(other, *cuts, LONG) == [0, 1, 1, 1, 1, 1]

    @given(
        st.lists(
            st.text("ab", min_size=0, max_size=4).map(lambda end: f"{LONG} {end}"),
            max_size=6,
        ),
        st.lists(st.booleans(), min_size=6, max_size=6),
    )
    def test_groups_are_those_of_comparing_each_pair(
        self, texts: list[str], cut: list[bool]
    ) -> None:
        posts = [text + " x…" * end for text, end in zip(texts, cut, strict=False)]
        begins = [cut_beginning(post) for post in posts]
        normal = [normalise_text(post) for post in posts]
        labelings: list[list[Any]] = [normal or [0]]
        for begin in filter(None, begins):
            labelings.append([1 if text.startswith(begin) else None for text in normal])
        expected = brute_force(labelings) if posts else []
        assert grouped(*posts) == expected
