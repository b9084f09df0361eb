"""The commands together: help, version, pages, and the installed command."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import mmevent
from mmevent.cli.main import COMMANDS, main

Command = Callable[..., Any]


def command_of(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def test_a_folder_that_is_not_empty_is_refused_before_any_work(
    refused: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for words in (["fit", "absent.csv", "--label", "event"], ["demo"]):
        line = refused(*words, "-o", tmp_path)
        assert "is not empty" in line
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_sentence_on_each_option_and_an_example(
    done: Command, command: str
) -> None:
    said = done(command, "--help").stdout
    assert f"Examples:\n    mmevent {command}" in said
    for parameter in command_of(command).params:
        if isinstance(parameter, click.Option):
            assert parameter.help
            assert parameter.help.split("  [")[0].endswith(".")


def test_help_without_a_command(run: Command) -> None:
    result = run()
    assert result.exit_code == 2
    for command, (_, line) in COMMANDS.items():
        assert re.search(rf"\n  {command} +{re.escape(line)}\n", result.output)
        assert command_of(command).name == command


def test_an_unknown_command_is_refused(refused: Command) -> None:
    assert "No such command 'train'" in refused("train")


def test_version(done: Command) -> None:
    assert done("--version").stdout == f"mmevent, version {mmevent.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_a_command_names_its_options(command: str) -> None:
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / f"command-{command}.md").read_text(encoding="utf-8")
    options = {
        name
        for parameter in command_of(command).params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
    }
    table = re.findall(r"^\| `(.+?)` \|", page, flags=re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"--?[a-z][a-z0-9-]*", cell)}
    assert named == options


def test_the_installed_command(counting: Path, uncoded: Path, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("mmevent")
    command = (
        [str(script)] if script.exists() else [sys.executable, "-m", "mmevent.cli.main"]
    )
    root = Path(mmevent.__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    out = tmp_path / "audit.csv"
    words = ["predict", str(counting), str(uncoded), "-o", str(out)]
    result = subprocess.run(
        [*command, *words], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("30 posts, ")
    assert result.stderr == f"Predictions written to {out}\n"
    result = subprocess.run(
        [*command, "predict"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


def documented_commands() -> list[list[str]]:
    root = Path(__file__).resolve().parents[2]
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"(?:^\$|&&) (mmevent .+)$", text, flags=re.MULTILINE):
            found.append(shlex.split(re.split(r" [>|] | && ", line)[0])[1:])
    return found


@pytest.mark.parametrize("words", documented_commands(), ids=" ".join)
def test_a_documented_command_is_one(words: list[str]) -> None:
    command = command_of(words[0])
    assert command.make_context(words[0], words[1:])


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["--version"]])
def test_help_loads_no_heavy_package(words: list[str]) -> None:
    heavy = ("numpy", "pandas", "sklearn", "optuna", "torch", "transformers", "PIL")
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('loaded', [n for n in {heavy!r} "
        "if n in sys.modules]))\n"
        "from mmevent.cli.main import main\n"
        f"main({words!r})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.endswith("loaded []\n")


def test_a_command_imports_nothing_private() -> None:
    private = re.compile(r"mmevent\.detector\.\w|mmevent\.\w+\._|import _[a-z]")
    for path in Path(mmevent.__file__).parent.glob("cli/*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "import" in line:
                assert not private.search(line), (path.name, line)
