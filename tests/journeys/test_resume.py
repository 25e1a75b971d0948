"""Durable training: `kill -9` of driver or head, and the version that comes out has the weights it would have had.

A killed worker is `tests/cluster`'s affair.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from journey_home import Home, commands, everything_of, wait_until

from raymaas.client import Client
from raymaas.client.client import RunHandle
from raymaas.errors import RaymaasError
from raymaas.registry.layout import epochs_folder
from raymaas.store import open_store
from raymaas.wiring import open_registry

pytestmark = [pytest.mark.journey]

EPOCHS = 60
INTERVAL = 10
KILL_AFTER = 15  # an epoch that is no checkpoint's, long before the end
# So wide, in batches so small, that an epoch takes some tenths of a second: time to hit it.
JOB = [
    "jobs/train_digits.yaml",
    *("--set", "architecture.config.hidden=[256,256]"),
    *("--set", f"training.epochs={EPOCHS}"),
    *("--set", f"training.checkpoint_every={INTERVAL}"),
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
        found = commands(everything_of(self.home.plan(), self.home.table()))
        return [pid for pid, command in found.items() if command.endswith(f"run --run {self.run_id}")]

    def reaches(self, epoch: int) -> None:
        wait_until(lambda: self.epoch() >= epoch, timeout_s=150, what=f"epoch {epoch} of {self.run_id}")

    def kill_driver(self) -> None:
        (pid,) = self.drivers()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in self.drivers(), timeout_s=30, what="the driver is gone")

    def fails(self) -> None:
        wait_until(lambda: self.state() == "failed", timeout_s=150, what=f"{self.run_id} is marked failed")

    def repeated(self) -> int:
        """Epochs that were measured more than once, counted each time."""
        keys = open_store(self.home.plan().storage).list(epochs_folder(self.run_id))
        return sum(not re.search(r"-0*1\.json$", key) for key in keys)

    def weights(self) -> str:
        """The digest of the weights it published, once it has."""
        succeeded = self.handle.wait(timeout_s=240)
        assert succeeded.version is not None
        manifest = open_registry(self.home.plan().storage).versions.get("digits", succeeded.version)
        return manifest.files["model.safetensors"].sha256


@pytest.fixture
def client(home: Home) -> Iterator[Client]:
    with home.client() as client:
        yield client


@pytest.fixture(scope="module")
def uninterrupted(home: Home) -> str:
    """The digest of the weights that `JOB` gives when nobody disturbs it."""
    with home.client() as client:
        return started(home, client).weights()


def started(home: Home, client: Client) -> Training:
    run_id = home.cli("train", *JOB, "--no-wait", RAYMAAS_URL=home.plan().url).stdout.strip()
    return Training(home, client.run(run_id))


def resumed(run: Training, client: Client) -> Training:
    shown = run.home.cli("runs", "resume", run.run_id, "--no-wait", RAYMAAS_URL=run.home.plan().url).stdout
    assert shown.strip() == f"{run.run_id}-r2"
    assert run.state() == "failed", "a final state stays"
    return Training(run.home, client.run(shown.strip()))


def test_a_training_whose_driver_was_killed_is_carried_on_by_itself(
    home: Home, client: Client, uninterrupted: str
) -> None:
    run = started(home, client)
    run.reaches(KILL_AFTER)

    run.kill_driver()

    assert run.weights() == uninterrupted
    assert 0 < run.repeated() <= INTERVAL
    assert len(run.handle.metrics()) == EPOCHS


def test_killed_twice_it_has_failed_and_resuming_it_ends_with_the_same_weights(
    home: Home, client: Client, uninterrupted: str
) -> None:
    run = started(home, client)
    run.reaches(KILL_AFTER)
    run.kill_driver()
    wait_until(lambda: bool(run.drivers()), timeout_s=60, what="a second driver")
    run.reaches(KILL_AFTER + 2 * INTERVAL)
    run.kill_driver()
    run.fails()
    assert f"`raymaas runs resume {run.run_id}`" in run.handle.status().status.error  # type: ignore[union-attr]
    reached = run.epoch()

    again = resumed(run, client)

    assert again.weights() == uninterrupted
    first, *_, last = [metrics.epoch for metrics in again.handle.metrics()]
    assert reached - INTERVAL < first <= reached + 1
    assert last == EPOCHS
    assert run.repeated() <= INTERVAL
    said = home.cli("runs", "resume", run.run_id, check=False, RAYMAAS_URL=home.plan().url)
    assert said.returncode == 1
    assert f"as {again.run_id}, which is succeeded" in said.stderr


@pytest.mark.soak
def test_a_training_whose_head_was_killed_is_resumed(home: Home, client: Client, uninterrupted: str) -> None:
    run = started(home, client)
    run.reaches(KILL_AFTER)

    head = home.table().processes["head"].pid
    os.kill(head, signal.SIGKILL)

    wait_until(lambda: home.table().processes["head"].pid != head, timeout_s=90, what="another head")
    wait_until(lambda: run.state() in ("failed", "succeeded"), timeout_s=240, what="the run has ended")
    # Ray's memory on disk may know the job still: then it was carried on by itself.
    end = resumed(run, client) if run.state() == "failed" else run
    assert end.weights() == uninterrupted
    assert run.repeated() <= INTERVAL


def test_training_goes_on_from_a_chosen_epoch_with_other_settings(
    home: Home, client: Client, uninterrupted: str
) -> None:
    runs = client.runs.list(model="digits", limit=50)
    run = next(r for r in runs if r.status.state == "succeeded" and r.resumes is None)
    branch = client.run(run.run_id).resume(from_epoch=INTERVAL, settings=["training.epochs=12"])
    branch.wait(timeout_s=120)
    assert [metrics.epoch for metrics in branch.metrics()] == [INTERVAL + 1, INTERVAL + 2]
    log = "".join(branch.logs())
    assert f"going on after epoch {INTERVAL} of {run.run_id}" in log
