"""Folds: no group or duplicate on both sides, whole events, forward in time."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
)

from mmevent import ForwardInTime, duplicate_groups, to_posts
from mmevent.evaluation.folds import FoldMaker, fold_numbers
from mmevent.exceptions import InputError
from mmevent.posts.duplicates import connected_groups
from mmevent.posts.labels import Labels


class Recorder(GroupKFold):
    """A splitter that keeps what it was given."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        self.given = (X, y, groups)
        return super().split(X, y, groups)


def make_folds(
    cv: Any,
    inner_cv: Any = None,
    *,
    texts: list[str] | None = None,
    event: Any = None,
    groups: Any = None,
    times: Any = None,
    n_posts: int = 60,
    seed: int = 0,
) -> FoldMaker:
    rows = [{"text": f"post {i}"} for i in range(n_posts)]
    frame = pd.DataFrame(rows if texts is None else {"text": texts})
    if times is not None:
        frame["created_at"] = times
    posts = to_posts(frame)
    n = len(posts)
    duplicate = duplicate_groups(posts)
    joined = duplicate if groups is None else connected_groups(groups, duplicate)
    labels = Labels(
        np.arange(n) % 7 < 2 if event is None else np.asarray(event, dtype=bool),
        joined,
    )
    return FoldMaker(
        cv,
        inner_cv,
        posts=posts,
        labels=labels,
        caller=None if groups is None else np.asarray(groups, dtype=object),
        duplicate=duplicate,
        seed=seed,
    )


def days(n: int, start: str = "2024-01-01") -> list[str]:
    return [str(day.date()) for day in pd.date_range(start, periods=n)]


def shared(values: Any, first: Any, second: Any) -> set[Any]:
    values = np.asarray(values, dtype=object)
    return set(values[first]) & set(values[second])


# Folds that an integer makes


def test_every_post_is_tested_once() -> None:
    folds = make_folds(5)
    tasks = folds.make().outer
    assert len(tasks) == 5
    assert sorted(np.concatenate([task.test for task in tasks])) == list(range(60))
    for task in tasks:
        assert sorted([*task.train, *task.test]) == list(range(60))


def test_groups_and_duplicates_are_never_split() -> None:
    # Rows 0 and 1 are copies, rows 1 and 2 are of one group: all three go together.
    texts = ["the same", "The same!", *(f"post {i}" for i in range(58))]
    groups = [None, "a", "a", *(f"group {i // 4}" for i in range(57))]
    maker = make_folds(4, 3, texts=texts, groups=groups)
    group, folds = maker.labels.group, maker.make()
    assert group[0] == group[1] == group[2]
    for task, within in zip(folds.outer, folds.inner, strict=True):
        assert not shared(group, task.train, task.test)
        for inner in within:
            assert not shared(group, inner.train, inner.test)
            assert set(inner.train) | set(inner.test) == set(task.train)
    assert folds.n_dropped == 0


def test_folds_are_stratified() -> None:
    event = np.arange(200) < 40
    for task in make_folds(5, event=event, n_posts=200).make().outer:
        assert event[task.test].sum() == 8


def test_the_seed_moves_the_folds() -> None:
    numbers = [
        fold_numbers(make_folds(5, seed=seed).make().outer, 60).tolist()
        for seed in (0, 0, 1)
    ]
    assert numbers[0] == numbers[1]
    assert numbers[0] != numbers[2]


@pytest.mark.parametrize("cv", [5, np.int64(5)])
def test_too_few_groups_of_a_class_are_refused(cv: int) -> None:
    event = np.arange(60) < 12
    groups = np.where(event, np.arange(60) % 4, np.arange(60))
    message = "cv=5 folds .* at least 5 groups of posts in each class, got 4 .* 60"
    with pytest.raises(InputError, match=message):
        make_folds(cv, event=event, groups=groups).make()
    make_folds(4, event=event, groups=groups).make()


def test_too_few_groups_for_the_inner_folds_are_refused_before_all_else() -> None:
    event = np.arange(60) < 5
    folds = make_folds(5, 5, event=event)
    with pytest.raises(InputError, match="inner_cv=5 folds are too many.*got 4 in"):
        folds.make()


@pytest.mark.parametrize("cv", [1, 0, -3])
def test_fewer_than_two_folds_are_refused(cv: int) -> None:
    with pytest.raises(InputError, match=f"cv={cv} makes no folds: expected 2 or more"):
        make_folds(cv)
    with pytest.raises(InputError, match=f"inner_cv={cv} makes no folds"):
        make_folds(5, cv)


@pytest.mark.parametrize("cv", ["five", 2.5, True, object()])
def test_what_does_not_split_is_refused(cv: Any) -> None:
    with pytest.raises(InputError, match="splits nothing: expected an integer, or a"):
        make_folds(cv)


# Splitters


