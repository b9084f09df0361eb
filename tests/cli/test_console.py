"""Exit codes, errors in one line, warnings, and files that stay as they are."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import optuna
import pytest

import mmevent
from mmevent import exceptions
from mmevent.cli import console
from mmevent.exceptions import UnusableInputWarning

Command = Callable[..., Any]


def test_nothing_that_is_read_is_written_over(refused: Command, tmp_path: Path) -> None:
    read, other = tmp_path / "read.csv", tmp_path / "other.csv"
    for path in (read, other):
        path.write_text("id,text\n1,kept\n")
    model = tmp_path / "model"
    model.mkdir()
    json, html = tmp_path / "x.csv", tmp_path / "x.html"
    for words in (
        ["predict", model, read, "-o", read],
        ["evaluate", model, read, "--json", read],
        ["evaluate", model, read, "--errors", read],
        ["evaluate", model, read, "--json", html, "--errors", json],
        ["sample", read, "-n", 5, "-o", read],
        ["sample", read, "-n", 5, "--posts", other, "-o", other],
        ["sample", read, "-n", 5, "--label-studio", json, "-o", json],
        ["estimate", other, read, "--label", "y", "--json", read],
        ["agreement", read, "--label", "y", "--coder", "c", "--disagreements", read],
        ["tag", read, "--image", "none", "-o", read],
    ):
        line = refused(*words)
        assert "is named twice" in line, words
    assert read.read_text() == other.read_text() == "id,text\n1,kept\n"


def test_a_fault_of_the_system_is_one_line_and_exit_code_1(
    run: Command,
    model: Path,
    coded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mmevent.EventDetector, "audit", full)
    result = run("predict", model, coded, "-o", tmp_path / "audit.csv")
    assert result.exit_code == 1
    assert result.stderr == "Error: [Errno 28] No space left on device\n"


def test_warnings_of_ours_are_said_once_and_others_not_at_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "warnoptions", [])
    with console.clean_warnings():
        for _ in range(2):
            warnings.warn("3 images\nare lost", UnusableInputWarning, stacklevel=1)
        warnings.warn("something deprecated", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "Warning: 3 images are lost\n")
    monkeypatch.setattr(sys, "warnoptions", ["error", "e::UserWarning"])
    with console.clean_warnings():
        warnings.warn("3 images are lost", UnusableInputWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "Warning: 3 images are lost\n")
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with console.clean_warnings(), pytest.warns(UserWarning, match="lost"):
        warnings.warn("lost", UserWarning, stacklevel=1)


def test_bars_are_shown_to_someone_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not console.shows_progress(quiet=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert console.shows_progress(quiet=False)
    assert not console.shows_progress(quiet=True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (click.UsageError("both"), 2),
        (exceptions.InputError("a label"), 2),
        (exceptions.PolicyError("not shown"), 2),
        (exceptions.ModelFolderError("altered"), 2),
        (exceptions.MissingPackageError("matplotlib"), 2),
        (exceptions.ModelNameError("no folder"), 2),
        (exceptions.ModelUnavailableError("no answer"), 1),
        (exceptions.DeviceMemoryError("too small"), 1),
        (exceptions.StorageError("disk full"), 1),
        (PermissionError(13, "Permission denied"), 1),
        (MemoryError(), 1),
        (optuna.exceptions.StorageInternalError("locked"), 1),
        (ValueError("a fault of ours"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_exit_code_tells_wrong_use_from_what_failed(
    error: Exception, code: int | None
) -> None:
    assert console.exit_code(error) == code


def test_every_error_that_mmevent_raises_has_an_exit_code() -> None:
    for name in exceptions.__all__:
        error = getattr(exceptions, name)
        if issubclass(error, exceptions.MmeventError):
            assert console.exit_code(error("it")) in (1, 2)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            optuna.exceptions.StorageInternalError("locked\nby others"),
            "locked by others",
        ),
        (MemoryError(), "the work ended with MemoryError."),
    ],
    ids=["a study's storage", "memory"],
)
def test_what_failed_on_the_way_is_one_line(
    error: Exception,
    said: str,
    refused: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("mmevent.cli.demo.fit_and_save", fail)
    words = ["demo", "--n-posts", 200, "--quiet", "-o", tmp_path / "demo"]
    assert said in refused(*words, code=1)
    assert os.listdir(tmp_path) == []


def test_a_fault_of_mmevent_keeps_its_traceback(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("mmevent.cli.demo.fit_and_save", fail)
    result = run("demo", "--n-posts", 200, "-o", tmp_path / "demo")
    assert isinstance(result.exception, ZeroDivisionError)


EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b\u202egnp"


def test_what_a_terminal_would_obey_is_shown_instead(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.show(f"the city {EVIL}\tof 中文,\nnaïve e\u0301 \u200d😀")
    console.show(EVIL, err=True)
    said = capsys.readouterr()
    safe = r"\x1b]0;owned\x07\x1b[2J\r\x9b\u202egnp"
    assert said.out == f"the city {safe}\tof 中文,\nnaïve e\u0301 \u200d😀\n"
    assert said.err == f"{safe}\n"


@pytest.mark.parametrize("told", [[], ["default"]], ids=["as usual", "PYTHONWARNINGS"])
def test_warnings_are_safe_for_a_terminal(
    told: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "warnoptions", told)
    monkeypatch.setattr(warnings, "showwarning", _as_python_shows)
    with warnings.catch_warnings(), console.clean_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"the label {EVIL}", UnusableInputWarning, stacklevel=1)
    said = capsys.readouterr().err
    assert "the label" in said
    assert not set("\x1b\x07\r\x9b\u202e") & set(said)


def _as_python_shows(*args: Any) -> None:
    sys.stderr.write(warnings.formatwarning(*args[:4]))


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
def test_a_character_that_the_code_page_lacks_is_replaced(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    console.show("lang 中文 \ud83d: 12")
    assert written.getvalue().decode(encoding).split() == ["lang", "??", "?:", "12"]


@pytest.mark.parametrize(
    ("number", "ends"), [(errno.EPIPE, True), (errno.ENOSPC, False)], ids=str
)
def test_a_reader_may_go_early_and_a_full_disk_is_said(
    number: int, ends: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(number, "gone")

    with (tmp_path / "out.txt").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(click, "echo", fail)
        with nullcontext() if ends else pytest.raises(OSError, match="gone"):
            console.show("lost")
        stream.write("nobody reads this")
    assert (tmp_path / "out.txt").read_text() == ""


def test_only_the_console_prints() -> None:
    folder = Path(console.__file__).parent
    prints = [p.name for p in folder.glob("*.py") if "click.echo(" in p.read_text()]
    assert prints == ["console.py"]
