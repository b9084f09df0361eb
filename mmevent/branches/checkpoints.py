"""Folders in which a training that was interrupted can go on."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from mmevent._common import warn_user
from mmevent.encoders.cache import call_at_end
from mmevent.exceptions import MmeventWarning

_NAME = re.compile(r"[0-9a-f]{32}")
_DAYS_KEPT = 30


@contextmanager
def workspace(root: Path | None, key: str) -> Iterator[Path]:
    """Give the folder of one training, which a repetition of it finds again.

    It is removed when the whole fit is done; what none has touched for a month goes
    too. Where `root` is None or cannot be written to, or another process trains the
    very same, the folder is a temporary one.
    """
    lock = None if root is None else _claim(root / key[:32])
    if root is None or lock is None:
        with TemporaryDirectory(prefix="mmevent-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    folder = root / key[:32]
    try:
        yield folder
    finally:
        lock.release()
    call_at_end(partial(_remove, folder))


def _claim(folder: Path) -> FileLock | None:
    """Return the lock of a folder, which is made; None where it is not to be had."""
    lock = FileLock(_lock_of(folder), blocking=False)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        folder.mkdir(exist_ok=True)
        folder.touch()
        _remove_old(folder.parent)
    except Timeout:
        return None
    except (OSError, NotImplementedError) as error:
        warn_user(
            f"a training that is interrupted will begin anew, since {str(folder)!r} "
            f"cannot be used: {error}. Name another place by cache= or the environment "
            f"variable MMEVENT_CACHE.",
            MmeventWarning,
        )
        return None
    return lock


def trainings(root: Path) -> list[Path]:
    """Return the folders of trainings that are not done, or are in progress."""
    if not root.is_dir():
        return []
    return [path for path in root.iterdir() if _NAME.fullmatch(path.name)]


def remove_trainings(root: Path) -> None:
    """Remove what trainings have left, but for those that are in progress."""
    for folder in trainings(root):
        _remove(folder)


def _remove_old(root: Path) -> None:
    oldest = time.time() - _DAYS_KEPT * 24 * 3600
    for folder in trainings(root):
        with suppress(FileNotFoundError):  # another process may have removed it
            if folder.stat().st_mtime < oldest:
                _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder that no process works in; others of its root stay."""
    lock = _lock_of(folder)
    try:
        with FileLock(lock, blocking=False):
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
        folder.parent.rmdir()
    except (OSError, Timeout):  # somebody works in it, or there are others
        pass


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
