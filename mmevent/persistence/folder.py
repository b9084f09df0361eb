"""The files of a model folder: written whole or not at all, checked before reading.

What the files hold is listed in `saving.py`.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._common import expanded
from mmevent.exceptions import (
    InputError,
    MmeventError,
    ModelFolderError,
    StorageError,
)
from mmevent.persistence.files import check_file, check_table, read_file
from mmevent.persistence.objects import same
from mmevent.tables.cells import without_surrogates

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT_VERSION = 2
_UNRELEASED = 1  # the layout of folders before the first release
FACTS, MANIFEST = "detector.json", "manifest.json"
ENCODERS = "encoders"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)

# What operating systems leave in a folder that someone looks at.
_LEFT_BEHIND = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


def new_folder(folder: str | Path) -> Path:
    """Validate the folder to write to; return it absolute, with links followed."""
    path = expanded(folder).resolve()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        what = "is not empty" if path.is_dir() else "is a file"
        raise InputError(
            f"the folder {str(folder)!r} {what}: expected a new or an empty folder to "
            f"save to, and overwrote nothing. Choose another one."
        )
    if not path.parent.is_dir():
        raise InputError(
            f"the folder {str(path.parent)!r} does not exist: expected an existing "
            f"folder for {path.name!r}. Create it, or save elsewhere."
        )
    return path


@contextmanager
def removed_on_failure(folder: Path) -> Iterator[None]:
    """Remove what was written to a new or empty folder if anything fails."""
    existed = folder.exists()
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if existed:
            folder.mkdir(exist_ok=True)
        raise


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a folder to write to; it becomes `target` at the end, or is removed."""
    try:
        with put_in_place(target) as temporary:
            yield temporary
            (temporary / MANIFEST).write_bytes(to_json(_hashes(temporary)))
    except MmeventError:
        raise
    except Exception as error:
        if (number := _error_number(error)) is None:
            raise
        kind = StorageError if number in _NO_ROOM else ModelFolderError
        reason = os.strerror(number) if number else str(error)
        raise kind(
            f"the model folder {str(target)!r} cannot be written: expected a place "
            f"with room that you may write to, got {reason}. Nothing "
            f"was left behind. Free some room, or choose another folder."
        ) from error


def _error_number(error: Exception) -> int | None:
    """Return the number of an error of the system, 0 if it has none; None of others.

    What is written in Rust, weights and tokenizers, has it in the message alone.
    """
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"\(os error ([0-9]+)\)", str(error))
    return int(found[1]) if found else None


@contextmanager
def put_in_place(target: Path) -> Iterator[Path]:
    """Give a folder to write to; it becomes `target`, new or empty, or is removed."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        temporary.mkdir()
        yield temporary
        _move(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, target: Path) -> None:
    if target.is_dir():
        shutil.copymode(target, temporary)
    try:
        temporary.rename(target)
    except FileExistsError:  # Windows, where an empty folder is not replaced
        target.rmdir()
        temporary.rename(target)


def _hashes(root: Path) -> dict[str, str]:
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): _sha256(path) for path in paths}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_json(value: Any) -> bytes:
    """Return readable JSON with a final line end; lone surrogates are kept."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "surrogatepass")


def saved_image_root(folder: str | Path) -> str | None:
    """Return the parameter `image_root` that a model folder was saved with.

    It is what the folder says: whoever uses it must see that it is harmless.
    """
    facts = _json_object(expanded(folder), FACTS)
    root = facts["parameters"].get("image_root")
    return root if isinstance(root, str) else None


def facts_of(folder: str | Path) -> tuple[dict[str, Any], str]:
    """Return what detector.json holds, and the SHA-256 of the manifest.

    Load the folder first, which checks both.
    """
    root = expanded(folder)
    return _json_object(root, FACTS), _sha256(root / MANIFEST)


def read_folder(folder: str | Path) -> tuple[Path, dict[str, bytes], set[str]]:
    """Check every file of a model folder against its manifest.

    Returns
    -------
    root : Path
        The folder, absolute.
    content : dict of str to bytes
        The bytes that were checked, of all files except copied encoders.
    names : set of str
        All files.
    """
    root = expanded(folder)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise ModelFolderError(
            f"the model folder {str(folder)!r} {what}: expected a folder that "
            f"EventDetector.save wrote. Correct the path."
        )
    root = root.resolve()
    try:
        _check_version(root)
        return root, *_checked(root)
    except OSError as error:
        raise ModelFolderError(
            f"the model folder {str(root)!r} cannot be read: expected files that you "
            f"may read, got {error.strerror or error}. Change their permissions, or "
            f"copy the folder again."
        ) from error


def _check_version(root: Path) -> None:
    found = _json_object(root, FACTS).get("format_version")
    if type(found) is int and found == _UNRELEASED:
        raise ModelFolderError(
            f"the model folder {str(root)!r} was made by an unreleased version of "
            f"mmevent: expected the format version {FORMAT_VERSION}, got {found}. Fit "
            f"the detector again on its labelled posts, with EventDetector.fit and "
            f"save, or with mmevent fit on the command line; its README.md says what "
            f"it was fitted on."
        )
    if type(found) is not int or found != FORMAT_VERSION:
        raise ModelFolderError(
            f"the model folder {str(root)!r} has the format version {found!r}: "
            f"expected {FORMAT_VERSION}, the one that this mmevent reads. Install the "
            f"mmevent that its {FACTS} names, or a newer one."
        )


