"""Images and posts a second, near the machine's limit: python -m benchmarks.throughput.

The limit is what decoding and the bare forward pass cost, with nothing between them:
cores / (core-seconds of decoding + core-seconds of a forward pass). Both are measured
with every core at work on its own items; the forward pass in the best batch size of a
grid, and in the number format that mmevent takes. The best of some turns counts. A
network with batch norms has a second limit, with these folded as mmevent folds them.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_sample_images

from benchmarks import _peers
from benchmarks._common import (
    command_line,
    data_folder,
    model_folder,
    result_header,
    write_result,
)
from benchmarks._estimates import show
from mmevent import (
    ClipEncoder,
    ClipZeroShotClassifier,
    ImageClassifier,
    ImageEncoder,
    TextClassifier,
    TextEncoder,
)
from mmevent.posts.images import Images

SIZES = ((2048, 1536), (640, 480))
GRID = (1, 2, 4, 8, 16, 32)
LABELS = (2, 20)
TURNS = 3
GRAIN = 3.0  # standard deviation of a camera's noise, of 255
QUALITY = 90
OPENVINO = find_spec("openvino") is not None
N_FORWARD = 64  # items of a forward pass that is timed


class Case(NamedTuple):
    """What is measured: items, our branch, its bare model, and others' ways.

    `learn` gives what the branch is fitted on; `contents` are files to decode.
    """

    name: str
    items: Sequence[Any]
    branch: Any
    learn: tuple[Any, ...]
    batches: Callable[[Any, int], list[Any]]
    forward: Callable[[Any, Any], Any]
    peers: dict[str, _peers.Peer]
    contents: Sequence[bytes] = ()

    def fitted(self, backend: str) -> Any:
        """Fit the branch under a backend."""
        return clone(self.branch).set_params(encoder__backend=backend).fit(*self.learn)

    def rate(self, branch: Any) -> float:
        """Give the items a second of a fitted branch, from files to probabilities."""

        def work() -> None:
            items = self.items
            if self.contents:
                items = Images(items, allow_outside_root=True)
            branch.predict_proba(items)

        return len(self.items) / seconds(work)


def photographs(folder: Path, size: tuple[int, int], number: int) -> list[str]:
    """Write sections of scikit-learn's photographs as JPEG files of a size."""
    draw = np.random.default_rng(0)
    originals = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    paths = []
    for i in range(number):
        photo = originals[i % len(originals)]
        left, top = (int(margin) for margin in draw.integers(0, 60, 2))
        box = (left, top, photo.width - 60 + left, photo.height - 60 + top)
        pixels = np.asarray(photo.resize(size, Image.Resampling.BICUBIC, box=box))
        noisy = pixels + draw.normal(scale=GRAIN, size=pixels.shape)
        path = folder / f"{size[0]}-{i}.jpg"
        Image.fromarray(np.uint8(np.clip(noisy, 0, 255))).save(path, quality=QUALITY)
        paths.append(str(path))
    return paths


def seconds(work: Callable[[], object]) -> float:
    """Time the best of some turns, after one that warms up."""
    taken = []
    for _ in range(TURNS + 1):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def core_seconds(works: Sequence[Callable[[], object]], number: int) -> float:
    """Give the core-seconds of an item, where each core does one work of `number`."""
    before = torch.get_num_threads()
    alone = partial(torch.set_num_threads, 1)
    with ThreadPoolExecutor(len(works), initializer=alone) as pool:
        taken = seconds(lambda: list(pool.map(lambda work: work(), works)))
    torch.set_num_threads(before)
    return taken / number


def decoding_cost(contents: Sequence[bytes], least_side: int) -> float:
    """Give the core-seconds of decoding one JPEG to the size that is needed."""

    def work() -> None:
        for content in contents:
            image = Image.open(io.BytesIO(content))
            image.draft("RGB", (least_side, least_side))
            image.load()

    if not contents:
        return 0.0
    return core_seconds([work] * torch.get_num_threads(), len(contents))


