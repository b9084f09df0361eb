"""How the commands talk: errors in one line, warnings, bars, columns of a table."""

from __future__ import annotations

import errno
import math
import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mmevent.exceptions import InputError, MmeventError, MmeventWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import pandas as pd

    from mmevent.detector import EventDetector

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130

COLUMN_OPTIONS = {
    "text": "--text-column",
    "images": "--images-column",
    "id": "--id-column",
    "created_at": "--created-at-column",
    "group": "--group",
}
"""The option that names the caller's column, by our name of it."""


_CACHE = "MMEVENT_CACHE"  # as in _disk_cache, whose imports a help text can spare


class OneLineGroup(click.Group):
    """Commands that end with an exit code and, where they fail, with one line."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run a command and exit: 0 done, 1 failed, 2 wrong use or bad input."""
        try:
            code = super().main(*args, **kwargs | {"standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = WRONG_USE
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else self.name
            _complain(f"{error.format_message()} See '{path} --help'.")
            code = WRONG_USE
        except MmeventError as error:
            _complain(str(error))
            code = WRONG_USE
        except click.Abort:
            _complain("interrupted.")
            code = INTERRUPTED
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            _complain(str(error))
            code = FAILED
        sys.exit(code if isinstance(code, int) else 0)


def within(
    least: float, most: float = math.inf
) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a check of an option's number, whose help does not repeat the bounds."""

    def check(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is not None and not least <= value <= most:
            upper = "or more" if most == math.inf else f"to {most}"
            raise click.BadParameter(
                f"expected {least} {upper}, got {value}.", context, parameter
            )
        return value

    return check


def _complain(message: str) -> None:
    click.echo(f"Error: {' '.join(message.split())}", err=True)


@contextmanager
def clean_warnings() -> Iterator[None]:
    """Print each warning of ours once, as one line; leave out those of libraries.

    Where Python was told what to do with warnings (-W, PYTHONWARNINGS), it does that.
    """
    if sys.warnoptions:
        yield
        return
    shown = set()

    def show(message: Warning | str, *args: object, **kwargs: object) -> None:
        line = " ".join(str(message).split())
        if line not in shown:
            shown.add(line)
            click.echo(f"Warning: {line}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", MmeventWarning)
        warnings.showwarning = show
        yield


def shows_progress(*, quiet: bool) -> bool:
    """Tell whether someone watches: the standard error is a terminal."""
    return not quiet and sys.stderr.isatty()


class Session:
    """What all commands do alike: read, load, and talk."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.progress = shows_progress(quiet=quiet)

    def say(self, message: str) -> None:
        """Print a message, unless asked to be quiet."""
        if not self.quiet:
            click.echo(message, err=True)

    def read(self, path: Path) -> pd.DataFrame:
        """Read a table that has posts."""
        from mmevent._validation import check_some
        from mmevent.posts import read_table

        if self.progress:
            self.say(f"Reading {path}")
        frame = read_table(path)
        check_some(len(frame), f"read in {str(path)!r}")
        return frame

    def load(self, folder: Path) -> EventDetector:
        """Load a model that shows bars where someone watches."""
        from mmevent.persistence import load

        if self.progress:
            self.say(f"Loading {folder}")
        detector: EventDetector = load(folder)
        show_bars(detector, self.progress)
        return detector


@contextmanager
def named_cache(cache: str | None) -> Iterator[None]:
    """Let "auto" mean this file, or "off"; None changes nothing."""
    before = os.environ.get(_CACHE)
    if cache is not None:
        os.environ[_CACHE] = cache
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_CACHE, None)
        else:
            os.environ[_CACHE] = before


@contextmanager
def start_session(*, quiet: bool, cache: str | None = None) -> Iterator[Session]:
    """Open a session, in which warnings are clean, and embeddings kept in `cache`."""
    with clean_warnings(), named_cache(cache):
        yield Session(quiet=quiet)


def show_bars(detector: EventDetector, progress: bool) -> None:
    """Switch the bars of a detector and of its branches."""
    from mmevent import ImageClassifier, TextClassifier

    detector.verbose = progress
    for branch in (detector.text, detector.image, *detector.branches_.values()):
        if isinstance(branch, (TextClassifier, ImageClassifier)):
            branch.verbose = progress


def check_apart(reads: Iterable[Path | None], writes: Iterable[Path | None]) -> None:
    """Refuse to write over what is read, or two results to one file."""
    taken = {path.resolve() for path in reads if path is not None}
    for path in writes:
        if path is None:
            continue
        if path.resolve() in taken:
            raise InputError(
                f"{str(path)!r} is named twice: expected a file of its own for each "
                f"result, other than those that are read, since it would be replaced. "
                f"Choose another name."
            )
        taken.add(path.resolve())


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def named_columns(options: dict[str, Any]) -> dict[str, str | None]:
    """Return the columns that options name, by our name of them."""
    prefix = "column_"
    return {
        name.removeprefix(prefix): value
        for name, value in options.items()
        if name.startswith(prefix)
    }


def name_columns(
    path: Path,
    frame: pd.DataFrame,
    options: Mapping[str, str | None],
    remembered: Mapping[str, Any] | None = None,
    *,
    optional: Iterable[str] = (),
) -> dict[str, Any]:
    """Return our names to the table's columns, from options and an earlier fit.

    Columns that are `optional` are left out where the table does not have them.
    """
    absent = [
        name
        for name in optional
        if (remembered or {}).get(name) not in frame and not options.get(name)
    ]
    kept = {k: v for k, v in (remembered or {}).items() if k not in absent}
    columns = kept | {name: given for name, given in options.items() if given}
    for name, column in columns.items():
        if column not in frame:
            check_column(path, frame, column, COLUMN_OPTIONS.get(name, name))
    if not any(columns.get(name, name) in frame for name in ("text", "images")):
        raise InputError(
            f"{str(path)!r} has neither a column 'text' nor 'images': expected at "
            f"least one, and got {_listed(frame.columns)}. Name yours with "
            f"--text-column and --images-column."
        )
    return columns


def check_column(path: Path, frame: pd.DataFrame, column: str, option: str) -> None:
    """Refuse a column that the table does not have."""
    if column not in frame:
        raise InputError(
            f"{str(path)!r} has no column {column!r}: expected it among "
            f"{_listed(frame.columns)}. Correct {option}."
        )


def find_label(labels: pd.Series, option: str, wanted: str | None) -> Any:
    """Return the label that stands for an event, in the type of the column.

    It is None where the greater of two numbers or booleans is to be taken.
    """
    known = list(dict.fromkeys(labels.dropna().tolist()))
    if wanted is None:
        if any(isinstance(value, str) for value in known) and len(known) == 2:
            raise InputError(
                f"{option} {labels.name} does not say which label is an event: "
                f"expected two numbers, of which the greater is, and got "
                f"{_listed(known)}. Add --positive {known[0]}, or --positive "
                f"{known[1]}."
            )
        return None
    for value in known:
        if str(value) == wanted or _same_number(value, wanted):
            return value
    raise InputError(
        f"--positive {wanted} is no label of the column {labels.name!r}: expected one "
        f"of {_listed(known[:5])}. Name one of them."
    )


def _same_number(value: Any, wanted: str) -> bool:
    try:
        return not isinstance(value, str) and float(value) == float(wanted)
    except ValueError:
        return False


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(repr, values)) or "none"
