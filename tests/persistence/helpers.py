"""Detectors to save, and what is done to their folders."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import mmevent
from mmevent import (
    Estimate,
    EventDetector,
    evaluate,
    load,
)
from mmevent.persistence.objects import same
from mmevent.synthetic.demo import demo_branches

Coded = tuple[pd.DataFrame, np.ndarray]
WRITTEN = (
    "README.md",
    "cv_results.parquet",
    "detector.json",
    "estimate.json",
    "image/branch-0.skops",
    "out_of_fold.parquet",
    "parameters.skops",
    "text/branch.skops",
    "training_keys.txt",
    "trials.parquet",
)
FAST = {"cv": 2, "inner_cv": 2, "n_trials": 3, "estimate": None, "random_state": 0}


class Known(NamedTuple):
    """A fitted detector, and what it says of the posts of its fit."""

    detector: EventDetector
    audit: pd.DataFrame
    estimate: Estimate

    @classmethod
    def of(cls, detector: EventDetector, coded: Coded) -> Known:
        return cls(detector, detector.audit(coded[0]), evaluate(detector, *coded))


@contextmanager
def taken_away(folder: str | Path) -> Iterator[None]:
    """Let a folder not be there for a moment."""
    path = Path(folder)
    hidden = path.rename(path.with_name(f"{path.name} away"))
    try:
        yield
    finally:
        hidden.rename(path)


def demo_detector(**parameters: Any) -> EventDetector:
    text, image = demo_branches()
    return EventDetector(**{"text": text, "image": image, **FAST, **parameters})


def words() -> Any:
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


def seal(folder: Path) -> None:
    """Write the manifest of a folder's files, as someone who changed them could."""
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    hashes = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in names
        if name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps(hashes))


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def saved_and_loaded(detector: EventDetector, tmp_path: Path) -> EventDetector:
    detector.save(tmp_path / "round_trip")
    return load(tmp_path / "round_trip", image_root=detector.image_root)


def assert_same_detector(loaded: EventDetector, detector: EventDetector) -> None:
    assert same(loaded.get_params(deep=False), detector.get_params(deep=False))
    assert loaded.study_ is None
    found_in = vars(loaded.fitted_) | vars(loaded.fitted_.record)
    values = vars(detector.fitted_) | vars(detector.fitted_.record)
    assert found_in.keys() == values.keys()
    assert same(loaded.policy_, detector.policy_)
    for name in values.keys() - {"study", "record"}:
        found, value = found_in[name], values[name]
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(found, value)
        elif name == "estimate":
            assert str(found) == str(value)
        elif is_dataclass(value):
            assert found == value, name
        else:
            assert same(found, value), name


def named_in(data: bytes) -> set[str]:
    """Return the types that a skops file names, by their paths."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if "__class__" in node and "__module__" in node:
                yield f"{node['__module__']}.{node['__class__']}"
            node = list(node.values())
        for part in node if isinstance(node, list) else ():
            yield from walk(part)

    with ZipFile(io.BytesIO(data)) as archive:
        return set(walk(json.loads(archive.read("schema.json"))))


def ours_in(folder: Path) -> set[str]:
    """Return our own types that the skops files of a folder name."""
    named = (named_in(path.read_bytes()) for path in folder.rglob("*.skops"))
    return {name for name in set().union(*named) if name.startswith("mmevent")}


PREDICT = """
import sys
import mmevent, pandas as pd
posts = pd.read_json(sys.argv[2], lines=True, dtype=False)
audit = mmevent.load(sys.argv[1], image_root=sys.argv[4]).audit(posts)
audit.drop(columns=["best_image", "image_status"]).to_parquet(sys.argv[3])
"""


def audit_in_new_process(
    folder: Path, posts: pd.DataFrame, work: Path, image_root: Path
) -> pd.DataFrame:
    posts.to_json(work / "posts.jsonl", orient="records", lines=True)
    command: list[Any] = [sys.executable, "-c", PREDICT, folder]
    command += ["posts.jsonl", "audit.parquet", image_root]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(mmevent.__file__).parents[1]),
    }
    done = subprocess.run(
        list(map(str, command)),
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(work / "audit.parquet")
