"""Labels of pandas go to the post that their index names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent import EventDetector, TextClassifier, evaluate
from mmevent.exceptions import InputError
from mmevent.posts.alignment import aligned
from mmevent.synthetic import demo_branches, make_posts

POSTS = pd.DataFrame({"text": list("abc")}, index=["x", "y", "z"])


def test_another_order_of_the_same_index_is_put_right() -> None:
    y = pd.Series([1, 2, 3], index=["z", "x", "y"], name="code")
    found = aligned(y, POSTS, "y")
    assert found.tolist() == [2, 3, 1]
    assert (found.name, found.dtype) == ("code", y.dtype)
    assert aligned(y, POSTS["text"], "y").tolist() == [2, 3, 1]


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        ([1, 2, 3], POSTS),
        (np.array([1, 2, 3]), POSTS),
        (None, POSTS),
        (pd.Series([1, 2, 3], index=[2, 1, 0]), POSTS.to_dict("records")),
        (pd.Series([1, 2, 3], index=POSTS.index), POSTS),
        (pd.Series([1, 2], index=[8, 9]), pd.DataFrame(index=[8, 9])),
        (pd.Series([1, 2], index=[0, 0]), pd.DataFrame(index=[0, 0])),
        (pd.Series([1, 2, 3, 4]), POSTS),
    ],
)
def test_the_rest_goes_by_position(values: Any, rows: Any) -> None:
    assert aligned(values, rows, "y") is values


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (
            [0, 1, 2],
            r"\['x', 'y', 'z'\], in any order, got others, such as \[0, 1, 2\]",
        ),
        (["x", "y", "w"], r"such as \['w'\].*pass groups\.to_numpy\(\)"),
        (["x", "y", "y"], "got labels that occur twice"),
    ],
)
def test_another_index_is_refused(index: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        aligned(pd.Series([1, 2, 3], index=index), POSTS, "groups")


def test_a_new_index_beside_posts_in_another_order_says_nothing() -> None:
    posts = pd.DataFrame({"text": list("abc")}, index=[2, 0, 1])
    with pytest.raises(InputError, match=r"order of y cannot be told.*y\.to_numpy\(\)"):
        aligned(pd.Series([1, 2, 3]), posts, "y")
    assert aligned(
        pd.Series([1, 2, 3], index=[0, 1, 2][::-1]), posts, "y"
    ).tolist() == [*(1, 3, 2)]


def test_a_detector_puts_labels_and_groups_in_order() -> None:
    posts, y, _ = make_posts(80, random_state=0, image_size=8)
    text, _ = demo_branches()
    settings: dict[str, Any] = {"cv": 2, "inner_cv": 2, "n_trials": 2, "estimate": None}
    detector = EventDetector(text=text, image=None, random_state=0, **settings)
    group = pd.Series(np.arange(80) // 2)
    shuffled = posts.sample(frac=1, random_state=1)
    expected = detector.fit(shuffled, y[shuffled.index], groups=group[shuffled.index])
    table = expected.out_of_fold_
    other = pd.Series(y)[::-1]
    detector.fit(shuffled, other, groups=group[::-1])
    pd.testing.assert_frame_equal(detector.out_of_fold_, table)
    evaluate(detector, shuffled, other, groups=group[::-1])
    with pytest.raises(InputError, match="the index of y is not that of the posts"):
        evaluate(detector, shuffled, pd.Series(y, index=range(1, 81)))
    with pytest.raises(InputError, match="the index of y is not that"):
        detector.set_policy(0.5, holdout=(shuffled, pd.Series(y, index=range(1, 81))))
    with pytest.raises(InputError, match="the index of groups is not that"):
        detector.fit(shuffled, y, groups=group.set_axis(range(1, 81)))


def test_a_classifier_puts_labels_and_weights_in_order(
    tiny_text_model: str, texts: list[str]
) -> None:
    X = pd.Series(texts, index=np.arange(len(texts))[::-1])
    y = pd.Series(np.arange(len(texts)) % 2, index=X.index)
    weight = pd.Series(np.linspace(1, 2, len(texts)), index=X.index)
    branch = TextClassifier(tiny_text_model, random_state=0)
    plain = branch.fit(X, y, sample_weight=weight).predict_proba(texts)
    branch.fit(X, y.sort_index(), sample_weight=weight.sort_index())
    np.testing.assert_array_equal(branch.predict_proba(texts), plain)
    with pytest.raises(InputError, match="the index of sample_weight is not that"):
        branch.fit(X, y, sample_weight=weight.add_prefix("row "))
