"""The commands about a corpus: `mmevent sample`, `agreement` and `estimate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmevent.cli import shared
from mmevent.cli.coded import (
    BY_GROUP,
    CODED,
    CODERS,
    check_paths,
    read_coders,
    read_labelled,
    show_errors,
)
from mmevent.cli.console import (
    check_apart,
    check_text_path,
    show,
    start_session,
    write_text,
)
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mmevent.corpus.sampling import SamplePlan

_NAMES = {
    "n_events": "number of events",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}
_AS_WELL = 0.95  # relative width of an interval, from which a random sample would do
_FEW = 10  # flagged posts

SAMPLE = [
    click.argument("predictions", type=shared.PATH),
    shared.whole_number("-n", "--n-posts", help="Number of posts to draw."),
    click.option(
        "--width",
        type=float,
        metavar="WIDTH",
        help="Draw as many posts as the interval needs to be so wide, from its lower "
        "to its upper end, instead of -n.",
    ),
    click.option(
        "--for",
        "target",
        type=click.Choice(["events", "precision", "recall", "f1"]),
        default="events",
        show_default=True,
        help="Figure whose interval is to be narrow.",
    ),
    click.option(
        "--add-to",
        type=shared.PATH,
        multiple=True,
        metavar="TABLE",
        help="An earlier sample that this one joins, coded or not; several times for "
        "several draws.",
    ),
    shared.seed("Seed: the same one draws the same posts."),
    click.option(
        "--posts",
        type=shared.PATH,
        metavar="TABLE",
        help="Table of the posts, whose other columns are written beside the ids.",
    ),
    shared.column(
        "id", "Column of the ids in --posts.  [default: id, else row numbers]"
    ),
    shared.COLUMNS,
    click.option(
        "--label-studio",
        type=shared.PATH,
        metavar="FILE",
        help="Write tasks for Label Studio too, in JSON; the ids are in post_id.",
    ),
    shared.ENCODING,
    shared.QUIET,
    shared.OUTPUT_TABLE,
]

AGREEMENT = [
    click.argument("labelled", type=shared.PATH),
    click.option(
        "--label", required=True, metavar="COLUMN", help="Column of the labels."
    ),
    click.option(
        "--coder",
        required=True,
        metavar="COLUMN",
        help="Column that says who coded; one row per post and coder.",
    ),
    click.option(
        "--scheme",
        metavar="LABELS",
        help='All labels that there are, "|" between them; others are refused.  '
        "[default: those that occur]",
    ),
    click.option(
        "--disagreements",
        type=shared.PATH,
        metavar="FILE",
        help="Table to write of the posts to adjudicate, with a column for each coder.",
    ),
    click.option(
        "--to-adjudicate",
        type=shared.PATH,
        metavar="FILE",
        help="Table to write of the posts that a coder called an event, first those "
        "that move the number of events most; needs what mmevent sample drew.",
    ),
    click.option(
        "--sample",
        "drawn",
        type=shared.PATH,
        metavar="TABLE",
        help="With --to-adjudicate: what mmevent sample wrote, where LABELLED lacks "
        "its columns.",
    ),
    click.option(
        "--positive",
        metavar="VALUE",
        help="With --to-adjudicate: the label of an event, where labels are two others "
        "than 1 and 0.",
    ),
    shared.ENCODING,
    shared.QUIET,
]

ESTIMATE = [
    *CODED,
    click.option(
        "--by", metavar="COLUMN", help="Figures for each value of this column too."
    ),
    click.option(
        "--period",
        type=click.Choice(["day", "week", "month", "year"]),
        help="Figures for each of these too, by the column created_at.",
    ),
    click.option(
        "--timezone",
        metavar="NAME",
        help="Time zone of these periods, such as America/New_York.  [default: that "
        "of each time]",
    ),
    shared.DATE_FORMAT,
    *CODERS,
    *BY_GROUP,
    shared.JSON,
    shared.ENCODING,
    shared.QUIET,
]


@click.command(
    epilog=shared.examples(
        "mmevent sample predictions.csv -n 400 --posts uncoded.csv -o to_code.csv",
        "mmevent sample predictions.csv --for precision --width 0.1 -o to_code.csv",
        "mmevent sample predictions.csv -n 200 --add-to coded.csv -o more.csv",
    )
)
@shared.takes(SAMPLE)
def sample(
    predictions: Path,
    n_posts: int | None,
    width: float | None,
    target: str,
    add_to: tuple[Path, ...],
    seed: int,
    posts: Path | None,
    column_id: str | None,
    columns: dict[str, str],
    label_studio: Path | None,
    quiet: bool,
    output: Path,
) -> None:
    """Draw posts from PREDICTIONS for coding by hand, low scores included.

    Posts are drawn at random within strata of the score, with known probabilities, so
    that `mmevent estimate` can say what they mean for all posts. More are drawn where
    they narrow the interval of the figure in --for. Posts that were seen in training
    are left out. Add the column of your labels to the table that is written, and leave
    its other columns as they are.
    """
    from mmevent.corpus import label_studio_tasks
    from mmevent.corpus.sampling import SamplePlan
    from mmevent.posts import write_table
    from mmevent.tables.tables import check_table_path

    named = shared.named_columns({"column_id": column_id, "columns": columns})
    if named and posts is None:
        shared.refuse("--id-column is the column of --posts: add --posts.")
    if (n_posts is None) == (width is None):
        shared.refuse("Give the number of posts by -n, or the width by --width.")
    if others := named.keys() - {"id"}:
        shared.refuse(f"--columns {min(others)}=... does nothing here: name id alone.")
    check_table_path(output)
    check_text_path(label_studio, "--label-studio")
    check_apart([predictions, posts, *add_to], [output, label_studio])
    with start_session(quiet=quiet) as session:
        earlier = [session.read(path) for path in add_to] or None
        plan = SamplePlan(session.read(predictions), target, earlier)
        size = n_posts or plan.size_for(width or 0)
        drawn = plan.draw(size, seed)
        if posts is not None:
            drawn = _with_columns(drawn, posts, session.read(posts), named.get("id"))
        said = _about(plan, size)
        write_table(drawn, output)
        if label_studio is not None:
            write_text(label_studio, label_studio_tasks(drawn))
        show(said)
        session.say(f"Sample written to {output}")


def _about(plan: SamplePlan, n: int) -> str:
    """Say what a sample is expected to show, and whether a random one would do."""
    from mmevent.corpus.allocation import FIGURE_OF

    n_seen, n_held = int((plan.finest.stratum < 0).sum()), len(plan.rows)
    but = f", without the {n_seen:,} that training saw" if n_seen else ""
    join = f" They join {n_held:,} drawn before." if n_held else ""
    widths, at_random = plan.widths(n), plan.widths(n, at_random=True)
    figures = ", ".join(
        f"{_NAMES[name]} {value:,.0f}"
        if name == "n_events"
        else f"{_NAMES[name]} {value:.2f}"
        for name, value in widths.items()
    )
    source = (
        ""
        if plan.finest.probability is not None
        else " These assume a typical "
        "detector, since the predictions have no column 'probability'."
    )
    figure = FIGURE_OF[plan.target]
    relative = widths[figure] / at_random[figure] if at_random[figure] else 1.0
    what = f"For the {_NAMES[figure]}, a simple random sample of as many posts"
    compared = (
        f"{what} would do as well."
        if relative > _AS_WELL
        else f"{what} would have an interval {1 / relative:.1f} times as wide."
    )
    strata, n_coded = plan.design(n)
    n_flagged = int(n_coded[strata.flagged].sum())
    few = n_flagged < min(_FEW, int(strata.size[strata.flagged].sum()))
    more = (
        f" Only {n_flagged} flagged posts are in the sample: draw it --for precision, "
        f"recall or f1 if you want these."
        if few
        else ""
    )
    return (
        f"{n:,} posts drawn from {plan.most:,}{but}.{join} Expected width of the 95% "
        f"intervals, from their lower to their upper end: {figures}.{source} "
        f"{compared}{more}"
    )


def _with_columns(
    drawn: pd.DataFrame, path: Path, posts: pd.DataFrame, column: str | None
) -> pd.DataFrame:
    """Put the posts' own columns beside their ids, or else their row numbers."""
    import pandas as pd

    from mmevent.posts.keys import as_keys

    if column is not None:
        shared.check_column(path, posts, column, "--id-column")
    found = posts.get(column or "id", pd.Series(range(len(posts)), posts.index))
    ids = pd.Index(as_keys(found, f"the ids of {path.name}"))
    drawn_ids = pd.Index(as_keys(drawn["id"], "the ids of the predictions"))
    wanted = ids[ids.isin(drawn_ids)]
    missing = drawn.loc[~drawn_ids.isin(wanted), "id"]
    if wanted.has_duplicates or len(missing):
        raise InputError(
            f"{path.name} does not fit the predictions: expected one row for each of "
            f"the {len(drawn)} posts drawn, got none for {len(missing)} "
            f"{missing[:5].tolist()} and more for {int(wanted.duplicated().sum())} "
            f"{wanted[wanted.duplicated()][:5].tolist()}. Pass the table that was "
            f"predicted, and name the column of its ids by --id-column."
        )
    others = posts.drop(columns=[name for name in posts if name in drawn])
    beside = others.set_index(ids).loc[drawn_ids]
    return pd.concat([drawn, beside.set_index(drawn.index)], axis=1)


