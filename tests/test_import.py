"""What `import mmevent` does, and what it leaves alone."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mmevent

HEAVY = (
    "PIL",
    "datasets",
    "numpy",
    "open_clip",
    "optuna",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "skops",
    "torch",
    "torchvision",
    "transformers",
)


def run_python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    "statement", ["import mmevent", "import mmevent; dir(mmevent)"]
)
def test_import_loads_no_heavy_package(statement: str) -> None:
    loaded = run_python(
        f"{statement}\nimport sys\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert loaded == ""


def test_import_of_the_command_line_loads_no_encoder_library() -> None:
    loaded = run_python(
        "import mmevent.cli.main, sys\n"
        "print(*[n for n in ('torch', 'transformers', 'sklearn', 'optuna', 'pandas')"
        " if n in sys.modules])"
    )
    assert loaded == ""


def test_import_changes_no_filter_log_level_or_variable() -> None:
    changed = run_python(
        "import logging, os, warnings\n"
        "def state():\n"
        "    root = logging.getLogger()\n"
        "    names = [n for n in logging.root.manager.loggerDict]\n"
        "    return (list(warnings.filters), root.level, list(root.handlers),\n"
        "            [(n, logging.getLogger(n).level) for n in names\n"
        "             if n.startswith('mmevent')], dict(os.environ))\n"
        "before = state()\n"
        "import mmevent\n"
        "after = state()\n"
        "print(*[i for i, (a, b) in enumerate(zip(before, after)) if a != b])"
    )
    assert changed == ""


@pytest.mark.parametrize("name", mmevent.__all__)
def test_public_name_resolves_and_is_listed(name: str) -> None:
    assert getattr(mmevent, name) is not None
    assert name in dir(mmevent)


@pytest.mark.parametrize("name", sorted(mmevent._PACKAGE_OF))
def test_public_name_is_public_in_its_module(name: str) -> None:
    module = importlib.import_module(f"mmevent.{mmevent._PACKAGE_OF[name]}")
    assert name in module.__all__
    assert getattr(module, name) is getattr(mmevent, name)


def test_public_names_are_written_the_same_in_three_places() -> None:
    tree = ast.parse(Path(mmevent.__file__).read_text(encoding="utf-8"))
    hints = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module is not None
        and node.module.startswith("mmevent.")
        for alias in node.names
    }
    assert hints == {n: f"mmevent.{m}" for n, m in mmevent._PACKAGE_OF.items()}
    assert set(mmevent.__all__) == {*mmevent._PACKAGE_OF, "__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mmevent' has no attribute 'fit'"):
        mmevent.fit  # noqa: B018


def test_the_package_is_marked_as_typed() -> None:
    assert Path(mmevent.__file__).with_name("py.typed").is_file()
