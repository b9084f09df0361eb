"""Run the commands on real posts, and write docs/transcript.md of what they say.

``python -m benchmarks.transcript`` takes some minutes: each command is a process of
its own, and encodes the posts anew.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._common import ROOT, data_folder, model_folder, result_header

PAGE = ROOT / "docs" / "transcript.md"
DATA = "mvsa"
MODELS = ("minilm", "mobilenet_v2_imagenet")

INTRODUCTION = """\
# A transcript on real posts

This page shows what the commands print on real posts: the 2,800 labelled tweets, each with a picture, of a sample of MVSA-Single (Niu et al. 2016). An "event" here is a tweet of negative sentiment, `negative` = 1 in `posts.csv`; the column `group` has the duplicates. The encoders are MiniLM for texts and a MobileNetV2 for pictures, in the folders `models/minilm` and `models/mobilenet_v2_imagenet`. Progress bars are left out.

`python -m benchmarks.transcript` ran these commands, each as a process of its own, and wrote this page.
"""  # noqa: E501

STEPS = (
    (
        "Fit",
        "Learn, estimate, and save.",
        "mmevent fit posts.csv --label negative --group group"
        " --text models/minilm --image models/mobilenet_v2_imagenet -o model",
    ),
    (
        "Evaluate",
        "The same estimate over five seeds of the folds.",
        "mmevent evaluate model posts.csv --seeds 5",
    ),
    (
        "Predict",
        "These are the posts of the fit, because there are no uncoded ones; so the "
        "number of flagged posts does not show how well the detector does.",
        "mmevent predict model posts.csv -o predictions.csv",
    ),
)


def run_step(command: str, folder: Path) -> tuple[str, float]:
    """Give what a command prints to both streams, and its seconds."""
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-m", "mmevent.cli.main", *shlex.split(command)[1:]],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MMEVENT_CACHE": "off"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise SystemExit(f"benchmarks: {command!r} failed: {result.stdout}")
    return result.stdout.rstrip(), time.perf_counter() - start


def render(outputs: list[tuple[str, float]], header: dict[str, Any]) -> str:
    """Give the page's text."""
    parts = [INTRODUCTION]
    for (title, sentence, command), (output, seconds) in zip(
        STEPS, outputs, strict=True
    ):
        shown = command.replace(" --text ", " \\\n    --text ")
        parts.append(
            f"## {title}\n\n{sentence} It took {seconds:.0f} seconds.\n\n"
            f"```console\n$ {shown}\n{output}\n```\n"
        )
    versions = ", ".join(f"{k} {v}" for k, v in header["versions"].items())
    machine = header["machine"]
    parts.append(
        f"Commit {header['commit']}; {versions}; {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GB.\n"
    )
    return "\n".join(parts)


def main() -> None:
    """Run the commands in a temporary folder, and write the page."""
    header = result_header(seed=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"
        shutil.copytree(data_folder(DATA), folder)
        folder.chmod(0o755)
        (folder / "models").mkdir()
        for model in MODELS:
            (folder / "models" / model).symlink_to(model_folder(model).resolve())
        outputs = []
        for _, _, command in STEPS:
            print(f"$ {command}", flush=True)
            outputs.append(run_step(command, folder))
            print(outputs[-1][0], flush=True)
    PAGE.write_text(render(outputs, header), encoding="utf-8")


if __name__ == "__main__":
    main()
