"""Networks of convolutions with fewer passes over memory, where they only predict."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import chain
from typing import Any


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
