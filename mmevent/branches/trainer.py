"""transformers' Trainer as this package uses it: data, settings, checkpoints."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from mmevent.branches.network import Network, TrainableModel
from mmevent.encoders.runtime import has_bf16

_PATIENCE = 2  # epochs without a better order of the validation rows
_CRITERION = "average_precision"
_WEIGHT_DECAY = 0.01
_WARMUP = 0.1  # share of the steps in which the learning rate rises
SETTINGS = {
    "patience": _PATIENCE,
    "criterion": _CRITERION,
    "decay": _WEIGHT_DECAY,
    "warm-up": _WARMUP,
}
_WORKERS = 4  # processes that prepare batches for a GPU


@dataclass(frozen=True)
class Recipe:
    """How an encoder is fine-tuned.

    Parameters
    ----------
    n_blocks : int or None
        Number of last blocks that are trained; None for the whole encoder.
    n_epochs : int
        Passes over the training rows, at most.
    learning_rate : float
        Its highest value; it rises over a tenth of the steps, and falls to 0.
    batch_size, n_accumulated : int
        Rows a forward pass, and passes a step.
    augment : bool
        Whether images are varied at random.
    seed : int
        Of the order of the rows, dropout and augmentation.
    """

    n_blocks: int | None
    n_epochs: int
    learning_rate: float
    batch_size: int
    n_accumulated: int
    augment: bool
    seed: int


Parts = tuple[NDArray[np.intp], NDArray[np.intp]]


class Rows(NamedTuple):
    """What is learnt from: items, the number of each one's class, weights, groups.

    `weight` is that of the loss, with the class's; `sample_weight` is without.
    """

    items: Sequence[Any]
    codes: NDArray[np.intp]
    weight: NDArray[np.float64]
    sample_weight: NDArray[np.float64]
    group: NDArray[np.intp]


def _arguments(
    recipe: Recipe, folder: Path, device: str, *, validated: bool
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.n_epochs,
        learning_rate=recipe.learning_rate,
        warmup_steps=_WARMUP,
        weight_decay=_WEIGHT_DECAY,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.n_accumulated,
        eval_strategy="epoch" if validated else "no",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=validated,
        metric_for_best_model=_CRITERION if validated else None,
        greater_is_better=True if validated else None,
        restore_callback_states_from_checkpoint=True,
        seed=recipe.seed,
        remove_unused_columns=False,
        label_names=["labels"],
        prediction_loss_only=not validated,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=device == "cpu",
        bf16=has_bf16(device),
        dataloader_num_workers=n_workers(device),
        dataloader_pin_memory=device.startswith("cuda"),
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one device, as everywhere
    return arguments


def n_workers(device: str) -> int:
    """Return how many processes prepare batches: a CPU has none to spare."""
    forks = sys.platform == "linux"  # elsewhere they would have to be sent the model
    return min(_WORKERS, os.cpu_count() or 1) if forks and device != "cpu" else 0


def make_trainer(
    network: Network,
    rows: Rows,
    parts: Parts,
    recipe: Recipe,
    folder: Path,
    *,
    verbose: bool,
) -> Trainer:
    """Return a Trainer that learns from one part of the rows, and stops by the other.

    It stops two epochs after the average precision on the other part was highest;
    without that part it runs for all epochs. Each epoch leaves a checkpoint.
    """
    model, (learning, validation) = network.model, parts

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "labels": torch.tensor([e["label"] for e in examples]),
            "weight": torch.tensor([e["weight"] for e in examples]),
            "inputs": dict(model.collate([e["example"] for e in examples])),
        }

    def figures(outcome: EvalPrediction) -> dict[str, float]:
        logits = np.nan_to_num(outcome.predictions)
        scores = logits if logits.shape[1] > 2 else logits[:, 1] - logits[:, 0]
        value = average_precision_score(
            rows.codes[validation],
            scores,
            sample_weight=rows.sample_weight[validation],
        )
        return {_CRITERION: float(value)}

    validated = len(validation) > 0
    callbacks: list[TrainerCallback] = [_StopIfDiverged(network)]
    if validated:
        callbacks.append(EarlyStoppingCallback(_PATIENCE))
    if verbose:
        purpose = "Choosing epochs" if validated else "Fine-tuning"
        callbacks.append(_Bar(f"{purpose} on {model.item}s"))
    held_out = _Examples(model, rows, validation, augment=False)
    trainer = Trainer(
        network,
        _arguments(recipe, folder, model.device, validated=validated),
        data_collator=collate,
        train_dataset=_Examples(model, rows, learning, augment=recipe.augment),
        eval_dataset=held_out if validated else None,
        compute_metrics=figures if validated else None,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class _StopIfDiverged(TrainerCallback):
    """Ends the training, without a checkpoint of it, once a loss is not finite."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop |= self.network.diverged

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.network.diverged:
            control.should_evaluate = control.should_save = False

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.network.diverged:
            control.should_save, control.should_training_stop = False, True


class _Bar(TrainerCallback):
    """Shows the steps, and how well the last epoch orders the validation rows."""

    def __init__(self, description: str) -> None:
        self.description = description

    def on_train_begin(
        self, args: Any, state: Any, control: Any, **kwargs: Any
    ) -> None:
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self.description,
            unit="step",
            file=sys.stderr,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.update()

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any
    ) -> None:
        if f"eval_{_CRITERION}" in metrics:
            self.bar.set_postfix(AP=round(metrics[f"eval_{_CRITERION}"], 3))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.close()


def best_epoch(state: TrainerState) -> int:
    """Return the epoch that ordered the validation rows best; 0 if there is none."""
    epochs: dict[Any, int] = {
        entry["step"]: round(entry["epoch"])
        for entry in state.log_history
        if f"eval_{_CRITERION}" in entry
    }
    return epochs.get(state.best_global_step, 0)


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that was written whole; others are removed."""
    for path in folder.glob("checkpoint-*"):
        if not (path / TRAINER_STATE_NAME).is_file():  # written last
            shutil.rmtree(path)
    last: str | None = get_last_checkpoint(folder)
    return last


class _Examples(Dataset[dict[str, Any]]):
    def __init__(
        self,
        model: TrainableModel,
        rows: Rows,
        chosen: NDArray[np.intp],
        *,
        augment: bool,
    ) -> None:
        self.model, self.rows = model, rows
        self.chosen, self.augment = chosen, augment

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, i: int) -> dict[str, Any]:
        row = int(self.chosen[i])
        item: Any = self.model.picture(self.rows.items, row)
        return {
            "example": self.model.example(item, augment=self.augment),
            "label": int(self.rows.codes[row]),
            "weight": float(self.rows.weight[row]),
        }
