"""The training loop: plain PyTorch over rows in memory, the same on one worker or many. It knows no Ray.

The batch is global. In every epoch all workers draw one permutation; each batch of `training.batch_size` rows
is cut into one shard per worker; a worker's loss is sum(its losses) * workers / rows in the whole batch.
Data-parallel training averages gradients over the workers, so what is applied is exactly the mean over the
batch, also for a short last batch and for a worker whose shard of it is empty. Hence the number of workers
changes the speed and the rounding, not the result; dropout masks differ, but not in deterministic mode. The
same holds for the pieces that `accumulate` cuts a batch in. (Goyal et al., Accurate, Large
Minibatch SGD, 2017, section 3.)

All randomness of an epoch is a function of (seed, epoch, rank), so that a resumed fit draws what it would
have drawn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.errors import RunFailed
from raymaas.models.chance import Chance, share
from raymaas.models.networks import Network
from raymaas.specs.jobs import Training
from raymaas.train.checkpoint import Checkpoint, EpochReport, Progress
from raymaas.train.objectives import Objective, make_objective
from raymaas.train.optimizers import make_optimizer, restore, set_rate
from raymaas.train.penalties import Penalty
from raymaas.train.schedules import Course, learning_rate
from raymaas.train.watch import Watch
from raymaas.train.world import World

OnEpoch = Callable[[EpochReport, Checkpoint | None], None]

_VALIDATION_ROWS = 4096  # rows per forward pass without gradients: bounds memory, changes no result


def fit(
    network: Callable[[], Network],
    training: Training,
    *,
    parts: Parts,
    world: World,
    resume: Checkpoint | None = None,
    on_epoch: OnEpoch = lambda report, checkpoint: None,
    watch: Watch = Watch(),  # noqa: B008 - it has no state
    clock: Callable[[], float] = time.perf_counter,
) -> Checkpoint:
    """Train what `network` makes on `parts.train`, from `resume` when given. `parts.test` is not looked at.

    The checkpoint returned holds the history and the weights `training.keep` names. After every epoch
    `on_epoch` is called on every worker with the same figures, and every `checkpoint_every` epochs and at the
    end with a checkpoint; it ends early when `watch` has seen enough. torch's global generators and its
    deterministic mode are left as they were found.
    Raises RunFailed when the loss is no longer a number, and InvalidInput for a loss that is not for such a
    network, or class weights that do not fit the classes.
    """
    with (
        torch.random.fork_rng(devices=[world.device] if world.device.type == "cuda" else []),
        _deterministic(training.deterministic),
    ):
        torch.manual_seed(_derived_seed(training.seed))
        plain = network()
        model = world.wrap(plain)
        optimizer = make_optimizer(plain, training)
        if resume:
            plain.load_state_dict(dict(resume.weights))
            restore(optimizer, resume.optimizer)
        state = resume or Checkpoint.start(_weights(plain))
        train, validation = _Tensors(parts.train, world.device), _Tensors(parts.validation, world.device)
        course = Course.of(training, rows=len(parts.train))
        chance = Chance()
        drawn = share(plain, chance)
        descent = _Descent(
            model=model,
            optimizer=optimizer,
            objective=make_objective(plain, training, x_ND=train.x_ND, y_N=train.y_N),
            chance=chance if drawn and training.deterministic else None,
            penalty=Penalty.of(training, plain),
            training=training,
            course=course,
            world=world,
            watch=watch,
        )
        watch.built(epochs=course.epochs, rows=len(parts.train))
        done = finished(state.progress, training, epochs=course.epochs)
        while not done:
            epoch, started_s = len(state.history) + 1, clock()
            train_loss, rows = descent.epoch(train, epoch)
            validation_loss, figures = _validate(plain, validation, descent)
            if not math.isfinite(train_loss + validation_loss):
                raise RunFailed(
                    f"the loss is no longer a number in epoch {epoch}; lower training.learning_rate"
                )
            report = EpochReport(
                epoch=epoch,
                train_loss=train_loss,
                validation_loss=validation_loss,
                figures=figures,
                rows=rows,
                seconds=clock() - started_s,
            )
            state = state.after(
                report,
                weights=_weights(plain),
                optimizer=optimizer.state_dict()["state"],
                min_delta=_least_improvement(training),
            )
            done = finished(state.progress, training, epochs=course.epochs) or watch.enough()
            due = done or epoch % training.checkpoint_every == 0
            on_epoch(report, state if due else None)
    return state


def finished(progress: Progress, training: Training, *, epochs: int) -> bool:
    """Whether to stop: as many `epochs` as wanted, or `patience` of them without a better validation loss."""
    done = len(progress.history)
    stopping = training.early_stopping
    return done >= epochs or (stopping is not None and done - progress.best_epoch >= stopping.patience)


class _Tensors:
    """Rows on a device: x float32 [N, ...], y_N. Copies, since torch may not write to Arrow's memory."""

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self.x_ND = torch.tensor(rows.x_ND, device=device)
        self.y_N = torch.tensor(rows.y_N, device=device)


