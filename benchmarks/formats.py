"""What number formats and backends change in results: python -m benchmarks.formats.

The same branches on the same folds, encoded in float32, in bfloat16 and by OpenVINO;
the texts and pictures of mvsa, and the pictures of ucla_protest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._branches import OutOfFold, System, tables
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
from mmevent.encoders.runtime import has_bf16

BACKENDS = ["torch", *(["openvino"] if find_spec("openvino") else [])]
DTYPES = ["float32", *(["bfloat16"] if has_bf16("cpu") else [])]
FORMATS = {
    dtype if backend == "torch" else f"{backend}, {dtype}": {
        "dtype": dtype,
        "backend": backend,
        "device": "cpu",
    }
    for backend in BACKENDS
    for dtype in DTYPES
}


def network(**options: Any) -> Any:
    """Give the head on MobileNetV2."""
    encoder = ImageEncoder(model_folder("mobilenet_v2_imagenet"), **options)
    return ImageClassifier(encoder, random_state=0)


def texts(**options: Any) -> Any:
    """Give the head on MiniLM."""
    encoder = TextEncoder(model_folder("minilm"), **options)
    return TextClassifier(encoder, random_state=0)


def probe(**options: Any) -> Any:
    """Give the probe on CLIP."""
    encoder = ClipEncoder(model_folder("lit_clip"), **options)
    return ImageClassifier(encoder, random_state=0)


def zero_shot(**options: Any) -> Any:
    """Give CLIP's zero-shot classifier, calibrated."""
    encoder = ClipEncoder(model_folder("lit_clip"), **options)
    return ClipZeroShotClassifier("protest", encoder=encoder)


def compared(
    of: OutOfFold,
    caption: str,
    images: dict[str, Callable[..., Any]],
    text: Callable[..., Any] | None = None,
) -> list[dict[str, Any]]:
    """Give the figures of each branch in each format, and what they move."""
    found = []
    for name, make in images.items():
        systems: dict[str, System] = {}
        for title, options in FORMATS.items():
            own = f"{name}, {title}"
            of.add(own, image=make(**options))
            if text is not None:
                of.add(title, text=text(**options))
            systems[title] = of.system(text=title if text else "", image=own)
            of.minutes.pop(title, None)
        found += tables(systems, of, "float32", f"{caption}, {name}")
        found.append(decisions(systems, f"{caption}, {name}"))
    return found


def decisions(systems: dict[str, System], caption: str) -> dict[str, Any]:
    """Give how far scores move, and how many decisions change with them."""
    first = systems["float32"]
    rows = []
    for name, system in systems.items():
        moved = np.abs(system.score - first.score)
        changed = system.flagged != first.flagged
        rows.append(
            [name, float(np.median(moved)), float(np.quantile(moved, 0.99))]
            + [float(moved.max()), int(changed.sum()), len(changed)]
        )
    return {
        "caption": f"{caption}: scores against float32's",
        "columns": [
            *("format", "median difference", "99% are below", "greatest"),
            *("decisions that change", "of"),
        ],
        "rows": rows,
    }


def main() -> None:
    """Run both data sets, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    mvsa = pd.read_csv(data_folder("mvsa") / "posts.csv")
    of = OutOfFold(mvsa, mvsa.pop("negative"), data_folder("mvsa"), seed=0)
    parts = compared(of, "mvsa", {"MiniLM and MobileNetV2": network}, texts)
    ucla = pd.read_csv(data_folder("ucla_protest") / "posts.csv")
    of = OutOfFold(ucla, ucla.pop("protest"), data_folder("ucla_protest"), seed=0)
    parts += compared(
        of,
        "ucla_protest",
        {"MobileNetV2": network, "CLIP, probe": probe, "CLIP, zero-shot": zero_shot},
    )
    result = {
        "title": "What number formats and backends change",
        "command": command_line("benchmarks.formats"),
        "header": result_header(seed=0),
        "tables": parts,
        "notes": [],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
