"""Checkpoints: all a fit needs to go on, as safetensors and a sealed document. No pickle.

    state     model.<name>, best.<name>, optimizer.<parameter index>.<name>[.<place in a list>]
    progress  the epochs so far, what of the optimizer is no tensor, and the state's digest

There is no generator's state and no learning rate: the first is a function of seed and epoch, the second of
the job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from pydantic import Field
from safetensors.torch import load, save

from raymaas.errors import IntegrityError
from raymaas.registry.checkpoints import CheckpointFiles
from raymaas.specs.base import Document, Spec, sha256_hex

Weights = Mapping[str, torch.Tensor]


class EpochReport(Spec):
    """What one epoch measured, over all workers together."""

    epoch: int = Field(ge=1)
    train_loss: float = Field(description="Mean over the training rows, while their weights changed.")
    validation_loss: float = Field(description="Mean over the validation rows, after the epoch.")
    figures: dict[str, float] = Field(
        default_factory=dict, description="Means over the validation rows, such as accuracy."
    )
    rows: int = Field(0, ge=0, description="Training rows that all workers together worked through.")
    seconds: float = Field(ge=0, description="On this worker, by its clock.")

    def metrics(self) -> dict[str, float]:
        """All figures but the epoch's number, by name; `gap` is what the validation loss is above the training loss."""
        return {
            "train_loss": self.train_loss,
            "validation_loss": self.validation_loss,
            **{f"validation_{name}": value for name, value in self.figures.items()},
            "gap": self.validation_loss - self.train_loss,
            "rows": float(self.rows),
            "seconds": self.seconds,
        }


class Progress(Document):
    """The epochs behind a checkpoint. It is sealed, and carries the digest of the state beside it."""

    kind = "train-progress"
    format = 2

    history: tuple[EpochReport, ...]
    best_epoch: int = Field(ge=0, description="The epoch `best` holds the weights of; 0 before the first.")
    numbers: dict[str, int | float] = Field(
        default_factory=dict, description="Of the optimizer, by <parameter index>.<name>."
    )
    lists: dict[str, int] = Field(
        default_factory=dict,
        description="Lengths of the optimizer's lists, by the same; what is missing is None.",
    )
    state_sha256: str = Field("", description="Of the state's bytes; empty until they were made.")

    @classmethod
    def upgraded(cls, body: dict[str, Any], number: int) -> dict[str, Any]:
        """In format 1 the one figure of an epoch was its accuracy."""
        epochs = [dict(epoch) for epoch in body["history"]]
        for epoch in epochs:
            epoch["figures"] = {"accuracy": epoch.pop("validation_accuracy")}
        return body | {"history": epochs}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A fit after some epochs, wherever its network lies. Weights are on the CPU.

    `optimizer` is what torch calls its state: tensors, numbers, lists of either, and None. Until the checkpoint is
    `detached` they are the optimizer's very tensors, which change when it goes on.
    """

    progress: Progress
    weights: Weights
    best_weights: Weights
    optimizer: Mapping[int, Mapping[str, Any]]

    @classmethod
    def start(cls, weights: Weights) -> Self:
        """Before the first epoch."""
        return cls(
            progress=Progress(history=(), best_epoch=0), weights=weights, best_weights=weights, optimizer={}
        )

    @property
    def history(self) -> tuple[EpochReport, ...]:
        return self.progress.history

    def after(self, report: EpochReport, *, weights: Weights, min_delta: float) -> Self:
        """One epoch later, without an optimizer yet. The weights are the best if the validation loss fell by more than
        `min_delta`.
        """
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
            optimizer={},
        )

    def detached(self) -> Self:
        """The same on the CPU, sharing nothing with the optimizer: it stays as it is while training goes on."""
        return replace(
            self,
            optimizer={
                index: {name: _detached(value) for name, value in values.items()}
                for index, values in self.optimizer.items()
            },
        )

    def to_files(self) -> CheckpointFiles:
        """`from_files` reads them back to the same tensors and numbers, bit for bit."""
        tensors = {f"model.{name}": tensor for name, tensor in self.weights.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best_weights.items()}
        numbers: dict[str, int | float] = {}
        lists: dict[str, int] = {}
        for place, value in _flat(self.optimizer):
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer.{place}"] = value
            elif isinstance(value, list):
                lists[place] = len(value)
            elif value is not None:
                numbers[place] = value
        # safetensors refuses tensors that share memory, as `best` and `model` do after an epoch that was the
        # best.
        state = save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()})
        told = {"numbers": numbers, "lists": lists, "state_sha256": sha256_hex(state)}
        return CheckpointFiles(state=state, progress=self.progress.model_copy(update=told).seal())

    @classmethod
    def from_files(cls, files: CheckpointFiles, *, source: str) -> Self:
        """The checkpoint in `files`. Raises IntegrityError, naming `source`, unless they are what was written."""
        progress = Progress.unseal(files.progress, source=f"the progress of {source}")
        found = sha256_hex(files.state)
        if found != progress.state_sha256:
            raise IntegrityError(
                f"the state of {source} is damaged (its sha256 is {found[:12]}..., not "
                f"{progress.state_sha256[:12]}...); go back to an older checkpoint"
            )
        groups: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        for key, tensor in load(files.state).items():
            group, _, name = key.partition(".")
            groups[group][name] = tensor
        return cls(
            progress=progress,
            weights=groups["model"],
            best_weights=groups["best"],
            optimizer=_optimizer(progress, groups["optimizer"]),
        )


def _detached(value: Any) -> Any:
    if isinstance(value, list):
        return [_detached(part) for part in value]
    return value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value


def _flat(optimizer: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Each value with its place, and after a list each of its parts."""
    for index, values in optimizer.items():
        for name, value in values.items():
            place = f"{index}.{name}"
            yield place, value
            if isinstance(value, list):
                yield from ((f"{place}.{n}", part) for n, part in enumerate(value))


def _optimizer(progress: Progress, tensors: Weights) -> dict[int, dict[str, Any]]:
    """The optimizer's state from its parts. What was None is absent; optimizers ask for it with `get`."""
    parts: dict[str, Any] = dict(tensors) | progress.numbers
    whole = {
        place: [parts.pop(f"{place}.{n}", None) for n in range(length)]
        for place, length in progress.lists.items()
    }
    optimizer: dict[int, dict[str, Any]] = {}
    for place, value in (parts | whole).items():
        index, _, name = place.partition(".")
        optimizer.setdefault(int(index), {})[name] = value
    return optimizer
