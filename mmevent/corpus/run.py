"""A run over a corpus: in parts, each finished once, in memory that does not grow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from tqdm import tqdm

from mmevent import __version__
from mmevent._common import as_whole, warn_user
from mmevent.corpus.manifest import (
    FORMAT,
    MANIFEST,
    check_same,
    fingerprint,
    read_manifest,
    source_files,
    write_manifest,
)
from mmevent.corpus.parts import part_facts, part_path, part_paths, write_part
from mmevent.detector import Reading
from mmevent.detector.audit import AUDIT_COLUMNS, audit_part, decide
from mmevent.exceptions import InputError, MmeventWarning, RunError
from mmevent.persistence import load
from mmevent.persistence.folder import facts_of
from mmevent.posts.streams import Stretch, stretches, table_suffix
from mmevent.rule.policies import budget_of, budget_threshold

if TYPE_CHECKING:
    from mmevent.detector import EventDetector

PART_ROWS = 5000
_CACHE = "MMEVENT_CACHE"
_READ = ("text", "images", "id")


@dataclass(frozen=True)
class CorpusRun:
    """What a run did.

    Parameters
    ----------
    folder : Path
        Folder of the parts and the manifest.
    n_posts, n_flagged : int
        Posts in all parts, and those that are flagged as events.
    n_parts, n_made : int
        Parts of the run, and those that were made now, not found as finished.
    """

    folder: Path
    n_posts: int
    n_flagged: int
    n_parts: int
    n_made: int


def predict(
    model: str | os.PathLike[str],
    source: Any,
    target: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    keep: Iterable[str] = (),
    policy: Any = None,
    image_root: str | os.PathLike[str] | None = None,
    allow_outside_root: bool = False,
    encoding: str | None = None,
    part_rows: int = PART_ROWS,
    cache: str | None = None,
    local_files_only: bool = False,
    verbose: bool = False,
) -> CorpusRun:
    """Predict a corpus in parts; started again, it goes on where it was stopped.

    Each part of a file is read, predicted, written to a temporary name and renamed.
    ``manifest.json`` in the target fixes the model, the settings and the source.

    Parameters
    ----------
    model : str or path
        Folder that `EventDetector.save` wrote.
    source : str, path, or list of these
        Tables: a file, a folder or a pattern such as ``"posts/*.csv"``. Text (.csv,
        .tsv, .jsonl, .ndjson, also with .gz or .zst) and Parquet are read in parts;
        other tables are read at once.
    target : str or path
        Folder to write to; it is made where it does not exist.
    columns : mapping or None, default=None
        Our names of columns to yours; None takes those of the model.
    keep : iterable of str, default=()
        Columns of the source to copy, as text.
    policy : default=None
        As in `EventDetector.set_policy`; None takes the model's own. A budget is one
        for the whole corpus, and decided after all scores.
    image_root : str, path or None, default=None
        Folder or zip that paths of pictures start from; None: that of each table.
    allow_outside_root : bool, default=False
        Whether pictures outside that folder are opened.
    encoding : str or None, default=None
        As in :func:`mmevent.posts.read_table`.
    part_rows : int, default=5000
        Most posts of a part; what is in memory at a time.
    cache : str or None, default=None
        File that keeps embeddings; None for none.
    local_files_only : bool, default=False
        Use only models on this machine.
    verbose : bool, default=False
        Whether to show a progress bar.

    Returns
    -------
    CorpusRun
        Counts of posts and parts.

    Raises
    ------
    InputError
        If the target holds another run, or another process works on it; or if the
        source has no posts, is changed, or is one file that cannot be read.
    RunError
        If some of several files could not be read; the others are predicted.
    StorageError
        If a part cannot be written; finished parts stay.

    Notes
    -----
    Ids are written as text; without a column of ids they are row numbers, and
    ``FILE:ROW`` where the source has several files.
    """
    if (rows := as_whole(part_rows)) is None or rows < 1:
        raise InputError(
            f"part_rows={part_rows!r} is no number of posts: expected a whole number "
            "of 1 or more. Use part_rows=5000."
        )
    detector = load(
        Path(model), image_root=os.curdir, local_files_only=local_files_only
    )
    if policy is not None:
        detector.set_policy(policy)
    detector.columns = dict(detector.columns or {}) | dict(columns or {})
    detector.allow_outside_root = allow_outside_root
    return run(
        detector,
        facts_of(Path(model))[1],
        source,
        Path(target),
        keep=tuple(keep),
        root_of=lambda path: path.parent if image_root is None else Path(image_root),
        encoding=encoding,
        part_rows=rows,
        cache=cache,
        verbose=verbose,
    )


def run(
    detector: EventDetector,
    identity: str,
    source: Any,
    folder: Path,
    *,
    keep: tuple[str, ...],
    root_of: Callable[[Path], Path],
    encoding: str | None,
    part_rows: int,
    cache: str | None,
    verbose: bool,
) -> CorpusRun:
    """Run a loaded detector of a known identity over a source, see `predict`."""
    files = source_files(source)
    if taken := [name for name in keep if name in AUDIT_COLUMNS and name != "id"]:
        raise InputError(
            f"{taken[0]!r} cannot be kept: expected a name that no column of "
            f"predictions has, got one of {', '.join(AUDIT_COLUMNS)}. Rename the "
            "column."
        )
    columns = {k: v for k, v in (detector.columns or {}).items() if k in _READ}
    now = {
        "format": FORMAT,
        "model": identity,
        "settings": {
            "mmevent": __version__,
            "columns": columns,
            "keep": list(keep),
            "policy": repr(detector.policy_),
            "threshold": repr(float(detector.threshold_)),  # a budget has NaN
            "image roots": [str(root_of(path).resolve()) for path in files],
            "allow_outside_root": detector.allow_outside_root,
            "encoding": encoding,
            "part_rows": part_rows,
        },
        "source": [fingerprint(path) for path in files],
    }
    with _locked(folder), _cache_of(cache):
        _begin(folder, now)
        job = _Job(detector, folder, files, now, root_of, keep, encoding, part_rows)
        return job.work(verbose)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{str(folder)!r} cannot be made: expected a new folder in one that "
            f"exists, got {error.strerror}. Correct the path."
        ) from error
    half = f".{MANIFEST}."  # of a process that was killed
    names = {one.name for one in folder.iterdir()}
    others = {name for name in names if name != ".lock" and not name.startswith(half)}
    if others and MANIFEST not in others:
        raise InputError(
            f"{str(folder)!r} holds something else, such as {min(others)!r}: expected "
            "an empty folder, or one of a run. Name a new folder."
        )
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise InputError(
            f"another process works on {str(folder)!r}: expected a run of one process. "
            "Wait until it ends, or write to another folder."
        ) from error


@contextmanager
def _cache_of(cache: str | None) -> Iterator[None]:
    """Keep no embeddings in the file of labelled posts, unless asked to."""
    before = os.environ.get(_CACHE)
    os.environ[_CACHE] = cache or "off"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CACHE]
        else:
            os.environ[_CACHE] = before


def _begin(folder: Path, now: dict[str, Any]) -> None:
    for left in (*folder.glob(".part-*"), *folder.glob(f".{MANIFEST}.*")):
        left.unlink()  # of a process that was killed
    if (folder / MANIFEST).exists():
        check_same(folder, read_manifest(folder), now)
    else:
        write_manifest(folder, now)


@dataclass
class _Job:
    detector: EventDetector
    folder: Path
    files: list[Path]
    manifest: dict[str, Any]
    root_of: Callable[[Path], Path]
    keep: tuple[str, ...]
    encoding: str | None
    part_rows: int
    n_made: int = 0

    def work(self, verbose: bool) -> CorpusRun:
        parts: list[dict[str, Any]] = []
        failed: dict[str, str] = {}
        error = None
        with tqdm(desc="Predicting", unit="post", disable=not verbose) as bar:
            for place, path in enumerate(self.files):
                bar.set_postfix_str(f"file {place + 1} of {len(self.files)}")
                try:
                    for facts in self._parts(place, path, first=not parts):
                        parts.append(facts)
                        bar.update(facts["rows"])
                except InputError as error_of_file:
                    error = error_of_file
                    self._check_unchanged(place, path)
                    failed[str(path)] = str(error)
        if not parts:
            self._clear()
            if error is not None:
                raise error
            raise InputError(
                "the source has no posts: expected one row or more, and got only "
                "headers. Check that the export was complete."
            )
        n_flagged = self._finish(parts, failed)
        if failed and len(self.files) == 1 and error is not None:
            raise error
        if failed:
            raise RunError(
                f"{len(failed)} of {len(self.files)} files could not be read to their "
                f"end: expected tables alike, and got: {' '.join(failed.values())} "
                "The others are predicted. Start the same command again once the "
                "cause outside of the files is repaired, or run without these files."
            )
        n_posts = sum(one["rows"] for one in parts)
        return CorpusRun(self.folder, n_posts, n_flagged, len(parts), self.n_made)

    def _clear(self) -> None:
        (self.folder / MANIFEST).unlink()

    def _parts(
        self, place: int, path: Path, *, first: bool
    ) -> Iterator[dict[str, Any]]:
        row = 0
        names = self.detector.columns or {}
        read = [*(names.get(name, name) for name in _READ), *self.keep]
        cut = stretches(path, self.part_rows, columns=read, encoding=self.encoding)
        for number, stretch in enumerate(cut):
            to = part_path(self.folder, place, number)
            facts: dict[str, Any] = {
                "name": to.name,
                "file": place,
                "begin": stretch.begin,
                "end": stretch.end,
                "first_row": row,
            }
            there = part_facts(to)
            if there is None or any(there.get(k) != v for k, v in facts.items()):
                frame = self._read(path, stretch, row, read)
                self._check_unchanged(place, path)
                if not len(frame):
                    continue
                audit = self._audit(path, frame, first=first)
                there = facts | {"rows": len(frame)}
                write_part(audit, to, there)
                self.n_made += 1
            row, first = row + there["rows"], False
            yield facts | {"rows": there["rows"]}

    def _read(
        self, path: Path, stretch: Stretch, row: int, names: list[str]
    ) -> pd.DataFrame:
        frame = stretch.read()
        if row and table_suffix(path) in (".jsonl", ".ndjson"):
            # A name that no record of this part has, others may have.
            missing = [name for name in names if name not in frame and name != "id"]
            frame = frame.assign(**dict.fromkeys(missing))
        if "id" not in frame and "id" not in (self.detector.columns or {}):
            numbers = range(row, row + len(frame))
            several = len(self.files) > 1
            frame["id"] = [f"{path.name}:{n}" if several else n for n in numbers]
        return frame

    def _audit(self, path: Path, frame: pd.DataFrame, *, first: bool) -> pd.DataFrame:
        for name in self.keep:
            if name not in frame:
                raise InputError(
                    f"{str(path)!r} has no column {name!r} to keep: expected one of "
                    f"{', '.join(map(str, frame))}. Correct --keep (keep= in Python)."
                )
        columns = {
            ours: yours
            for ours, yours in (self.detector.columns or {}).items()
            if ours in _READ
        }
        detector = self.detector
        reading = Reading(
            columns, self.root_of(path), detector.allow_outside_root, verbose=False
        )
        try:
            audit = audit_part(detector.fitted_, frame, reading, first=first)
        except InputError as error:
            raise InputError(f"in {str(path)!r}: {error}") from error
        for name in self.keep:
            if name != "id":
                audit[name] = frame[name].to_numpy()
        return audit

    def _check_unchanged(self, place: int, path: Path) -> None:
        known = self.manifest["source"][place]
        try:
            found = path.stat()
            same = (found.st_size, found.st_mtime_ns) == (
                known["size"],
                known["changed_ns"],
            )
        except OSError:
            same = False
        if not same:
            raise RunError(
                f"{str(path)!r} was changed or deleted while it was read: expected the "
                "source to stay as it is during a run. Finished parts stay. Put the "
                "file back, or begin again in another folder."
            )

    def _finish(self, parts: list[dict[str, Any]], failed: dict[str, str]) -> int:
        """Complete the run, and count the posts that are flagged."""
        fitted, paths = self.detector.fitted_, [self.folder / p["name"] for p in parts]
        budget, extra = budget_of(fitted.policy), {}
        if budget is not None:
            scores = np.concatenate([_column(path, "score") for path in paths])
            threshold = float(budget_threshold(pd.Series(scores), budget))
            extra = {"budget_threshold": threshold}
            for path in paths:
                self._decide(path, threshold)
        _warn_of_same_ids(paths)
        for path in set(part_paths(self.folder)) - set(paths):
            path.unlink()  # of a file that was read further by an earlier start
        write_manifest(
            self.folder, self.manifest | extra | {"parts": parts, "failed": failed}
        )
        margins = (_column(path, "margin") for path in paths)
        return sum(int((margin >= 0).sum()) for margin in margins)

    def _decide(self, path: Path, threshold: float) -> None:
        from pyarrow import parquet

        facts = part_facts(path) or {}
        if facts.get("threshold") == threshold:
            return
        frame = parquet.read_table(path).to_pandas(integer_object_nulls=True)
        frame = frame.drop(columns=["prediction", "margin"], errors="ignore")
        frame = decide(frame, threshold, np.array(self.detector.fitted_.coding))
        write_part(frame, path, facts | {"threshold": threshold})


def _column(path: Path, name: str) -> Any:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        return file.read(columns=[name])[name].to_numpy()


def _warn_of_same_ids(paths: list[Path]) -> None:
    """Warn where posts have the same id; eight bytes are held for each post."""
    hashes = [pd.util.hash_array(_column(path, "id")) for path in paths]
    every = np.sort(np.concatenate(hashes))
    again = every[1:][every[1:] == every[:-1]]
    if not len(again):
        return
    for path, hashed in zip(paths, hashes, strict=True):
        if (found := np.flatnonzero(hashed == again[0])).size:
            one = _column(path, "id")[found[0]]
            break
    warn_user(
        f"{len(again):,} posts have the id of an earlier post, such as {one!r}: "
        "expected each id once. Each post keeps a row of its own; name another column "
        "of ids, or join by nothing but the order.",
        MmeventWarning,
    )
