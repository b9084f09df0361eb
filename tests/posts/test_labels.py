"""Checks of labels and groups, and their messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.exceptions import InputError
from mmevent.posts.labels import (
    as_labels,
    check_groups,
    check_known_labels,
    check_labels,
    check_n_jobs,
    check_seed,
    check_some,
    check_stage1,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("y", "classes", "positive"),
    [
        ([0, 1, 0], [0, 1], 1),
        ([False, True, False], [False, True], True),
        ([0.0, 1.0, 0.0], [0.0, 1.0], 1.0),
        (np.array([0, 1, 0], dtype=np.uint8), [0, 1], 1),
        (np.array([0, 1, 0], dtype=object), [0, 1], 1),
        (np.array([False, True, False], dtype=object), [False, True], True),
        (pd.Series([0, 1, 0], index=[9, 9, 1]), [0, 1], 1),
        (pd.Series([0, 1, 0], dtype="Int64"), [0, 1], 1),
        (pd.Series([False, True, False], dtype="boolean"), [False, True], True),
        (pd.Series([0, 1, 0], dtype="category"), [0, 1], 1),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', value)}",
)
def test_of_0_and_1_and_of_booleans_the_greater_is_positive(
    y: Any, classes: list[Any], positive: Any
) -> None:
    event, found, label = check_labels(y, 3)
    assert event.tolist() == [False, True, False]
    assert event.dtype == bool
    assert found.tolist() == classes
    assert label == positive


@pytest.mark.parametrize(
    "y",
    [
        [1, 2, 1],
        [-1, 1, -1],
        [0, 2, 0],
        [0.0, 0.5, 0.0],
        pd.Series([1, 2, 1], dtype="Int64"),
        pd.Series([1, 2, 1], dtype="category"),
    ],
    ids=str,
)
def test_two_other_numbers_are_asked_about(y: Any) -> None:
    low, high = sorted(set(y))
    message = (
        rf"cannot be told from y: .* got \[{low}, {high}\]. .* pos_label={high}, or"
    )
    with pytest.raises(InputError, match=message):
        check_labels(y, 3)
    for positive in (low, high):
        event, _, label = check_labels(y, 3, positive)
        assert event.tolist() == [value == positive for value in y]
        assert label == positive


@pytest.mark.parametrize(
    ("y", "alike"),
    [
        (["Yes ", "yes", "no"], "'Yes ', 'yes'"),
        (["yes", "YES", "yes"], "'YES', 'yes'"),
        (["not sure", "not  sure", "no"], "'not  sure', 'not sure'"),
        (pd.Series(["no", "no\u00a0", "yes"], dtype="string"), "'no', 'no\\xa0'"),
    ],
    ids=str,
)
def test_labels_that_differ_by_case_or_spaces_are_named(y: Any, alike: str) -> None:
    with pytest.raises(InputError, match="differ by case or spaces alone") as caught:
        check_labels(y, 3, "yes")
    assert alike in str(caught.value)


@pytest.mark.parametrize(
    "y",
    [
        pd.Series([["event"], ["none"], ["event"]]),
        [["event"], ["none", "event"], []],
        [["event"], None, ["event"]],
        np.array([{"choices": ["event"]}, {}, {}]),
    ],
    ids=str,
)
def test_lists_as_labels_are_refused_in_one_line(y: Any) -> None:
    with pytest.raises(InputError, match="expected one number, text or boolean for"):
        check_labels(y, 3, "event")
    with pytest.raises(InputError, match="expected one number, text or boolean for"):
        check_known_labels(y, 3, np.array(["event", "none"]), "event")


def test_three_classes_are_named_with_their_counts() -> None:
    with pytest.raises(
        InputError, match=r"y has 3 classes: .* got 0 \(2\), 1 \(1\), 9"
    ):
        check_labels([0, 9, 1, 0], 4)


@pytest.mark.parametrize(
    "y",
    [
        [True, None, False],
        np.array([True, None, False], dtype=object),
        pd.Series([True, None, False]),
        pd.Series([True, None, False], dtype="boolean"),
        [True, NAN, False],
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', y)}",
)
def test_a_missing_label_of_held_out_posts_is_refused(y: Any) -> None:
    message = r"missing labels.*none in 1 of 3, first in rows \[1\]"
    with pytest.raises(InputError, match=message):
        check_known_labels(y, 3, np.array([False, True]), True)
    with pytest.raises(InputError, match=message):
        check_labels(y, 3)


def test_other_labels_of_held_out_posts_are_named() -> None:
    classes = np.array(["no", "yes"])
    assert check_known_labels(["yes", "yes"], 2, classes, "yes").tolist() == [True] * 2
    with pytest.raises(InputError, match=r"got \['maybe'\]. Code the held-out posts"):
        check_known_labels(["yes", "maybe"], 2, classes, "yes")
    with pytest.raises(InputError, match=r"got \['Yes '\]. Some differ by case or"):
        check_known_labels(["Yes ", "no"], 2, classes, "yes")


@pytest.mark.parametrize(
    "y",
    [
        ["no", "yes", "no"],
        np.array(["no", "yes", "no"]),
        np.array(["no", "yes", "no"], dtype=object),
        pd.Series(["no", "yes", "no"]),
        pd.Series(["no", "yes", "no"], dtype="category"),
        pd.Series(["no", "yes", "no"], dtype="string"),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
@pytest.mark.parametrize("positive", ["yes", "no"])
def test_strings_need_a_positive_class(y: Any, positive: str) -> None:
    with pytest.raises(InputError, match=r"cannot be told.*pass pos_label='yes'"):
        check_labels(y, 3)
    event, classes, label = check_labels(y, 3, positive)
    assert event.tolist() == [value == positive for value in y]
    assert classes.tolist() == ["no", "yes"]
    assert label == positive


@pytest.mark.parametrize("positive", [0, 0.0, False])
def test_a_label_that_is_falsy_can_be_positive(positive: Any) -> None:
    event, classes, _ = check_labels([0, 1, 0], 3, positive)
    assert event.tolist() == [True, False, True]
    assert classes.tolist() == [0, 1]


@pytest.mark.parametrize("positive", ["maybe", 1])
def test_a_positive_class_that_does_not_occur_is_refused(positive: Any) -> None:
    message = rf"pos_label={positive!r} is no label of y: expected one of \['no', 'yes"
    with pytest.raises(InputError, match=message):
        check_labels(["no", "yes"], 2, positive)


@pytest.mark.parametrize(("y", "n"), [([1, 1, 1], 1), ([0, 1, 2], 3), (["a"] * 3, 1)])
def test_other_than_two_classes_are_refused(y: list[Any], n: int) -> None:
    with pytest.raises(InputError, match=rf"y has {n} class(es)?: expected two"):
        check_labels(y, 3)


@pytest.mark.parametrize(
    "y",
    [
        [0, 1, NAN, NAN],
        [0, 1, None, None],
        ["no", "yes", None, None],
        pd.Series([0, 1, None, None], dtype="Int64"),
        pd.Series([False, True, None, None], dtype="boolean"),
        pd.Series(["no", "yes", None, None]),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', y)}",
)
def test_missing_labels_are_refused_with_their_rows(y: Any) -> None:
    message = r"missing labels.*none in 2 of 4, first in rows \[2, 3\]"
    with pytest.raises(InputError, match=message):
        check_labels(y, 4)


@pytest.mark.parametrize("y", [[0, 1], [[0], [1], [0]], 1, [[0, 1, 0]]], ids=str)
def test_labels_of_another_length_are_refused(y: Any) -> None:
    with pytest.raises(InputError, match="one label for each of 3 posts, got shape"):
        check_labels(y, 3)


def test_labels_that_cannot_be_compared_are_refused() -> None:
    y = np.array([0, "yes", 0], dtype=object)
    with pytest.raises(InputError, match="y mixes labels that cannot be compared"):
        check_labels(y, 3)


def test_labels_keep_their_type() -> None:
    assert as_labels(pd.Series([True, False]), 2).dtype == bool
    assert as_labels(np.array([1, 0], dtype=np.int8), 2).dtype == np.int8


@pytest.mark.parametrize(
    "groups",
    [
        ["a", "b", None],
        np.array([1, 2, 3]),
        pd.Series(["a", "b", "c"], index=[5, 5, 5]),
    ],
    ids=lambda groups: type(groups).__name__,
)
def test_groups_of_any_kind_are_taken(groups: Any) -> None:
    checked = check_groups(groups, 3)
    assert checked is not None
    assert checked.tolist() == list(groups)


@pytest.mark.parametrize(
    "groups",
    [
        [2**60 + 1, None, 2**60],
        [2**60 + 1, float("nan"), 2**60],
        (2**60 + 1, pd.NA, 2**60),
        pd.Series([2**60 + 1, None, 2**60], dtype="Int64"),
        pd.Index([2**60 + 1, None, 2**60], dtype=object),
    ],
    ids=repr,
)
def test_long_groups_with_a_gap_stay_exact(groups: Any) -> None:
    checked = check_groups(groups, 3)
    assert checked is not None
    assert [checked[0], checked[2]] == [2**60 + 1, 2**60]
    assert pd.isna(checked[1])


@pytest.mark.parametrize("missing", [float("nan"), None, pd.NA], ids=str)
def test_a_missing_value_in_a_list_stays_missing(missing: Any) -> None:
    groups = check_groups(["a", missing, "b", missing], 4)
    assert groups is not None
    assert pd.isna(groups).tolist() == [False, True, False, True]
    with pytest.raises(InputError, match="y has missing labels: .* got none in 2 of 4"):
        check_labels(["yes", missing, "no", missing], 4, "yes")


@pytest.mark.parametrize("labels", [["yes", "NA"], [1, -(2**31)], [1.0, -(2.0**31)]])
def test_a_missing_label_of_r_is_no_class(labels: list[Any]) -> None:
    with pytest.raises(InputError, match="y has missing labels: .* in 2 of 4, first"):
        check_labels(labels * 2, 4, labels[0])


def test_a_list_of_strings_and_numbers_is_not_turned_into_strings() -> None:
    with pytest.raises(InputError, match="y mixes labels that cannot be compared"):
        check_labels([0, "a", 0], 3)


@pytest.mark.parametrize("n_jobs", [0, 1.5, "2"], ids=repr)
def test_what_is_no_number_of_threads_is_refused(n_jobs: Any) -> None:
    with pytest.raises(InputError, match="is no number of threads: expected None or"):
        check_n_jobs(n_jobs)


@pytest.mark.parametrize("n_jobs", [None, 1, -1, np.int64(2), 2.0], ids=repr)
def test_numbers_of_threads_are_taken(n_jobs: Any) -> None:
    assert check_n_jobs(n_jobs) == n_jobs
    assert not isinstance(check_n_jobs(n_jobs), float)


@pytest.mark.parametrize(
    "seed", [-1, 2**32, 0.5, float("nan"), "0", np.random.default_rng(0)], ids=str
)
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(InputError, match="is no seed: expected None, an integer"):
        check_seed(seed)


@pytest.mark.parametrize(
    "seed", [None, 0, np.int32(3), np.random.RandomState(0), 3.0], ids=str
)
def test_seeds_are_taken(seed: Any) -> None:
    assert check_seed(seed) == seed
    assert not isinstance(check_seed(seed), float)


def test_no_groups_are_none() -> None:
    assert check_groups(None, 3) is None


@pytest.mark.parametrize("groups", [["a", "b"], [["a"], ["b"], ["c"]], "abc"], ids=str)
def test_groups_of_another_length_are_refused(groups: Any) -> None:
    with pytest.raises(InputError, match="one for each of 3 posts, got shape"):
        check_groups(groups, 3)


def test_no_posts_are_refused() -> None:
    with pytest.raises(InputError, match="no posts to fit: expected at least one"):
        check_some(0, "fit")
    check_some(1, "fit")


def test_labels_of_stage_1_of_other_posts_are_refused() -> None:
    message = r"^y_stage1 does not fit the posts: expected one label for each of 3"
    with pytest.raises(InputError, match=message):
        check_stage1([0, 1], np.array([True, False, True]), np.arange(3))
