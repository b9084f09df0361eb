"""What several packages share: hashes, optional packages, shared contexts."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from mmevent.exceptions import InputError, MissingPackageError

if TYPE_CHECKING:
    import pandas as pd

_CELL = 60  # letters of a cell of a table in a notebook


def require(package: str, *, extra: str, purpose: str) -> Any:
    """Import a package, or say how to install it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"{purpose} needs the package {package!r}: expected it to be installed, "
            f'got {error}. Install it with: pip install "mmevent[{extra}]"'
        ) from error


def as_whole(value: Any) -> int | None:
    """Return a whole number as an int, and None for anything else.

    A whole float is one: R hands on its plain numbers as floats.
    """
    if isinstance(value, bool):
        return None
    whole = isinstance(value, Integral) or (
        isinstance(value, Real) and float(value).is_integer()
    )
    return int(value) if whole else None


def keep_parameters(estimator: Any, parameters: dict[str, Any]) -> None:
    """Set the parameters of an estimator to the local variables of `__init__`."""
    for name in estimator._get_param_names():
        setattr(estimator, name, parameters[name])


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn at the line of the user's code that called this package.

    That is the caller of the outermost frame of this package; a wrapper of
    scikit-learn, such as that of `transform`, is passed over.
    """
    stack: list[str] = []
    frame: FrameType | None = sys._getframe()
    while frame:
        stack.append(str(frame.f_globals.get("__name__")).split(".")[0])
        frame = frame.f_back
    user = max(place for place, name in enumerate(stack) if name == "mmevent") + 1
    while user < len(stack) - 1 and stack[user] == "sklearn":
        user += 1
    warnings.warn(message, category, stacklevel=user + 1)


def shared_context(
    change: Callable[[], Iterator[None]],
) -> Callable[[], AbstractContextManager[None]]:
    """Make a context of a generator that changes a global setting and puts it back.

    Of threads that use it at the same time, the first makes the change and the last
    puts the setting back. If each did both, the second would take the change of the
    first for the original setting.
    """
    make, lock, users = contextmanager(change), threading.Lock(), 0
    opened: AbstractContextManager[None]

    @contextmanager
    @wraps(change)
    def use() -> Iterator[None]:
        nonlocal users, opened
        with lock:
            if users == 0:
                opened = make()
                opened.__enter__()
            users += 1
        try:
            yield
        finally:
            with lock:
                users -= 1
                if users == 0:
                    opened.__exit__(None, None, None)

    return use


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with the home folder in place of "~"."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{os.fspath(path)!r} begins with a home folder that is not known: "
            f"expected a user with one, got: {error} Write the whole path, or set the "
            f"environment variable HOME."
        ) from error


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Give the path of a new file that takes the name of another once it is whole.

    Where anything fails, the other file stays as it was. A link stays, and the file
    that it leads to is replaced; its permissions stay too. What is no file, such as
    /dev/null, is written to as it is.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    try:
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def as_html(
    heading: str,
    tables: Iterable[tuple[str, pd.DataFrame]] = (),
    notes: Iterable[str] = (),
) -> str:
    """Return what a notebook shows of an object, with all of its content escaped.

    Wide tables can be scrolled sideways, and long cells are cut.
    """
    import html

    import pandas as pd

    parts = [f"<p>{html.escape(heading)}</p>".replace("\n", "<br>")]
    with pd.option_context("display.precision", 3):
        for title, frame in tables:
            top = f"<h4>{html.escape(title)}</h4>" if title else ""
            shown = frame.map(_cut).rename(index=_cut).to_html()
            style = "overflow-x: auto; white-space: nowrap"
            parts.append(f'{top}<div style="{style}">{shown}</div>')
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return "\n".join([*parts, f"<ul>{items}</ul>" if items else ""])


def _cut(cell: Any) -> Any:
    long = isinstance(cell, (str, bytes)) and len(cell) > _CELL
    return f"{str(cell[:_CELL])}…" if long else cell


def json_hash(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    import hashlib  # loads OpenSSL, which `mmevent --help` need not wait for

    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