def forward_cost(case: Case, model: Any, networks: Sequence[Any]) -> tuple[float, int]:
    """Give the core-seconds of an item's forward pass, and the best batch size."""

    def work(network: Any, batches: list[Any]) -> None:
        with torch.inference_mode():
            for batch in batches:
                case.forward(network, batch)

    costs = {}
    for size in GRID:
        batches = case.batches(model, size)
        works = [partial(work, network, batches) for network in networks]
        costs[size] = core_seconds(works, N_FORWARD)
    best = min(costs, key=costs.__getitem__)
    return costs[best], best


@contextmanager
def busy() -> Iterator[None]:
    """Keep one core busy with another process."""
    process = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    process.start()
    time.sleep(2)  # until it has started
    try:
        yield
    finally:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        pass


def measure(case: Case) -> dict[str, Any]:
    """Measure the limit, our branch on an idle and a busy machine, and the peers."""
    branch = case.fitted("torch")
    model = branch.encoder_.load()
    steps = getattr(model, "steps", None)
    decoding = decoding_cost(case.contents, steps.least_side if steps else 0)
    n_cores = torch.get_num_threads()
    given = [model._twin().network for _ in range(n_cores)]
    forward, size = forward_cost(case, model, given)
    lean = None
    if getattr(model, "_is_folded", False):
        workers = [worker.network for worker in model._workers(n_cores)]
        lean = n_cores / (decoding + forward_cost(case, model, workers)[0])
    idle = case.rate(branch)
    with busy():
        beside = case.rate(branch)
    found = {
        "limit": n_cores / (decoding + forward),
        "lean": lean,
        "decoding": 1000 * decoding,
        "forward": 1000 * forward,
        "batch": size,
        "dtype": model.dtype,
        "ours": idle,
        "busy": beside,
        "openvino": case.rate(case.fitted("openvino")) if OPENVINO else None,
        "peers": {},
    }
    for name, peer in case.peers.items():
        found["peers"][name] = peer.rates(case.items[: peer.number])
    return found


