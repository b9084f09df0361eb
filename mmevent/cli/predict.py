"""The command `mmevent predict`: from uncoded posts to a table of predictions."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmevent.cli import pictures, runs, shared
from mmevent.cli.console import check_apart, show, start_session
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

_BATCH_SIZE = 500  # posts whose images are in memory at a time

OPTIONS = [
    click.argument("folder", type=shared.PATH),
    click.argument("posts", type=shared.PATH, metavar="POSTS"),
    shared.TEXT,
    shared.IMAGES,
    shared.ID,
    shared.COLUMNS,
    shared.IMAGE_ROOT,
    shared.OUTSIDE,
    shared.ENCODING,
    pictures.TEXT_ONLY,
    click.option(
        "--policy",
        callback=shared.parse_policy,
        metavar="POLICY",
        help="Choose the threshold anew, see fit; a number is the threshold.  "
        "[default: the model's own]",
    ),
    click.option(
        "--keep",
        multiple=True,
        metavar="COLUMN",
        help="Copy this column of POSTS into the predictions; can be given again.",
    ),
    shared.LOCAL,
    shared.DEVICE,
    shared.BATCH_SIZE,
    shared.CACHE,
    shared.QUIET,
    runs.PART_ROWS,
    runs.STATUS,
    runs.OUTPUT,
]


@click.command(
    epilog=shared.examples(
        "mmevent predict model uncoded.csv -o predictions.csv",
        "mmevent predict model uncoded.parquet --image-root pictures \\",
        "    -o predictions.parquet",
        "mmevent predict model 'posts/*.csv' -o run/",
        "mmevent predict --status run",
    )
)
@shared.takes(OPTIONS)
def predict(
    folder: Path,
    posts: Path,
    output: str,
    quiet: bool,
    cache_file: str | None,
    **options: Any,
) -> None:
    """Predict every post of the table POSTS with the model in FOLDER.

    One row is written for each post, in order: the prediction, its margin over the
    threshold, the score, the rule that decided (both, text, image or none), the
    probabilities, and what was wrong with which image. Columns are those named in the
    fit, unless named anew.

    With a folder as output (a name that ends in "/"), POSTS can also be a folder or a
    pattern of files. They are predicted in parts, in memory that does not grow; the
    same command started again goes on where it was stopped.
    """
    if runs.is_folder(output):
        runs.predict_parts(folder, posts, Path(output), quiet, cache_file, options)
        return
    if options["part_rows"] is not None:
        shared.refuse("--part-rows is for a folder as output: end its name with '/'.")
    _predict_table(folder, posts, Path(output), quiet, cache_file, options)


def _predict_table(
    folder: Path,
    posts: Path,
    output: Path,
    quiet: bool,
    cache_file: str | None,
    options: dict[str, Any],
) -> None:
    from mmevent.posts import write_table
    from mmevent.tables.tables import check_table_path

    check_table_path(output)
    check_apart([posts], [output], folder)
    with start_session(quiet=quiet, cache=cache_file) as session:
        detector = session.load(folder, local_files_only=options["local_files_only"])
        shared.show_bars(detector, False)
        detector.verbose = session.progress  # one bar for all posts, none per batch
        shared.set_runtime(detector, options)
        if options["policy"] is not None:
            detector.set_policy(options["policy"])
        frame = session.read(posts)
        check_table_path(output, len(frame))
        detector.columns = shared.name_columns(
            posts,
            frame,
            options,
            detector.columns,
            optional=pictures.not_needed(detector, options),
        )
        pictures.place_images(detector, folder, posts, options)
        if options["allow_text_only"]:
            frame = pictures.without_images(detector, frame)
        _check_kept(posts, frame, options["keep"], detector.audit(frame[:0]))
        audit = detector.audit(frame, batch_size=_BATCH_SIZE)
        for name in options["keep"]:
            if name != "id":
                audit[name] = frame[name].to_numpy()
        try:
            write_table(audit, output)
        finally:
            show(audit_summary(audit, detector.pos_label_))
        session.say(f"Predictions written to {output}")


def _check_kept(
    posts: Path, frame: pd.DataFrame, kept: Iterable[str], audit: pd.DataFrame
) -> None:
    """Validate the columns of --keep before anything is predicted."""
    taken = [name for name in audit if name != "id"]
    for name in kept:
        shared.check_column(posts, frame, name, "--keep")
        if name in taken:
            raise InputError(
                f"--keep {name!r} cannot be kept: expected a name that no column of "
                f"predictions has, got one of {', '.join(taken)}. Rename the column."
            )


def audit_summary(audit: pd.DataFrame, positive: Any) -> str:
    """Count posts, flagged posts, rules and unusable images of an audit."""
    flagged = audit["prediction"] == positive
    n_posts, n_flagged = len(audit), int(flagged.sum())
    lines = [
        f"{_count(n_posts, 'post')}, {n_flagged:,} flagged as events "
        f"({n_flagged / n_posts:.1%})",
        "",
        f"  {'decided by':<12}{'posts':>9}{'flagged':>9}",
    ]
    for rule in ("both", "text", "image", "none"):
        rows = audit["rule"] == rule
        if rows.any():
            lines.append(
                f"  {rule:<12}{int(rows.sum()):>9,}{int((rows & flagged).sum()):>9,}"
            )
    lines += ["", _images_in_words(audit)]
    truncated = int(audit["text_truncated"].sum())
    if truncated:
        lines.append(f"{_count(truncated, 'text')} longer than the encoder reads")
    return "\n".join(lines)


def _images_in_words(audit: pd.DataFrame) -> str:
    from mmevent.posts import STATUSES
    from mmevent.posts.sources import HOW_TO_DOWNLOAD

    n_images = int(audit["n_images"].sum())
    n_unusable = n_images - int(audit["n_usable"].sum())
    if not n_unusable:
        return f"{_count(n_images, 'image')}, all usable"
    # A path may hold "; " and ": " itself.
    each = re.compile(rf": ({'|'.join(STATUSES)})(?=; |$)")
    counts = Counter(
        status
        for cell in audit["image_status"].dropna()
        for status in each.findall(cell)
    )
    reasons = ", ".join(f"{n:,} {status}" for status, n in counts.most_common())
    said = f"{_count(n_images, 'image')}, {n_unusable:,} of them unusable: {reasons}"
    return f"{said}\nremote: {HOW_TO_DOWNLOAD}" if counts["remote"] else said


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
