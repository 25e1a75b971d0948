"""Checkpoints: all a fit needs to go on, as safetensors and a sealed document. No pickle.

    state.safetensors   model.<name>, best.<name>, optimizer.<parameter index>.<name>
    progress.json       the epochs so far

There is no generator's state and no learning rate: the first is a function of seed and epoch, the second of
the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save

from raymaas.errors import IntegrityError
from raymaas.specs.base import Document, Spec

STATE, PROGRESS = "state.safetensors", "progress.json"

Weights = Mapping[str, torch.Tensor]


class EpochReport(Spec):
    """What one epoch measured, over all workers together."""

    epoch: int = Field(ge=1)
    train_loss: float = Field(description="Mean over the training rows, while their weights changed.")
    validation_loss: float = Field(description="Mean over the validation rows, after the epoch.")
    validation_accuracy: float = Field(ge=0, le=1)
    seconds: float = Field(ge=0, description="On this worker, by its clock.")

    def metrics(self) -> dict[str, float]:
        """All figures but the epoch's number, by name."""
        return {name: float(value) for name, value in self.model_dump(exclude={"epoch"}).items()}


class Progress(Document):
    """The epochs behind a checkpoint."""

    kind = "train-progress"

    history: tuple[EpochReport, ...]
    best_epoch: int = Field(ge=0, description="The epoch `best` holds the weights of; 0 before the first.")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A fit after some epochs. Tensors are on the CPU, but for the optimizer's before it is written."""

    progress: Progress
    weights: Weights
    best_weights: Weights
    optimizer: Mapping[int, Mapping[str, torch.Tensor]]

    @classmethod
    def start(cls, weights: Weights) -> Self:
        """Before the first epoch."""
        return cls(
            progress=Progress(history=(), best_epoch=0), weights=weights, best_weights=weights, optimizer={}
        )

    @property
    def history(self) -> tuple[EpochReport, ...]:
        return self.progress.history

    def after(self, report: EpochReport, *, weights: Weights, optimizer: Any, min_delta: float) -> Self:
        """One epoch later. Its weights are the best if the validation loss fell by more than `min_delta`."""
        best = self.progress.best_epoch
        better = best == 0 or report.validation_loss < self.history[best - 1].validation_loss - min_delta
        return replace(
            self,
            progress=Progress(
                history=(*self.history, report),
                best_epoch=report.epoch if better else self.progress.best_epoch,
            ),
            weights=weights,
            best_weights=weights if better else self.best_weights,
            optimizer=optimizer,
        )

    def to_files(self) -> dict[str, bytes]:
        """File name to bytes; `from_files` reads them back to the same tensors, bit for bit."""
        tensors = {f"model.{name}": tensor for name, tensor in self.weights.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best_weights.items()}
        for index, values in self.optimizer.items():
            # Stateless SGD keeps a None where momentum would be.
            tensors |= {
                f"optimizer.{index}.{name}": value for name, value in values.items() if value is not None
            }
        # safetensors refuses tensors that share memory, as `best` and `model` do after an epoch that was the
        # best.
        copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        return {STATE: save(copies), PROGRESS: self.progress.seal()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, source: str) -> Self:
        """The checkpoint in `files`. Raises IntegrityError, naming `source`, when they were damaged."""
        progress = Progress.unseal(files[PROGRESS], source=f"{source}/{PROGRESS}")
        groups: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        try:
            for key, tensor in load(files[STATE]).items():
                group, _, name = key.partition(".")
                groups[group][name] = tensor
            optimizer: dict[int, dict[str, torch.Tensor]] = {}
            for key, tensor in groups["optimizer"].items():
                index, _, name = key.partition(".")
                optimizer.setdefault(int(index), {})[name] = tensor
        except (SafetensorError, KeyError, ValueError) as error:
            raise IntegrityError(
                f"{source}/{STATE} is damaged ({error}); go back to an older checkpoint"
            ) from None
        return cls(
            progress=progress, weights=groups["model"], best_weights=groups["best"], optimizer=optimizer
        )