@dataclass(frozen=True, eq=False)
class _Piece:
    """This worker's rows of one piece of a batch, and what its summed loss counts in the batch's mean."""

    x_BD: torch.Tensor
    y_B: torch.Tensor
    scale: torch.Tensor
    rows: int
    """Of all workers together."""
    seed: int


@dataclass(frozen=True, eq=False)
class _Descent:
    """The way down: all a step needs besides its rows."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    objective: Objective
    chance: Chance | None
    """What the network draws from, when it draws and must not notice how many workers there are."""
    penalty: Penalty
    training: Training
    course: Course
    world: World
    watch: Watch

    def epoch(self, rows: _Tensors, epoch: int) -> tuple[float, int]:
        """The steps of one epoch; the mean loss of its rows, and how many. Every worker takes equally many steps."""
        training, world = self.training, self.world
        shuffle = torch.Generator().manual_seed(_derived_seed(training.seed, epoch))
        torch.manual_seed(_derived_seed(training.seed, epoch, 1 + world.rank))
        self.model.train()
        order_N = torch.randperm(len(rows.y_N), generator=shuffle).to(world.device)
        lbfgs = training.optimizer == "lbfgs"
        batches = torch.split(order_N, len(order_N) if lbfgs else training.batch_size)
        loss_sum = torch.zeros((), dtype=torch.float64, device=world.device)
        rows_seen = 0
        for step, batch_B in zip(self.course.steps_of(epoch), batches, strict=False):
            pieces = self._pieces(rows, batch_B, step)
            if lbfgs:
                loss_sum += self._lbfgs_step(pieces, seed=_derived_seed(training.seed, epoch, 1 + world.rank))
            else:
                set_rate(self.optimizer, learning_rate(training, self.course, step=step))
                loss_sum += self._gradient(pieces)
                self.optimizer.step()
            rows_seen += len(batch_B)
            self.watch.stepped(epoch, rows_seen)
        return float(world.all_reduce(loss_sum)) / rows_seen, rows_seen

    def _pieces(self, rows: _Tensors, batch_B: torch.Tensor, step: int) -> list[_Piece]:
        """The batch cut as often as `accumulate` says, and of each piece this worker's shard, maybe empty."""
        world, count = self.world, min(self.training.accumulate, len(batch_B))
        scale = torch.tensor(world.size / len(batch_B), device=world.device)
        cut = torch.tensor_split(batch_B, count)
        shards = [piece[world.shard(len(piece))] for piece in cut]
        return [
            _Piece(
                rows.x_ND.index_select(0, shard),
                rows.y_N.index_select(0, shard),
                scale,
                rows=len(piece),
                seed=_derived_seed(self.training.seed, 0, step, number) if self.chance else 0,
            )
            for number, (piece, shard) in enumerate(zip(cut, shards, strict=True))
        ]

    def _gradient(self, pieces: list[_Piece]) -> torch.Tensor:
        """Leave the gradient of the batch's objective in the parameters; the sum of this worker's losses."""
        self.optimizer.zero_grad()
        losses = []
        for number, piece in enumerate(pieces, start=1):
            if self.chance:
                self._steer(self.chance, piece)
            with nullcontext() if number == len(pieces) else self._unsynchronised():
                loss = self.objective.loss(_given(self.model, piece.x_BD, self.training), piece.y_B)
                loss.backward(piece.scale)  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        self.penalty.add_gradient()
        if self.training.clip_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
        return reduce(torch.add, losses)

    def _lbfgs_step(self, pieces: list[_Piece], *, seed: int) -> torch.Tensor:
        """One step of up to twenty iterations on all rows; the sum of this worker's losses before it."""
        before: list[torch.Tensor] = []

        def objective() -> float:
            torch.manual_seed(seed)  # the same dropout at each point of the line search
            loss_sum = self._gradient(pieces).double()
            before.append(loss_sum)
            scale = pieces[0].scale.double() / self.world.size
            return float(self.world.all_reduce(loss_sum.clone()) * scale) + self.penalty.value()

        self.optimizer.step(objective)
        return before[0]

    def _steer(self, chance: Chance, piece: _Piece) -> None:
        mine, device = self.world.shard(piece.rows), self.world.device
        chance.steer(piece.seed, rows=piece.rows, mine=mine, device=device)

    def _unsynchronised(self) -> AbstractContextManager[None]:
        """Gradients add up on this worker until the last piece of a batch, and are averaged with it."""
        model = self.model
        return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


