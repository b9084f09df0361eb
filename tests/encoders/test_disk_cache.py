"""Embeddings in a file: kept, shared, bounded, and never another's."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from other_settings import of_user
from sklearn.base import clone

from mmevent import TextClassifier, TextEncoder
from mmevent.encoders import disk_cache as _disk_cache
from mmevent.encoders.disk_cache import DiskStore, _check_ours, default_path, disk_store
from mmevent.exceptions import InputError, MmeventWarning

WIDTH = 16


def vectors(*keys: str) -> dict[str, np.ndarray]:
    return {
        key: np.random.default_rng(len(key)).random(WIDTH, dtype=np.float32)
        for key in keys
    }


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "folder" / "cache.sqlite", timeout=0.1)


@pytest.fixture(autouse=True)
def _every_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_disk_cache, "_warned", set())


# What is kept


def test_it_returns_what_it_was_given(store: DiskStore) -> None:
    given = vectors("a", "bb", "grève ☮", "\ud83d")
    store.put_many("encoder", given)
    found = DiskStore(store.path).get_many("encoder", [*given, "other"])
    assert found.keys() == given.keys()
    for key, vector in given.items():
        assert found[key].dtype == np.float32
        np.testing.assert_array_equal(found[key], vector)


def test_another_encoder_is_answered_nothing(store: DiskStore) -> None:
    store.put_many("encoder", vectors("a"))
    assert store.get_many("encoder with other weights", ["a"]) == {}


def test_a_file_that_is_not_there_is_empty_and_is_not_made_by_reading(
    store: DiskStore,
) -> None:
    assert store.get_many("encoder", ["a"]) == {}
    assert store.usage().by_encoder == {}
    store.clear()
    assert not store.path.parent.exists()


def test_an_empty_file_is_filled(store: DiskStore) -> None:
    store.path.parent.mkdir()
    store.path.touch()
    assert store.get_many("encoder", ["a"]) == {}
    store.put_many("encoder", vectors("a"))
    assert store.usage().by_encoder == {"encoder": 1}


def test_a_vector_that_is_not_finite_is_not_kept(store: DiskStore) -> None:
    store.put_many("encoder", vectors("a") | {"b": np.full(WIDTH, np.nan, np.float32)})
    assert list(store.get_many("encoder", ["a", "b"])) == ["a"]


def test_more_items_than_a_query_takes_are_found(store: DiskStore) -> None:
    given = {f"post {i}": np.full(2, i, np.float32) for i in range(2500)}
    store.put_many("encoder", given)
    found = store.get_many("encoder", list(given))
    assert all(found[key][0] == given[key][0] for key in given)


def test_a_newer_vector_takes_the_place_of_an_older_one(store: DiskStore) -> None:
    store.put_many("encoder", {"a": np.zeros(2, np.float32)})
    store.put_many("encoder", {"a": np.ones(2, np.float32)})
    assert store.get_many("encoder", ["a"])["a"].tolist() == [1, 1]
    assert store.usage().by_encoder == {"encoder": 1}


def test_the_oldest_give_way_where_the_file_is_too_large(store: DiskStore) -> None:
    bounded = DiskStore(store.path, max_bytes=400_000)
    for start in range(0, 4000, 200):
        bounded.put_many(
            "encoder",
            {f"{i}": np.full(64, i, np.float32) for i in range(start, start + 200)},
        )
    usage = bounded.usage()
    assert 500 < usage.by_encoder["encoder"] < 1500
    found = bounded.get_many("encoder", [str(i) for i in range(4000)])
    assert "3999" in found
    assert "0" not in found
    main = store.path.stat().st_size
    assert main < 600_000


def test_clear_removes_the_file(store: DiskStore) -> None:
    store.put_many("encoder", vectors("a"))
    store.clear()
    assert list(store.path.parent.iterdir()) == []


# Several processes


def _put(path: Path, start: int) -> None:
    store = DiskStore(path)
    for i in range(start, start + 200, 20):
        store.put_many(
            "encoder", {f"{j}": np.full(8, j, np.float32) for j in range(i, i + 20)}
        )


def test_several_processes_write_at_once(store: DiskStore) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(_put, store.path, 200 * k) for k in range(3)]:
            future.result()
    found = store.get_many("encoder", [str(j) for j in range(600)])
    assert {key: vector[0] for key, vector in found.items()} == {
        str(j): j for j in range(600)
    }


def test_a_file_that_another_process_makes_meanwhile_is_ours(store: DiskStore) -> None:
    class Overtaken(sqlite3.Connection):
        def execute(self, *arguments: Any) -> Any:
            row = super().execute(*arguments).fetchone()
            store.put_many("encoder", {"a": np.ones(3, np.float32)})
            return SimpleNamespace(fetchone=lambda: row)

    store.path.parent.mkdir()
    with closing(sqlite3.connect(store.path, factory=Overtaken)) as connection:
        _check_ours(connection, store.path)
    assert store.get_many("encoder", ["a"])


def test_a_process_that_is_killed_leaves_a_whole_file(store: DiskStore) -> None:
    code = f"""
