"""The command `mmevent choices`: how figures move over encoders, seeds and rules."""

from __future__ import annotations

from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmevent.cli import shared
from mmevent.cli.branches import check_models, new_branches
from mmevent.cli.console import check_apart, show, start_session
from mmevent.cli.fit import OPTIONS, as_parameter, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    Values = dict[str, list[Any]]

_SIDES = {"encoder": "text", "image-encoder": "image"}
_AS_IN_FIT = (
    *("seed", "rule", "criterion", "pool", "policy", "calibration", "second-stage"),
    "n-trials",
)
_EXAMPLE = "rule=alpha-beta,stacking"


def _split(
    context: click.Context, parameter: click.Parameter, given: Iterable[str]
) -> dict[str, list[str]]:
    """Return the words of each choice by its name."""
    found: dict[str, list[str]] = {}
    for part in given:
        name, equals, words = (word.strip() for word in part.partition("="))
        values = [word.strip() for word in words.split(",")]
        known = (*_SIDES, *_AS_IN_FIT)
        problem = ""
        if name not in known:
            problem = f"with NAME among {', '.join(known)}, got {part!r}"
        elif name in found:
            problem = f"once for each NAME, got {name} twice: write all values in one"
        elif not all(values) or len(set(values)) < len(values):
            problem = f"with different values, such as {_EXAMPLE}, got {part!r}"
        if problem:
            raise click.BadParameter(
                f"expected NAME=VALUE,VALUE {problem}.", context, parameter
            )
        found[name] = values
    return found


@click.command(
    epilog=shared.examples(
        "mmevent choices posts.csv --label protest --over rule=alpha-beta,stacking \\",
        "    --over seed=0,1,2 -o choices.csv",
        "mmevent choices posts.csv --label protest --image none \\",
        "    --over encoder=models/minilm,models/e5 -o choices.csv",
    )
)
@shared.takes(
    [
        *OPTIONS,
        click.option(
            "--over",
            multiple=True,
            required=True,
            callback=_split,
            metavar="NAME=VALUE,...",
            help="A choice and its values; give it again for another choice, and all "
            "combinations are fitted. encoder is that of texts; others are "
            f"image-encoder, {', '.join(_AS_IN_FIT)}, as in fit.",
        ),
        shared.CACHE,
        shared.QUIET,
        shared.OUTPUT_TABLE,
    ]
)
def choices(
    posts: Path,
    over: dict[str, list[str]],
    output: Path,
    quiet: bool,
    cache_file: str | None,
    **options: Any,
) -> None:
    """Fit a detector to POSTS with every combination of choices, and list the figures.

    Options are those of `mmevent fit`, for what all fits share. The table shows how
    far F1, precision, recall and the threshold depend on what could have been chosen
    otherwise. The best row is not to be picked: its F1 is too high, since it was not
    estimated for the best of several. No model is written.
    """
    from mmevent.posts import write_table
    from mmevent.report import over_choices
    from mmevent.tables.tables import check_table_path

    _check(over, options)
    for name in _SIDES.keys() & over.keys():
        options[_SIDES[name]] = over[name][0]
    check_models(options)
    values = _values(over)
    check_table_path(output)
    check_apart([posts], [output])
    with start_session(quiet=quiet, cache=cache_file) as session:
        detector, frame, labels, stage1 = prepare(posts, options, session)
        for name in _SIDES.keys() & over.keys():
            values[name] = [
                _encoder(name, model, options, verbose=session.progress)
                for model in over[name]
            ]
        n_fits = prod(map(len, values.values()))
        session.say(f"{n_fits:,} fits, one for each combination")
        table = over_choices(
            detector,
            frame,
            labels,
            {name.replace("image-", "image__"): v for name, v in values.items()},
            y_stage1=stage1,
        )
        table = _named(table, over)
        write_table(table, output)
        show(_in_words(table, len(over)))
        session.say(f"Table written to {output}")


def _check(over: dict[str, list[str]], options: dict[str, Any]) -> None:
    """Refuse options that would do nothing beside the choices."""
    given = click.get_current_context().get_parameter_source
    for name in over:
        option = _SIDES.get(name, name.replace("-", "_"))
        if given(option) is not click.core.ParameterSource.DEFAULT:
            shared.refuse(f"--{option.replace('_', '-')} and --over {name} disagree.")
        if name in _SIDES and "none" in over[name]:
            shared.refuse(f"--over {name} takes models: none is not one.")
    if options["estimate"] == "none":
        shared.refuse("--estimate none leaves no figures to compare.")


def _values(over: dict[str, list[str]]) -> Values:
    """Return the values of each choice, read as the option of its name reads them."""
    context = click.get_current_context()
    options = {parameter.name: parameter for parameter in context.command.params}
    found: Values = {}
    for choice, words in over.items():
        name = choice.replace("-", "_")
        if choice in _SIDES:
            found[choice] = list(words)
            continue
        read = [options[name].process_value(context, word) for word in words]
        found[choice] = [as_parameter(name, value) for value in read]
    return found


def _encoder(name: str, model: str, options: dict[str, Any], *, verbose: bool) -> Any:
    """Return an encoder that was found."""
    sides = {"text": "none", "image": "none"} | {_SIDES[name]: model}
    text, image = new_branches(options | sides, verbose=verbose)
    return (text or image).encoder


def _named(table: pd.DataFrame, over: dict[str, list[str]]) -> pd.DataFrame:
    """Return the table with choices named as they were given."""
    table = table.set_axis([*over, *table.columns[len(over) :]], axis=1)
    given = zip(*product(*over.values()), strict=True)
    for name, words in zip(over, given, strict=True):
        if table[name].dtype.kind not in "iuf":
            table[name] = list(words)
    return table


def _in_words(table: pd.DataFrame, n_choices: int) -> str:
    """Return the table for people to read, and the range of F1."""
    shown = table.iloc[:, :n_choices].astype(str)
    f1 = table[["f1", "f1_low", "f1_high"]].to_numpy(dtype=float)
    shown["F1"] = [f"{v:.3f} [{low:.2f}, {high:.2f}]" for v, low, high in f1]
    for name in ("precision", "recall", "threshold"):
        shown[name] = [f"{value:.3f}" for value in table[name]]
    return (
        f"{shown.to_string(index=False)}\n\n"
        f"F1 from {f1[:, 0].min():.3f} to {f1[:, 0].max():.3f} over {len(table):,} "
        f"combinations"
    )
