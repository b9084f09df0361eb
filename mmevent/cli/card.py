"""The command `mmevent card`: a model in words, and what to register and report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mmevent.cli import shared
from mmevent.cli.console import (
    check_apart,
    check_text_path,
    show,
    start_session,
    write_text,
)

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = [
    click.argument("folder", type=shared.PATH),
    click.option(
        "--checklist",
        is_flag=True,
        help="Instead of the card, a preregistration and the REFORMS checklist, with a "
        "blank for each thing that the model does not know.",
    ),
    shared.QUIET,
    click.option(
        "-o",
        "--output",
        type=shared.PATH,
        metavar="FILE",
        help="Write to this file, in Markdown, instead of printing.",
    ),
]


@click.command(
    epilog=shared.examples(
        "mmevent card model",
        "mmevent card model --checklist -o report.md",
    )
)
@shared.takes(OPTIONS)
def card(folder: Path, checklist: bool, quiet: bool, output: Path | None) -> None:
    """Describe the model in FOLDER, for people to read.

    The card says what the model detects, how well it does, by which rule it decides,
    and what it cannot do. With --checklist it is a draft of what to register before
    the corpus is predicted, and of what to report afterwards.
    """
    from mmevent.persistence.card import model_card
    from mmevent.persistence.checklist import checklist as fill_in
    from mmevent.persistence.folder import facts_of

    check_text_path(output, "--output")
    check_apart([], [output], folder)
    with start_session(quiet=quiet) as session:
        detector = session.load(folder, local_files_only=True)
        facts, fingerprint = facts_of(folder)
        if checklist:
            text = fill_in(detector, facts, fingerprint)
        else:
            made_with = facts["mmevent"]
            text = model_card(detector.fitted_, facts["encoders"], made_with=made_with)
        if output is None:
            show(text.rstrip("\n"))
        else:
            write_text(output, text)
            session.say(f"Written to {output}")
