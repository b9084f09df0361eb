"""How the commands talk: exit codes, errors in one line, warnings, progress bars."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mmevent._common import replaced_file
from mmevent.cli.shared import show_bars
from mmevent.cli.words import in_words
from mmevent.exceptions import InputError, MmeventError, MmeventWarning, RunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pandas as pd

    from mmevent.detector import EventDetector

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130

# Errors of libraries that say what failed on the way. They are looked up where the
# library is loaded already, so that a help text loads none.
_OF_LIBRARIES = {
    "optuna.exceptions": "OptunaError",  # the storage of a study
    "sqlalchemy.exc": "SQLAlchemyError",  # the same
    "torch": "AcceleratorError",  # a device
}
_CACHE = "MMEVENT_CACHE"  # as in mmevent.encoders, which a help text must not import


def exit_code(error: Exception) -> int | None:
    """Return the exit code of an error; None is for a fault of mmevent itself.

    It is 2 for wrong use and input that cannot be used, 1 for what failed on the way.
    """
    if isinstance(error, (click.UsageError, InputError)):
        return WRONG_USE
    if isinstance(error, (RunError, *_errors_of_libraries())):
        return FAILED
    if isinstance(error, MmeventError):
        return WRONG_USE
    return FAILED if isinstance(error, (OSError, MemoryError)) else None


def _errors_of_libraries() -> Iterator[type[Exception]]:
    for library, name in _OF_LIBRARIES.items():
        found = getattr(sys.modules.get(library), name, None)
        if isinstance(found, type):
            yield found


class OneLineGroup(click.Group):
    """Commands that end with an exit code and, where they fail, with one line."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run a command and exit with the code that `exit_code` gives its error."""
        try:
            code = super().main(*args, **kwargs | {"standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = WRONG_USE
        except click.Abort:
            _complain("interrupted.")
            code = INTERRUPTED
        except Exception as error:
            if (code := exit_code(error)) is None:
                raise
            _complain(in_words(self._message(error)))
        sys.exit(code if isinstance(code, int) else 0)

    def _message(self, error: Exception) -> str:
        if isinstance(error, click.UsageError):
            path = error.ctx.command_path if error.ctx else self.name
            return f"{error.format_message()} See '{path} --help'."
        return str(error) or f"the work ended with {type(error).__name__}."


def _complain(message: str) -> None:
    click.echo(f"Error: {' '.join(message.split())}", err=True)


@contextmanager
def clean_warnings() -> Iterator[None]:
    """Print each warning of mmevent once, as one line, and none of libraries.

    Where Python was told what to do with warnings (-W, PYTHONWARNINGS), it does that.
    """
    if sys.warnoptions:
        yield
        return
    shown = set()

    def show(message: Warning | str, *args: object, **kwargs: object) -> None:
        line = in_words(" ".join(str(message).split()))
        if line not in shown:
            shown.add(line)
            click.echo(f"Warning: {line}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", MmeventWarning)
        warnings.showwarning = show
        yield


def shows_progress(*, quiet: bool) -> bool:
    """Tell whether to show progress bars: the standard error is a terminal."""
    return not quiet and sys.stderr.isatty()


class Session:
    """What all commands do in the same way: read, load, and print messages."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.progress = shows_progress(quiet=quiet)

    def say(self, message: str) -> None:
        """Print a message, unless asked to be quiet."""
        if not self.quiet:
            click.echo(message, err=True)

    def read(self, path: Path) -> pd.DataFrame:
        """Read a table that has at least one post."""
        from mmevent.posts import read_table
        from mmevent.posts.labels import check_some

        if self.progress:
            self.say(f"Reading {path}")
        frame = read_table(path)
        check_some(len(frame), f"read in {str(path)!r}")
        return frame

    def load(self, folder: Path) -> EventDetector:
        """Load a model, which shows progress bars if the session does."""
        from mmevent.persistence import load

        if self.progress:
            self.say(f"Loading {folder}")
        detector: EventDetector = load(folder)
        show_bars(detector, self.progress)
        return detector


@contextmanager
def start_session(*, quiet: bool, cache: str | None = None) -> Iterator[Session]:
    """Open a session with clean warnings, whose embeddings are kept in `cache`."""
    with clean_warnings(), _named_cache(cache):
        yield Session(quiet=quiet)


@contextmanager
def _named_cache(cache: str | None) -> Iterator[None]:
    """Let the cache "auto" be this file, or "off"; None changes nothing."""
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


def check_text_path(path: Path | None, option: str) -> None:
    """Refuse a file of text that cannot be written, before any work."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise InputError(
            f"{str(path)!r} cannot be written: expected the name of a file in an "
            f"existing folder. Correct {option}."
        )


def check_apart(
    reads: Iterable[Path | None],
    writes: Iterable[Path | None],
    model: Path | None = None,
) -> None:
    """Refuse to write over what is read, or two results to one file.

    No result may lie in the folder of the model, which would not load any more.
    """
    taken = {path.resolve() for path in reads if path is not None}
    for path in writes:
        if path is None:
            continue
        if model is not None and path.resolve().is_relative_to(model.resolve()):
            raise InputError(
                f"{str(path)!r} lies in the folder of the model: expected a place "
                f"outside, since a model with other files in it is not loaded. Choose "
                f"another folder."
            )
        if path.resolve() in taken:
            raise InputError(
                f"{str(path)!r} is named twice: expected a file of its own for each "
                f"result, other than those that are read, since it would be replaced. "
                f"Choose another name."
            )
        taken.add(path.resolve())


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replaced_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
