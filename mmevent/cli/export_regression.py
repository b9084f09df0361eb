"""The command `mmevent export-regression`: events as a table for regressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmevent.cli import shared
from mmevent.cli.coded import CODED, read_labelled
from mmevent.cli.console import check_apart, show, start_session

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = [
    *CODED,
    click.option(
        "--prediction",
        default="cross-fit",
        metavar="NAME",
        help="What the coded posts correct: cross-fit, learned from the coded posts of "
        "other folds; flagged, the decision; or a column of PREDICTIONS with numbers "
        "from 0 to 1.",
    ),
    click.option(
        "--feature",
        "features",
        multiple=True,
        metavar="COLUMN",
        help="Column that the cross-fitted prediction uses too: a covariate of the "
        "regression to come; can be given again.",
    ),
    click.option(
        "--cluster",
        metavar="COLUMN",
        help="Column whose equal values are one cluster, such as the author.",
    ),
    click.option(
        "--unit", metavar="COLUMN", help="One row for each value of this column."
    ),
    click.option(
        "--period",
        type=click.Choice(["day", "week", "month", "year"]),
        help="One row for each of these, by the column created_at; with --unit, for "
        "each unit and period.",
    ),
    click.option(
        "--timezone",
        metavar="NAME",
        help="Time zone of these periods, such as America/New_York.  [default: that "
        "of each time]",
    ),
    shared.DATE_FORMAT,
    shared.ENCODING,
    shared.QUIET,
    shared.OUTPUT_TABLE,
]


@click.command(
    "export-regression",
    epilog=shared.examples(
        "mmevent export-regression predictions.csv coded.csv --label event \\",
        "    --feature income -o posts.csv",
        "mmevent export-regression predictions.csv coded.csv --label event \\",
        "    --unit country --period month -o months.csv",
    ),
)
@shared.takes(OPTIONS)
def export_regression(
    predictions: Path,
    labelled: tuple[Path, ...],
    label: str,
    drawn: tuple[Path, ...],
    date_format: str | None,
    quiet: bool,
    output: Path,
    **options: Any,
) -> None:
    """Write a table for regressions with the events of a corpus.

    PREDICTIONS are those of all its posts, with the columns that the regression needs
    (`mmevent predict --keep`); LABELLED is what `mmevent sample` drew from them, coded
    by hand; give the tables of all draws, where one was added to another. Regress the
    column pseudo_outcome, in which the errors of the detector
    cancel, or use the table with the package dsl of R.
    """
    from mmevent.corpus import regression_table
    from mmevent.posts import write_table
    from mmevent.tables.tables import check_table_path

    if options["timezone"] is not None and options["period"] is None:
        shared.refuse("--timezone is that of --period: add --period.")
    if options["features"] and options["prediction"] != "cross-fit":
        shared.refuse("--feature does nothing without --prediction cross-fit.")
    check_table_path(output)
    check_apart([predictions, *labelled, *drawn], [output])
    with start_session(quiet=quiet) as session:
        audit = session.read(predictions)
        coded = read_labelled(labelled, label, session)
        named = {"--cluster": options["cluster"], "--unit": options["unit"]}
        for option, name in named.items():
            if name is not None:
                shared.check_column(predictions, audit, name, option)
        for name in options["features"]:
            shared.check_column(predictions, audit, name, "--feature")
        shared.read_dates(predictions, audit, {}, date_format)
        table = regression_table(
            audit,
            coded,
            label,
            sample=[session.read(path) for path in drawn] or None,
            pos_label=options["positive"],
            prediction=options["prediction"],
            features=options["features"],
            cluster=options["cluster"],
            unit=options["unit"],
            period=options["period"],
            timezone=options["timezone"],
        )
        write_table(table, output)
        show(
            f"{len(table):,} rows, {table['n_posts'].sum():,} posts, "
            f"{table['n_coded'].sum():,} coded by hand. Events: "
            f"{table['pseudo_outcome'].sum():,.0f} corrected, "
            f"{table['flagged'].sum():,} flagged."
        )
        session.say(f"Table written to {output}")
