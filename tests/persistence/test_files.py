"""Files that would hang a reader or fill its memory are refused before reading."""

from __future__ import annotations

import io
import json
import os
import socket
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
from persistence.helpers import seal
from pyarrow import parquet
from sklearn.linear_model import LogisticRegression

from mmevent import load
from mmevent.exceptions import ModelFolderError
from mmevent.persistence.files import check_growth, check_table

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")


@needs_pipes
@pytest.mark.parametrize(
    "name", ["detector.json", "manifest.json", "README.md", "text/branch.skops", "pipe"]
)
def test_a_pipe_is_never_opened(name: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(ModelFolderError, match=f"{name}, which is neither a file nor"):
        load(folder)


def test_a_socket_is_never_opened(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # the path of a socket must be short
    (folder / "README.md").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("README.md")
        with pytest.raises(ModelFolderError, match="neither a file nor"):
            load(folder)


@pytest.mark.parametrize("name", ["README.md", "detector.json", "text/branch.skops"])
def test_a_file_with_holes_is_not_read(name: str, folder: Path) -> None:
    os.truncate(folder / name, 40 * 2**30)
    with pytest.raises(ModelFolderError, match=f"{name} in .* is too large: .*42,949"):
        load(folder)


def test_a_file_of_an_unknown_kind_is_not_read(folder: Path) -> None:
    (folder / "text" / "more.bin").write_bytes(b"1")
    seal(folder)
    with pytest.raises(
        ModelFolderError, match="more.bin, which mmevent does not write"
    ):
        load(folder)


def packed(schema: Any, **files: bytes) -> bytes:
    stream = io.BytesIO()
    with ZipFile(stream, "w", compression=ZIP_DEFLATED) as archive:
        archive.writestr(
            "schema.json", schema if isinstance(schema, str) else json.dumps(schema)
        )
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return stream.getvalue()


def an_array(n_bytes: int) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(n_bytes, np.uint8))
    return stream.getvalue()


NODE = {"__loader__": "NdArrayNode", "type": "numpy", "file": "a.npy"}


def nested(n_bytes: int) -> bytes:
    stream = io.BytesIO()
    with ZipFile(stream, "w", compression=ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", an_array(n_bytes))
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            packed([NODE] * 20, a_npy=an_array(10**6)), id="read-twenty-times"
        ),
        pytest.param(packed(NODE, a_npy=an_array(2 * 10**7)), id="zeros"),
        pytest.param(packed('["' + " " * 2 * 10**7 + '"]'), id="schema"),
        pytest.param(packed("[" + "[]," * 400_000 + "[]]"), id="many-values"),
        pytest.param(
            packed({**NODE, "file": "a.npz"}, a_npz=nested(2 * 10**7)), id="zip-in-zip"
        ),
    ],
)
def test_an_archive_that_would_fill_the_memory_is_not_unpacked(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmevent.persistence.files._SMALL", 10**7)
    with pytest.raises(ModelFolderError, match="would fill the memory: .*Nothing was"):
        check_growth(data, "branch.skops")


def test_an_array_that_is_named_twice_is_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmevent.persistence.files._SMALL", 10**6)
    array = np.zeros(100_000)
    check_growth(skops.io.dumps([array] * 30, compression=ZIP_DEFLATED), "a.skops")


def test_a_sparse_model_passes() -> None:
    model = LogisticRegression()
    model.coef_ = np.zeros((1, 2**20))
    check_growth(skops.io.dumps(model, compression=ZIP_DEFLATED), "head.skops")


def test_an_archive_is_checked_when_a_folder_is_loaded(folder: Path) -> None:
    content = packed("[" + "[]," * 400_000 + "[]]")
    (folder / "text" / "branch.skops").write_bytes(content)
    seal(folder)
    with pytest.raises(ModelFolderError, match="text/branch.skops would fill"):
        load(folder)


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"id": pa.array(["x" * 10**5] * 4000)}, id="one-long-text"),
        pytest.param(
            {f"a{i}": pa.nulls(2_000_000, pa.int8()) for i in range(60)}, id="cells"
        ),
    ],
)
def test_a_table_that_would_fill_the_memory_is_not_read(
    columns: dict[str, pa.Array], folder: Path
) -> None:
    parquet.write_table(pa.table(columns), folder / "trials.parquet")
    seal(folder)
    with pytest.raises(ModelFolderError, match="trials.parquet would fill the memory"):
        load(folder)


def test_a_usual_table_passes() -> None:
    stream = io.BytesIO()
    pd.DataFrame({"id": ["a", None, "b"], "n": [1, 2, 3]}).to_parquet(stream)
    check_table(stream.getvalue(), "trials.parquet")