def test_a_splitter_gets_the_callers_groups() -> None:
    texts = ["the same", "the same", *(f"post {i}" for i in range(58))]
    groups = [f"event {i % 6}" for i in range(60)]
    splitter = Recorder(3)
    folds = make_folds(splitter, texts=texts, groups=groups)
    made = folds.make()
    _, _, given = splitter.given
    # Events 0 and 1 share a duplicate and stay apart.
    assert given.tolist() == connected_groups(groups).tolist()
    assert made.leaves_groups_out


def test_a_splitter_gets_duplicates_where_there_are_no_groups() -> None:
    texts = ["the same", "the same", *(f"post {i}" for i in range(58))]
    splitter = Recorder(3)
    folds = make_folds(splitter, texts=texts)
    folds.make()
    posts, y, given = splitter.given
    assert given.tolist() == duplicate_groups(posts).tolist()
    assert y.tolist() == folds.labels.event.astype(int).tolist()


def test_a_stratified_splitter_of_the_caller_gets_the_callers_groups() -> None:
    texts = ["the same", "the same", *(f"post {i}" for i in range(58))]
    groups = [f"event {i % 6}" for i in range(60)]
    folds = make_folds(StratifiedGroupKFold(3), texts=texts, groups=groups)
    made = folds.make()
    fold = fold_numbers(made.outer, 60)
    assert made.leaves_groups_out
    for event in range(6):
        assert len(set(fold[event::6])) == 1


def test_whole_events_are_left_out_one_by_one() -> None:
    groups = np.array([f"event {i % 6}" for i in range(60)])
    tasks = make_folds(LeaveOneGroupOut(), groups=groups).make().outer
    assert [set(groups[task.test]) for task in tasks] == [
        {f"event {k}"} for k in range(6)
    ]


def test_training_rows_with_a_duplicate_in_the_test_part_are_dropped() -> None:
    # Copies lie in events 0 and 1; events stay whole in the test.
    texts = ["the same", "the same", *(f"post {i}" for i in range(58))]
    groups = [f"event {i % 6}" for i in range(60)]
    folds = make_folds(
        LeaveOneGroupOut(), LeaveOneGroupOut(), texts=texts, groups=groups
    )
    made = folds.make()
    tasks = made.outer
    assert 1 not in tasks[0].train
    assert 0 not in tasks[1].train
    assert {0, 1} <= set(tasks[2].train)
    assert len(tasks[0].train) == 49
    for inner in made.inner[2]:
        assert not shared(texts, inner.train, inner.test)
    assert made.n_dropped == 2


