"""Settings that libraries keep for the whole process, and that results depend on.

A program that uses this package may have changed them for its own work. What is
computed here is computed under the libraries' defaults, which `with_own_settings` sets
for the time of a call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mmevent._common import shared_context

P = ParamSpec("P")
R = TypeVar("R")

_SCIKIT_LEARN = {
    "array_api_dispatch": False,
    "assume_finite": False,
    "enable_metadata_routing": False,
    "transform_output": "default",
}


def with_own_settings(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function run under `own_settings`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with own_settings():
            return function(*args, **kwargs)

    return call


@contextmanager
def own_settings() -> Iterator[None]:
    """Compute as in a new process, then put the settings of the caller back.

    A library that is not loaded yet has no other settings than its defaults.
    """
    import numpy as np

    with ExitStack() as stack:
        stack.enter_context(
            np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
        )
        if "sklearn" in sys.modules:
            from sklearn import config_context

            stack.enter_context(config_context(**_SCIKIT_LEARN))
        if "torch" in sys.modules:
            for context in _contexts_of_torch():
                stack.enter_context(context)
        yield


def _contexts_of_torch() -> Iterator[AbstractContextManager[Any]]:
    """Yield what puts torch's defaults back, where they were changed in this thread."""
    import torch

    if torch.is_inference_mode_enabled():
        yield torch.inference_mode(mode=False)
    if not torch.is_grad_enabled():
        yield torch.enable_grad()
    yield undisturbed()
    yield single_precision()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep a caller's autocast and default device away from this thread's work.

    The default device makes each call of torch slower, even if it is the processor.
    """
    import torch

    with ExitStack() as stack:
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@shared_context
def single_precision() -> Iterator[None]:
    """Make float32 the default format of torch, which all threads share.

    It is entered even where that is the format already: another thread may have made
    it so, and would put the caller's back in the midst of this one's work.
    """
    import torch

    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float32)
        yield
    finally:
        torch.set_default_dtype(before)
