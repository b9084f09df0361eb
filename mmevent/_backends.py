"""What runs a frozen encoder: torch, or OpenVINO where it is installed."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from mmevent._hub import untouched_logging
from mmevent._optional import require
from mmevent._precision import BFLOAT16
from mmevent.exceptions import InputError

TORCH, OPENVINO = "torch", "openvino"
BACKENDS = (TORCH, OPENVINO)
_REPORTER = "openvino_telemetry"
_ALIKE = 0.99
_compiling = threading.Lock()


def check_backend(backend: object) -> None:
    """Refuse what is no backend, or is not installed."""
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise InputError(
            f"backend={backend!r} is not known: expected one of "
            f"{', '.join(map(repr, BACKENDS))}. Use backend='torch'."
        )
    if backend == OPENVINO:
        _package()


def _package(module: str = "openvino") -> Any:
    """Import OpenVINO, or a part of it, without what reports to its makers.

    It takes a stub of its own where that package is not there.
    """
    if "openvino" in sys.modules:
        return require(module, extra=OPENVINO, purpose="backend='openvino'")
    before = sys.modules.get(_REPORTER)
    sys.modules[_REPORTER] = None  # type: ignore[assignment]
    try:
        return require(module, extra=OPENVINO, purpose="backend='openvino'")
    finally:
        if before is None:
            del sys.modules[_REPORTER]
        else:
            sys.modules[_REPORTER] = before


def check_processor(device: str) -> str:
    """Return the processor for "auto"; refuse another device."""
    if device not in ("auto", "cpu"):
        raise InputError(
            f"backend='openvino' cannot run on the device {device!r}: expected the "
            f"processor. Use device='cpu', or backend='torch'."
        )
    return "cpu"


class Compiled:
    """A function of tensors, compiled for this processor.

    Parameters
    ----------
    compute : callable
        What torch runs.
    model : torch.nn.Module
        The weights that it uses, of float32.
    example : sequence of Tensor
        Arguments.
    varying : sequence of int
        Which sizes of the arguments vary.
    dtype : str
        Format to compute in.
    """

    def __init__(
        self,
        compute: Callable[..., Any],
        model: Any,
        example: Sequence[Any],
        *,
        varying: Sequence[int],
        dtype: str,
    ) -> None:
        import torch

        openvino = _package()
        sizes = tuple(dict.fromkeys(varying, torch.export.Dim.DYNAMIC) for _ in example)
        with torch.no_grad():
            program = torch.export.export(
                _as_module(compute, model),
                tuple(example),
                dynamic_shapes={"arguments": sizes},
                strict=False,
            )
        n_threads = torch.get_num_threads()
        with _compiling:
            self._compiled = openvino.Core().compile_model(
                _converted(program),
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "bf16" if dtype == BFLOAT16 else "f32",
                    "INFERENCE_NUM_THREADS": n_threads,
                    "NUM_STREAMS": n_threads,
                },
            )
        self._request = self._compiled.create_infer_request()

    def agrees(self, compute: Callable[..., Any], example: Sequence[Any]) -> bool:
        """Whether it gives nearly what torch gives, as bfloat16 would."""
        import torch
        from torch.nn.functional import cosine_similarity

        with torch.inference_mode():
            expected = compute(*example).float()
        return bool((cosine_similarity(self(*example), expected) > _ALIKE).all())

    def twin(self) -> Compiled:
        """Return the same for another thread."""
        other = copy(self)
        other._request = self._compiled.create_infer_request()
        return other

    def __call__(self, *arguments: Any) -> Any:
        """Compute."""
        import torch

        found = self._request.infer([tensor.numpy() for tensor in arguments])
        return torch.from_numpy(found[0].copy())


def _converted(program: Any) -> Any:
    """Return OpenVINO's form of a program."""
    decoder = _package("openvino.frontend.pytorch.fx_decoder").TorchFXPythonDecoder
    frontend = _package("openvino.frontend").FrontEndManager()
    frontend = frontend.load_by_framework("pytorch")
    with untouched_logging():
        # It warns, through the root logger, of operations that no model here has.
        logging.root.addFilter(_not_of_decoder)
        try:
            graph = decoder.from_exported_program(program)
        finally:
            logging.root.removeFilter(_not_of_decoder)
    return frontend.convert(frontend.load(graph))


def _not_of_decoder(record: logging.LogRecord) -> bool:
    return record.module != "fx_decoder"


def _as_module(compute: Callable[..., Any], model: Any) -> Any:
    from torch import nn

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *arguments: Any) -> Any:
            return compute(*arguments)

    return Module().eval()
