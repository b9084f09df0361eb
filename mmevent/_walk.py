"""Walk through all that an object holds, except a model's weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

# Attributes of an encoder that hold weights: the loaded model, and what was trained.
LOADED, TRAINED = "_loaded", "_trained"

LEAVES = (
    *(str, bytes, int, float, complex, type(None)),
    *(np.generic, np.dtype, type, FunctionType, BuiltinFunctionType),
)


def walk(value: Any) -> Iterator[Any]:
    """Yield a value and all that it holds, each object once, but no model's weights."""
    seen: dict[int, Any] = {}
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, LEAVES) or id(part) in seen:
            continue
        seen[id(part)] = part
        yield part
        left.extend(_held(part))


def _held(part: Any) -> Iterable[Any]:
    if isinstance(part, dict):
        return list(part.values())
    if isinstance(part, (list, tuple, set, frozenset)):
        return part
    if isinstance(part, np.ndarray):
        return part.ravel().tolist() if part.dtype == object else ()
    attributes = getattr(part, "__dict__", {})
    return [held for name, held in attributes.items() if name not in (LOADED, TRAINED)]
