"""The training loop: plain PyTorch over rows in memory, the same on one worker or many. It knows no Ray.

The batch is global. In every epoch all workers draw one permutation; each batch of `training.batch_size` rows
is cut into one shard per worker; a worker's loss is sum(its losses) * workers / rows in the whole batch.
Data-parallel training averages gradients over the workers, so what is applied is exactly the mean over the
batch, also for a short last batch and for a worker whose shard of it is empty. Hence the number of workers
changes the speed and the rounding, not the result; only dropout masks differ. (Goyal et al., Accurate, Large
Minibatch SGD, 2017, section 3.)

All randomness of an epoch is a function of (seed, epoch, rank), so that a resumed fit draws what it would
have drawn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.errors import RunFailed
from raymaas.specs.jobs import Training
from raymaas.train.checkpoint import Checkpoint, EpochReport, Progress
from raymaas.train.world import World

OnEpoch = Callable[[EpochReport, Checkpoint | None], None]

_VALIDATION_ROWS = 4096  # rows per forward pass without gradients: bounds memory, changes no result


def fit(
    network: Callable[[], nn.Module],
    training: Training,
    *,
    parts: Parts,
    world: World,
    resume: Checkpoint | None = None,
    on_epoch: OnEpoch = lambda report, checkpoint: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Checkpoint:
    """Train what `network` makes on `parts.train`, from `resume` when given. `parts.test` is not looked at.

    The checkpoint returned holds the history and the weights with the lowest validation loss. After every
    epoch `on_epoch` is called on every worker with the same figures, and every `checkpoint_every` epochs and
    at the end with a checkpoint. torch's global generators are left as they were found. Raises RunFailed when
    the loss is no longer a number.
    """
    with torch.random.fork_rng(devices=[world.device] if world.device.type == "cuda" else []):
        torch.manual_seed(_derived_seed(training.seed))
        plain = network()
        model = world.wrap(plain)
        optimizer = make_optimizer(plain, training)
        if resume:
            _restore(resume, plain, optimizer)
        state = resume or Checkpoint.start(_weights(plain))
        train, validation = _Tensors(parts.train, world.device), _Tensors(parts.validation, world.device)
        while not finished(state.progress, training):
            epoch, started_s = len(state.history) + 1, clock()
            train_loss = _train_epoch(model, optimizer, train, training, epoch=epoch, world=world)
            validation_loss, accuracy = _validate(plain, validation, training, world=world)
            if not math.isfinite(train_loss + validation_loss):
                raise RunFailed(
                    f"the loss is no longer a number in epoch {epoch}; lower training.learning_rate"
                )
            report = EpochReport(
                epoch=epoch,
                train_loss=train_loss,
                validation_loss=validation_loss,
                validation_accuracy=accuracy,
                seconds=clock() - started_s,
            )
            state = state.after(
                report,
                weights=_weights(plain),
                optimizer=optimizer.state_dict()["state"],
                min_delta=training.early_stopping.min_delta if training.early_stopping else 0.0,
            )
            due = epoch % training.checkpoint_every == 0 or finished(state.progress, training)
            on_epoch(report, state if due else None)
    return state


def finished(progress: Progress, training: Training) -> bool:
    """Whether to stop: as many epochs as wanted, or `patience` of them without a better validation loss."""
    done = len(progress.history)
    stopping = training.early_stopping
    return done >= training.epochs or (
        stopping is not None and done - progress.best_epoch >= stopping.patience
    )


def make_optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """The update rule `training` names, in torch's fused form: one pass over the parameters, not several."""
    parameters, rate, decay = network.parameters(), training.learning_rate, training.weight_decay
    match training.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
        case "sgd":
            return torch.optim.SGD(
                parameters, lr=rate, momentum=training.momentum, weight_decay=decay, fused=True
            )


class _Tensors:
    """Rows on a device: x_ND float32, y_N int64. Copies, since torch may not write to Arrow's memory."""

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self.x_ND = torch.tensor(rows.x_ND, device=device)
        self.y_N = torch.tensor(rows.y_N, device=device)


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: _Tensors,
    training: Training,
    *,
    epoch: int,
    world: World,
) -> float:
    """One pass over the training rows; their mean loss. Every worker takes equally many steps."""
    shuffle = torch.Generator().manual_seed(_derived_seed(training.seed, epoch))
    torch.manual_seed(_derived_seed(training.seed, epoch, 1 + world.rank))
    model.train()
    order_N = torch.randperm(len(rows.y_N), generator=shuffle)
    loss_sum = torch.zeros((), dtype=torch.float64, device=world.device)
    for batch_B in torch.split(order_N, training.batch_size):
        mine = batch_B[world.shard(len(batch_B))].to(world.device)
        optimizer.zero_grad()
        loss = _loss_sum(_logits(model, rows.x_ND[mine], training), rows.y_N[mine])
        (loss * world.size / len(batch_B)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss_sum += loss.detach()
    return float(world.all_reduce(loss_sum)) / len(order_N)


@torch.no_grad()
def _validate(plain: nn.Module, rows: _Tensors, training: Training, *, world: World) -> tuple[float, float]:
    """Mean loss and accuracy over the validation rows, each worker taking its shard of them."""
    plain.eval()
    mine = world.shard(len(rows.y_N))
    sums = torch.zeros(2, dtype=torch.float64, device=world.device)
    for x_BD, y_B in zip(
        torch.split(rows.x_ND[mine], _VALIDATION_ROWS),
        torch.split(rows.y_N[mine], _VALIDATION_ROWS),
        strict=True,
    ):
        logits_BC = _logits(plain, x_BD, training)
        sums += torch.stack([_loss_sum(logits_BC, y_B), (logits_BC.argmax(dim=1) == y_B).sum()])
    loss, correct = (world.all_reduce(sums) / len(rows.y_N)).tolist()
    return loss, correct


def _logits(model: nn.Module, x_BD: torch.Tensor, training: Training) -> torch.Tensor:
    on_gpu = x_BD.device.type == "cuda"
    half = training.precision == "bf16" or (training.precision == "auto" and on_gpu)
    with torch.autocast(x_BD.device.type, dtype=torch.bfloat16, enabled=half):
        logits_BC: torch.Tensor = model(x_BD)
    return logits_BC.float()


def _loss_sum(logits_BC: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits_BC, y_B, reduction="sum")


def _weights(plain: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in plain.state_dict().items()}


def _restore(checkpoint: Checkpoint, plain: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    plain.load_state_dict(dict(checkpoint.weights))
    groups = optimizer.state_dict()["param_groups"]  # as the job says now: a checkpoint holds no settings
    optimizer.load_state_dict({"state": checkpoint.optimizer, "param_groups": groups})


def _derived_seed(*numbers: int) -> int:
    """A seed for one purpose: other numbers give an unrelated stream, the same ones the same."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
