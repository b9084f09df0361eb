"""Messages name options, and nothing of Python."""

from __future__ import annotations

import inspect

import click
import pytest

from mmevent import EventDetector, evaluate
from mmevent.cli.main import COMMANDS, main
from mmevent.cli.words import _OPTIONS, in_words


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("cv=5 folds are too many. Lower cv.", "--cv 5 folds are too many. Lower cv."),
        ("image_root='/a b' is no folder", "--image-root '/a b' is no folder"),
        ("Check image_root.", "Check --image-root."),
        ("pass pos_label=2, or the other", "pass --positive 2, or the other"),
        ("Pass pos_label='yes'.", "Pass --positive yes."),
        ("Pass pos_label=-1.", "Pass --positive -1."),
        ("pass image=None", "pass --image none"),
        ("Use batch_size=500.", "Use --batch-size 500."),
        ("y has 3 classes", "--label has 3 classes"),
        ("cannot be told from y: expected", "cannot be told from --label: expected"),
        ("is no label of y: expected", "is no label of --label: expected"),
        ("pass held_out=True (--held-out on the command line).", "pass --held-out."),
        ("(groups=, or --group on the command line)", "(--group)"),
        ("second_stage=True (--second-stage on)", "--second-stage on"),
        ("empty (--allow-text-only on the command line)", "empty (--allow-text-only)"),
        ('columns={"text": ...}', "--text-column"),
        (
            'columns={"text": "a", "images": ...}',
            "--text-column a and --images-column",
        ),
        ("columns={'group': 'g'} names", "--group g names"),
    ],
    ids=str,
)
def test_parameters_become_options(python: str, words: str) -> None:
    assert in_words(python) == words


@pytest.mark.parametrize(
    "message",
    [
        "the column 'image_root', the folder \"cv=5\" and the file 'my text=3.csv'",
        "the post's 'pos_label' and other posts' texts",
        "a text and an image; y axis; --image-root here",
        "my_image_root_2 and n_jobs2",
        "Name yours by columns, text=... and images=... (--columns).",
    ],
)
def test_names_of_the_caller_stay(message: str) -> None:
    assert in_words(message) == message


def test_each_option_is_one_of_a_command() -> None:
    context = click.Context(main)
    commands = [main.get_command(context, name) for name in COMMANDS]
    there = {
        flag
        for command in commands
        if command is not None
        for parameter in command.params
        for flag in parameter.opts
    }
    assert set(_OPTIONS.values()) <= there


def test_each_parameter_that_has_an_option_is_replaced() -> None:
    given = {*inspect.signature(EventDetector).parameters}
    given |= set(inspect.signature(evaluate).parameters)
    without = {"alpha_bounds", "beta_bounds", "storage", "verbose", "columns"}
    without |= {"detector", "posts", "y"}
    for name in given - without:
        assert f"{name}=" not in in_words(f"{name}=7 is wrong")
