"""Columns, labels and devices that several commands take from their options."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pandas as pd
import pytest
from sklearn.base import clone

import mmevent
from mmevent.cli import shared
from mmevent.exceptions import InputError


def test_positive_names_an_event_in_the_columns_own_type() -> None:
    find = shared.find_label
    assert find(pd.Series([0, 1]), "0") == 0
    assert find(pd.Series([0.0, 1.0]), "1") == 1.0
    assert find(pd.Series([True, False]), "False") is False
    assert find(pd.Series(["no", "1"]), "1") == "1"
    assert find(pd.Series([0, 1]), None) is None


def test_columns_that_later_posts_need_not_have_are_left_out() -> None:
    frame = pd.DataFrame({"tweet": ["a"]})
    remembered = {"text": "tweet", "group": "author"}
    found = shared.name_columns(
        Path("p.csv"), frame, {}, remembered, optional=("group",)
    )
    assert found == {"text": "tweet"}


class Branch:
    """A branch of an ensemble, with an encoder that it was fitted with."""

    def __init__(self, encoder: Any) -> None:
        self.encoder, self.encoder_ = encoder, clone(encoder)


def detector_of(*parts: Any) -> Any:
    """Return what stands for a fitted detector with these parts in its branches."""
    return SimpleNamespace(
        text="auto",
        image=None,
        second_stage=False,
        branches_={"text": SimpleNamespace(estimators_=list(parts))},
    )


def test_a_device_reaches_every_encoder_of_a_model(tiny_text_model: str) -> None:
    branch = Branch(mmevent.TextEncoder(tiny_text_model, batch_size=7))
    given = {"device": "cpu", "batch_size": None}
    shared.set_runtime(detector_of(branch), given)
    for encoder in (branch.encoder, branch.encoder_):
        assert (encoder.device, encoder.batch_size) == ("cpu", 7)


def test_an_option_for_encoders_is_refused_where_there_are_none() -> None:
    plain = detector_of(object())
    shared.set_runtime(plain, {"device": None, "batch_size": None})
    with pytest.raises(InputError, match="--device and --batch-size would change"):
        shared.set_runtime(plain, {"device": "cpu", "batch_size": 4})
    with pytest.raises(InputError, match="^--batch-size would change nothing"):
        shared.set_runtime(plain, {"device": None, "batch_size": 4})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("f1", "f1"),
        ("0.5", 0.5),
        ("[[0, 1], [5, 0]]", [[0, 1], [5, 0]]),
        ("precision>=0.9", "precision>=0.9"),
    ],
)
def test_a_policy_is_a_name_a_number_or_costs(words: str, said: Any) -> None:
    context = click.Context(click.Command("fit"))
    assert shared.parse_policy(context, None, words) == said


def test_a_device_reaches_the_encoder_of_a_fit_to_come(tiny_text_model: str) -> None:
    branch = mmevent.TextClassifier(tiny_text_model, verbose=True)
    detector = detector_of(mmevent.TextEncoder(tiny_text_model))
    detector.text = branch
    shared.set_runtime(detector, {"device": "cpu", "batch_size": 3})
    assert (branch.encoder.device, branch.encoder.batch_size) == ("cpu", 3)
