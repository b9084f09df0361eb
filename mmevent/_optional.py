"""Packages that only some functions need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mmevent.exceptions import MissingPackageError


def require(package: str, *, extra: str, purpose: str) -> Any:
    """Import a package, or say how to install it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"{purpose} needs the package {package!r}: expected it to be installed, "
            f'got {error}. Install it with: pip install "mmevent[{extra}]"'
        ) from error
