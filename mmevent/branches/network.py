"""A model under a linear layer, and which of its weights are trained."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmevent.encoders.image import ImageModel
from mmevent.encoders.text import TextModel
from mmevent.exceptions import InputError

TrainableModel = TextModel | ImageModel


class Linear(NamedTuple):
    """A linear layer on the standardised features of one view.

    It has one row a class, and a single one where there are two.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]


def layer_of(head: Any) -> Linear:
    """Return the layer that a fitted default head is."""
    scaler, logistic = head[0], head[-1]
    return Linear(scaler.mean_, scaler.scale_, logistic.coef_, logistic.intercept_)


def with_layer(head: Any, linear: Linear, n_views: int) -> Any:
    """Return a head for the features of all views that gives their mean logits."""
    wide = deepcopy(head)
    scaler, logistic = wide[0], wide[-1]
    for name in ("mean_", "scale_", "var_"):
        setattr(scaler, name, np.tile(getattr(scaler, name), n_views))
    logistic.coef_ = np.tile(linear.coef, n_views) / n_views
    logistic.intercept_ = linear.intercept
    scaler.n_features_in_ = logistic.n_features_in_ = logistic.coef_.shape[1]
    return wide


class Network(nn.Module):
    """A network and a linear layer; a row's logits are the mean over its views."""

    def __init__(self, model: TrainableModel, linear: Linear) -> None:
        super().__init__()
        self.model = model  # no module itself
        self.network = model.network
        for name in ("mean", "scale"):
            values = torch.as_tensor(getattr(linear, name), dtype=torch.float32)
            self.register_buffer(name, values.to(model.device))
        n_rows, width = linear.coef.shape
        self.linear = nn.Linear(width, n_rows, device=model.device)
        with torch.no_grad():
            self.linear.weight.copy_(torch.as_tensor(linear.coef))
            self.linear.bias.copy_(torch.as_tensor(linear.intercept))
        self.n_calls, self.diverged = 0, False
        self.register_state_dict_post_hook(_contiguous)

    def forward(self, inputs: Any, labels: Any, weight: Any) -> dict[str, Any]:
        """Return the weighted loss and the logits of a batch."""
        features = self.model.features(inputs).float()
        with torch.autocast(features.device.type, enabled=False):
            logits = self.linear((features - self.mean) / self.scale)
        logits = logits.reshape(len(labels), -1, logits.shape[1]).mean(dim=1)
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        loss = (weight * losses).mean()
        self.n_calls += 1
        self.diverged = self.diverged or not bool(torch.isfinite(loss))
        return {"loss": loss, "logits": logits}

    def train(self, mode: bool = True) -> Network:
        """Set the mode; batch norms stay with the statistics that they came with.

        Those of small batches are noise, and of some models the running ones follow
        the last batch alone.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self


def _contiguous(
    network: nn.Module, state: dict[str, Any], prefix: str, metadata: Any
) -> None:
    """Lay out tensors as safetensors stores them, which channels_last ones are not."""
    for name, tensor in state.items():
        state[name] = tensor.contiguous()


def choose_trained(model: TrainableModel, n_blocks: int | None) -> list[str]:
    """Let the last blocks, and what follows them, be trained; return their names."""
    parameters = dict(model.network.named_parameters())
    unused = [f"{name}." for name in [model.spec["pooling"].get("input_of")] if name]
    names = [
        name
        for name in parameters
        if name not in model.missing and not name.startswith(tuple(unused))
    ]
    if n_blocks is not None:
        first = next(iter(last_blocks(model, n_blocks)[0].parameters()))
        order = list(parameters.values())
        start = next(i for i, parameter in enumerate(order) if parameter is first)
        later = set(list(parameters)[start:])
        names = [name for name in names if name in later]
    for name in names:
        parameters[name].requires_grad_(True)
    return names


def last_blocks(model: TrainableModel, n_blocks: int) -> list[nn.Module]:
    """Return the last blocks of an encoder, or refuse their number."""
    blocks = find_blocks(model.network)
    if not blocks:
        raise InputError(
            f"train={n_blocks} finds no blocks in the model {model.spec['model']!r}: "
            f"expected a list of layers or stages that holds most of its weights. Use "
            f"train='all' or 'head'."
        )
    if not 0 < n_blocks <= len(blocks):
        raise InputError(
            f"train={n_blocks} is not a number of this model's last blocks: expected "
            f"one from 1 to {len(blocks)}, or 'all'. Use train='all'."
        )
    return blocks[-n_blocks:]


def find_blocks(network: nn.Module) -> list[nn.Module]:
    """Return the blocks of an encoder, from its input to its output.

    They are the children of the list of modules that holds most of the weights but
    those of embeddings: a transformer's layers, a residual network's stages.
    """

    def size(module: nn.Module) -> int:
        tables = [m for m in module.modules() if isinstance(m, nn.Embedding)]
        within = sum(p.numel() for table in tables for p in table.parameters())
        return int(sum(p.numel() for p in module.parameters()) - within)

    lists = [
        list(module)
        for module in network.modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) > 1
    ]
    found = max(lists, key=lambda blocks: sum(map(size, blocks)), default=[])
    enough = sum(map(size, found)) > size(network) / 2
    return [block for block in found if size(block)] if enough else []
