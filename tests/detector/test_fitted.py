"""FittedDetector: all that a prediction needs, as one value that never changes."""

from __future__ import annotations

import copy
import re
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from detector.helpers import Data, new_posts
from PIL import Image
from sklearn.model_selection import (
    GroupKFold,
)

from mmevent import (
    EventDetector,
    evaluate,
)
from mmevent.detector.fitted import FittedAttributes
from mmevent.detector.reading import Reading
from mmevent.exceptions import (
    InputError,
)
from mmevent.synthetic.posts import make_posts

ATTRIBUTES = sorted(
    n for n in vars(FittedAttributes) if n.endswith("_") and n[0] != "_"
)


# It never changes


def test_every_field_is_for_reading(fitted: EventDetector) -> None:
    for value in (fitted.fitted_, fitted.fitted_.record, fitted.fitted_.rule):
        for field in fields(value):
            with pytest.raises(FrozenInstanceError):
                setattr(value, field.name, None)
            with pytest.raises(FrozenInstanceError):
                delattr(value, field.name)
    assert isinstance(fitted.fitted_.training_keys, frozenset)


def test_another_policy_makes_another_value(fitted: EventDetector) -> None:
    before = fitted.fitted_
    after = before.with_policy(np.array([[0, 1], [2, 0]]), 0.25)
    assert (after.policy, after.threshold) == ([[0, 1], [2, 0]], 0.25)
    assert before.policy == "f1"
    for field in fields(before):
        if field.name not in ("policy", "threshold"):
            assert getattr(after, field.name) is getattr(before, field.name)


def test_set_policy_leaves_the_value_that_others_hold(
    fitted: EventDetector, data: Data
) -> None:
    detector = copy.deepcopy(fitted)
    held, threshold = detector.fitted_, detector.threshold_
    detector.set_policy(0.9)
    assert held.threshold == threshold != detector.fitted_.threshold


def test_predictions_leave_it_as_it_was(fitted: EventDetector, data: Data) -> None:
    before = vars(fitted.fitted_).copy()
    table = fitted.out_of_fold_.copy()
    fitted.audit(data[0], batch_size=30)
    fitted.predict_proba(data[0])
    evaluate(fitted, *new_posts(), held_out=True)
    assert all(vars(fitted.fitted_)[name] is value for name, value in before.items())
    pd.testing.assert_frame_equal(fitted.out_of_fold_, table)


# The attributes of a detector that are read from it


def test_the_docstring_names_the_fitted_attributes() -> None:
    doc = str(EventDetector.__doc__)
    stated = doc[doc.index("Attributes\n") : doc.index("See Also\n")]
    lines = re.findall(r"^    ((?:\w+_, )*\w+_) : ", stated, flags=re.MULTILINE)
    names = {name for line in lines for name in line.split(", ")}
    assert names == {*ATTRIBUTES, "fitted_"}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_fitted_attribute_is_read_and_not_set(
    fitted: EventDetector, name: str
) -> None:
    assert not hasattr(EventDetector(), name)
    value = getattr(fitted, name)
    message = rf"^{name} cannot be set: expected to be read only, got .*set_policy"
    with pytest.raises(AttributeError, match=message):
        setattr(fitted, name, 0.5)
    assert getattr(fitted, name) is value or value == getattr(fitted, name)


def test_they_are_what_the_value_holds(fitted: EventDetector) -> None:
    value = fitted.fitted_
    assert fitted.alpha_ == value.rule.alpha
    assert fitted.text_ is value.text is value.branches["text"]
    assert fitted.image_ is value.image is value.branches[fitted.image_name_]
    assert fitted.second_stage_ is value.second is None
    assert fitted.out_of_fold_ is value.record.out_of_fold
    assert {name for name in vars(fitted) if name.endswith("_")} == {"fitted_"}


@pytest.mark.parametrize("pos_label", [0, 1])
def test_labels_are_those_of_no_event_and_of_an_event(
    fitted: EventDetector, pos_label: int
) -> None:
    assert replace(fitted.fitted_, pos_label=pos_label).coding == [
        1 - pos_label,
        pos_label,
    ]


# Which posts were seen