import itertools, numpy as np
from pathlib import Path
from mmevent.encoders.disk_cache import DiskStore
store = DiskStore(Path({str(store.path)!r}))
for i in itertools.count():
    store.put_many("encoder", {{f"{{i}}": np.full(500, i, np.float32)}})
    print(i, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 50:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    found = store.get_many("encoder", [str(i) for i in range(60)])
    assert set(map(str, range(51))) <= found.keys()
    assert all((vector == int(key)).all() for key, vector in found.items())
    with sqlite3.connect(store.path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


# What can be wrong with the file


@pytest.mark.parametrize("kind", ["text", "database", "damaged database"])
def test_a_file_of_somebody_elses_is_refused_and_left_alone(
    store: DiskStore, kind: str
) -> None:
    store.path.parent.mkdir()
    if kind == "text":
        store.path.write_text("my thesis " * 500)
    else:
        with sqlite3.connect(store.path) as connection:
            connection.execute("CREATE TABLE chapters (text)")
        connection.close()
        if kind == "damaged database":
            content = store.path.read_bytes()
            store.path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    before = store.path.read_bytes()
    for use in (
        lambda: store.get_many("encoder", ["a"]),
        lambda: store.put_many("encoder", vectors("a")),
        store.usage,
        store.clear,
    ):
        with pytest.raises(InputError, match="is no embedding cache of mmevent"):
            use()
    assert store.path.read_bytes() == before


def test_a_file_of_a_newer_version_is_left_alone(store: DiskStore) -> None:
    store.put_many("encoder", vectors("a"))
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.warns(MmeventWarning, match="not used: a newer version of mmevent"):
        assert store.get_many("encoder", ["a"]) == {}
    store.put_many("encoder", vectors("bb"))
    with sqlite3.connect(store.path) as connection:
        count = connection.execute("SELECT count(*) FROM embeddings").fetchone()
    connection.close()
    assert count == (1,)


@pytest.mark.parametrize("damage", ["cut", "overwritten", "no table"])
def test_a_damaged_file_is_begun_anew(store: DiskStore, damage: str) -> None:
    given = {f"{i}": np.full(64, i, np.float32) for i in range(500)}
    store.put_many("encoder", given)
    with sqlite3.connect(store.path) as connection:
        if damage == "no table":
            connection.execute("DROP TABLE embeddings")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = store.path.read_bytes()
    if damage == "cut":
        store.path.write_bytes(content[: len(content) // 2])
    elif damage == "overwritten":
        store.path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with pytest.warns(MmeventWarning, match="it was damaged .* and is begun anew"):
        found = store.get_many("encoder", list(given))
    assert found == {}
    store.put_many("encoder", vectors("a"))
    assert list(store.get_many("encoder", ["a", "0"])) == ["a"]


def test_a_vector_that_changed_on_the_disk_never_comes_back(store: DiskStore) -> None:
    given = {f"{i}": np.full(64, i + 0.5, np.float32) for i in range(50)}
    store.put_many("encoder", given)
    with sqlite3.connect(store.path) as connection:
        data = np.full(64, 3.25, "<f4").tobytes()
        connection.execute("UPDATE embeddings SET vector = ? WHERE number = 7", (data,))
        connection.execute("UPDATE embeddings SET item = x'00' WHERE number = 8")
    connection.close()
    found = store.get_many("encoder", list(given))
    assert found.keys() == given.keys() - {"6", "7"}
    store.put_many("encoder", {"6": given["6"]})
    np.testing.assert_array_equal(store.get_many("encoder", ["6"])["6"], given["6"])


def test_a_locked_file_is_not_waited_for_forever(store: DiskStore) -> None:
    store.put_many("encoder", vectors("a"))
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.warns(MmeventWarning, match="another process has locked it"):
            store.put_many("encoder", vectors("bb"))
    finally:
        other.close()
    assert list(store.get_many("encoder", ["a", "bb"])) == ["a"]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [("query_only = 1", "it cannot be written to"), ("max_page_count = 1", "is full")],
    ids=["read-only", "full"],
)
def test_what_cannot_be_written_is_not_kept_and_reading_goes_on(
    store: DiskStore, setting: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_many("encoder", vectors("a"))
    prepare = _disk_cache._prepare

    def hindered(connection: sqlite3.Connection) -> None:
        prepare(connection)
        connection.execute(f"PRAGMA {setting}")

    monkeypatch.setattr(_disk_cache, "_prepare", hindered)
    many = {f"{i}": np.full(500, i, np.float32) for i in range(300)}
    with pytest.warns(MmeventWarning, match=reason):
        store.put_many("encoder", many)
    assert list(store.get_many("encoder", ["a", "0"])) == ["a"]


@pytest.mark.parametrize(
    "statement",
    ["SELECT no_such_function()", "SELECT wrong FROM embeddings", "nonsense"],
)
def test_an_error_of_another_kind_deletes_nothing(
    store: DiskStore, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_many("encoder", vectors("a"))

    def broken(connection: sqlite3.Connection, *arguments: Any) -> Any:
        return connection.execute(statement)

    with monkeypatch.context() as patch:
        patch.setattr(_disk_cache, "_select", broken)
        with pytest.warns(MmeventWarning, match="is not used: .*Results are the same"):
            assert store.get_many("encoder", ["a"]) == {}
    assert list(store.get_many("encoder", ["a"])) == ["a"]


def test_a_folder_that_cannot_be_made_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = DiskStore(tmp_path / "file" / "cache.sqlite")
    with pytest.warns(
        MmeventWarning, match="not used: .*(File exists|Not a directory)"
    ):
        store.put_many("encoder", vectors("a"))
    assert store.get_many("encoder", ["a"]) == {}


def test_a_warning_is_given_once(
    store: DiskStore, recwarn: pytest.WarningsRecorder
) -> None:
    store.put_many("encoder", vectors("a"))
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for _ in range(3):
        store.get_many("encoder", ["a"])
    assert len(recwarn) == 1


# Which file


def test_the_default_is_a_file_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMEVENT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_path() == Path("/somewhere/mmevent/embeddings.sqlite")
    store = disk_store("auto")
    assert store is not None
    assert store.path == default_path()
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_path() == Path.home() / ".cache" / "mmevent" / "embeddings.sqlite"


def test_a_user_without_a_home_has_no_cache_after_one_warning() -> None:
    with of_user(), pytest.warns(MmeventWarning, match="no home folder.*MMEVENT_CACHE"):
        assert disk_store("auto") is None
    with of_user(), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert disk_store("auto") is None
    with of_user(), pytest.raises(InputError, match="'~/x' begins with a home folder"):
        disk_store("~/x")


def test_the_environment_or_the_parameter_names_another_or_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert disk_store("auto") is None  # the tests' own environment: off
    assert disk_store(None) is None
    assert disk_store("off") is None
    monkeypatch.setenv("MMEVENT_CACHE", str(tmp_path / "named.sqlite"))
    named, given = disk_store("auto"), disk_store(tmp_path / "given.sqlite")
    assert named is not None
    assert given is not None
    assert named.path == tmp_path / "named.sqlite"
    assert given.path == tmp_path / "given.sqlite"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder: .*embeddings\.sqlite"):
        disk_store(tmp_path)


@pytest.mark.parametrize("cache", [True, 3, ["a"]], ids=repr)
def test_what_names_no_file_is_refused(cache: Any) -> None:
    with pytest.raises(InputError, match="names no file: expected 'auto', a path, or"):
        disk_store(cache)


# Used by the branches


def test_a_second_fit_and_a_prediction_encode_nothing(
    tiny_text_model: str, tmp_path: Path, encoded_texts: list[str]
) -> None:
    texts = [f"{'a march' if i % 2 else 'my dog'} {i}" for i in range(40)]
    y = np.arange(40) % 2
    branch = TextClassifier(
        TextEncoder(tiny_text_model, cache=tmp_path / "cache.sqlite")
    )
    first = branch.fit(texts, y).predict_proba(texts)
    assert sorted(encoded_texts) == sorted(texts)
    encoded_texts.clear()
    again = clone(branch).fit(texts, y)
    np.testing.assert_array_equal(
        again.predict_proba([*texts, "news"]),
        [*first, again.predict_proba(["news"])[0]],
    )
    assert encoded_texts == ["news"]


def test_an_encoder_with_other_settings_does_not_get_the_same_vectors(
    tiny_text_model: str, tmp_path: Path, encoded_texts: list[str]
) -> None:
    texts = [f"{'a march in the city' if i % 2 else 'my dog'} {i}" for i in range(12)]
    y = np.arange(12) % 2
    cache = tmp_path / "cache.sqlite"
    TextClassifier(TextEncoder(tiny_text_model, cache=cache)).fit(texts, y)
    TextClassifier(TextEncoder(tiny_text_model, cache=cache, max_length=4)).fit(
        texts, y
    )
    assert sorted(encoded_texts) == sorted([*texts, *texts])


def test_a_cache_that_fails_changes_no_result(
    tiny_text_model: str, tmp_path: Path
) -> None:
    texts = [f"{'a march' if i % 2 else 'my dog'} {i}" for i in range(12)]
    y = np.arange(12) % 2
    path = tmp_path / "cache.sqlite"
    plain = TextClassifier(TextEncoder(tiny_text_model, cache=None)).fit(texts, y)
    branch = TextClassifier(TextEncoder(tiny_text_model, cache=path)).fit(texts, y)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\0" * (len(content) - 4096))
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    with pytest.warns(MmeventWarning, match="it was damaged"):
        found = branch.predict_proba(texts)
    np.testing.assert_allclose(found, plain.predict_proba(texts), atol=1e-6)
