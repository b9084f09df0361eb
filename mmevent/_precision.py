"""The number format of an encoder: bfloat16 where the device computes in it."""

from __future__ import annotations

import warnings
from typing import Any

from mmevent.exceptions import InputError, MmeventWarning

AUTO, FLOAT32, BFLOAT16 = "auto", "float32", "bfloat16"
DTYPES = (AUTO, FLOAT32, BFLOAT16)

# A smaller model spends its time between the operations, not in them.
_WORTH_CASTING = 1_000_000


def has_bf16(device: str) -> bool:
    """Whether a device computes in bfloat16, and does not imitate it."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    # An older torch does not say.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def check_dtype(dtype: object) -> None:
    """Refuse what is no number format."""
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InputError(
            f"dtype={dtype!r} is not known: expected one of "
            f"{', '.join(map(repr, DTYPES))}. Use dtype='auto'."
        )


def cast(model: Any, dtype: str, device: str) -> Any:
    """Return a model of float32 in another format; "auto" looks at model and device.

    Batch norms, buffers such as the frequencies of positions, and single numbers such
    as a scale stay as they are: they need more digits.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    if dtype == AUTO:
        n_parameters = sum(p.numel() for p in model.parameters())
        wide = n_parameters < _WORTH_CASTING or not has_bf16(device)
        dtype = FLOAT32 if wide else BFLOAT16
    if dtype == BFLOAT16:
        for module in model.modules():
            if not isinstance(module, _BatchNorm):
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
    warnings.warn(
        f"the model was fitted in bfloat16, in which the device {device!r} does not "
        f"compute: it runs in float32, so scores may differ in their third digit. Fit "
        f"with dtype='float32' for a model that is the same on all machines.",
        MmeventWarning,
        stacklevel=2,
    )
    return model.float()


def check_device(dtype: str, device: str) -> None:
    """Refuse to fit in a format that the device only imitates."""
    if dtype == BFLOAT16 and not has_bf16(device):
        raise InputError(
            f"dtype='bfloat16' cannot be used on the device {device!r}: expected a "
            f"processor with AVX512-BF16 or AMX, or a GPU of NVIDIA's Ampere or later. "
            f"Use dtype='auto', which takes float32 here."
        )
