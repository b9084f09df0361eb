"""Embeddings kept in a file of SQLite, shared by all processes of a user."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mmevent._common import expanded, warn_user
from mmevent.exceptions import InputError, MmeventWarning

if TYPE_CHECKING:
    from numpy.typing import NDArray

    T = TypeVar("T")
    Vectors = Mapping[str, NDArray[np.float32]]

ENVIRONMENT = "MMEVENT_CACHE"
OFF = "off"
MAX_BYTES = 10 * 2**30
FORMAT_VERSION = 1
APPLICATION_ID = int.from_bytes(b"mmev", "big")  # in the header: the file is ours

_NAME = "embeddings.sqlite"
_SCHEMA = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT_VERSION}",
    "CREATE TABLE encoders (number INTEGER PRIMARY KEY, identity TEXT UNIQUE NOT NULL)",
    "CREATE TABLE embeddings (number INTEGER PRIMARY KEY, encoder INTEGER NOT NULL, "
    "item BLOB NOT NULL, vector BLOB NOT NULL, checksum INTEGER NOT NULL, "
    "UNIQUE (encoder, item))",
)
_TABLES = ("encoders", "embeddings")
_ITEMS_A_QUERY = 500  # with the encoder fewer than the 999 of an older SQLite
_KEPT_WHEN_FULL = 0.9
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_REASONS = {
    sqlite3.SQLITE_BUSY: "another process has locked it",
    sqlite3.SQLITE_LOCKED: "another process has locked it",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it cannot be written to",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PERM: "it cannot be opened",
}
_warned: set[str] = set()


class _NewerVersionError(Exception):
    """The file was written by a later mmevent."""


def default_path() -> Path | None:
    """Return where embeddings are kept if nothing else is said; None without a home."""
    try:
        folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(folder) / "mmevent" / _NAME


def disk_store(cache: str | os.PathLike[str] | None) -> DiskStore | None:
    """Return the store that a parameter `cache` means; None for none.

    "auto" is what the environment variable MMEVENT_CACHE says, else `default_path`.
    """
    if isinstance(cache, str) and cache == "auto":
        cache = os.environ.get(ENVIRONMENT) or default_path()
        if cache is None:
            _warn_once(
                f"there is no embedding cache, since this user has no home folder. "
                f"Results are the same, without it. Name a file by cache= or the "
                f"environment variable {ENVIRONMENT}, or {OFF} for none."
            )
    if cache is None or cache == OFF:
        return None
    if not isinstance(cache, (str, os.PathLike)):
        raise InputError(
            f"cache={cache!r} names no file: expected 'auto', a path, or None for no "
            f"cache on disk. Pass one of them."
        )
    path = expanded(cache).absolute()
    if path.is_dir():
        raise InputError(
            f"cache={str(cache)!r} is a folder: expected a file, which is made if it "
            f"is not there. Name one in it, such as "
            f"{str(path / _NAME)!r}."
        )
    return DiskStore(path)


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warn_user(message, MmeventWarning)


@dataclass(frozen=True)
class Usage:
    """What a cache file holds."""

    path: Path
    n_bytes: int
    by_encoder: dict[str, int]


@dataclass(frozen=True)
class DiskStore:
    """Embeddings in one file, by encoder identity and item.

    A vector comes back only for the identity and the item that it was kept under, and
    only if its checksum holds. Only a foreign file raises an error, and only a damaged
    file of ours is removed. Whatever else is wrong, the work goes on without the cache,
    after one warning.

    Parameters
    ----------
    path : Path
        The file; it is made when first written to, with its folder.
    max_bytes : int
        Size of the file above which the oldest embeddings give way.
    timeout : float
        Seconds that another process's lock is waited for.
    """

    path: Path
    max_bytes: int = MAX_BYTES
    timeout: float = 30.0

    @property
    def training(self) -> Path:
        """Folder of what trainings need to go on after an interruption."""
        return Path(f"{self.path}-training")

    def get_many(self, identity: str, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the vectors of those `keys` that are kept."""
        wanted = {_digest(key): key for key in keys}
        if not wanted or not self.path.exists():
            return {}

        def work(connection: sqlite3.Connection) -> dict[str, np.ndarray]:
            return {
                wanted[item]: vector
                for item, vector in _select(connection, identity, list(wanted))
            }

        return self._attempt(work, {}, write=False)

    def put_many(self, identity: str, vectors: Vectors) -> None:
        """Keep `vectors`, given by item key; those that are not finite are not kept."""
        rows = []
        for key, vector in vectors.items():
            if np.isfinite(vector).all():
                item, data = _digest(key), vector.astype("<f4").tobytes()
                rows.append((item, data, _checksum(identity, item, data)))
        if rows:
            self._attempt(lambda c: self._insert(c, identity, rows), None, write=True)

    def usage(self) -> Usage:
        """Count what is kept, by encoder identity."""
        counts = "SELECT identity, count(*) FROM embeddings JOIN encoders ON "
        counts += "encoders.number = encoder GROUP BY encoder"
        found: dict[str, int] = {}
        if self.path.exists():
            found = self._attempt(
                lambda c: dict(c.execute(counts).fetchall()), found, write=False
            )
        files = [path for path in self._files() if path.exists()]
        return Usage(self.path, sum(path.stat().st_size for path in files), found)

    def clear(self) -> None:
        """Remove the file, if it is ours."""
        if self.path.exists():
            try:
                self._connect(write=False).close()
            except (sqlite3.DatabaseError, _NewerVersionError):
                pass  # ours, and damaged or newer: it may go
            self._remove()

    def _files(self) -> list[Path]:
        return [Path(f"{self.path}{end}") for end in ("", "-wal", "-shm")]

    def _remove(self) -> None:
        for path in self._files():
            path.unlink(missing_ok=True)

    def _attempt(
        self, work: Callable[[sqlite3.Connection], T], otherwise: T, *, write: bool
    ) -> T:
        """Run something on the file; where that fails, warn and go on without it."""
        try:
            with closing(self._connect(write=write)) as connection:
                return work(connection)
        except _NewerVersionError:
            self._warn("a newer version of mmevent wrote it. Update mmevent")
        except OSError as error:
            self._warn(f"{error.strerror or error}")
        except sqlite3.DatabaseError as error:
            code = error.sqlite_errorcode & 0xFF
            missing = code == sqlite3.SQLITE_ERROR and self._lacks_tables()
            if code in _DAMAGED or missing:
                self._remove()
                self._warn(f"it was damaged ({error}), and is begun anew")
            else:
                self._warn(_REASONS.get(code, str(error)))
        return otherwise

    def _lacks_tables(self) -> bool:
        """Whether the file can be read and is incomplete."""
        query = "SELECT count(*) FROM sqlite_master WHERE name = ? OR name = ?"
        try:
            with closing(self._connect(write=False)) as connection:
                row = connection.execute(query, _TABLES).fetchone()
        except (OSError, sqlite3.DatabaseError):
            return False
        return int(row[0]) < len(_TABLES)

    def _warn(self, reason: str) -> None:
        _warn_once(
            f"the embedding cache {str(self.path)!r} is not used: {reason}. Results "
            f"are the same, without it. Name another file by cache= or the environment "
            f"variable {ENVIRONMENT}, or {OFF} for none."
        )

    def _connect(self, *, write: bool) -> sqlite3.Connection:
        """Open the file; to be written to, it is made and given its tables."""
        if write:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode={'rwc' if write else 'ro'}",
            uri=True,
            timeout=self.timeout,
            isolation_level=None,
        )
        try:
            _check_ours(connection, self.path)
            if write:
                _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _insert(
        self,
        connection: sqlite3.Connection,
        identity: str,
        rows: list[tuple[bytes, bytes, int]],
    ) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT OR IGNORE INTO encoders (identity) VALUES (?)", (identity,)
        )
        encoder = _encoder_number(connection, identity)
        connection.executemany(
            "INSERT OR REPLACE INTO embeddings (encoder, item, vector, checksum) "
            "VALUES (?, ?, ?, ?)",
            ((encoder, *row) for row in rows),
        )
        self._trim(connection)
        connection.execute("COMMIT")

    def _trim(self, connection: sqlite3.Connection) -> None:
        """Let the oldest embeddings give way where the file is too large."""
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        used = (pages - free) * size
        if used <= self.max_bytes:
            return
        first, last = connection.execute(
            "SELECT min(number), max(number) FROM embeddings"
        ).fetchone()
        share = 1.0 - _KEPT_WHEN_FULL * self.max_bytes / used
        connection.execute(
            "DELETE FROM embeddings WHERE number < ?",
            (first + int(share * (last + 1 - first)),),
        )


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that somebody else, or a later version, wrote."""
    try:
        application, version, tables = _identify(connection)
    except sqlite3.DatabaseError as error:
        code = error.sqlite_errorcode & 0xFF
        if code in _DAMAGED and not _has_our_header(path):
            reason = "it is no SQLite file, or a damaged one"
            raise _not_ours(path, reason) from error
        raise
    if (application, version, tables) == (0, 0, 0):
        return
    if application != APPLICATION_ID:
        raise _not_ours(path, "another program wrote it")
    if version > FORMAT_VERSION:
        raise _NewerVersionError


def _has_our_header(path: Path) -> bool:
    """Tell from the file itself, which the rest of it may be too damaged to say."""
    with path.open("rb") as file:
        return file.read(72)[68:] == APPLICATION_ID.to_bytes(4, "big")


def _prepare(connection: sqlite3.Connection) -> None:
    """Give a new file its tables; let others read while one process writes."""
    if _identify(connection)[2] == 0:
        connection.execute("BEGIN IMMEDIATE")
        if _identify(connection)[2] == 0:  # no other process was faster
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _identify(connection: sqlite3.Connection) -> tuple[int, int, int]:
    # One statement: between two another process can make the tables.
    query = (
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
        "FROM pragma_application_id, pragma_user_version"
    )
    application, version, n_tables = connection.execute(query).fetchone()
    return application, version, n_tables


def _not_ours(path: Path, reason: str) -> InputError:
    return InputError(
        f"{str(path)!r} is no embedding cache of mmevent: expected a file that it "
        f"made, or none; {reason}. Nothing in it was changed. Name another file by "
        f"cache= or the environment variable {ENVIRONMENT}."
    )


def _encoder_number(connection: sqlite3.Connection, identity: str) -> int | None:
    query = "SELECT number FROM encoders WHERE identity = ?"
    row = connection.execute(query, (identity,)).fetchone()
    return None if row is None else int(row[0])


def _select(
    connection: sqlite3.Connection, identity: str, items: list[bytes]
) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
    if _identify(connection)[2] == 0:
        return
    encoder = _encoder_number(connection, identity)
    if encoder is None:
        return
    for start in range(0, len(items), _ITEMS_A_QUERY):
        some = items[start : start + _ITEMS_A_QUERY]
        query = (
            "SELECT item, vector, checksum FROM embeddings WHERE encoder = ? "
            f"AND item IN ({','.join('?' * len(some))})"
        )
        for item, data, checksum in connection.execute(query, (encoder, *some)):
            if checksum == _checksum(identity, item, data):
                yield item, np.frombuffer(data, "<f4").astype(np.float32, copy=False)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def _checksum(identity: str, item: bytes, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(item, zlib.crc32(identity.encode())))
