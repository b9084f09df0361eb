"""`mmevent tag` and `mmevent cache`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import mmevent

Command = Callable[..., Any]


def test_images_are_tagged(
    done: Command, tiny_image_model: str, uncoded: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tags.csv"
    words = ["tag", uncoded, "--image", tiny_image_model, "--top", "2", "-o", out]
    said = done(*words)
    assert said.stderr == f"Labels written to {out}\n"
    heading, blank, columns, *labels = said.stdout.splitlines()
    assert re.fullmatch(r"(\d+) images, \d+ of them usable", heading)
    assert blank == ""
    assert columns.split() == ["first", "among", "2", "label"]
    tags = pd.read_csv(out)
    assert tags.columns.tolist() == ["id", "image", "rank", "label", "score"]
    assert len(labels) == tags["label"].nunique()
    assert sum(int(line.split()[0]) for line in labels) == tags["image"].nunique()
    assert set(tags["id"]) <= set(pd.read_csv(uncoded)["id"])


def test_the_cache_is_shown_and_cleared(
    done: Command, tiny_text_model: str, coded: Path, tmp_path: Path
) -> None:
    cache, model = tmp_path / "cache.sqlite", tmp_path / "model"
    words = [
        "fit",
        coded,
        "--label",
        "event",
        "--text",
        tiny_text_model,
        "--image",
    ]
    options = ["none", "--cv", "2", "--estimate", "none", "--cache", cache, "-o", model]
    done(*words, *options)
    left = tmp_path / "cache.sqlite-training" / ("a" * 32)
    left.mkdir(parents=True)
    said = done("cache", "info", "--cache", cache).stdout
    assert "\n1 trainings that did not end, in " in said
    assert said.startswith(f"File: {cache}\n")
    assert re.search(
        r"\n\d+ embeddings, 0\.\d MB of at most 10,240\n  encoder [0-9a-f]", said
    )
    assert done("cache", "clear", "--cache", cache).stdout.startswith(
        f"Removed: {cache}"
    )
    assert not cache.exists()
    assert not left.parent.exists()
    assert done("cache", "info", "--cache", cache).stdout.count("\n") == 2
    assert done("cache", "info").stdout == "No cache: it is off.\n"
    assert os.environ["MMEVENT_CACHE"] == "off"
    assert mmevent.load(model).text.encoder.cache == "auto"
