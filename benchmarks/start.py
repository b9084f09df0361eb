"""How long an import and a help text take: python -m benchmarks.start."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np

from benchmarks._common import command_line, result_header, write_result
from benchmarks._estimates import show

REPEATS = 15
STEPS = {
    "nothing": "pass",
    "import numpy": "import numpy",
    "import mmevent": "import mmevent",
    "mmevent --help": "import sys; sys.argv[1:] = ['--help']; "
    "from mmevent.cli.main import main; main()",
}


def seconds(code: str) -> float:
    """Give the wall time of a new process that runs some code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Run everything in turn, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    taken = np.array(
        [[seconds(code) for code in STEPS.values()] for _ in range(REPEATS + 1)]
    )
    median = np.median(taken[1:], axis=0)  # the first run fills the disk's cache
    alone = median - median[0]
    rows = [
        [name, float(whole), float(own), float(own / alone[1])]
        for name, whole, own in zip(STEPS, median, alone, strict=True)
    ]
    result = {
        "title": "Starting up",
        "command": command_line("benchmarks.start"),
        "header": result_header(seed=0),
        "tables": [
            {
                "caption": f"A new process each, median of {REPEATS} in turn",
                "columns": ["step", "seconds", "without Python's own", "times numpy's"],
                "rows": rows,
            }
        ],
        "notes": [],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


if __name__ == "__main__":
    main()
