"""The command `mmevent`, which gathers the others: one module for each."""

from __future__ import annotations

import click

from mmevent import __version__
from mmevent.cli.console import OneLineGroup
from mmevent.cli.corpus import agreement, estimate, sample
from mmevent.cli.demo import demo
from mmevent.cli.evaluate import evaluate
from mmevent.cli.export_regression import export_regression
from mmevent.cli.fit import fit
from mmevent.cli.import_posts import import_posts
from mmevent.cli.predict import predict
from mmevent.cli.pretrained import cache, tag
from mmevent.cli.shared import examples


@click.group(
    "mmevent",
    cls=OneLineGroup,
    epilog=examples(
        "mmevent demo",
        "mmevent fit posts.csv --label protest -o model",
        "mmevent evaluate model posts.csv --seeds 5",
        "mmevent predict model uncoded.csv -o predictions.csv",
    ),
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 90,
        "show_default": True,
    },
)
@click.version_option(__version__, prog_name="mmevent")
def main() -> None:
    """Find posts about an event from their text and images.

    Hand-coded posts go in as a table; `fit` learns a detector from them and says how
    well it does on posts that it did not learn from; `predict` then says of every
    uncoded post whether it is about an event, and why.

    Tables are CSV, TSV, JSON Lines, JSON, Parquet, Excel, Stata or SPSS, by the end of
    their name. Figures go to the standard output, messages and progress bars to the
    standard error.

    Exit code 0: done. 1: it failed on the way, though what was given may be right (a
    model that cannot be fetched, a device, a full disk). 2: wrong use, input that
    cannot be used, or a package that is not installed. 130: interrupted.
    """


for command in (
    *(demo, import_posts, fit, evaluate, predict),
    *(sample, agreement, estimate, export_regression, cache, tag),
):
    main.add_command(command)


if __name__ == "__main__":
    main()
