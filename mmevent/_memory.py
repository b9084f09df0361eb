"""What to do where a device's memory is too small for a batch."""

from __future__ import annotations

import warnings

from mmevent.exceptions import DeviceMemoryError, MmeventWarning


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
    warnings.warn(
        f"the device's memory is too small for {doing} {batch_size} items at a time: "
        f"it goes on with {half}. Set {advice.format(half)} to "
        f"begin with that.",
        MmeventWarning,
        stacklevel=3,
    )
    return half
