"""The command `mmevent evaluate`: figures, errors and plots of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmevent.cli import pictures, shared
from mmevent.cli.console import (
    Session,
    check_apart,
    check_text_path,
    show,
    start_session,
    write_text,
)
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from mmevent.detector import EventDetector
    from mmevent.evaluation import Estimate

OPTIONS = [
    click.argument("folder", type=shared.PATH),
    click.argument("posts", type=shared.PATH),
    click.option(
        "--held-out",
        is_flag=True,
        help="POSTS are others than those of the fit: predict them once.",
    ),
    click.option(
        "--drop-seen",
        is_flag=True,
        help="With --held-out: leave out posts that share an id, a text or an image "
        "with those of the fit, instead of refusing the table.",
    ),
    shared.whole_number(
        "--seeds",
        default=1,
        help="Without --held-out: repeat with the folds of the seeds 0 to N-1.",
    ),
    shared.whole_number(
        "--corpus-size",
        help="Of a model that flags a budget: number of posts of the corpus that it is "
        "for.",
    ),
    click.option(
        "--by",
        multiple=True,
        metavar="COLUMN",
        help="Figures for each value of this column too; can be given again.",
    ),
    click.option(
        "--prevalence",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="SHARE",
        help="Share of events in the corpus that the figures are to be for, such as "
        "0.02.",
    ),
    click.option(
        "--label",
        metavar="COLUMN",
        help="Column of the hand-coded labels.  [default: as in fit]",
    ),
    shared.STAGE_1,
    shared.GROUP,
    shared.TEXT,
    shared.IMAGES,
    shared.ID,
    shared.COLUMNS,
    shared.DATE_FORMAT,
    shared.IMAGE_ROOT,
    shared.OUTSIDE,
    shared.ENCODING,
    pictures.TEXT_ONLY,
    shared.JSON,
    click.option(
        "--errors",
        type=shared.PATH,
        metavar="FILE",
        help="Table to write of the posts on which the model is most surely wrong; "
        "beside it a page with their pictures, whose name ends in .html. Both are "
        "replaced if they are there.",
    ),
    click.option(
        "--plots",
        type=shared.PATH,
        metavar="FOLDER",
        help="New folder for pictures: precision and recall, the threshold, alpha and "
        "beta, calibration, and how F1 grows with the labelled posts.",
    ),
    click.option(
        "--plot-format",
        type=click.Choice(["png", "svg", "pdf"]),
        default="png",
        help="Format of the pictures of --plots; svg and pdf stay sharp in print.",
    ),
    shared.LOCAL,
    shared.DEVICE,
    shared.BATCH_SIZE,
    shared.CACHE,
    shared.QUIET,
]


@click.command(
    epilog=shared.examples(
        "mmevent evaluate model posts.csv --seeds 5",
        "mmevent evaluate model later.csv --held-out --json later.json",
        "mmevent evaluate model posts.csv --errors errors.csv --plots plots",
    )
)
@shared.takes(OPTIONS)
def evaluate(
    folder: Path, posts: Path, quiet: bool, cache_file: str | None, **options: Any
) -> None:
    """Say how well the model in FOLDER does on the hand-coded table POSTS.

    On the posts of the fit, the whole fit is repeated with other folds, so that each
    post is predicted by a rule that it did not choose. On other posts, --held-out, the
    model predicts each once. Columns are those named in the fit, unless named anew.
    """
    import mmevent

    _check_options(options)
    _check_files(options, folder, posts)
    with start_session(quiet=quiet, cache=cache_file) as session:
        detector = session.load(folder, local_files_only=options["local_files_only"])
        shared.set_runtime(detector, options)
        frame = session.read(posts)
        y = _labels(detector, frame, posts, options)
        pictures.place_images(detector, folder, posts, options)
        if options["allow_text_only"]:
            frame = pictures.without_images(detector, frame)
        stage1 = shared.stage1_labels(posts, frame, options)
        figures = mmevent.evaluate(
            detector,
            frame,
            y,
            y_stage1=stage1,
            held_out=options["held_out"],
            drop_seen=options["drop_seen"],
            seeds=range(options["seeds"]),
            corpus_size=options["corpus_size"],
            by=options["by"],
            prevalence=options["prevalence"],
        )
        try:
            _write(detector, frame, y, figures, stage1, options, session)
        finally:
            show(str(figures))


def _write(
    detector: EventDetector,
    frame: pd.DataFrame,
    y: pd.Series,
    figures: Estimate,
    stage1: pd.Series | None,
    options: Mapping[str, Any],
    session: Session,
) -> None:
    """Write what was asked for: figures, errors, plots."""
    if options["json_path"] is not None:
        write_text(options["json_path"], figures.to_json() + "\n")
        session.say(f"Figures written to {options['json_path']}")
    known = {
        "y_stage1": stage1,
        "held_out": options["held_out"],
        "corpus_size": options["corpus_size"],
    }
    if options["errors"] is not None:
        _write_errors(detector, frame, y, known, options["errors"], session)
    if options["plots"] is not None:
        _write_plots(detector, frame, y, figures, known, options, session)


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that would do nothing."""
    if options["drop_seen"] and not options["held_out"]:
        shared.refuse("--drop-seen needs --held-out.")
    if options["allow_text_only"] and not options["held_out"]:
        shared.refuse("--allow-text-only needs --held-out.")
    if options["held_out"] and options["stage1_label"] is not None:
        shared.refuse("--stage1-label does nothing with --held-out.")
    given = click.get_current_context().get_parameter_source
    default = click.core.ParameterSource.DEFAULT
    if options["plots"] is None and given("plot_format") is not default:
        shared.refuse("--plot-format needs --plots.")
    if options["held_out"] and given("seeds") is not default:
        shared.refuse("--seeds does nothing with --held-out: the model predicts once.")


