"""What a worker tells between the epochs, and when a budget stops the fit."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.models import catalogue
from raymaas.specs.budget import Budget, Spent
from raymaas.specs.jobs import Component, Training
from raymaas.specs.telling import (
    BudgetSpent,
    FirstStepTaken,
    Started,
    StepsTaken,
    Told,
    WorkerSpent,
    told_of,
)
from raymaas.train.checkpoint import Checkpoint, EpochReport
from raymaas.train.loop import fit
from raymaas.train.telling import Allowance, WorkerWatch
from raymaas.train.watch import Watch
from raymaas.train.world import World

SMALL = Component(use="mlp", config={"in_features": 4, "classes": 2, "hidden": [4]})


def world(rank: int = 0, *, others: list[tuple[float, ...]] | None = None) -> World:
    """A world of two, in which the other worker always contributes `others` to a sum."""
    given = iter(others or [])
    return World(
        rank=rank,
        size=2,
        device=torch.device("cpu"),
        all_reduce=lambda mine: mine + torch.tensor(next(given), dtype=mine.dtype),
        wrap=lambda module: module,
    )


@dataclass
class Clock:
    """Goes on when told to."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scene:
    rank: int = 0
    clock: Clock = field(default_factory=Clock)
    told: list[Told] = field(default_factory=list)

    def watch(self, **options: object) -> WorkerWatch:
        return WorkerWatch(
            self.told.append, world(self.rank), clock=self.clock, cpu_clock=lambda: 7.0, **options
        )

    def of(self, kind: type) -> list[Told]:
        return [told for told in self.told if isinstance(told, kind)]


def begun(scene: Scene) -> WorkerWatch:
    """Reading took 3 s, building 2."""
    watch = scene.watch()
    scene.clock.now += 3
    watch.rows_read()
    scene.clock.now += 2
    watch.built(epochs=5, rows=1000)
    return watch


def test_the_first_step_is_told_with_what_went_before_it():
    scene = Scene()
    watch = begun(scene)
    assert scene.told == [Started()]
    scene.clock.now += 0.5
    watch.stepped(1, 10)
    assert scene.of(FirstStepTaken) == [FirstStepTaken(reading_s=3, building_s=2, step_s=0.5)]
    assert scene.of(StepsTaken) == [StepsTaken(epoch=1, epochs=5, share=0.01, samples_per_s=None)]


def test_progress_is_told_at_most_every_two_seconds_with_the_speed_since():
    scene = Scene()
    watch = begun(scene)
    for step in range(1, 46):
        watch.stepped(1, 10 * step)
        scene.clock.now += 0.125
    _, *later = scene.of(StepsTaken)
    assert [told.share for told in later] == [0.17, 0.33]
    assert [told.samples_per_s for told in later] == [80, 80]
    assert len(scene.of(FirstStepTaken)) == 1


def test_a_new_epoch_has_no_speed_before_a_second_look_at_it():
    scene = Scene()
    watch = begun(scene)
    watch.stepped(1, 900)
    scene.clock.now += 2
    watch.stepped(2, 100)
    scene.clock.now += 2
    watch.stepped(2, 500)
    assert [told.samples_per_s for told in scene.of(StepsTaken)] == [None, None, 200]


def test_other_workers_tell_of_their_processor_time_alone():
    scene = Scene(rank=1)
    begun(scene).stepped(1, 10)
    assert {type(told) for told in scene.told} == {WorkerSpent}
    assert scene.told[0].cpu_seconds == 7.0


def test_what_was_told_survives_the_way_as_plain_values():
    scene = Scene()
    begun(scene).stepped(1, 10)
    assert [told_of(told.model_dump()) for told in scene.told] == scene.told


@pytest.mark.parametrize(
    ("budget", "stops"),
    [
        (Budget(hours=2), False),
        (Budget(hours=0.6), True),
        (Budget(cpu_hours=0.005), True),
        (Budget(cpu_hours=0.006), False),
        (Budget(gpu_hours=0.5), True),
        (Budget(hours=2, gpu_hours=0.5), True),
    ],
)
@pytest.mark.parametrize("rank", [0, 1])
def test_all_workers_stop_together_when_the_budget_is_spent(budget: Budget, stops: bool, rank: int):
    told: list[Told] = []
    half_an_hour, mine, other = 1800.0, 7.0, 3.0
    # Of the hour allowed, half passed before the fit was called for, and half since, by the clock of rank 0.
    watch = WorkerWatch(
        told.append,
        world(rank, others=[(0.0, other) if rank == 0 else (half_an_hour, other)]),
        allowance=Allowance(
            budget, Spent(seconds=half_an_hour, cpu_seconds=10), called_at=100 - half_an_hour, gpus=2
        ),
        clock=Clock(100.0),
        cpu_clock=lambda: mine,
    )
    assert watch.enough() is stops
    assert len([one for one in told if isinstance(one, BudgetSpent)]) == (stops and rank == 0)


def test_a_job_without_a_budget_asks_nothing_of_the_others():
    assert Scene().watch().enough() is False  # their sum is empty, so asking for it would fail


class StopsAfter(Watch):
    def __init__(self, epochs: int) -> None:
        self.left = epochs
        self.steps: list[tuple[int, int]] = []
        self.ahead: tuple[int, int] | None = None

    def built(self, *, epochs: int, rows: int) -> None:
        self.ahead = (epochs, rows)

    def stepped(self, epoch: int, rows: int) -> None:
        self.steps.append((epoch, rows))

    def enough(self) -> bool:
        self.left -= 1
        return self.left == 0


def some_rows(count: int) -> Rows:
    chance = np.random.default_rng(0)
    return Rows(
        x_ND=chance.normal(size=(count, 4)).astype(np.float32),
        y_N=chance.integers(0, 2, count),
        id_N=np.arange(count),
    )


def test_the_loop_tells_every_step_and_ends_with_a_checkpoint_when_it_was_enough():
    parts = Parts(train=some_rows(10), validation=some_rows(4), test=some_rows(1), fingerprint="")
    watch, kept = StopsAfter(2), []

    def on_epoch(report: EpochReport, checkpoint: Checkpoint | None) -> None:
        kept.append((report.epoch, checkpoint is not None))

    end = fit(
        lambda: catalogue.build(SMALL),
        Training(epochs=9, batch_size=4, checkpoint_every=5),
        parts=parts,
        world=World.single(),
        on_epoch=on_epoch,
        watch=watch,
    )
    assert watch.ahead == (9, 10)
    assert watch.steps == [(1, 4), (1, 8), (1, 10), (2, 4), (2, 8), (2, 10)]
    assert kept == [(1, False), (2, True)]
    assert len(end.history) == 2


def test_a_fit_that_is_over_anyway_is_not_stopped():
    parts = Parts(train=some_rows(10), validation=some_rows(4), test=some_rows(1), fingerprint="")
    watch = StopsAfter(1)
    fit(lambda: catalogue.build(SMALL), Training(epochs=1), parts=parts, world=World.single(), watch=watch)
    assert watch.left == 1
