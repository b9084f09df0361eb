"""The command `mmevent`, which gathers the others: one module for each."""

from __future__ import annotations

from importlib import import_module

import click

from mmevent import __version__
from mmevent.cli.console import OneLineGroup
from mmevent.cli.shared import examples

COMMANDS = {
    "demo": ("demo", "Show the whole way on made-up posts, without any download."),
    "import-posts": ("import_posts", "Make a table of posts of a platform's export."),
    "tag": ("pretrained", "Take a first look at the images of a table."),
    "fit": ("fit", "Learn a detector from hand-coded posts."),
    "evaluate": ("evaluate", "Say how well a model does on hand-coded posts."),
    "predict": ("predict", "Predict every post of a table."),
    "export": ("runs", "Join the parts of a run over a corpus to one table."),
    "sample": ("corpus", "Draw predicted posts for coding by hand."),
    "agreement": ("corpus", "Measure how far coders agree."),
    "estimate": ("corpus", "Estimate events, precision and recall from such a sample."),
    "export-regression": (
        "export_regression",
        "Write a table in which events stand in a regression.",
    ),
    "choices": ("choices", "Show how figures move over encoders, seeds and rules."),
    "card": ("card", "Print the card of a model, or a checklist for a report."),
    "cache": ("pretrained", "Show, or empty, the file that keeps embeddings."),
}
"""The module and a line of help of each command, in the order of their use."""


class _Commands(OneLineGroup):
    """Commands whose modules are imported when they are run, not for a help text."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"mmevent.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    "mmevent",
    cls=_Commands,
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


if __name__ == "__main__":
    main()