@torch.no_grad()
def _validate(plain: nn.Module, rows: _Tensors, descent: _Descent) -> tuple[float, dict[str, float]]:
    """Mean loss and figures over the validation rows, each worker taking its shard of them."""
    plain.eval()
    world, total = descent.world, len(rows.y_N)
    mine = world.shard(total)
    # What a network draws here is the same after every epoch, so that epochs can be compared.
    torch.manual_seed(_derived_seed(descent.training.seed, 0, 1 + world.rank))
    sums: dict[str, torch.Tensor] = {}
    for start in range(mine.start, max(mine.stop, mine.start + 1), _VALIDATION_ROWS):
        some = slice(start, min(start + _VALIDATION_ROWS, mine.stop))
        if descent.chance:
            descent.chance.steer(descent.training.seed, rows=total, mine=some, device=world.device)
        given = _given(plain, rows.x_ND[some], descent.training)
        y_B = rows.y_N[some]
        for name, term in {
            "": descent.objective.loss(given, y_B),
            **descent.objective.figures(given, y_B),
        }.items():
            sums[name] = sums.get(name, 0) + term.double()
    loss, *means = (world.all_reduce(torch.stack(list(sums.values()))) / total).tolist()
    return loss, dict(zip(list(sums)[1:], means, strict=True))


def _given(model: nn.Module, x_BD: torch.Tensor, training: Training) -> torch.Tensor:
    """What the network gives in training, float32, computed as precisely as `training` says."""
    automatic = training.precision == "auto" and training.optimizer != "lbfgs"
    half = training.precision == "bf16" or (automatic and x_BD.device.type == "cuda")
    if not half:
        exact_B: torch.Tensor = model(x_BD)
        return exact_B
    with torch.autocast(x_BD.device.type, dtype=torch.bfloat16):
        given_B: torch.Tensor = model(x_BD)
    return given_B.float()


def _least_improvement(training: Training) -> float:
    """What the validation loss must fall by for an epoch to be the best: for `keep: last`, any epoch is."""
    if training.keep == "last":
        return -math.inf
    return training.early_stopping.min_delta if training.early_stopping else 0.0


def _weights(plain: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in plain.state_dict().items()}


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """torch's deterministic mode when `wanted`, and afterwards what it was."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if wanted:
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


def _derived_seed(*numbers: int) -> int:
    """A seed for one purpose: other numbers give an unrelated stream, the same ones the same."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
