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


def parsed(*given: str) -> dict[str, str]:
    context = click.Context(click.Command("fit"))
    return shared.parse_columns(context, click.Option(["--columns"]), given)


def test_columns_are_named_by_ours_and_yours() -> None:
    assert parsed() == {}
    assert parsed("text=body, images = media", "place=geo=1") == {
        "text": "body",
        "images": "media",
        "place": "geo=1",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tweet=text", "expected OURS=YOURS with ours among id, text, images"),
        ("text", "got 'text'"),
        ("text=", "got 'text='"),
        ("text=a,b", "got 'b'. A name with a comma in it goes into an option of its"),
        ("text=a,text=b", "text is named twice, 'a' and 'b'"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(given: str, said: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        parsed(given)
    assert said in caught.value.message


def test_single_options_and_columns_mean_the_same() -> None:
    options = {"columns": {"text": "a", "author": "b"}, "column_id": "c"}
    expected = {"text": "a", "author": "b", "id": "c"}
    assert shared.named_columns(options) == expected
    assert shared.named_columns(options | {"column_text": "a"}) == expected


def test_a_single_option_against_columns_is_refused() -> None:
    options = {"columns": {"text": "a"}, "column_text": "b"}
    with (
        click.Context(click.Command("fit")),
        pytest.raises(click.UsageError, match="--text-column b and --columns text=a d"),
    ):
        shared.named_columns(options)


def test_a_column_that_is_not_there_is_of_an_option_that_the_command_has() -> None:
    frame = pd.DataFrame({"text": ["x"]})
    given = {"columns": {"author": "writer"}}
    with pytest.raises(InputError, match="Correct --columns author=writer"):
        shared.name_columns(Path("p.csv"), frame, given)
    given = {"columns": {"id": "nr"}, "column_id": None}
    with pytest.raises(InputError, match="Correct --id-column"):
        shared.name_columns(Path("p.csv"), frame, given)


def test_a_date_format_rewrites_the_column_of_times() -> None:
    frame = pd.DataFrame({"text": "x", "when": ["31/12/2024"]})
    columns = {"created_at": "when"}
    shared.read_dates(Path("p.csv"), frame, columns, None)
    assert frame["when"].tolist() == ["31/12/2024"]
    shared.read_dates(Path("p.csv"), frame, columns, "%d/%m/%Y")
    assert frame["when"].tolist() == ["2024-12-31T00:00:00"]
    with pytest.raises(
        InputError, match="no column 'created_at'.*--date-format, which"
    ):
        shared.read_dates(Path("p.csv"), frame, {}, "unix")


def test_encoding_is_that_of_tables_that_are_not_in_utf_8(
    done: Any, refused: Any, tmp_path: Path
) -> None:
    coded, plain = tmp_path / "coded.csv", tmp_path / "plain.csv"
    text = "id,coder,label\n1,Íñigo,1\n1,Ana,1\n2,Íñigo,0\n2,Ana,0\n"
    coded.write_text(text, encoding="cp1252")
    plain.write_text(text, encoding="utf-8")
    wanted = ("--label", "label", "--coder", "coder")
    said = refused("agreement", coded, *wanted)
    assert "in line 2" in said
    assert "--encoding" in said
    said = refused("agreement", coded, *wanted, "--encoding", "utf-9")
    assert "'utf-9' is not known" in said
    for path in (coded, plain):
        said = done("agreement", path, *wanted, "--encoding", "cp1252")
        assert "Íñigo" in said.stdout
