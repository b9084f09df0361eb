"""What every benchmark needs: where the data are, and how a result is written.

A result file holds ``title``, ``command``, ``header``, ``tables`` (each with a
``caption``, ``columns`` and ``rows``) and ``notes``. Numbers stand in it as they
were measured; ``benchmarks.make_page`` rounds them.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

PACKAGES = (
    "mmevent",
    "numpy",
    "open_clip_torch",
    "openvino",
    "optuna",
    "pandas",
    "pillow",
    "scikit-learn",
    "timm",
    "torch",
    "transformers",
)


def data_folder(name: str) -> Path:
    """Give the folder of a data set: $MMEVENT_DATA, else ../shared/data."""
    return _existing("MMEVENT_DATA", "data", name)


def model_folder(name: str) -> Path:
    """Give the folder of a pretrained model: $MMEVENT_MODELS, else ../shared/models."""
    return _existing("MMEVENT_MODELS", "models", name)


def _existing(variable: str, kind: str, name: str) -> Path:
    parent = Path(os.environ.get(variable, ROOT.parent / "shared" / kind))
    folder = parent / name
    if not folder.is_dir():
        raise SystemExit(
            f"benchmarks: no folder {folder}. Set {variable} to the folder "
            f"that holds {name!r}."
        )
    return folder


def skip(why: str) -> NoReturn:
    """End a benchmark that cannot run on this machine, with a word and no error."""
    print(f"benchmarks: skipped: {why}.", file=sys.stderr)
    raise SystemExit(0)


def result_header(*, seed: int | Sequence[int]) -> dict[str, Any]:
    """Describe the run: commit, seed, versions and machine."""
    return {
        "commit": commit(),
        "seed": seed if isinstance(seed, int) else list(seed),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {
            "cpu": cpu_model(),
            "cores": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
            "memory_gb": memory_gb(),
            "system": f"{platform.system()} {platform.machine()}",
        },
    }


def command_line(module: str) -> str:
    """Give the command that runs a benchmark as it was run."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def commit() -> str:
    """Give the checkout's commit, with "+changes" where files differ from it."""
    try:
        name = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--", "mmevent", "benchmarks/*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}+changes" if changed else name


def _git(*arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def cpu_model() -> str:
    """Give the processor's name as the system states it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_gb() -> int | None:
    """Give the machine's memory in whole GiB, None where the system hides it."""
    try:
        pages = os.sysconf("SC_PHYS_PAGES")
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**30)
    except (AttributeError, OSError, ValueError):
        return None


def write_result(path: str | Path, result: dict[str, Any]) -> None:
    """Write a result file, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The JSON file.
    result : dict
        With ``title``, ``command``, ``header``, ``tables`` and ``notes``.
    """
    missing = {"title", "command", "header", "tables", "notes"} - result.keys()
    if missing:
        raise ValueError(f"the result lacks {sorted(missing)}")
    for table in result["tables"]:
        widths = {len(row) for row in table["rows"]}
        if widths - {len(table["columns"])}:
            raise ValueError(f"rows of {table['caption']!r} differ in length")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".json.part")
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(path)
    print(f"wrote {path}", file=sys.stderr)
