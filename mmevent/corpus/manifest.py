"""What fixes a run over a corpus: the model, the settings and the source."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmevent._common import replaced_file
from mmevent.exceptions import InputError
from mmevent.posts.streams import TEXT_SUFFIXES, table_suffix

MANIFEST = "manifest.json"
FORMAT = 1
_SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".json", ".xlsx", ".dta", ".sav")
_SAMPLES, _SAMPLE = 16, 1 << 16  # stretches of a file that are hashed; bytes of each


def source_files(source: Any) -> list[Path]:
    """Return the files of a source in order: a file, a folder, a pattern, or several.

    Raises
    ------
    InputError
        If nothing is found, or a file is there twice.
    """
    if isinstance(source, str | os.PathLike):
        files = _files_of(Path(source))
    else:
        files = [path for one in source for path in _files_of(Path(one))]
    seen: dict[Path, Path] = {}
    for path in files:
        if (other := seen.setdefault(path.resolve(), path)) is not path:
            raise InputError(
                f"{str(path)!r} is in the source twice, also as {str(other)!r}: "
                "expected each file once. Name it once."
            )
    if not files:
        raise InputError(
            "the source has no files: expected one or more tables, got an empty list. "
            "Name a file, a folder or a pattern."
        )
    return files


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        found = [
            one
            for one in sorted(path.iterdir())
            if one.is_file()
            and not one.name.startswith(".")
            and table_suffix(one) in _SUFFIXES
        ]
    elif not path.exists() and glob.has_magic(str(path)):
        found = [Path(one) for one in sorted(glob.glob(str(path), recursive=True))]
    else:
        found = [path]
    for one in found:
        if not one.is_file() or table_suffix(one) not in _SUFFIXES:
            raise InputError(
                f"{str(one)!r} is no table: expected a file that ends in "
                f"{', '.join(_SUFFIXES)}, the text ones also with .gz or .zst. Correct "
                "the path."
            )
    if not found:
        raise InputError(
            f"{str(path)!r} holds no table: expected files that end in "
            f"{', '.join(_SUFFIXES)}, and found none. Correct the folder or pattern."
        )
    return found


def fingerprint(path: Path) -> dict[str, Any]:
    """Return by what a file is known again: size, time of change, sampled bytes."""
    found = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for sample in range(_SAMPLES):
            last = max(found.st_size - _SAMPLE, 0)
            stream.seek(last * sample // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE))
    return {
        "path": str(path.resolve()),
        "size": found.st_size,
        "changed_ns": found.st_mtime_ns,
        "sha256_of_samples": digest.hexdigest(),
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a run.

    Raises
    ------
    InputError
        If there is none, or it was edited.
    """
    path = folder / MANIFEST
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        digest = content.pop("sha256")
    except (FileNotFoundError, NotADirectoryError, KeyError) as error:
        raise InputError(
            f"{str(folder)!r} is no folder of a run: expected in it the {MANIFEST} "
            "that mmevent predict writes. Correct the path."
        ) from error
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _edited(path) from error
    names = [part["name"] for part in content.get("parts", [])]
    if digest != _digest(content) or any(name != Path(name).name for name in names):
        raise _edited(path)
    return content


def _edited(path: Path) -> InputError:
    return InputError(
        f"{str(path)!r} was edited or is damaged: expected it as mmevent predict wrote "
        "it. Put the file back, or begin the run again in another folder."
    )


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write the manifest of a run, whole or not at all."""
    text = json.dumps(content | {"sha256": _digest(content)}, indent=1, sort_keys=True)
    with replaced_file(folder / MANIFEST) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def check_same(folder: Path, there: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with another model, other settings or a changed source."""
    changed = list(_changes(there, now))
    if changed:
        raise InputError(
            f"{str(folder)!r} holds another run: expected the same model, settings and "
            f"source, and got another {'; another '.join(changed)}. Write to another "
            "folder, or go on with what the run began with."
        )


def _changes(there: dict[str, Any], now: dict[str, Any]) -> Iterable[str]:
    for name in ("format", "model"):
        if there.get(name) != now[name]:
            yield name
    before = there.get("settings", {})
    for name, value in now["settings"].items():
        if before.get(name) != value:
            yield f"{name} ({value!r}, was {before.get(name)!r})"
    files = {one["path"]: one for one in there.get("source", [])}
    if list(files) != [one["path"] for one in now["source"]]:
        yield "list of files"
        return
    for one in now["source"]:
        if files[one["path"]] != one:
            yield f"content of {one['path']!r}"