@click.command(
    epilog=shared.examples(
        "mmevent estimate predictions.csv coded.csv --label event",
        "mmevent estimate predictions.csv coded.csv --label event --period month",
        "mmevent estimate predictions.csv coded.csv more.csv --label event",
        "mmevent estimate predictions.csv coded.csv --label event --coder name",
    )
)
@shared.takes(ESTIMATE)
def estimate(
    predictions: Path,
    labelled: tuple[Path, ...],
    label: str,
    drawn: tuple[Path, ...],
    date_format: str | None,
    json_path: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Estimate the events, the precision and the recall of a corpus.

    PREDICTIONS are those of all its posts; LABELLED is what `mmevent sample` drew from
    them, coded by hand, or, with --sample, an export of Label Studio. Give the tables
    of all draws, where one was added to another. Several rows of one post are several
    codings of it: all figures are then corrected for the errors of coders that they
    show.
    """
    from mmevent.corpus import estimate_corpus

    if options["timezone"] is not None and options["period"] is None:
        shared.refuse("--timezone is that of --period: add --period.")
    check_text_path(json_path, "--json")
    written = check_paths(options)
    read = [predictions, *labelled, *drawn, options["adjudicated"]]
    check_apart(read, [json_path, *written])
    with start_session(quiet=quiet) as session:
        audit = session.read(predictions)
        coded = read_labelled(labelled, label, session)
        shared.read_dates(predictions, audit, {}, date_format)
        known = {
            "sample": [session.read(path) for path in drawn] or None,
            "pos_label": options["positive"],
            **{name: options[name] for name in ("by", "period", "timezone")},
            **read_coders(labelled, coded, options, session),
        }
        found = estimate_corpus(audit, coded, label, **known)
        try:
            if json_path is not None:
                write_text(json_path, found.to_json() + "\n")
                session.say(f"Figures written to {json_path}")
        finally:
            show(str(found))
        if written:
            show_errors((audit, coded, label), known, options, found.notes, session)


@click.command(
    epilog=shared.examples(
        "mmevent agreement coded.csv --label event --coder name",
        "mmevent agreement coded.csv --label event --coder name \\",
        "    --to-adjudicate to_adjudicate.csv",
    )
)
@shared.takes(AGREEMENT)
def agreement(
    labelled: Path,
    label: str,
    coder: str,
    scheme: str | None,
    disagreements: Path | None,
    to_adjudicate: Path | None,
    drawn: Path | None,
    positive: str | None,
    quiet: bool,
) -> None:
    """Measure how far the coders of LABELLED agree.

    LABELLED has one row per post and coder, with a column id, or is an export of Label
    Studio, where the coder is in the column annotator. It prints Krippendorff's alpha
    of all coders and Cohen's kappa of each two, with 95% intervals.
    """
    from mmevent.corpus import agreement as measure
    from mmevent.corpus import read_coded
    from mmevent.corpus import to_adjudicate as in_order
    from mmevent.posts import write_table
    from mmevent.tables.tables import check_table_path

    for path in (disagreements, to_adjudicate):
        if path is not None:
            check_table_path(path)
    for value, option in ((drawn, "--sample"), (positive, "--positive")):
        if value is not None and to_adjudicate is None:
            shared.refuse(f"{option} does nothing here: add --to-adjudicate.")
    check_apart([labelled, drawn], [disagreements, to_adjudicate])
    with start_session(quiet=quiet) as session:
        coded = session.read(labelled, read_coded)
        for name, option in ((label, "--label"), (coder, "--coder")):
            shared.check_column(labelled, coded, name, option)
        labels = None if scheme is None else scheme.split("|")
        found = measure(coded, label, coder=coder, labels=labels)
        if to_adjudicate is not None:
            sample = None if drawn is None else session.read(drawn)
            first = in_order(
                coded, label, coder=coder, sample=sample, pos_label=positive
            )
        try:
            if to_adjudicate is not None:
                write_table(first, to_adjudicate)
                session.say(f"Posts in the order to adjudicate are in {to_adjudicate}")
            if disagreements is not None:
                write_table(found.disagreements, disagreements)
                session.say(f"Posts to adjudicate written to {disagreements}")
        finally:
            show(str(found))
