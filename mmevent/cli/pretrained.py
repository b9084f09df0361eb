"""The commands about pretrained models alone: `mmevent cache` and `mmevent tag`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmevent.cli import shared
from mmevent.cli.console import check_apart, show, start_session

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20  # labels that are printed

TAG = [
    click.argument("posts", type=shared.PATH),
    click.option(
        "--image",
        required=True,
        metavar="MODEL",
        help="Image classification model: a name on the Hugging Face hub, or a folder.",
    ),
    shared.whole_number("--top", default=5, help="Number of labels per image."),
    shared.IMAGES,
    shared.ID,
    shared.COLUMNS,
    shared.IMAGE_ROOT,
    shared.OUTSIDE,
    shared.ENCODING,
    shared.LOCAL,
    shared.QUIET,
    click.option(
        "-o",
        "--output",
        type=shared.PATH,
        metavar="FILE",
        help="Table to write, a row for each image and label; its kind is that of "
        "its name, as in predict.  [default: none]",
    ),
]


@click.command(epilog=shared.examples("mmevent cache info", "mmevent cache clear"))
@shared.takes(
    [click.argument("action", type=click.Choice(["info", "clear"])), shared.CACHE]
)
def cache(action: str, cache_file: str | None) -> None:
    """Show, or empty, the file that keeps embeddings.

    A text or an image that an encoder has seen is not encoded again, by any command or
    script. What is kept are vectors, under hashes of the text or of the file.
    """
    from mmevent.branches.checkpoints import remove_trainings, trainings
    from mmevent.encoders.disk_cache import disk_store

    store = disk_store(cache_file or "auto")
    if store is None:
        show("No cache: it is off.")
        return
    usage = store.usage()
    left = trainings(store.training)
    if action == "clear":
        store.clear()
        remove_trainings(store.training)
    show(f"{'Removed' if action == 'clear' else 'File'}: {usage.path}")
    show(
        f"{sum(usage.by_encoder.values()):,} embeddings, {usage.n_bytes / 2**20:,.1f} "
        f"MB of at most {store.max_bytes / 2**20:,.0f}"
    )
    for identity, count in usage.by_encoder.items():
        show(f"  encoder {identity[:16]}  {count:,}")
    if left:
        show(f"{len(left)} trainings that did not end, in {store.training}")


@click.command(
    epilog=shared.examples(
        "mmevent tag posts.csv --image microsoft/resnet-50",
        "mmevent tag posts.csv --image resnet-folder -o tags.csv",
    )
)
@shared.takes(TAG)
def tag(posts: Path, output: Path | None, quiet: bool, **options: Any) -> None:
    """Take a first look at the images of the table POSTS.

    A pretrained network names what it sees in each image by its own labels, such as
    ImageNet's. The most frequent are printed, with the number of images in which each
    comes first, and in which it is among the best.
    """
    import mmevent
    from mmevent.posts import flatten_images, to_posts, write_table
    from mmevent.tables.tables import check_table_path

    if output is not None:
        check_table_path(output)
        check_apart([posts], [output])
    with start_session(quiet=quiet) as session:
        frame = session.read(posts)
        columns = shared.name_columns(posts, frame, options)
        root = options["image_root"] or posts.parent
        table = to_posts(frame, columns=columns, image_root=root)
        sources, post = flatten_images(table)
        found = mmevent.tag(
            sources,
            options["image"],
            top=options["top"],
            image_root=root,
            allow_outside_root=options["allow_outside_root"],
            local_files_only=options["local_files_only"],
            verbose=session.progress,
        )
        found.insert(0, "id", table["id"].to_numpy()[post[found["image"]]])
        try:
            if output is not None:
                write_table(found, output)
        finally:
            show(_frequent(found, len(sources)))
        if output is not None:
            session.say(f"Labels written to {output}")


def _frequent(found: pd.DataFrame, n_images: int) -> str:
    """Tabulate the labels that are seen most often."""
    among = found["label"].value_counts()
    first = found.loc[found["rank"] == 1, "label"].value_counts()
    shown = sorted(among.index, key=lambda label: (-first.get(label, 0), -among[label]))
    lines = [f"{n_images:,} images, {found['image'].nunique():,} of them usable"]
    if len(found):
        among_best = f"among {found['rank'].max()}"
        lines += ["", f"{'first':>7}  {among_best:>9}  label"]
    lines += [
        f"{first.get(label, 0):>7,}  {among[label]:>9,}  {label}"
        for label in shown[:_SHOWN]
    ]
    if len(shown) > _SHOWN:
        lines.append(f"and {len(shown) - _SHOWN:,} other labels")
    return "\n".join(lines)
