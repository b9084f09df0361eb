"""What runs a model: device, number format, backend, folded norms, smaller batches."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import copy, deepcopy
from functools import partial
from itertools import chain
from typing import Any

from mmevent._common import require, shared_context, warn_user
from mmevent._settings import single_precision
from mmevent.encoders.hub import untouched_logging
from mmevent.exceptions import DeviceMemoryError, InputError, MmeventWarning

AUTO, FLOAT32, BFLOAT16 = "auto", "float32", "bfloat16"
DTYPES = (AUTO, FLOAT32, BFLOAT16)
TORCH, OPENVINO = "torch", "openvino"
BACKENDS = (TORCH, OPENVINO)

# Where a network holds the modules of sentence-transformers that follow it.
MODULES = "sentence_modules"

# A smaller model spends its time between the operations, not in them.
_WORTH_CASTING = 1_000_000
_REPORTER = "openvino_telemetry"
_ALIKE = 0.99  # least cosine of OpenVINO's features and torch's
_compiling = threading.Lock()


def resolve_device(device: object) -> str:
    """Return the torch device to use: `"auto"` is cuda, else mps, else cpu."""
    import torch

    usable = ["cpu"]
    if torch.backends.mps.is_available():
        usable.insert(0, "mps")
    if torch.cuda.is_available():
        usable[:0] = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if device == "auto":
        return usable[0]
    if device not in usable:
        msg = (
            f"`device` must be 'auto' or one that this machine has "
            f"({', '.join(usable)}); got {device!r}. Use device='auto'."
        )
        raise InputError(msg)
    return str(device)


def has_bf16(device: str) -> bool:
    """Whether a device computes in bfloat16 natively, not emulated."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    # An older torch does not say.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def check_dtype(dtype: object) -> None:
    """Validate `dtype`."""
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InputError(
            f"dtype={dtype!r} is not known: expected one of "
            f"{', '.join(map(repr, DTYPES))}. Use dtype='auto'."
        )


def cast(model: Any, dtype: str, device: str) -> Any:
    """Return a model of float32 in another format; "auto" looks at model and device.

    Batch norms, buffers such as the frequencies of positions, single numbers such as a
    scale, and the few layers after the pooling stay as they are: they need more digits.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    if dtype == AUTO:
        n_parameters = sum(p.numel() for p in model.parameters())
        wide = n_parameters < _WORTH_CASTING or not has_bf16(device)
        dtype = FLOAT32 if wide else BFLOAT16
    if dtype == BFLOAT16:
        wide = {m for part in getattr(model, MODULES, ()) for m in part.modules()}
        for module in model.modules():
            if not isinstance(module, _BatchNorm) and module not in wide:
                for parameter in module.parameters(recurse=False):
                    if parameter.dim():
                        parameter.data = parameter.data.to(torch.bfloat16)
    return model


def dtype_of(model: Any) -> str:
    """Return the format of a model's weights."""
    import torch

    formats = {parameter.dtype for parameter in model.parameters()}
    return BFLOAT16 if torch.bfloat16 in formats else FLOAT32


def runnable(model: Any, device: str) -> Any:
    """Return a model in float32, with a warning, where the device lacks bfloat16."""
    if dtype_of(model) == FLOAT32 or has_bf16(device):
        return model
    warn_user(
        f"the model was fitted in bfloat16, in which the device {device!r} does not "
        f"compute: it runs in float32, so scores may differ in their third digit. Fit "
        f"with dtype='float32' for a model that is the same on all machines.",
        MmeventWarning,
    )
    return model.float()


