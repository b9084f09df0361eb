"""How the commands talk: exit codes, errors in one line, warnings, progress bars."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import warnings
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mmevent._common import replaced_file
from mmevent._settings import own_settings
from mmevent.cli.shared import named_encoding, show_bars
from mmevent.cli.words import in_words
from mmevent.exceptions import InputError, MmeventError, MmeventWarning, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
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
_OBEYED = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
_CLOSED = (errno.EPIPE, errno.EINVAL)  # a closed pipe; EINVAL is that of Windows
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
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # help texts, of which click cares
        try:
            code = super().main(*args, **kwargs | {"standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = WRONG_USE
        except click.Abort:
            _complain("interrupted.")
            code = INTERRUPTED
        except Exception as error:
            if _nobody_reads(error):
                sys.exit(0)
            if (code := exit_code(error)) is None:
                raise
            _complain(self._message(error))
        sys.exit(code if isinstance(code, int) else 0)

    def _message(self, error: Exception) -> str:
        if isinstance(error, click.UsageError):
            path = error.ctx.command_path if error.ctx else self.name
            return f"{error.format_message()} See '{path} --help'."
        return in_words(str(error)) or f"the work ended with {type(error).__name__}."


def _complain(message: str) -> None:
    show(f"Error: {' '.join(message.split())}", err=True)


def show(text: str, *, err: bool = False) -> None:
    """Print text, which may hold anything that a table, a model or a path holds.

    What the terminal would obey is made visible. A character that its code page lacks
    is replaced. Where a reader such as `head` has seen enough, the rest is dropped.
    """
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = printable(text).encode(encoding, "replace").decode(encoding)
    try:
        click.echo(text, err=err)
    except OSError as error:
        _drop_output(stream)
        if error.errno not in _CLOSED:
            raise


def printable(text: str) -> str:
    """Return text with an escape for what a terminal obeys instead of showing it.

    These are control characters, except ends of lines and tabs, and characters that
    turn the direction of what follows.
    """
    return re.sub(_OBEYED, lambda found: ascii(found[0])[1:-1], text)


def _nobody_reads(error: Exception) -> bool:
    """Tell whether a help text was not read to its end, as by `head`."""
    if not isinstance(error, OSError) or error.errno not in _CLOSED:
        return False
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output(sys.stdout)
        return True
    return False


def _drop_output(stream: Any) -> None:
    """Send all further output of a stream nowhere, what it still holds included."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextmanager
def clean_warnings() -> Iterator[None]:
    """Print each warning of mmevent once, as one line, and none of libraries.

    Where Python was told what to do with warnings (-W, PYTHONWARNINGS), it does that,
    unless they were to be errors, which would end a command that does its work.
    """
    actions = [option.partition(":")[0] for option in sys.warnoptions]
    plain = warnings.formatwarning
    warnings.formatwarning = lambda *args, **kwargs: printable(plain(*args, **kwargs))
    try:
        with _each_once() if all(map("error".startswith, actions)) else nullcontext():
            yield
    finally:
        warnings.formatwarning = plain


@contextmanager
def _each_once() -> Iterator[None]:
    shown = set()

    def show_once(message: Warning | str, *args: object, **kwargs: object) -> None:
        line = in_words(" ".join(str(message).split()))
        if line not in shown:
            shown.add(line)
            show(f"Warning: {line}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", MmeventWarning)
        warnings.showwarning = show_once
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
            show(message, err=True)

    def read(
        self, path: Path, reader: Callable[..., pd.DataFrame] | None = None
    ) -> pd.DataFrame:
        """Read a table that has at least one post."""
        from mmevent.posts import read_table
        from mmevent.posts.labels import check_some

        if self.progress:
            self.say(f"Reading {path}")
        frame = (reader or read_table)(path, encoding=named_encoding())
        check_some(len(frame), f"read in {str(path)!r}")
        return frame

    def load(self, folder: Path, *, local_files_only: bool) -> EventDetector:
        """Load a model, which shows progress bars if the session does.

        Images are placed by each command, see `shared.place_images`.
        """
        from mmevent.persistence import load

        if self.progress:
            self.say(f"Loading {folder}")
        detector: EventDetector = load(
            folder, image_root=os.curdir, local_files_only=local_files_only
        )
        show_bars(detector, self.progress)
        return detector


@contextmanager
def start_session(*, quiet: bool, cache: str | None = None) -> Iterator[Session]:
    """Open a session with clean warnings, whose embeddings are kept in `cache`."""
    with clean_warnings(), own_settings(), _named_cache(cache):
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
    from mmevent.tables.cells import without_surrogates

    with replaced_file(path) as temporary:
        temporary.write_text(without_surrogates(text), encoding="utf-8")
