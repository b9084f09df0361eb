"""What the cache of embeddings costs and gives: python -m benchmarks.cache."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._common import (
    command_line,
    data_folder,
    model_folder,
    result_header,
    write_result,
)
from benchmarks._estimates import show
from mmevent.encoders.base import embed
from mmevent.encoders.disk_cache import DiskStore
from mmevent.encoders.image import ImageModel
from mmevent.encoders.loading import load_model
from mmevent.encoders.text import TextModel
from mmevent.encoders.views import VIEWS
from mmevent.posts.images import Images
from mmevent.posts.posts import flatten_images, to_posts

WIDTH = 384
CHUNK = 10_000


class TimedStore(DiskStore):
    """A store that adds up the seconds it takes."""

    seconds = 0.0

    def get_many(self, *arguments: Any) -> Any:
        """Look up, and count the time."""
        start = time.perf_counter()
        found = super().get_many(*arguments)
        TimedStore.seconds += time.perf_counter() - start
        return found

    def put_many(self, *arguments: Any) -> None:
        """Keep, and count the time."""
        start = time.perf_counter()
        super().put_many(*arguments)
        TimedStore.seconds += time.perf_counter() - start


def runs(folder: Path) -> dict[str, Any]:
    """Encode the posts of mvsa twice, with a cache that is empty at first."""
    data = data_folder("mvsa")
    posts = to_posts(pd.read_csv(data / "posts.csv"))
    texts = posts["text"].dropna().tolist()
    images = Images(flatten_images(posts)[0], image_root=data).scan()
    images = images[images.usable]
    sides = {
        "texts": (load_model(TextModel, model_folder("minilm")), texts, texts),
        "images": (
            load_model(ImageModel, model_folder("mobilenet_v2_imagenet"), views=VIEWS),
            images,
            [str(digest) for digest in images.digests],
        ),
    }
    rows: list[list[Any]] = []
    for name, (model, items, keys) in sides.items():
        for run in ("first", "second"):
            TimedStore.seconds, model.n_encoded = 0.0, 0
            start = time.perf_counter()
            embed(model, items, keys, cache=TimedStore(folder / "posts.sqlite"))
            taken = time.perf_counter() - start
            share = TimedStore.seconds / (taken - TimedStore.seconds)
            rows.append(
                [name, run, len(items), model.n_encoded, taken, TimedStore.seconds]
                + [share if run == "first" else None]
            )
    return {
        "caption": "The posts of mvsa encoded twice, the cache empty at first",
        "columns": [
            *("items", "run", "number", "encoded", "seconds", "seconds in the cache"),
            "share of the rest",
        ],
        "rows": rows,
    }


def lookups(folder: Path, number: int) -> dict[str, Any]:
    """Fill a file, and look all of it up in another order."""
    store = DiskStore(folder / "many.sqlite")
    rng = np.random.default_rng(0)
    vectors = rng.random((CHUNK, WIDTH), dtype=np.float32)
    start = time.perf_counter()
    for first in range(0, number, CHUNK):
        keys = [f"post {i}" for i in range(first, min(first + CHUNK, number))]
        store.put_many("encoder", dict(zip(keys, vectors, strict=False)))
    filled = time.perf_counter() - start
    order = rng.permutation(number)
    found = 0
    start = time.perf_counter()
    for first in range(0, number, CHUNK):
        keys = [f"post {i}" for i in order[first : first + CHUNK]]
        found += len(store.get_many("encoder", keys))
    taken = time.perf_counter() - start
    return {
        "caption": f"Vectors of {WIDTH} numbers, kept and then looked up in another "
        f"order, {CHUNK:,} at a time",
        "columns": ["vectors", "found", "kept a second", "looked up a second"],
        "rows": [[number, found, round(number / filled), round(number / taken)]],
    }


def main() -> None:
    """Run both, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tables = [runs(Path(name)), lookups(Path(name), arguments.vectors)]
    result = {
        "title": "The cache of embeddings",
        "command": command_line("benchmarks.cache"),
        "header": result_header(seed=0),
        "tables": tables,
        "notes": [],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