def _check_files(options: dict[str, Any], folder: Path, posts: Path) -> None:
    """Refuse files and folders that cannot be written, before any work."""
    from mmevent._common import require
    from mmevent.persistence.folder import new_folder
    from mmevent.tables.tables import check_table_path

    path = options["json_path"]
    check_text_path(path, "--json")
    page = None
    if (table := options["errors"]) is not None:
        check_table_path(table)
        page = table.with_suffix(".html")
        if page.is_dir():
            raise InputError(
                f"{str(page)!r} is a folder: expected that --errors can write its "
                f"page there, beside the table. Choose another name."
            )
    check_apart([posts], [path, table, page, options["plots"]], folder)
    if options["plots"] is not None:
        require("matplotlib", extra="plots", purpose="--plots")
        options["plots"] = new_folder(options["plots"])


def _labels(
    detector: EventDetector, frame: pd.DataFrame, posts: Path, options: dict[str, Any]
) -> pd.Series:
    """Return the labels, and tell the detector the columns."""
    label = options["label"] or detector.label_name_
    if label is None:
        raise InputError(
            "the model does not know the name of the label column: it was fitted "
            "from Python, without one. Name the column with --label."
        )
    shared.check_column(posts, frame, label, "--label")
    for name in options["by"]:
        shared.check_column(posts, frame, name, "--by")
    detector.columns = shared.name_columns(
        posts,
        frame,
        options,
        detector.columns,
        optional=pictures.not_needed(detector, options) if options["held_out"] else (),
    )
    shared.read_dates(posts, frame, detector.columns, options["date_format"])
    return frame[label]


def _write_errors(
    detector: EventDetector,
    frame: pd.DataFrame,
    y: pd.Series,
    known: dict[str, Any],
    table: Path,
    session: Session,
) -> None:
    from mmevent.posts import write_table
    from mmevent.report import find_errors

    found = find_errors(detector, frame, y, **known)
    page = table.with_suffix(".html")
    write_table(found.table, table)
    write_text(page, found.to_html())
    session.say(f"Errors written to {table} and {page}")


def _write_plots(
    detector: EventDetector,
    frame: pd.DataFrame,
    y: pd.Series,
    figures: Estimate,
    known: dict[str, Any],
    options: Mapping[str, Any],
    session: Session,
) -> None:
    from mmevent.persistence.folder import put_in_place
    from mmevent.report import draw_plots
    from mmevent.report.drawing import save_plot

    target, suffix = options["plots"], options["plot_format"]

    with put_in_place(target) as folder:
        for name, plot in draw_plots(detector, frame, y, figures, **known).items():
            if isinstance(plot, str):
                session.say(f"No plot {name}: {plot}")
            else:
                save_plot(plot, folder / f"{name}.{suffix}")
    session.say(f"Plots written to {target}")
