"""Fits on several real worker processes at once, over gloo, and the same fits in this process alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from raymaas.data.split import Parts
from raymaas.registry.checkpoints import CheckpointFiles
from raymaas.specs.jobs import Component, Strategy, Training
from raymaas.train.checkpoint import Checkpoint
from raymaas.train.loop import fit
from raymaas.train.starting import Start
from raymaas.train.world import World

Result = TypeVar("Result")


@dataclass(frozen=True)
class Case:
    """One fit."""

    architecture: Component
    training: Training
    parts: Parts
    strategy: Strategy = "ddp"
    one_machine: bool = False
    resume: CheckpointFiles | None = None
    origin: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Weights of the version it starts from, if any."""

    def run(self, world: World) -> Checkpoint:
        return fit(
            self.start,
            self.training,
            parts=self.parts,
            world=world,
            resume=Checkpoint.from_files(self.resume, source="test") if self.resume else None,
            clock=lambda: 0.0,
        )

    @property
    def start(self) -> Start:
        return Start(
            self.architecture,
            "number" if np.issubdtype(self.parts.train.y_N.dtype, np.floating) else "classes",
            weights=self.origin,
            origin="origin@1" if self.origin else "",
            frozen=self.training.frozen,
        )

    def alone(self) -> Checkpoint:
        return self.run(World.single())


def together(cases: Mapping[str, Case], *, size: int, folder: Path) -> dict[str, list[Checkpoint]]:
    """The last checkpoint of each case on each of `size` workers, by rank."""
    on_ranks = on_workers(partial(_run_all, cases), size=size, folder=folder)
    return {name: [Checkpoint.from_files(files[name], source=name) for files in on_ranks] for name in cases}


def on_workers(work: Callable[[GlooWorld], Result], *, size: int, folder: Path) -> list[Result]:
    """What `work` returns on each of `size` processes with one thread, by rank, who meet in `folder`.

    Raises EOFError when one of them failed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["raymaas.train.loop"])
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    processes = [
        context.Process(target=_worker, args=(work, rank, size, folder, answer))
        for rank, (_, answer) in enumerate(pipes)
    ]
    for process, (_, answer) in zip(processes, pipes, strict=True):
        process.start()
        answer.close()  # so that a worker that dies is the end of its pipe
    results = [results.recv() for results, _ in pipes]
    for process in processes:
        process.join()
    return results


class GlooWorld(Protocol):
    """The world of this process, for networks that lie on the workers in that way; with shared memory, if wanted."""

    def __call__(self, strategy: Strategy, *, one_machine: bool = False) -> World: ...


def _worker(
    work: Callable[[GlooWorld], Result], rank: int, size: int, folder: Path, answer: Connection
) -> None:
    torch.set_num_threads(1)
    meet = (folder / "meet").as_uri()
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=size)
    answer.send(work(partial(_gloo_world, rank, size)))
    torch.distributed.destroy_process_group()


def _gloo_world(rank: int, size: int, strategy: Strategy, *, one_machine: bool = False) -> World:
    def all_reduce(tensor: torch.Tensor) -> torch.Tensor:
        summed = tensor.clone()
        torch.distributed.all_reduce(summed)
        return summed

    return World(rank, size, torch.device("cpu"), all_reduce, DistributedDataParallel, one_machine, strategy)


def _run_all(cases: Mapping[str, Case], world: GlooWorld) -> dict[str, CheckpointFiles]:
    return {
        name: case.run(world(case.strategy, one_machine=case.one_machine)).to_files()
        for name, case in cases.items()
    }
