"""Networks of convolutions with fewer passes over memory, where they only predict."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any


def has_foldable(model: Any) -> bool:
    """Whether some convolution has a batch norm beside it."""
    return next(_runs(model), None) is not None


def folded(model: Any) -> Any:
    """Return a copy whose convolutions do what the batch norms after them did.

    What follows them, an activation mostly, overwrites its input where it can. All this
    is right where what stands side by side in a module runs so, and nothing else reads
    what lies between; the caller has to try.
    """
    from torch.nn import Identity
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    model = deepcopy(model)
    for parent, convolution, norm, after in list(_runs(model)):
        both = getattr(parent, convolution), getattr(parent, norm)
        setattr(parent, convolution, fuse_conv_bn_eval(*both))
        setattr(parent, norm, Identity())
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
            # A subclass may do more: timm's norms hold the activation too.
            if type(first) is Conv2d and type(second) is BatchNorm2d:
                yield parent, one, other, after
