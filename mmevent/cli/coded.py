"""What is done with a coded sample: errors of coders, and of the detector by group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmevent._common import require
from mmevent.cli import shared
from mmevent.cli.console import Session, check_text_path, show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

CODED = [
    click.argument("predictions", type=shared.PATH),
    click.argument("labelled", type=shared.PATH, nargs=-1, required=True),
    click.option(
        "--label",
        required=True,
        metavar="COLUMN",
        help="Column of LABELLED: 1 for an event, 0 for others.",
    ),
    click.option(
        "--positive",
        metavar="VALUE",
        help="The label of an event, where labels are two others than 1 and 0.",
    ),
    click.option(
        "--sample",
        "drawn",
        type=shared.PATH,
        multiple=True,
        metavar="TABLE",
        help="What mmevent sample wrote, where LABELLED is an export of Label Studio; "
        "several times for several draws.",
    ),
]
"""Predictions, and the sample of them that was coded, of one draw or of several."""

CODERS = [
    click.option(
        "--coder",
        metavar="COLUMN",
        help="Column of LABELLED that says who coded, where coders differ in their "
        "errors.  [default: all codings have the same error rates]",
    ),
    click.option(
        "--sensitivity",
        type=float,
        metavar="SHARE",
        help="Share of the events that coders call an event, where it is known.  "
        "[default: from posts that were coded more than once, or adjudicated]",
    ),
    click.option(
        "--specificity",
        type=float,
        metavar="SHARE",
        help="Share of the other posts that coders call none; with --sensitivity.",
    ),
    click.option(
        "--adjudicated",
        type=shared.PATH,
        metavar="TABLE",
        help="Table of what is true of some coded posts: id, and the column of "
        "--label.",
    ),
]

BY_GROUP = [
    click.option(
        "--error-rates",
        type=shared.PATH,
        metavar="FILE",
        help="Table to write of the false-positive and false-negative rates of the "
        "groups and periods; tests whether they differ are printed.",
    ),
    click.option(
        "--series",
        type=shared.PATH,
        metavar="FILE",
        help="Table to write of the numbers of events of the groups and periods, with "
        "95% intervals that hold for all of them at once.",
    ),
    click.option(
        "--plot",
        type=shared.PATH,
        metavar="FILE",
        help="Picture to draw of them: .png, .svg or .pdf. It shows the periods, or "
        "the groups where there are none.",
    ),
]

_TABLES = ("error_rates", "series")
_PICTURES = (".png", ".svg", ".pdf")


def check_paths(options: Mapping[str, Any]) -> list[Path]:
    """Validate the files to write by group, before any work; return them."""
    from mmevent.tables.tables import check_table_path

    found = [options[name] for name in (*_TABLES, "plot") if options[name] is not None]
    if found and options["by"] is None and options["period"] is None:
        shared.refuse(
            "--error-rates, --series and --plot compare groups: add --by or --period."
        )
    for name in _TABLES:
        if options[name] is not None:
            check_table_path(options[name])
    plot = options["plot"]
    if plot is not None:
        if plot.suffix.lower() not in _PICTURES:
            shared.refuse(
                f"--plot {str(plot)!r} is no picture: end it in .png, .svg or .pdf."
            )
        check_text_path(plot, "--plot")
        require("matplotlib", extra="plots", purpose="--plot")
    return found


def read_labelled(
    labelled: Sequence[Path], label: str, session: Session
) -> list[pd.DataFrame]:
    """Read the coded tables of all draws, each with its labels."""
    from mmevent.corpus import read_coded

    coded = [session.read(path, read_coded) for path in labelled]
    for path, table in zip(labelled, coded, strict=True):
        shared.check_column(path, table, label, "--label")
    return coded


def read_coders(
    labelled: Sequence[Path],
    coded: Sequence[pd.DataFrame],
    options: Mapping[str, Any],
    session: Session,
) -> dict[str, Any]:
    """Return what the options say about errors of coders."""
    from mmevent.corpus import read_coded

    names = ("coder", "sensitivity", "specificity", "adjudicated")
    found = {name: options[name] for name in names}
    if found["coder"] is not None:
        for path, table in zip(labelled, coded, strict=True):
            shared.check_column(path, table, found["coder"], "--coder")
    if found["adjudicated"] is not None:
        found["adjudicated"] = session.read(found["adjudicated"], read_coded)
    return found


def show_errors(
    sample: tuple[pd.DataFrame, Sequence[pd.DataFrame], str],
    known: Mapping[str, Any],
    options: Mapping[str, Any],
    said: list[str],
    session: Session,
) -> None:
    """Print the detector's errors by group, and write what was asked for.

    Notes that were `said` are not printed again.
    """
    from mmevent.corpus import differential_errors
    from mmevent.posts import write_table
    from mmevent.report import plot_series
    from mmevent.report.drawing import save_plot

    found = differential_errors(*sample, **known)
    new = [note for note in found.notes if note not in said]
    try:
        for name, table in zip(_TABLES, (found.rates, found.series), strict=True):
            if options[name] is not None:
                write_table(table, options[name])
                session.say(f"Table written to {options[name]}")
        if options["plot"] is not None:
            save_plot(plot_series(found), options["plot"])
            session.say(f"Plot written to {options['plot']}")
    finally:
        show(str(replace(found, notes=new)))