def check_device(dtype: str, device: str) -> None:
    """Refuse to fit in bfloat16 where the device only emulates it."""
    if dtype == BFLOAT16 and not has_bf16(device):
        raise InputError(
            f"dtype='bfloat16' cannot be used on the device {device!r}: expected a "
            f"processor with AVX512-BF16 or AMX, or a GPU of NVIDIA's Ampere or later. "
            f"Use dtype='auto', which takes float32 here."
        )


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in float32 proper, whatever else this process sets for torch.

    Rounding to TF32 or bfloat16 would make rows depend on their batch, and another
    default format would make them depend on the caller.
    """
    with single_precision(), _unrounded():
        yield


@shared_context
def _unrounded() -> Iterator[None]:
    with ExitStack() as stack:
        for read, write, wanted in _roundings():
            before = read()
            if before != wanted:
                stack.callback(write, before)
                write(wanted)
        yield


def _roundings() -> Iterator[tuple[Callable[[], Any], Callable[[Any], Any], Any]]:
    """Yield what reads a setting of torch's, what writes it, and the value to have.

    The older settings go before those of single parts, which a newer torch has too: it
    writes the second with the first, and lets nobody read the first where they differ.
    """
    import torch
    from torch.backends import cuda, cudnn, mkldnn

    for whole in (torch.backends, cudnn):
        yield from _rounding_of(whole)
    tf32 = partial(getattr, cudnn, "allow_tf32"), partial(setattr, cudnn, "allow_tf32")
    matmul = torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    for (read, write), wanted in ((tf32, False), (matmul, "highest")):
        with suppress(RuntimeError):  # set part by part: see below
            if read() != wanted:
                yield read, write, wanted
    of_gpu = cuda.matmul, cudnn.conv, cudnn.rnn
    for part in (*of_gpu, mkldnn.matmul, mkldnn.conv, mkldnn.rnn):
        yield from _rounding_of(part)


def _rounding_of(part: Any) -> Iterator[tuple[Any, Any, str]]:
    name = "fp32_precision"
    # An older torch has no such setting; "none" rounds nothing either.
    if getattr(part, name, "none") not in ("none", "ieee"):
        yield partial(getattr, part, name), partial(setattr, part, name), "ieee"


def check_backend(backend: object) -> None:
    """Validate `backend`, and that it is installed."""
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
    """Return "cpu" for "auto" and "cpu"; refuse another device."""
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


def has_foldable(model: Any) -> bool:
    """Whether some convolution has a batch norm beside it."""
    return next(_runs(model), None) is not None


def folded(model: Any) -> Any:
    """Return a copy whose convolutions do what the batch norms after them did.

    It shares the weights that stay as they are. What follows a norm, an activation
    mostly, overwrites its input where it can. All this is right where what stands side
    by side in a module runs so, and nothing else reads what lies between; the caller
    has to try.
    """
    from torch.nn import Identity
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    tensors = chain(model.parameters(), model.buffers())
    model = deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for parent, convolution, norm, after in list(_runs(model)):
        both = getattr(parent, convolution), getattr(parent, norm)
        setattr(parent, convolution, fuse_conv_bn_eval(*both))
        # timm's norms hold the activation too.
        setattr(parent, norm, getattr(both[1], "act", Identity()))
        if hasattr(after, "inplace"):
            after.inplace = True
    return model


def _runs(model: Any) -> Iterator[tuple[Any, str, str, Any]]:
    """Yield a module, names of a convolution and a norm in it, and what is next."""
    from torch.nn import BatchNorm2d, Conv2d

    for parent in model.modules():
        children = [*parent.named_children(), ("", None)]
        for i in range(len(children) - 2):
            (one, first), (other, second), (_, after) = children[i : i + 3]
            if isinstance(first, Conv2d) and isinstance(second, BatchNorm2d):
                yield parent, one, other, after


def halved(batch_size: int, error: RuntimeError, doing: str, advice: str) -> int:
    """Return half a batch's size, with a warning, if its memory is what failed.

    Any other error is raised again, and so is this one where the batch is a single
    item.
    """
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    if not should_reduce_batch_size(error):
        raise error
    if batch_size == 1:
        raise DeviceMemoryError(
            f"the device's memory is too small for {doing} one item at a time: "
            f"expected room for it, got: {str(error).splitlines()[0]} Use "
            f"device='cpu', or a smaller model."
        ) from error
    clear_device_cache()
    half = (batch_size + 1) // 2
    warn_user(
        f"the device's memory is too small for {doing} {batch_size} items at a time: "
        f"it goes on with {half}. Set {advice.format(half)} to "
        f"begin with that.",
        MmeventWarning,
    )
    return half