def image_batches(model: Any, size: int) -> list[Any]:
    """Make pictures of the size that a model sees."""
    side = model._cut(torch.zeros((3, 300, 300), dtype=torch.uint8)).shape[-1]
    dtype = getattr(torch, model.dtype)
    batch = torch.randn((size, 3, side, side)).to(
        dtype, memory_format=torch.channels_last
    )
    return [batch] * (N_FORWARD // size)


def text_batches(texts: Sequence[str], model: Any, size: int) -> list[Any]:
    """Tokenise texts in batches of similar ones, some of every length."""
    counts = model._n_tokens(texts)
    ordered = [texts[i] for i in np.argsort(counts, kind="stable")]
    starts = range(0, len(ordered) - size + 1, size)
    number = N_FORWARD // size
    some = ((np.arange(number) + 0.5) / number * len(starts)).astype(int)
    return [model.collate(ordered[starts[i] : starts[i] + size]) for i in some]


def zero_shot_cases(folder: Path, paths: Sequence[str]) -> Iterator[Case]:
    """CLIP's zero-shot classification, with few labels and with many."""
    models = _peers.clip_models(folder)
    for number in LABELS:
        labels = _peers.labels(number)
        branch = ClipZeroShotClassifier(
            labels[: number // 2],
            labels[number // 2 :],
            templates=["This is a photo of {}."],
            encoder=ClipEncoder(models.open_clip, views=("centre",), cache=None),
        )
        yield Case(
            f"CLIP ViT-B/32, {number} labels",
            paths,
            branch,
            ([],),
            image_batches,
            lambda network, batch: network.encode_image(batch, normalize=True),
            {
                "pipeline": _peers.zero_shot_pipeline(models.transformers, labels),
                "open_clip's loop": _peers.open_clip_loop(models.open_clip, labels),
            },
            [Path(path).read_bytes() for path in paths[:N_FORWARD]],
        )


def image_case(paths: Sequence[str]) -> Case:
    """MobileNetV2 under a head."""
    model = str(model_folder("mobilenet_v2_imagenet"))
    return Case(
        "MobileNetV2",
        paths,
        ImageClassifier(ImageEncoder(model, views=("centre",), cache=None)),
        (Images(paths[:32], allow_outside_root=True), [0, 1] * 16),
        image_batches,
        lambda network, batch: network(pixel_values=batch),
        {"pipeline": _peers.image_pipeline(model)},
        [Path(path).read_bytes() for path in paths[:N_FORWARD]],
    )


def text_case(folder: Path, number: int) -> Case:
    """Give an encoder of DistilBERT's size, on the texts of mvsa."""
    posts = pd.read_csv(data_folder("mvsa") / "posts.csv")
    texts = posts["text"].dropna().drop_duplicates().tolist()[:number]
    model = _peers.text_model(folder, model_folder("minilm"))
    return Case(
        "DistilBERT's size",
        texts,
        TextClassifier(TextEncoder(model, cache=None)),
        (texts[:32], [0, 1] * 16),
        partial(text_batches, texts),
        lambda network, batch: network(**batch),
        {"pipeline": _peers.text_pipeline(model)},
    )


def rows(name: str, size: str, found: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Give a row of the limit's table, and rows of the peers' one."""
    ours, limit, lean = found["ours"], found["limit"], found["lean"]
    first = [name, size, found["dtype"], found["decoding"], found["forward"]]
    first += [found["batch"], limit, lean, ours, ours / limit, lean and ours / lean]
    first += [found["busy"] / ours, found["openvino"]]
    others = []
    for peer, (default, best, how) in found["peers"].items():
        row = [name, size, peer, default, best, how, ours]
        others.append([*row, ours / default, ours / best, best / limit])
    return first, others


def cases(folder: Path, n_images: int, n_texts: int) -> Iterator[tuple[str, Case]]:
    """Make all cases, one at a time."""
    for size in SIZES:
        title = f"{size[0]:,} x {size[1]:,}"
        paths = photographs(folder, size, n_images)
        yield title, image_case(paths)
        for case in zero_shot_cases(folder, paths[: n_images // 3]):
            yield title, case
    yield "tweets", text_case(folder, n_texts)


def main() -> None:
    """Measure all, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    limits, peers = [], []
    with tempfile.TemporaryDirectory() as name:
        for size, case in cases(Path(name), arguments.images, arguments.texts):
            first, others = rows(case.name, size, measure(case))
            limits.append(first)
            peers += others
            print(*first, flush=True)
    result = {
        "title": "Throughput of encoders",
        "command": command_line("benchmarks.throughput"),
        "header": result_header(seed=0),
        "tables": [
            {
                "caption": "Items a second, and the machine's limit",
                "columns": [
                    *("model", "items", "format", "ms of a core to decode"),
                    *("ms of a core forward", "best batch", "limit"),
                    *("limit, norms folded", "mmevent", "of the limit"),
                    *("of that, norms folded", "beside a busy process, of idle"),
                    "mmevent with openvino",
                ],
                "rows": limits,
            },
            {
                "caption": "Items a second, and other ways",
                "columns": [
                    *("model", "items", "way", "its default", "its best"),
                    *("which is", "mmevent", "times the default", "times the best"),
                    "its best, of the limit",
                ],
                "rows": peers,
            },
        ],
        "notes": [
            "Photographs are sections of scikit-learn's two, enlarged, with grain as "
            "of a camera; weights of CLIP and of the text encoder are random.",
            "Other ways are timed once, on fewer items, after two that warm them up.",
            "The limit is that of the network as transformers or open_clip gives it. "
            "mmevent folds batch norms and lets activations work in place, so that it "
            "can be above; another column has the limit of such a network.",
            "From files to probabilities, in one view, without a cache: each file is "
            "read, hashed, decoded, resized and classified.",
        ],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
