"""Labelled posts: their groups, their folds, and what their estimate says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluation.helpers import EVENT, SLICES, N, make_run
from PIL import Image
from sklearn.model_selection import GroupKFold

from mmevent.evaluation.folds import Folds, Task, fold_numbers
from mmevent.evaluation.sample import SAME_FOLDS, Sample
from mmevent.exceptions import InputError
from mmevent.posts.prepared import Prepared


def prepared(**columns: Any) -> Prepared:
    """Return as many posts as the runs are of, none like another."""
    table = pd.DataFrame({"text": [f"word{i}" for i in range(N)], **columns})
    return Prepared.of(table, columns=None, image_root=None, allow_outside_root=False)


def texts_with_copies() -> list[str]:
    """Return texts of which the first two, and no others, are copies."""
    return ["the same", "The same!", *(f"word{i}" for i in range(2, N))]


def folds(n_dropped: int = 0, **changes: Any) -> Folds:
    given = {"outer": [], "inner": [], "seed": 0, "forward": False, "apart": ()}
    given |= {"leaves_groups_out": False, "n_dropped": n_dropped}
    return Folds(**(given | changes))


def summary(sample: Sample, *runs: Any, by_seed: Any = (), **settings: Any) -> Any:
    given = {"kind": "nested", "slices": SLICES, "notes": [], "verbose": False}
    return sample.summary(runs, by_seed, **(given | settings))


# Groups


def test_groups_are_joined_with_the_column_and_with_duplicates() -> None:
    column = [f"event {i // 40}" if i < 80 else None for i in range(N)]
    posts = prepared(text=texts_with_copies()[::-1], group=column)
    given = np.arange(N).astype(object)
    given[[39, 40]] = "both events"
    sample = Sample.of(posts, EVENT, given)
    group = sample.labels.group
    assert len(set(group[:80])) == 1  # by the column, and by the caller's group
    assert group[N - 2] == group[N - 1] != group[0]  # copies
    assert sample.caller is not None
    assert sample.caller[N - 2] != sample.caller[N - 1]


def test_without_groups_duplicates_alone_belong_together() -> None:
    sample = Sample.of(prepared(text=texts_with_copies()), EVENT, None)
    assert sample.caller is None
    assert sample.labels.group[0] == sample.labels.group[1]
    assert len(set(sample.labels.group)) == N - 1


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="groups do not fit the posts"):
        Sample.of(prepared(), EVENT, np.arange(N - 1))


def test_groups_are_known_again_whatever_they_are_called() -> None:
    posts = prepared(text=texts_with_copies())
    groups = np.arange(N) // 4
    first = Sample.of(posts, EVENT, groups).groups_hash
    assert Sample.of(posts, EVENT, [f"event {g}" for g in groups]).groups_hash == first
    assert Sample.of(posts, EVENT, np.arange(N) // 5).groups_hash != first
    assert Sample.of(posts, EVENT, None).groups_hash != first


def test_groups_that_hide_behind_copies_are_others() -> None:
    # Joined with the copies, posts 0 and 1 are together either way.
    posts = prepared(text=texts_with_copies())
    apart, together = np.arange(N), np.arange(N)
    together[1] = 0
    one, other = (Sample.of(posts, EVENT, groups) for groups in (apart, together))
    assert one.labels.group.tolist() == other.labels.group.tolist()
    assert one.groups_hash != other.groups_hash


def test_posts_are_known_again_by_texts_and_labels() -> None:
    first = Sample.of(prepared(), EVENT, None).data_hash
    assert Sample.of(prepared(), EVENT, np.arange(N) // 2).data_hash == first
    assert Sample.of(prepared(), ~EVENT, None).data_hash != first
    others = prepared(text=texts_with_copies())
    assert Sample.of(others, EVENT, None).data_hash != first


def test_folds_leave_groups_whole() -> None:
    sample = Sample.of(prepared(text=texts_with_copies()), EVENT, np.arange(N) // 3)
    made = sample.fold_maker(4, 2, 0).make()
    fold = fold_numbers(made.outer, N)
    assert (pd.Series(fold).groupby(sample.labels.group).nunique() == 1).all()
    assert [len(tasks) for tasks in made.inner] == [2] * 4
    again = sample.fold_maker(4, 2, 0).make()
    assert fold.tolist() == fold_numbers(again.outer, N).tolist()


# Notes


def test_images_that_cannot_be_used_are_counted_by_reason() -> None:
    images = [["gone.png"], [b"no picture"], *[[]] * (N - 2)]
    images[2] = [Image.new("RGB", (4, 4))]
    some = Sample.of(prepared(images=images), EVENT, None)
    (note,) = some.notes(uses_images=True)
    assert note == "2 of 3 images unusable: 1 missing file, 1 unsupported."
    assert some.notes(uses_images=False) == []


def test_a_frozen_branch_is_an_assumption() -> None:
    notes = Sample.of(prepared(), EVENT, None).notes(uses_images=True, has_frozen=True)
    assert notes == ["assumes that the frozen branch never saw these posts."]


# The estimate of runs on these posts

DROPPED = "training_rows_dropped_as_duplicates_of_test_rows"


def test_dropped_training_rows_are_counted_as_the_mean_over_seeds() -> None:
    sample = Sample.of(prepared(), EVENT, None)
    runs = [make_run(seed) for seed in range(3)]
    counted = summary(sample, *runs, by_seed=[folds(1), folds(9), folds(2)])
    assert counted.leakage[DROPPED] == 4


def test_held_out_posts_have_no_training_rows_to_drop() -> None:
    sample = Sample.of(prepared(text=texts_with_copies()), EVENT, None)
    leakage = summary(sample, make_run(), kind="held out").leakage
    assert DROPPED not in leakage
    assert leakage["posts_that_share_a_group"] == 2
    assert leakage["posts_with_a_twin_had_groups_been_ignored"] == 0


def test_folds_that_no_seed_changes_are_noted() -> None:
    sample = Sample.of(prepared(), EVENT, None)
    other = make_run(1, fold=(np.arange(N) + 1) % 3)
    twice = [folds(), folds()]
    same = summary(sample, make_run(0), make_run(1), by_seed=twice)
    assert SAME_FOLDS in same.notes
    for runs in ([make_run(0)], [make_run(0), other]):
        found = summary(sample, *runs, by_seed=twice[: len(runs)])
        assert SAME_FOLDS not in found.notes


def test_intervals_are_over_events_where_folds_leave_events_out() -> None:
    sample = Sample.of(prepared(), EVENT, np.arange(N) // 4)
    for leaves_out, n_groups in ((True, 30), (False, 30)):
        made = folds(leaves_groups_out=leaves_out)
        table = summary(sample, make_run(), by_seed=[made]).to_frame()
        assert table["n_groups"].tolist() == [n_groups] * 2
    # A copy joins two events; whole events are resampled all the same.
    texts = [f"word{i}" for i in range(N)]
    texts[4] = texts[0]
    joined = Sample.of(prepared(text=texts), EVENT, np.arange(N) // 4)
    sizes = [
        summary(joined, make_run(), by_seed=[folds(leaves_groups_out=leaves_out)])
        .to_frame()["n_groups"]
        .iloc[0]
        for leaves_out in (True, False)
    ]
    assert sizes == [30, 29]


def test_a_splitter_of_the_callers_leaves_groups_out() -> None:
    sample = Sample.of(prepared(), EVENT, np.arange(N) // 4)
    made = sample.fold_maker(GroupKFold(3), None, 0).make()
    assert made.leaves_groups_out
    assert made.without_twins(Task(np.arange(2), np.arange(2, 4))).train.size == 0
