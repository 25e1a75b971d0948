"""A training under way on a cluster of its own, how to hit it, and what came of it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import PurePath

from journey_home import Home, commands, everything_of, wait_until

from raymaas.client import Client
from raymaas.client.client import RunHandle
from raymaas.errors import RaymaasError
from raymaas.registry.layout import epochs_folder
from raymaas.store import open_store
from raymaas.wiring import open_registry


def job(*, epochs: int, interval: int) -> list[str]:
    """So wide, in batches so small, that an epoch takes some tenths of a second: time to hit it."""
    return [
        "jobs/train_digits.yaml",
        *("--set", "architecture.config.hidden=[256,256]"),
        *("--set", f"training.epochs={epochs}"),
        *("--set", f"training.checkpoint_every={interval}"),
        *("--set", "training.early_stopping=null"),
        *("--set", "training.batch_size=16"),
    ]


@dataclass(frozen=True)
class Training:
    """A run under way, and how to hit it."""

    home: Home
    handle: RunHandle

    @property
    def run_id(self) -> str:
        return self.handle.run_id

    def state(self) -> str:
        try:
            return self.handle.status().status.state
        except RaymaasError:  # the controller comes back with its head
            return "unknown"

    def epoch(self) -> int:
        """The last one that was told of."""
        try:
            return max((metrics.epoch for metrics in self.handle.metrics()), default=0)
        except RaymaasError:
            return 0

    def drivers(self) -> list[int]:
        return [pid for pid, said in _running(self.home).items() if said.endswith(f"run --run {self.run_id}")]

    def reaches(self, epoch: int) -> None:
        wait_until(lambda: self.epoch() >= epoch, timeout_s=150, what=f"epoch {epoch} of {self.run_id}")

    def kill_driver(self) -> None:
        (pid,) = self.drivers()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in self.drivers(), timeout_s=30, what="the driver is gone")

    def fails(self) -> None:
        wait_until(lambda: self.state() == "failed", timeout_s=150, what=f"{self.run_id} is marked failed")

    def told(self) -> list[tuple[int, int]]:
        """Each epoch that was measured, with the attempt at it."""
        keys = open_store(self.home.plan().storage).list(epochs_folder(self.run_id))
        return [(int(epoch), int(attempt)) for epoch, attempt in (PurePath(k).stem.split("-") for k in keys)]

    def repeated(self) -> int:
        """Epochs that were measured more than once, counted each time."""
        return sum(attempt > 1 for _, attempt in self.told())

    def weights(self, *, timeout_s: float = 240) -> str:
        """The digest of the weights it published, once it has."""
        succeeded = self.handle.wait(timeout_s=timeout_s)
        assert succeeded.version is not None
        return weights_of(self.home, succeeded.version)


def started(home: Home, client: Client, arguments: list[str]) -> Training:
    """A training by `job`."""
    run_id = home.cli("train", *arguments, "--no-wait", RAYMAAS_URL=home.plan().url).stdout.strip()
    return Training(home, client.run(run_id))


def weights_of(home: Home, version: int) -> str:
    """The digest of the weights of that version of `digits`."""
    return (
        open_registry(home.plan().storage).versions.get("digits", version).files["model.safetensors"].sha256
    )


def training_workers(home: Home) -> list[int]:
    """Of all trainings on the cluster."""
    return [pid for pid, said in _running(home).items() if "RayTrainWorker" in said]


def kill_head(home: Home) -> None:
    """Returns when there is another."""
    head = home.table().processes["head"].pid
    os.kill(head, signal.SIGKILL)
    wait_until(lambda: home.table().processes["head"].pid != head, timeout_s=90, what="another head")


def _running(home: Home) -> dict[int, str]:
    return commands(everything_of(home.plan(), home.table()))
