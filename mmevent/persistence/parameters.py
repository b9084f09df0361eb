"""Parameters that a model folder may not set: files, programs and functions.

All parameters of scikit-learn's estimators were gone through for this list: those that
take any text, any object or a function. What is not listed takes numbers, arrays, or
words that scikit-learn compares with a list of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeAlias

import numpy as np
from scipy.interpolate import interp1d
from sklearn.preprocessing import FunctionTransformer

from mmevent._walk import walk
from mmevent.exceptions import ModelFolderError

_FUNCTIONS = (
    *(type, FunctionType, BuiltinFunctionType, MethodType, type(np.mean)),
    *(np.ufunc, partial),
)
_Rule: TypeAlias = tuple[Callable[[Any], bool], str]
_MOST_JOBS = 1024
_DISPATCH = re.compile(r"all|\d{1,6}(\*n_jobs)?")
_GETTER = re.compile(r"auto|[A-Za-z]\w*(\.[A-Za-z]\w*)*", re.ASCII)


def _is_no_path(value: Any) -> bool:
    return not isinstance(value, (str, bytes, os.PathLike))


def _is_no_place(value: Any) -> bool:
    # A pipeline's step of this name may be left out.
    return _is_no_path(value) or value in ("passthrough", "drop")


def _is_no_memory(value: Any) -> bool:
    return _is_no_path(value) and not callable(getattr(value, "cache", None))


def _is_few(value: Any) -> bool:
    whole = isinstance(value, (int, np.integer))
    return not whole or abs(int(value)) <= _MOST_JOBS


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, str) or bool(pattern.fullmatch(value))


# By the name of a parameter: whether a value of it is harmless, what to use, and why.
_RULES: dict[str, _Rule] = {
    "memory": (
        _is_no_memory,
        "memory=None, since what lies in the folder that it names is unpickled, which "
        "runs code",
    ),
    "input": (
        lambda value: value not in ("filename", "file"),
        "input='content', since each post would name a file that is opened",
    ),
    "packs": (_is_no_path, "packs=None, since a file that it names is opened"),
    "pre_dispatch": (
        _matches(_DISPATCH),
        "pre_dispatch='2*n_jobs', since the text is evaluated",
    ),
    "importance_getter": (
        _matches(_GETTER),
        "importance_getter='auto', or the name of an attribute without _ before it",
    ),
    "n_jobs": (_is_few, f"n_jobs=None, or a number up to {_MOST_JOBS}"),
}
# In a grid of parameters to search; what an encoder holds is checked by itself.
_GRIDS = ("param_grid", "param_distributions")
_NO_NAME = (
    _is_no_place,
    "encoders built from their class in a grid, as TextEncoder('a/b'), since a place "
    "that a grid names is not checked",
)
_IN_GRIDS = {
    "cache": (_is_no_path, "no path of a cache in a grid, since the file is opened"),
    **dict.fromkeys(("encoder", "model", "revision"), _NO_NAME),
}


def check_parameters(value: Any, what: str) -> None:
    """Validate that nothing within a value names a file, a program or a function.

    Parameters
    ----------
    value : object
        An estimator, or what holds some.
    what : str
        Begins the message, such as "the text branch cannot be saved".

    Raises
    ------
    ModelFolderError
        For the first that does.
    """
    parts = [(part, list(_named(part))) for part in walk(value)]
    grids = {
        id(grid)
        for _, items in parts
        for name, held in items
        if name.rpartition("__")[2] in _GRIDS
        for grid in _mappings(held)
    }
    for part, items in parts:
        rules = _RULES | _IN_GRIDS if id(part) in grids else _RULES
        for name, held in items:
            if (wanted := _refused(part, name, held, rules)) is not None:
                raise ModelFolderError(
                    f"{what}: {type(part).__name__} has {name or 'an item'}={held!r}, "
                    f"which no model folder may hold. Expected {wanted}. Set it, and "
                    f"fit again."
                )


def _named(part: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a value holds, with its name; "" for items of a list."""
    if isinstance(part, dict):  # a number may be the column of a word of this name
        items = ((str(name), held) for name, held in part.items())
        yield from (
            (name, held) for name, held in items if not isinstance(held, (int, float))
        )
    elif isinstance(part, (list, tuple, set, frozenset)):
        yield from (("", held) for held in part)
    elif isinstance(part, np.ndarray):
        yield from (("", held) for held in part.ravel().tolist() if part.dtype == "O")
    else:
        for name, held in getattr(part, "__dict__", {}).items():
            yield name, held
            if isinstance(held, dict) and name.endswith(("_params", "_args")):
                yield from held.items()


def _mappings(value: Any) -> Iterator[dict[Any, Any]]:
    """Yield the mappings in lists of any depth."""
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist()
    if isinstance(value, dict):
        yield value
    elif isinstance(value, (list, tuple)):
        for held in value:
            yield from _mappings(held)


def _refused(part: Any, name: str, held: Any, rules: dict[str, _Rule]) -> str | None:
    """Return what was expected in place of a value, None where it is harmless."""
    if _is_function(held) and not _is_allowed(part, name, held):
        return "no function or class of any kind: code does not come with a folder"
    last = name.rpartition("__")[2]
    if last not in rules:
        return None
    is_harmless, wanted = rules[last]
    return None if all(map(is_harmless, _each(held))) else wanted


def _each(value: Any) -> Iterator[Any]:
    """Yield a value, and what a list of values to try holds."""
    yield value
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist()
    if isinstance(value, (list, tuple)):
        yield from value


def _is_function(value: Any) -> bool:
    return isinstance(value, _FUNCTIONS) or (
        callable(value) and type(value).__module__.startswith("scipy.special")
    )


def _is_allowed(part: Any, name: str, function: Any) -> bool:
    if isinstance(part, FunctionTransformer) and name in ("func", "inverse_func"):
        return isinstance(function, np.ufunc) and function.nargs == 2
    if isinstance(part, interp1d):  # of isotonic calibration: which method is used
        return name == "_call" and function in vars(interp1d).values()
    kinds = (np.generic, int, float, str, bool)
    number = isinstance(function, type) and issubclass(function, kinds)
    return number and name.endswith("dtype")
