"""Streamed training: what it reads is exactly the training rows, the same again, in a bounded memory.

Memory is what a process has for itself (RssAnon of its /proc/PID/status): blocks in Ray's object store are shared,
and bounded by Ray Data. A job that streams very little has the same libraries in memory, so the difference of the two
is the data's.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
from large_files import WIDTH, write_elsewhere
from marks import CLUSTER

from raymaas.data.sources.base import DataFiles
from raymaas.jobs.preparing import prepared
from raymaas.specs.jobs import Component, Split, Streaming, Training, TrainJob, Workers
from raymaas.store import LocalStore
from raymaas.train.checkpoint import Checkpoint
from raymaas.train.distributed import train_distributed

pytestmark = CLUSTER

LIMIT_MB = 32.0


def job(folder: Path, *, megabytes: int, epochs: int) -> TrainJob:
    """A job on so many megabytes of rows."""
    write_elsewhere(folder, megabytes=megabytes)
    return TrainJob(
        model="big",
        data=Component(use="parquet", config={"path": str(folder), "name": "big", "label": "label"}),
        split=Split(validation=0.005, test=0.005),
        transforms=(Component(use="standardize"),),
        architecture=Component(use="mlp", config={"hidden": [8]}),
        training=Training(epochs=epochs, batch_size=256, learning_rate=0.01, checkpoint_every=1),
        scaling=Workers(workers=2, cpus_per_worker=1),
        streaming=Streaming(memory_mb=LIMIT_MB),
    )


def trained(job: TrainJob, store: LocalStore, *, run_id: str) -> Checkpoint:
    ready = prepared(job, store, DataFiles())
    assert ready.streamed
    return train_distributed(
        job,
        store_url=store.url,
        dataset_fingerprint=ready.card.fingerprint,
        part_ids=ready.rows.ids,
        transforms=ready.transforms,
        run_id=run_id,
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    return job(tmp_path_factory.mktemp("small"), megabytes=10, epochs=2)


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """The most megabytes that the driver, any worker and any reading process had for itself meanwhile."""
    peaks: dict[str, float] = defaultdict(float)
    done, driver = threading.Event(), psutil.Process()

    def look() -> None:
        while not done.wait(0.05):
            peaks["driver"] = max(peaks["driver"], private_mb(driver.pid))
            for process in driver.children(recursive=True):
                try:
                    title = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                for kind in ("RayTrainWorker", "Read"):
                    if title.startswith(f"ray::{kind}"):
                        peaks[kind] = max(peaks[kind], private_mb(process.pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def private_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon"))


@pytest.fixture(scope="module")
def first(ray_cluster: str, small: TrainJob, store: LocalStore) -> tuple[Checkpoint, dict[str, float]]:
    with watched() as peaks:
        return trained(small, store, run_id="first"), peaks


def test_it_learns_from_every_row_once_an_epoch(first):
    fitted, _ = first
    rows = 4882 - 25 - 25
    assert [epoch.rows for epoch in fitted.history] == [rows, rows]
    assert fitted.history[1].train_loss < fitted.history[0].train_loss


@pytest.mark.soak
def test_it_learns_the_same_again(first, small, store):
    fitted, _ = first
    again = trained(small, store, run_id="again")
    assert [e.train_loss for e in again.history] == [e.train_loss for e in fitted.history]
    for name, tensor in fitted.weights.items():
        assert torch.equal(again.weights[name], tensor)


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_ten_times_the_limit_stays_under_it(first, store, tmp_path):
    _, little = first
    large = job(tmp_path, megabytes=330, epochs=1)
    with watched() as much:
        fitted = trained(large, store, run_id="much")
    assert fitted.history[0].rows * WIDTH * 4 > 10 * LIMIT_MB * 1e6
    assert fitted.history[0].figures["accuracy"] > 0.9
    assert set(much) == set(little) == {"driver", "RayTrainWorker", "Read"}
    for process, peak in much.items():
        assert peak - little[process] < LIMIT_MB, process
