"""The training loop: plain PyTorch over batches of rows, the same on one worker or many. It knows no Ray.

The batch is global. In every epoch all workers go through one order of the rows; each batch of
`training.batch_size` rows is cut into one shard per worker; a worker's loss is sum(its losses) * workers / rows in
the whole batch.
Data-parallel training averages gradients over the workers, so what is applied is exactly the mean over the
batch, also for a short last batch and for a worker whose shard of it is empty. Hence the number of workers
changes the speed and the rounding, not the result; dropout masks differ, but not in deterministic mode. The
same holds for the pieces that `accumulate` cuts a batch in, and for how the network lies on the workers, which is
the affair of `train.placement`. (Goyal et al., Accurate, Large Minibatch SGD, 2017, section 3.)

All randomness of an epoch is a function of (seed, epoch, rank), so that a resumed fit draws what it would
have drawn. Rows come from a `Feed`; what is said above of the number of workers holds for rows in memory. What
`training.augment` makes of them takes their place, also as what a network that needs no labels learns to make again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from raymaas.data.split import Parts
from raymaas.errors import RunFailed
from raymaas.models.chance import Chances
from raymaas.models.networks import Network
from raymaas.specs.jobs import Training
from raymaas.train.augment import Augmenter
from raymaas.train.checkpoint import Checkpoint, EpochReport, Progress
from raymaas.train.feed import Batch, Deal, Feed, Held
from raymaas.train.objectives import Objective, make_objective
from raymaas.train.optimizers import make_optimizer, set_rate
from raymaas.train.penalties import Penalty
from raymaas.train.placement.base import Compute, Piece, Placed
from raymaas.train.placement.choice import place
from raymaas.train.schedules import Course, learning_rate
from raymaas.train.watch import Watch
from raymaas.train.world import World

OnEpoch = Callable[[EpochReport, Checkpoint | None], None]

_VALIDATION_ROWS = 4096  # of a worker per forward pass without gradients: bounds memory, changes no result


class Diverged(RunFailed):
    """The loss is no longer a number. To train on, or once more, with the same settings does not help."""


def fit(
    network: Callable[[], Network],
    training: Training,
    *,
    parts: Parts,
    world: World,
    resume: Checkpoint | None = None,
    on_epoch: OnEpoch = lambda report, checkpoint: None,
    watch: Watch = Watch(),  # noqa: B008 - it has no state
    feed: Feed | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Checkpoint:
    """Train what `network` makes on `parts.train`, from `resume` when given. `parts.test` is not looked at.

    A `feed` brings the training rows in place of `parts.train`, of which only the labels are then looked at.
    The checkpoint returned holds the history and the weights `training.keep` names. After every epoch
    `on_epoch` is called on every worker with the same figures, and every `checkpoint_every` epochs and at the
    end with a checkpoint; it ends early when `watch` has seen enough. Where no worker holds the whole network, the
    checkpoints of rank 0 have the weights and those of the others only the figures. torch's global generators and
    its deterministic mode are left as they were found.
    Raises Diverged, on every worker alike, when the loss is no longer a number, and InvalidInput for a loss that is
    not for such a network, class weights that do not fit the classes, or a network that cannot lie on workers that way.
    """
    with (
        torch.random.fork_rng(devices=[world.device] if world.device.type == "cuda" else []),
        _deterministic(training.deterministic),
    ):
        torch.manual_seed(_derived_seed(training.seed))
        plain = network()
        chances = Chances(plain)
        train, validation = feed or Held(parts.train, world.device), Held(parts.validation, world.device)
        y_N = torch.tensor(parts.train.y_N, device=world.device)
        objective = make_objective(plain, training, x_ND=validation.x_ND, y_N=y_N)
        placed = place(plain, world)
        optimizer = make_optimizer(placed.network, training)
        state = _beginning(placed, optimizer, resume)
        course = Course.of(training, rows=len(parts.train))
        descent = _Descent(
            placed=placed,
            rank=world.rank,
            optimizer=optimizer,
            objective=objective,
            chances=chances if chances and training.deterministic else None,
            augmenter=Augmenter(training.augment) if training.augment else None,
            penalty=Penalty.of(training, placed.network),
            training=training,
            course=course,
            watch=watch,
        )
        watch.built(epochs=course.epochs, rows=len(parts.train))
        done = finished(state.progress, training, epochs=course.epochs)
        while not done:
            epoch, started_s = len(state.history) + 1, clock()
            train_loss, rows = descent.epoch(train, epoch)
            validation_loss, figures = descent.validate(validation)
            if not math.isfinite(train_loss + validation_loss):
                raise Diverged(
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
            state = state.after(report, weights=placed.weights(), min_delta=_least_improvement(training))
            done = finished(state.progress, training, epochs=course.epochs) or watch.enough()
            due = done or epoch % training.checkpoint_every == 0
            if due:
                state = replace(state, optimizer=placed.optimizer_state(optimizer))
            on_epoch(report, state if due else None)
    return state


def finished(progress: Progress, training: Training, *, epochs: int) -> bool:
    """Whether to stop: as many `epochs` as wanted, or `patience` of them without a better validation loss."""
    done = len(progress.history)
    stopping = training.early_stopping
    return done >= epochs or (stopping is not None and done - progress.best_epoch >= stopping.patience)


def _beginning(placed: Placed, optimizer: torch.optim.Optimizer, resume: Checkpoint | None) -> Checkpoint:
    """Where the fit is, with the network and the optimizer put there."""
    if resume is None:
        return Checkpoint.start(placed.weights())
    placed.restore(resume.weights, optimizer, resume.optimizer)
    return resume if placed.keeps else replace(resume, weights={}, best_weights={}, optimizer={})


@dataclass(frozen=True, eq=False)
class _Descent:
    """The way down: all a step needs besides its rows. It is the `Work` that is done with each piece."""

    placed: Placed
    rank: int
    optimizer: torch.optim.Optimizer
    objective: Objective
    chances: Chances | None
    """What the network draws from, when it draws and must not notice how many workers there are."""
    augmenter: Augmenter | None
    penalty: Penalty
    training: Training
    course: Course
    watch: Watch

    @property
    def world(self) -> World:
        return self.placed.world

    def epoch(self, feed: Feed, epoch: int) -> tuple[float, int]:
        """The steps of one epoch; the mean loss of its rows, and how many. Every worker takes equally many steps."""
        training, world = self.training, self.world
        torch.manual_seed(_derived_seed(training.seed, epoch, 1 + self.rank))
        self.placed.network.train()
        lbfgs = training.optimizer == "lbfgs"
        batches = feed.batches(
            Deal(
                batch_rows=None if lbfgs else training.batch_size,
                pieces=max(training.accumulate, self.placed.pieces),
                world=world,
            ),
            seed=_derived_seed(training.seed, epoch),
        )
        loss_sum = torch.zeros((), dtype=torch.float64, device=world.device)
        rows_seen = 0
        for step, batch in zip(self.course.steps_of(epoch), batches, strict=False):
            pieces = self._pieces(batch, step)
            if lbfgs:
                loss_sum += self._lbfgs_step(pieces, seed=_derived_seed(training.seed, epoch, 1 + self.rank))
            else:
                set_rate(self.optimizer, learning_rate(training, self.course, step=step))
                loss_sum += self._gradient(pieces)
                self.optimizer.step()
            rows_seen += batch.rows
            self.watch.stepped(epoch, rows_seen)
        return float(world.all_reduce(loss_sum)) / rows_seen, rows_seen

    @torch.no_grad()
    def validate(self, rows: Held) -> tuple[float, dict[str, float]]:
        """Mean loss and figures over the validation rows, each worker taking its shard of them."""
        self.placed.network.eval()
        world, total = self.world, len(rows.y_N)
        # What a network draws here is the same after every epoch, so that epochs can be compared.
        torch.manual_seed(_derived_seed(self.training.seed, 0, 1 + self.rank))
        sums: dict[str, torch.Tensor] = {}
        for start in range(0, total, _VALIDATION_ROWS * world.size):
            part = range(total)[start : start + _VALIDATION_ROWS * world.size]
            shard = world.shard(len(part))
            mine = slice(start + shard.start, start + shard.stop)
            piece = Piece(rows.x_ND[mine], rows.y_N[mine], mine=mine, rows=total)
            given = self.placed.given(piece, self)
            for name, term in {
                "": self.loss(given, piece),
                **self.objective.figures(given, piece.y_B),
            }.items():
                sums[name] = sums.get(name, 0) + term.double()
        loss, *means = (world.all_reduce(torch.stack(list(sums.values()))) / total).tolist()
        return loss, dict(zip(list(sums)[1:], means, strict=True))

    def given(self, compute: Compute, x_BD: torch.Tensor, piece: Piece) -> torch.Tensor:
        """What `compute` gives in training, float32, computed as precisely as `training` says."""
        if self.chances:
            turn = 0 if piece.step is None else 1 + piece.step
            self.chances.steer(
                self.training.seed, 0, turn, rows=piece.rows, mine=piece.mine, device=self.world.device
            )
        training = self.training
        automatic = training.precision == "auto" and training.optimizer != "lbfgs"
        if not (training.precision == "bf16" or (automatic and x_BD.device.type == "cuda")):
            return compute(x_BD)
        with torch.autocast(x_BD.device.type, dtype=torch.bfloat16):
            given_B = compute(x_BD)
        return given_B.float()

    def loss(self, given_B: torch.Tensor, piece: Piece) -> torch.Tensor:
        return self.objective.loss(given_B, piece.y_B)

    def _pieces(self, batch: Batch, step: int) -> list[Piece]:
        """This worker's shard of each piece of the batch, maybe empty."""
        scale = torch.tensor(self.world.size / batch.rows, device=self.world.device)
        return [
            Piece(
                self._augmented(x_BD, mine=mine, rows=batch.rows, step=step),
                y_B,
                mine=mine,
                rows=batch.rows,
                scale=scale,
                step=step,
            )
            for mine, x_BD, y_B in batch.shards
        ]

    def _augmented(self, x_BD: torch.Tensor, *, mine: slice, rows: int, step: int) -> torch.Tensor:
        if self.augmenter is None:
            return x_BD
        # As many numbers as no other seed has: zeros at its end would not tell it from a shorter one.
        seed = _derived_seed(self.training.seed, 0, 0, 0, 1 + step)
        return self.augmenter(x_BD, seed=seed, rows=rows, mine=mine)

    def _gradient(self, pieces: list[Piece]) -> torch.Tensor:
        """Leave the gradient of the batch's objective in the parameters; the sum of this worker's losses."""
        self.optimizer.zero_grad()
        loss_sum = self.placed.gradient(pieces, self)
        self.penalty.add_gradient()
        if self.training.clip_norm is not None:
            self.placed.clip(self.training.clip_norm)
        return loss_sum

    def _lbfgs_step(self, pieces: list[Piece], *, seed: int) -> torch.Tensor:
        """One step of up to twenty iterations on all rows; the sum of this worker's losses before it."""
        before: list[torch.Tensor] = []

        def objective() -> float:
            torch.manual_seed(seed)  # the same dropout at each point of the line search
            loss_sum = self._gradient(pieces).double()
            before.append(loss_sum)
            # Rounded as what scales the gradient is: the line search notices the difference.
            scale = torch.tensor(1 / pieces[0].rows).double()
            return (
                float(self.world.all_reduce(loss_sum.clone()) * scale.to(loss_sum.device))
                + self.penalty.value()
            )

        self.optimizer.step(objective)
        return before[0]


def _least_improvement(training: Training) -> float:
    """What the validation loss must fall by for an epoch to be the best: for `keep: last`, any epoch is."""
    if training.keep == "last":
        return -math.inf
    return training.early_stopping.min_delta if training.early_stopping else 0.0


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
