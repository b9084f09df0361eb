"""The page about R: its script runs, and the page shows what the script does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
SCRIPT = DOCS / "example.R"


def r_says(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Rscript, or skip the test where it is not installed."""
    if (program := shutil.which("Rscript")) is None:
        pytest.skip("R is not installed")
    return subprocess.run(
        [program, *words],
        capture_output=True,
        text=True,
        env=os.environ | variables,
        cwd=os.environ.get("TMPDIR", "/tmp"),
    )


@pytest.mark.slow
def test_the_script_of_the_page_runs_in_r() -> None:
    home = r_says("-e", 'library(reticulate); cat(R.home("lib"))')
    if home.returncode:
        pytest.skip("the package reticulate of R is not installed")
    # R puts folders of libraries first, where another libpython of this name may lie.
    libraries = f"{sysconfig.get_config_var('LIBDIR')}:{home.stdout}"
    done = r_says(
        str(SCRIPT),
        MMEVENT_ENV=sys.prefix,
        R_LD_LIBRARY_PATH=libraries,
        PYTHONPATH=str(DOCS.parent),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")
    assert "Estimate by nested cross-validation" in done.stdout


def test_the_page_shows_the_script() -> None:
    page = (DOCS / "r.md").read_text(encoding="utf-8")
    script = SCRIPT.read_text(encoding="utf-8")
    shown = re.findall(r"```r\n(.*?)```", page, flags=re.DOTALL)
    assert len(shown) >= 6
    for block in shown:
        assert block in script, block