def test_training_rows_of_a_group_in_the_test_part_are_dropped() -> None:
    groups = np.arange(60) // 2
    folds = make_folds(KFold(4, shuffle=True, random_state=0), groups=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = folds.make()
    for task in made.outer:
        assert not shared(groups, task.train, task.test)
    assert made.n_dropped > 0


def test_a_splitter_may_leave_posts_untested() -> None:
    folds = make_folds(PredefinedSplit(np.arange(60) % 3 - 1))
    fold = fold_numbers(folds.make().outer, 60)
    assert fold.tolist() == (np.arange(60) % 3 - 1).tolist()


def test_a_splitter_that_cannot_split_is_refused() -> None:
    message = r"cv=LeaveOneGroupOut\(\) cannot split these 60 posts.*another splitter"
    with pytest.raises(InputError, match=message):
        make_folds(LeaveOneGroupOut(), groups=["one event"] * 60).make()


@pytest.mark.parametrize(
    "cv",
    [RepeatedStratifiedKFold(n_splits=2, n_repeats=2), ShuffleSplit(3, test_size=0.5)],
)
def test_a_splitter_that_tests_posts_twice_is_refused(cv: Any) -> None:
    with pytest.raises(InputError, match="cv tests no post, or some post twice"):
        make_folds(cv).make()


def test_a_training_part_of_one_class_is_refused() -> None:
    event = np.arange(60) < 20
    with pytest.raises(InputError, match="cv leaves one class to train on"):
        make_folds(LeaveOneGroupOut(), event=event, groups=event).make()


def test_a_training_part_that_loses_a_class_with_its_duplicates_is_refused() -> None:
    # The events of each half are copies of the other's.
    event = np.arange(20) % 2 == 0
    texts = [f"event {i % 10}" if event[i] else f"post {i}" for i in range(20)]
    folds = make_folds(
        LeaveOneGroupOut(), texts=texts, event=event, groups=np.arange(20) // 10
    )
    with pytest.raises(InputError, match="one class to train on.*got 0 positives"):
        folds.make()


# Forward in time


def test_time_runs_forward() -> None:
    times = np.array(days(60), dtype=object)[np.random.default_rng(0).permutation(60)]
    folds = make_folds(ForwardInTime(4), times=times)
    tasks = folds.make().outer
    for task in tasks:
        assert times[task.train].max() < times[task.test].min()
    sizes = [len(task.test) for task in tasks]
    assert sizes == [12] * 4
    fold = fold_numbers(tasks, 60)
    assert (fold == -1).sum() == 12
    assert times[fold == -1].max() < times[fold >= 0].min()


def test_a_group_is_tested_in_its_earliest_block_and_its_later_members_dropped() -> (
    None
):
    # Posts 10 (block 1) and 25 (block 2) are of one group, 0 and 29 of another.
    groups: NDArray[Any] = np.arange(30)
    groups[25], groups[29] = 10, 0
    folds = make_folds(ForwardInTime(2), times=days(30), groups=groups, n_posts=30)
    first, second = folds.make().outer
    assert first.test.tolist() == list(range(10, 20))
    assert 10 in second.train
    assert second.test.tolist() == [i for i in range(20, 30) if i not in (25, 29)]
    fold = fold_numbers([first, second], 30)
    assert fold[[0, 25, 29]].tolist() == [-1, -1, -1]


def test_duplicates_count_as_groups_in_time() -> None:
    texts = [f"post {i}" for i in range(30)]
    texts[25] = texts[10]
    folds = make_folds(ForwardInTime(2), times=days(30), texts=texts)
    fold = fold_numbers(folds.make().outer, 30)
    assert fold[10] == 0
    assert fold[25] == -1


def test_posts_of_one_time_are_of_one_block() -> None:
    times = np.repeat(days(6), 5)
    for task in make_folds(ForwardInTime(2), times=times, n_posts=30).make().outer:
        assert not shared(times, task.train, task.test)


@pytest.mark.parametrize("n_splits", [1, 2, 48])
def test_blocks_are_of_equal_size(n_splits: int) -> None:
    n = 2 * (n_splits + 1)
    posts = [{"text": str(i), "created_at": day} for i, day in enumerate(days(n))]
    splitter = ForwardInTime(n_splits)
    split = list(splitter.split(posts))
    assert len(split) == splitter.get_n_splits() == n_splits
    assert [len(test) for _, test in split] == [2] * n_splits
    assert [len(train) for train, _ in split] == list(range(2, n, 2))


def test_inner_folds_run_forward_too() -> None:
    times = days(120)
    folds = make_folds(ForwardInTime(3), 2, times=times, n_posts=120)
    assert isinstance(folds.inner_cv, ForwardInTime)
    made = folds.make()
    for task, within in zip(made.outer, made.inner, strict=True):
        for inner in within:
            assert max(inner.train) < min(inner.test)
            assert max(inner.test) < min(task.test)
    assert make_folds(5, 2).inner_cv != folds.inner_cv


def test_forward_in_time_is_no_splitter_of_whole_events() -> None:
    assert not make_folds(ForwardInTime(3), times=days(60)).make().leaves_groups_out
    assert not make_folds(5).make().leaves_groups_out


@pytest.mark.parametrize("bad", ["someday", None, "03/04/2024"])
def test_times_that_do_not_parse_are_refused(bad: Any) -> None:
    times = [*days(59), bad]
    message = r"created_at of 1 of 60 posts \(first ids: 59\) cannot be read"
    with pytest.raises(InputError, match=f"^{message}"):
        make_folds(ForwardInTime(3), times=times).make()


def test_posts_without_times_are_refused() -> None:
    with pytest.raises(InputError, match="^posts have no times: expected a column"):
        make_folds(ForwardInTime(3)).make()


def test_too_few_distinct_times_are_refused() -> None:
    times = np.repeat(days(2), 30)
    message = "too few distinct times: expected 4 blocks .* got 2. Lower n_splits"
    with pytest.raises(InputError, match=message):
        make_folds(ForwardInTime(3), times=times).make()


def test_forward_in_time_needs_a_split() -> None:
    posts = [{"text": "a", "created_at": "2024-01-01"}]
    with pytest.raises(InputError, match="n_splits=0 gives no test part"):
        list(ForwardInTime(0).split(posts))


def test_forward_in_time_says_what_it_is() -> None:
    assert repr(ForwardInTime(3)) == "ForwardInTime(n_splits=3)"


# Asked once, and handed on as data


class Unseeded:
    """A splitter that draws other folds each time it is asked, and counts."""

    def __init__(self) -> None:
        self.n_asked = 0

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        self.n_asked += 1
        return KFold(3, shuffle=True).split(X)


def test_a_splitter_without_a_seed_is_asked_once() -> None:
    splitter, inner = Unseeded(), Unseeded()
    maker = make_folds(splitter, inner)
    folds = maker.make()
    assert splitter.n_asked == 1
    assert inner.n_asked == len(folds.outer)
    reduced = maker.reduce(folds, 0.5)
    assert splitter.n_asked == 1
    for task, fewer in zip(folds.outer, reduced.outer, strict=True):
        assert task.test.tolist() == fewer.test.tolist()
        assert set(fewer.train) < set(task.train)


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    maker = make_folds(4, 2)
    folds = maker.make()
    half, quarter = (maker.reduce(folds, share) for share in (0.5, 0.25))
    for more, fewer in zip(half.outer, quarter.outer, strict=True):
        assert set(fewer.train) < set(more.train)


def test_a_share_that_leaves_one_class_is_refused() -> None:
    maker = make_folds(2, event=np.zeros(60, dtype=bool) | (np.arange(60) < 2))
    with pytest.raises(InputError, match="one class"):
        maker.reduce(maker.make(), 0.0)
