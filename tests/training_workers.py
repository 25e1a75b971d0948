"""Fits on several real worker processes at once, over gloo, and the same fits in this process alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from raymaas.data.split import Parts
from raymaas.models import catalogue
from raymaas.registry.checkpoints import CheckpointFiles
from raymaas.specs.jobs import Component, Strategy, Training
from raymaas.train.checkpoint import Checkpoint
from raymaas.train.loop import fit
from raymaas.train.world import World


@dataclass(frozen=True)
class Case:
    """One fit."""

    architecture: Component
    training: Training
    parts: Parts
    strategy: Strategy = "ddp"
    resume: CheckpointFiles | None = None

    def run(self, world: World) -> Checkpoint:
        return fit(
            partial(catalogue.build, self.architecture),
            self.training,
            parts=self.parts,
            world=world,
            resume=Checkpoint.from_files(self.resume, source="test") if self.resume else None,
            clock=lambda: 0.0,
        )

    def alone(self) -> Checkpoint:
        return self.run(World.single())


def together(cases: Mapping[str, Case], *, size: int, folder: Path) -> dict[str, list[Checkpoint]]:
    """The last checkpoint of each case on each of `size` workers, by rank."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["raymaas.train.loop", "torch.distributed.fsdp"])
    processes = [context.Process(target=_worker, args=(rank, size, folder, cases)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    return {name: [_read(folder / f"{name} {rank}") for rank in range(size)] for name in cases}


def gloo_world(rank: int, size: int, folder: Path, strategy: Strategy = "ddp") -> World:
    """This process's place among `size`, who meet in `folder`."""
    if not torch.distributed.is_initialized():
        meet = (folder / "meet").as_uri()
        torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=size)

    def all_reduce(tensor: torch.Tensor) -> torch.Tensor:
        summed = tensor.clone()
        torch.distributed.all_reduce(summed)
        return summed

    return World(rank, size, torch.device("cpu"), all_reduce, DistributedDataParallel, strategy)


def _worker(rank: int, size: int, folder: Path, cases: Mapping[str, Case]) -> None:
    torch.set_num_threads(1)
    for name, case in cases.items():
        files = case.run(gloo_world(rank, size, folder, case.strategy)).to_files()
        (folder / f"{name} {rank}").with_suffix(".state").write_bytes(files.state)
        (folder / f"{name} {rank}").with_suffix(".progress").write_bytes(files.progress)
    torch.distributed.destroy_process_group()


def _read(path: Path) -> Checkpoint:
    files = CheckpointFiles(
        state=path.with_suffix(".state").read_bytes(), progress=path.with_suffix(".progress").read_bytes()
    )
    return Checkpoint.from_files(files, source=path.name)
