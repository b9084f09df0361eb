"""The command `mmevent import-posts`: from an export of a platform to a table."""

from __future__ import annotations

from pathlib import Path

import click

from mmevent.cli import shared
from mmevent.cli.console import (
    check_apart,
    check_text_path,
    show,
    start_session,
    write_text,
)

# As in mmevent.posts.imports, which a help text must not import.
SOURCES = ("4cat", "twitter", "telegram", "mastodon", "labelstudio", "doccano", "table")

OPTIONS = [
    click.argument("export", type=shared.PATH),
    click.option(
        "--from",
        "source",
        type=click.Choice(SOURCES),
        required=True,
        help="Where the export is from. twitter: the API's JSON, or twarc's CSV; "
        "telegram: Telegram Desktop or Telethon; labelstudio and doccano: what people "
        "coded; table: any table.",
    ),
    click.option(
        "--images",
        type=shared.PATH,
        metavar="FOLDER|ZIP",
        help="Where the pictures are; they are found by their names.",
    ),
    shared.COLUMNS,
    shared.DATE_FORMAT,
    shared.ENCODING,
    click.option(
        "--urls",
        type=shared.PATH,
        metavar="FILE",
        help="Write the URLs of pictures to this file, one a line, to download them.",
    ),
    shared.QUIET,
    shared.OUTPUT_TABLE,
]


@click.command(
    "import-posts",
    epilog=shared.examples(
        "mmevent import-posts --from 4cat 4cat.csv --urls urls.txt -o posts.parquet",
        "wget -nc -x -i urls.txt -P pictures",
        "mmevent import-posts --from 4cat 4cat.csv --images pictures -o posts.parquet",
    ),
)
@shared.takes(OPTIONS)
def import_posts(
    export: Path,
    source: str,
    images: Path | None,
    columns: dict[str, str],
    date_format: str | None,
    urls: Path | None,
    quiet: bool,
    output: Path,
) -> None:
    """Make a table of posts of the file EXPORT, as a platform or a tool wrote it.

    Ids stay exactly as they are. Pictures are found by their names in a folder or zip;
    what is not found is counted. Nothing is fetched from a network.
    """
    from mmevent import posts as of_posts
    from mmevent.posts.sources import HOW_TO_DOWNLOAD
    from mmevent.tables.tables import check_table_path

    check_table_path(output)
    check_text_path(urls, "--urls")
    check_apart([export], [output, urls])
    root = _root(images, output)
    with start_session(quiet=quiet) as session:
        table, notes, remote = of_posts.import_posts(
            export,
            source,
            images=images,
            image_root=root,
            columns=columns,
            date_format=date_format,
            encoding=shared.named_encoding(),
        )
        of_posts.write_table(table, output)
        if urls is not None:
            write_text(urls, "".join(f"{url}\n" for url in remote))
        show("\n".join([f"{len(table):,} posts", *(f"  {one}" for one in notes)]))
        if remote:
            show(f"  {len(remote):,} pictures are URLs: {HOW_TO_DOWNLOAD}")
        session.say(f"Posts written to {output}")
        if images is not None and root is None:
            session.say(f"Paths of pictures start from there: --image-root {images}")


def _root(images: Path | None, output: Path) -> Path | None:
    """Return the folder of the table, if the pictures lie in it."""
    folder = output.resolve().parent
    inside = images is not None and images.resolve().is_relative_to(folder)
    return folder if inside else None
