"""Settings of the whole process, as other parts of a program leave them."""

from __future__ import annotations

import locale
import os
import pwd
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn


@contextmanager
def of_scikit_learn() -> Iterator[None]:
    """Set what `sklearn.set_config` can set."""
    with sklearn.config_context(
        transform_output="pandas", enable_metadata_routing=True, assume_finite=True
    ):
        yield


@contextmanager
def of_numpy() -> Iterator[None]:
    """Let every rounding to zero be an error."""
    with np.errstate(all="raise"):
        yield


@contextmanager
def of_torch() -> Iterator[None]:
    """Set another type, device and format, and no gradients."""
    import torch

    torch.set_default_dtype(torch.float64)
    try:
        with (
            torch.device("meta"),
            torch.autocast("cpu", dtype=torch.bfloat16),
            torch.inference_mode(),
        ):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def of_pandas() -> Iterator[None]:
    """Let strings be objects where they are not, and the other way round."""
    name = "future.infer_string"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this option goes with pandas 4
        with pd.option_context(name, not pd.get_option(name), "display.width", 20):
            yield


@contextmanager
def of_warnings() -> Iterator[None]:
    """Let warnings be errors, as PYTHONWARNINGS=error does."""
    before = sys.warnoptions
    sys.warnoptions = ["error"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        sys.warnoptions = before


@contextmanager
def of_user() -> Iterator[None]:
    """Let the user have no home folder, as in a container."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "XDG_CACHE_HOME", "MMEVENT_CACHE"):
            patch.delenv(name, raising=False)
        patch.setattr(pwd, "getpwuid", unknown)
        yield


@contextmanager
def of_locale(folder: Path) -> Iterator[None]:
    """Let months have German names and numbers a comma; skip where it cannot be."""
    name = "de_DE.UTF-8"
    if shutil.which("localedef"):
        command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / name)]
        subprocess.run(command, capture_output=True, check=False)
    before = locale.setlocale(locale.LC_ALL)
    with pytest.MonkeyPatch.context() as patch:
        if os.path.isdir(folder / name):
            patch.setenv("LOCPATH", str(folder))
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            pytest.skip(f"the locale {name} is not installed")
        try:
            yield
        finally:
            locale.setlocale(locale.LC_ALL, before)


EACH = {
    "scikit-learn": of_scikit_learn,
    "numpy": of_numpy,
    "torch": of_torch,
    "pandas": of_pandas,
    "warnings": of_warnings,
    "user": of_user,
}
