"""The commands about a corpus: `mmevent sample`, `agreement` and `estimate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmevent.cli import shared
from mmevent.cli.console import check_apart, check_text_path, start_session, write_text
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    import pandas as pd


SAMPLE = [
    click.argument("predictions", type=shared.PATH),
    shared.whole_number(
        "-n", "--n-posts", required=True, help="Number of posts to draw."
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
    click.option(
        "--label-studio",
        type=shared.PATH,
        metavar="FILE",
        help="Write tasks for Label Studio too, in JSON.",
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
    shared.ENCODING,
    shared.QUIET,
]

ESTIMATE = [
    click.argument("predictions", type=shared.PATH),
    click.argument("labelled", type=shared.PATH),
    click.option(
        "--label",
        required=True,
        metavar="COLUMN",
        help="Column of LABELLED: 1 for an event, 0 for others.",
    ),
    click.option(
        "--by", metavar="COLUMN", help="Figures for each value of this column too."
    ),
    click.option(
        "--period",
        type=click.Choice(["day", "week", "month", "year"]),
        help="Figures for each of these too, by the column created_at.",
    ),
    shared.JSON,
    shared.ENCODING,
    shared.QUIET,
]


@click.command(
    epilog=shared.examples(
        "mmevent sample predictions.csv -n 400 --posts uncoded.csv -o to_code.csv",
    )
)
@shared.takes(SAMPLE)
def sample(
    predictions: Path,
    n_posts: int,
    seed: int,
    posts: Path | None,
    column_id: str | None,
    label_studio: Path | None,
    quiet: bool,
    output: Path,
) -> None:
    """Draw posts from PREDICTIONS for coding by hand, low scores included.

    Posts are drawn at random within strata of the score, with known probabilities, so
    that `mmevent estimate` can say what they mean for all posts. Posts that were seen
    in training are left out. Add the column of your labels to the table that is
    written, and leave its other columns as they are.
    """
    from mmevent.corpus import draw_sample, expected_widths
    from mmevent.posts import write_table
    from mmevent.posts.tables import check_table_path

    if column_id is not None and posts is None:
        shared.refuse("--id-column is the column of --posts: add --posts.")
    check_table_path(output)
    check_text_path(label_studio, "--label-studio")
    check_apart([predictions, posts], [output, label_studio])
    with start_session(quiet=quiet) as session:
        audit = session.read(predictions)
        drawn = draw_sample(audit, n_posts, random_state=seed)
        if posts is not None:
            drawn = _with_columns(drawn, posts, session.read(posts), column_id)
        widths = expected_widths(audit, n_posts)
        write_table(drawn, output)
        if label_studio is not None:
            write_text(label_studio, _tasks(drawn))
        n_open = round((1 / drawn["inclusion_probability"]).sum())
        n_seen = len(audit) - n_open
        but = f", without the {n_seen:,} that training saw" if n_seen else ""
        click.echo(
            f"{n_posts:,} posts drawn from {n_open:,}{but}. Expected width of the 95% "
            f"intervals, from their lower to their upper end: number of events "
            f"{widths['n_events']:,.0f}, precision {widths['precision']:.2f}, recall "
            f"{widths['recall']:.2f}."
        )
        session.say(f"Sample written to {output}")


def _with_columns(
    drawn: pd.DataFrame, path: Path, posts: pd.DataFrame, column: str | None
) -> pd.DataFrame:
    """Put the posts' own columns beside their ids, or else their row numbers."""
    import pandas as pd

    if column is not None:
        shared.check_column(path, posts, column, "--id-column")
    found = posts.get(column or "id", pd.Series(range(len(posts)), posts.index))
    ids = found.astype(str)
    wanted = ids[ids.isin(drawn["id"].astype(str))]
    missing = drawn.loc[~drawn["id"].astype(str).isin(wanted), "id"]
    if wanted.duplicated().any() or len(missing):
        raise InputError(
            f"{path.name} does not fit the predictions: expected one row for each of "
            f"the {len(drawn)} posts drawn, got none for {len(missing)} "
            f"{missing[:5].tolist()} and more for {int(wanted.duplicated().sum())} "
            f"{wanted[wanted.duplicated()][:5].tolist()}. Pass the table that was "
            f"predicted, and name the column of its ids by --id-column."
        )
    others = posts.drop(columns=[name for name in posts if name in drawn])
    beside = others.set_index(ids).loc[drawn["id"].astype(str)]
    return pd.concat([drawn, beside.set_index(drawn.index)], axis=1)


def _tasks(drawn: pd.DataFrame) -> str:
    """Write posts as Label Studio imports them, without what the model thinks."""
    shown = drawn.drop(columns=["stratum", "inclusion_probability"])
    rows = json.loads(shown.to_json(orient="records"))
    return json.dumps([{"data": row} for row in rows], indent=1, ensure_ascii=False)


@click.command(
    epilog=shared.examples(
        "mmevent estimate predictions.csv coded.csv --label event",
        "mmevent estimate predictions.csv coded.csv --label event --period month",
    )
)
@shared.takes(ESTIMATE)
def estimate(
    predictions: Path,
    labelled: Path,
    label: str,
    by: str | None,
    period: str | None,
    json_path: Path | None,
    quiet: bool,
) -> None:
    """Estimate the events, the precision and the recall of a corpus.

    PREDICTIONS are those of all its posts; LABELLED is what `mmevent sample` drew from
    them, coded by hand. Several rows of one post are several codings of it.
    """
    from mmevent.corpus import estimate_corpus

    check_text_path(json_path, "--json")
    check_apart([predictions, labelled], [json_path])
    with start_session(quiet=quiet) as session:
        audit, coded = session.read(predictions), session.read(labelled)
        shared.check_column(labelled, coded, label, "--label")
        found = estimate_corpus(audit, coded, label, by=by, period=period)
        click.echo(str(found))
        if json_path is not None:
            write_text(json_path, found.to_json() + "\n")
            session.say(f"Figures written to {json_path}")


@click.command(
    epilog=shared.examples(
        "mmevent agreement coded.csv --label event --coder name",
        "mmevent agreement coded.csv --label event --coder name \\",
        "    --disagreements to_adjudicate.csv",
    )
)
@shared.takes(AGREEMENT)
def agreement(
    labelled: Path,
    label: str,
    coder: str,
    scheme: str | None,
    disagreements: Path | None,
    quiet: bool,
) -> None:
    """Measure how far the coders of LABELLED agree.

    LABELLED has one row per post and coder, with a column id. It prints Krippendorff's
    alpha of all coders and Cohen's kappa of each two, with 95% intervals.
    """
    from mmevent.corpus import agreement as measure
    from mmevent.posts import write_table
    from mmevent.posts.tables import check_table_path

    if disagreements is not None:
        check_table_path(disagreements)
    check_apart([labelled], [disagreements])
    with start_session(quiet=quiet) as session:
        coded = session.read(labelled)
        for name, option in ((label, "--label"), (coder, "--coder")):
            shared.check_column(labelled, coded, name, option)
        labels = None
        if scheme is not None:
            labels = scheme.split("|")
            coded[label] = coded[label].convert_dtypes().astype("string")
        found = measure(coded, label, coder=coder, labels=labels)
        click.echo(str(found))
        if disagreements is not None:
            write_table(found.disagreements, disagreements)
            session.say(f"Posts to adjudicate written to {disagreements}")
