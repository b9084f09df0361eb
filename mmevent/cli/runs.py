"""`mmevent predict` with a folder as output, its status, and `mmevent export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmevent.cli import pictures, shared
from mmevent.cli.console import check_apart, show, start_session

_MANIFEST = "manifest.json"  # as in mmevent.corpus, which a help text must not import


def _show_status(context: click.Context, parameter: Any, folder: Path | None) -> None:
    if folder is None or context.resilient_parsing:
        return
    from mmevent.corpus import run_status

    found = run_status(folder)
    state = "finished" if found["finished"] else "not finished"
    show(
        f"{state}: {found['posts']:,} posts in {found['parts']:,} parts, "
        f"{found['files_begun']:,} of {found['files']:,} files begun"
    )
    for path in found["failed"]:
        show(f"could not be read to its end: {path}")
    context.exit()


STATUS = click.option(
    "--status",
    type=shared.PATH,
    is_eager=True,
    expose_value=False,
    callback=_show_status,
    metavar="FOLDER",
    help="Say how far the run in FOLDER has come, and do nothing else.",
)
PART_ROWS = shared.whole_number(
    "--part-rows",
    help="With a folder as output: posts of a part, which are in memory at a time.  "
    "[default: 5000]",
)
OUTPUT = click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE|FOLDER/",
    help="Table to write: .csv, .tsv, .csv.gz, .parquet, .jsonl, .json, .xlsx, .dta or "
    ".sav. A file of this name is replaced, once the new one is complete. A name that "
    'ends in "/" is a folder for a run in parts.',
)


def is_folder(output: str) -> bool:
    """Tell whether an output is a folder of a run: by its "/", or by its manifest."""
    return output.endswith(("/", "\\")) or (Path(output) / _MANIFEST).is_file()


def predict_parts(
    model: Path,
    source: Path,
    target: Path,
    quiet: bool,
    cache: str | None,
    options: dict[str, Any],
) -> None:
    """Predict a corpus in parts, see :func:`mmevent.corpus.predict`."""
    if options["allow_text_only"]:
        shared.refuse(
            "--allow-text-only is for one table: where files of a corpus lack images, "
            "they are predicted by text after a warning."
        )
    from mmevent.corpus.run import PART_ROWS, run
    from mmevent.persistence.folder import facts_of

    check_apart([source], [target], model)
    with start_session(quiet=quiet) as session:
        detector = session.load(model, local_files_only=options["local_files_only"])
        shared.show_bars(detector, False)
        shared.set_runtime(detector, options)
        if options["policy"] is not None:
            detector.set_policy(options["policy"])
        given = shared.named_columns(options)
        detector.columns = dict(detector.columns or {}) | given
        detector.allow_outside_root = options["allow_outside_root"]

        def root_of(path: Path) -> Path:
            pictures.place_images(detector, model, path, options)
            return Path(detector.image_root or ".")

        done = run(
            detector,
            facts_of(model)[1],
            source,
            target,
            keep=tuple(options["keep"]),
            root_of=root_of,
            encoding=shared.named_encoding(),
            part_rows=options["part_rows"] or PART_ROWS,
            cache=cache,
            verbose=session.progress,
        )
        show(
            f"{done.n_posts:,} posts, {done.n_flagged:,} flagged as events "
            f"({done.n_flagged / done.n_posts:.1%})"
        )
        session.say(
            f"{done.n_parts:,} parts in {target}, {done.n_made:,} of them made now"
        )


@click.command(
    epilog=shared.examples("mmevent export run -o predictions.parquet"),
)
@click.argument("folder", type=shared.PATH)
@click.option(
    "-o",
    "--output",
    required=True,
    type=shared.PATH,
    metavar="FILE",
    help="Table to write: .parquet, .csv, .tsv or .jsonl. A file of this name is "
    "replaced, once the new one is complete.",
)
@shared.QUIET
def export(folder: Path, output: Path, quiet: bool) -> None:
    """Join the parts of the run in FOLDER to one table, one part at a time."""
    from mmevent.corpus import export_run

    with start_session(quiet=quiet) as session:
        n_posts = export_run(folder, output)
        session.say(f"{n_posts:,} posts written to {output}")