def test_seen_posts_are_those_of_the_fit_and_their_copies(
    fitted: EventDetector, data: Data
) -> None:
    reading = Reading.of(fitted)
    posts, _ = new_posts()
    assert not fitted.fitted_.seen(reading.read(posts, {})).any()
    with_text = int(np.flatnonzero(data[0]["text"].notna())[0])
    posts.at[3, "text"] = data[0].at[with_text, "text"]
    posts.at[3, "images"] = posts.at[4, "images"] = [Image.new("RGB", (9, 9), "teal")]
    seen = fitted.fitted_.seen(reading.read(posts, {}))
    assert np.flatnonzero(seen).tolist() == [3, 4]
    nothing = {"text": ["a"], "id": ["x"]}
    assert not fitted.fitted_.seen(reading.read(pd.DataFrame(nothing), {})).any()


# Which posts are those of the fit


def test_other_posts_than_the_training_are_refused(
    fitted: EventDetector, data: Data
) -> None:
    posts, y = data
    message = "not those of the training: expected the same 80 .* pass held_out=True"
    for others, labels in (
        (posts[:50], y[:50]),
        (posts[::-1], y[::-1]),
        (posts, 1 - y),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(fitted, others, labels)


def test_other_groups_than_the_fits_are_refused(
    data: Data, settings: dict[str, Any]
) -> None:
    posts, y = data
    groups = np.arange(len(y)) // 4
    detector = EventDetector(**settings).fit(posts, y, groups=groups)
    for wrong in (None, np.arange(len(y)) // 5):
        message = r"not those of the fit: expected \d+ groups.*\(groups=, or --group"
        with pytest.raises(InputError, match=message):
            evaluate(detector, posts, y, groups=wrong)
    assert evaluate(detector, posts, y, groups=groups + 7).kind == "nested"


def test_the_fits_joined_groups_are_not_its_groups(settings: dict[str, Any]) -> None:
    posts, y, _ = make_posts(120, image_size=8, share_reposts=0.1, random_state=0)
    event = np.arange(120) // 4
    parameters = settings | {"cv": GroupKFold(3), "estimate": None}
    fitted = EventDetector(**parameters).fit(posts, y, groups=event)
    joined = fitted.out_of_fold_["group"]
    assert joined.nunique() < 30
    with pytest.raises(InputError, match="groups are not those of the fit"):
        evaluate(fitted, posts, y, groups=joined)


def test_images_that_are_gone_are_named_as_a_reason(
    fitted: EventDetector, data: Data
) -> None:
    posts, y = data
    gone = posts.assign(images=[["gone.png"]] * len(posts))
    with pytest.raises(InputError, match=f"{len(y)} images cannot be used: check imag"):
        evaluate(fitted, gone, y)


def test_a_copy_of_a_post_that_shares_an_image_with_the_training_is_seen(
    fitted: EventDetector, data: Data
) -> None:
    posts, _ = data
    image = next(cell[0] for cell in posts["images"] if len(cell) == 1)
    others, y = new_posts()
    chain = pd.DataFrame(
        {
            "id": ["first", "second"],
            "text": ["the very same words"] * 2,
            "images": [[], [image]],
        }
    )
    table = pd.concat([others, chain], ignore_index=True)
    labels = np.append(y, [0, 1])
    with pytest.raises(InputError, match=r"2 of \d+ held-out.*'first', 'second'"):
        evaluate(fitted, table, labels, held_out=True)


def test_what_a_fit_gives_is_shown_in_short(
    fitted: EventDetector, settings: dict[str, Any], data: Data
) -> None:
    threshold = f"threshold: {fitted.threshold_:.3g}"
    assert threshold in repr(fitted.fitted_)
    assert "posts of the fit: 80" in repr(fitted.fitted_)
    for value in (fitted.fitted_, fitted.fitted_.record):
        assert len(repr(value)) < 300
    assert "branch image" in fitted.fitted_._repr_html_()
    posts, y = data
    labels = np.where(y, "<script>", "no")
    other = EventDetector(**settings | {"image": None}, pos_label="<script>")
    assert "<script" not in other.fit(posts, labels).fitted_._repr_html_()