def _checked(root: Path) -> tuple[dict[str, bytes], set[str]]:
    hashes = _json_object(root, MANIFEST)
    for name in hashes:
        if not _stays_inside(name):
            raise ModelFolderError(
                f"{MANIFEST} in {str(root)!r} names {name!r}: expected files within "
                f"the folder. Nothing was loaded. Do not use this folder."
            )
    _check_complete(root, set(hashes))
    content, altered = {}, []
    for name, expected in hashes.items():
        if name.startswith(f"{ENCODERS}/"):
            found = _sha256(root / name)
        else:
            content[name] = read_file(root, name)
            found = hashlib.sha256(content[name]).hexdigest()
        if found != expected:
            altered.append(name)
    if altered:
        raise ModelFolderError(
            f"the model folder {str(root)!r} was altered: expected the SHA-256 that "
            f"{MANIFEST} states of each file, got another of {', '.join(altered)}. "
            f"Copy the folder again, or save the detector again."
        )
    return content, set(hashes)


def _check_complete(root: Path, stated: set[str]) -> None:
    there = set()
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() or not path.is_dir():
            check_file(root, name)
            left_behind = path.name in _LEFT_BEHIND or path.name.startswith("._")
            there |= set() if left_behind else {name}
    missing, surplus = sorted(stated - there), sorted(there - stated - {MANIFEST})
    if missing:
        raise ModelFolderError(
            f"the model folder {str(root)!r} is incomplete: expected the files of "
            f"{MANIFEST}, missing {', '.join(missing[:5])}. Copy the folder again, "
            f"or save the detector again."
        )
    if surplus:
        raise ModelFolderError(
            f"the model folder {str(root)!r} holds files that mmevent did not write: "
            f"expected those of {MANIFEST} only, got {', '.join(surplus[:5])}. Move "
            f"them elsewhere."
        )


def _json_object(root: Path, name: str) -> dict[str, Any]:
    try:
        content = read_file(root, name)
    except FileNotFoundError as error:
        raise ModelFolderError(
            f"{str(root)!r} is no model folder, or incomplete: expected {name} in it, "
            f"got none. Pass a folder that EventDetector.save wrote."
        ) from error
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _malformed(root, name) from error
    if not isinstance(value, dict):
        raise _malformed(root, name)
    return value


def _malformed(root: Path, name: str) -> ModelFolderError:
    return ModelFolderError(
        f"{name} in {str(root)!r} is damaged: expected a JSON object, got something "
        f"else. Copy the folder again, or save the detector again."
    )


def _stays_inside(name: str) -> bool:
    """Whether a name is a relative path without "..", on any system."""
    parts = PurePosixPath(name).parts
    plain = bool(parts) and name == "/".join(parts) and ".." not in parts
    return (
        plain
        and "\\" not in name
        and not (PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive)
    )


_TRIED = ("alpha", "beta", "pool", "image")


def describe_classes(classes: NDArray[Any]) -> dict[str, Any]:
    """Return the labels and their dtype; validate that JSON keeps them."""
    described = {"dtype": classes.dtype.str, "values": classes.tolist()}
    try:
        kept = same(read_classes(json.loads(json.dumps(described))), classes)
    except (TypeError, ValueError):
        kept = False
    if not kept:
        raise ModelFolderError(
            f"the classes {classes.tolist()} cannot be saved: expected strings, "
            f"booleans or numbers, got {type(classes[0]).__name__}. Fit with such "
            f"labels, as y.astype(str) makes them."
        )
    return described


def read_classes(described: dict[str, Any]) -> NDArray[Any]:
    """Return the labels that `describe_classes` described."""
    return np.array(described["values"], dtype=described["dtype"])


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Return a table as Parquet, its index included."""
    stream = io.BytesIO()
    frame.to_parquet(stream)
    return stream.getvalue()


def from_parquet(data: bytes, name: str) -> pd.DataFrame:
    """Return the table of a Parquet file, unless it would fill the memory."""
    check_table(data, name)
    return pd.read_parquet(io.BytesIO(data))


def table_with_ids(frame: pd.DataFrame) -> bytes:
    """Return Parquet of a table; ids and an index that it cannot hold become text."""
    try:
        return to_parquet(frame)
    except (TypeError, ValueError, ArithmeticError, NotImplementedError):
        # What pyarrow raises for mixed types, numbers beyond 64 bits and the like.
        ids, index = (
            [without_surrogates(str(value)) for value in part]
            for part in (frame["id"], frame.index)
        )
        return to_parquet(frame.assign(id=ids).set_axis(index))


def scores_of(results: dict[str, Any]) -> pd.DataFrame:
    """Return the columns of ``cv_results_`` that the trials do not hold."""
    return pd.DataFrame({k: v for k, v in results.items() if "param" not in k})


def read_cv_results(trials: pd.DataFrame, scores: pd.DataFrame) -> dict[str, Any]:
    """Return ``cv_results_`` from the trials and what `scores_of` took."""
    columns = {name: trials[name].tolist() for name in _TRIED if name in trials}
    return {
        "params": [
            dict(zip(columns, row, strict=True))
            for row in zip(*columns.values(), strict=True)
        ],
        **{f"param_{name}": np.ma.MaskedArray(v) for name, v in columns.items()},
        **{name: scores[name].to_numpy() for name in scores},
    }
