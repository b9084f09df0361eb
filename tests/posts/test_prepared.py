"""Posts made ready: their duplicates, their hashes, what a plain split would leak."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.model_selection import StratifiedKFold

from mmevent.exceptions import InputError
from mmevent.posts.labels import Labels
from mmevent.posts.prepared import Prepared


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def prepare(posts: Any) -> Prepared:
    return Prepared.of(posts, columns=None, image_root=None, allow_outside_root=False)


POSTS: list[dict[str, Any]] = [
    {"id": "a", "text": "They march", "images": [png(0), png(1)]},
    {"id": "b", "text": "they MARCH!", "images": [b"broken"]},
    {"id": "c", "text": None, "images": [png(1)]},
    {"id": "d", "text": "calm", "images": []},
]


def labels(event: Any, group: Any) -> Labels:
    return Labels(np.asarray(event, dtype=bool), np.asarray(group, dtype=np.intp))


def test_usable_images_are_counted() -> None:
    prepared = prepare(POSTS)
    assert len(prepared) == 4
    assert prepared.n_usable.tolist() == [2, 0, 1, 0]
    assert prepared.post.tolist() == [0, 0, 1, 2]


def test_duplicates_share_a_text_or_an_image() -> None:
    assert prepare(POSTS).duplicate.tolist() == [0, 0, 0, 1]


def test_groups_of_the_call_and_of_the_column_are_joined() -> None:
    posts = [post | {"group": g} for post, g in zip(POSTS, "xxyz", strict=True)]
    given = np.array(["p", "q", "q", "r"], dtype=object)
    assert prepare(POSTS).caller_groups(None) is None
    assert prepare(POSTS).caller_groups(given).tolist() == [0, 1, 1, 2]
    assert prepare(posts).caller_groups(None).tolist() == [0, 0, 1, 2]
    assert prepare(posts).caller_groups(given).tolist() == [0, 0, 0, 1]


def shares_a_key(first: dict[str, Any], second: dict[str, Any]) -> bool:
    (one,), (other,) = prepare([first]).keys, prepare([second]).keys
    return not one.isdisjoint(other)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"id": "a", "text": "something else"}, True),
        ({"id": "z", "text": "RT @x: they march"}, True),
        ({"id": "z", "text": "new", "images": [png(1)]}, True),
        ({"id": "z", "text": "new", "images": [png(9)]}, False),
        ({"id": "They march", "text": "a"}, False),
        ({"id": "z", "text": None}, False),
    ],
    ids=["id", "text", "image", "nothing", "id as text", "empty"],
)
def test_posts_are_known_again_by_id_text_or_image(
    other: dict[str, Any], same: bool
) -> None:
    assert shares_a_key(POSTS[0], other) is same


@pytest.mark.parametrize(("one", "other"), [(7, "7"), (7.0, 7), (7.0, "7")], ids=repr)
def test_a_post_is_known_again_by_its_id_in_another_type(one: Any, other: Any) -> None:
    assert shares_a_key({"id": one, "text": None}, {"id": other, "text": None})


def test_groups_that_became_floats_are_named() -> None:
    posts = pd.DataFrame({"text": ["a", "b"], "group": [1.8e18, np.nan]})
    with pytest.raises(InputError, match="groups are not exact"):
        prepare(posts).caller_groups(None)


def test_row_numbers_are_no_ids() -> None:
    assert not shares_a_key({"text": "one"}, {"text": "another"})


def test_an_image_that_cannot_be_used_is_not_known_again() -> None:
    broken = {"id": "a", "text": None, "images": [b"broken"]}
    assert not shares_a_key(broken, broken | {"id": "b"})


def test_an_empty_text_is_not_known_again() -> None:
    assert not shares_a_key({"id": "a", "text": "!!"}, {"id": "b", "text": "?"})


def test_keys_do_not_give_the_text_away() -> None:
    assert not any("march" in key for keys in prepare(POSTS).keys for key in keys)


def changed(row: int, **cells: Any) -> list[dict[str, Any]]:
    return [post | cells if i == row else post for i, post in enumerate(POSTS)]


def test_training_data_have_a_hash_of_texts_images_and_labels() -> None:
    y = labels([1, 0, 1, 0], [0, 1, 2, 3])
    plain = prepare(POSTS).data_hash(y)
    assert plain == prepare(POSTS).data_hash(y)
    others = [
        prepare(POSTS).data_hash(labels([1, 1, 1, 0], [0, 1, 2, 3])),
        prepare(changed(3, text="calm ")).data_hash(y),
        prepare(changed(3, images=[png(5)])).data_hash(y),
        prepare(changed(0, images=[png(1), png(0)])).data_hash(y),
        prepare(POSTS[::-1]).data_hash(y),
        prepare(POSTS[:3]).data_hash(labels([1, 0, 1], [0, 1, 2])),
    ]
    assert len({plain, *others}) == 7


def test_a_text_cannot_pass_for_two() -> None:
    y = labels([1, 0], [0, 1])
    first = prepare([{"text": "a\n'b'"}, {"text": "c"}])
    second = prepare([{"text": "a"}, {"text": "b'\n'c"}])
    assert first.data_hash(y) != second.data_hash(y)


def test_leakage_counts_posts_that_share_a_group() -> None:
    prepared = prepare([{"text": f"post {i}"} for i in range(8)])
    leakage = prepared.leakage(labels([1, 0] * 4, [0, 0, 0, 1, 1, 2, 3, 4]), 2, 0)
    assert leakage["n_groups"] == 5
    assert leakage["posts_that_share_a_group"] == 5


def test_leakage_counts_twins_that_a_plain_split_would_put_in_training() -> None:
    rng = np.random.default_rng(0)
    event, group = rng.random(60) < 0.4, rng.integers(40, size=60)
    prepared = prepare([{"text": f"post {i}"} for i in range(60)])
    found = prepared.leakage(labels(event, group), 5, 3)
    twins = 0
    splitter = StratifiedKFold(5, shuffle=True, random_state=3)
    for train, test in splitter.split(group, event):
        twins += sum(any(group[i] == group[j] for j in train) for i in test)
    assert found["posts_with_a_twin_had_groups_been_ignored"] == twins > 0


def test_pairs_that_lie_in_one_fold_are_no_leak() -> None:
    prepared = prepare([{"text": f"post {i}"} for i in range(20)])
    leakage = prepared.leakage(labels([1, 0] * 10, range(20)), 5, 0)
    assert leakage["posts_that_share_a_group"] == 0
    assert leakage["posts_with_a_twin_had_groups_been_ignored"] == 0
    # All in one group: every test post has a twin.
    leakage = prepared.leakage(labels([1, 0] * 10, [0] * 20), 5, 0)
    assert leakage["posts_with_a_twin_had_groups_been_ignored"] == 20


def test_leakage_of_more_folds_than_events_is_counted() -> None:
    prepared = prepare([{"text": f"post {i}"} for i in range(20)])
    events = [1, 1, *([0] * 18)]
    for n_folds, expected in ((0, 0), (1, 20), (5, 20), (20, 20), (50, 20)):
        leakage = prepared.leakage(labels(events, [0] * 20), n_folds, 0)
        found = leakage["posts_with_a_twin_had_groups_been_ignored"]
        assert found == expected, n_folds
