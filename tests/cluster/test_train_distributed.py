"""Training under Ray Train: two workers equal one, a lost worker is replaced, a failure says why."""

import os
import signal
import threading
import time

import psutil
import pytest
import ray
import torch
from digits_fits import JOB, assert_same_weights, run, trained_here
from marks import CLUSTER

from raymaas.cli.driver import interruptible
from raymaas.data.dataset import Dataset
from raymaas.errors import OutOfBudget, RunFailed
from raymaas.registry.checkpoints import Checkpoints
from raymaas.specs.budget import Budget, Spent
from raymaas.specs.jobs import TrainJob
from raymaas.specs.telling import FirstStepTaken, Started, Told, WorkerSpent
from raymaas.store import LocalStore
from raymaas.train.checkpoint import Checkpoint, EpochReport
from raymaas.train.telling import Allowance

pytestmark = CLUSTER


@pytest.fixture(scope="module")
def first_call(ray_cluster: str, store: LocalStore, dataset: Dataset) -> tuple[Checkpoint, list[EpochReport]]:
    """What `JOB` gave on two workers and what the driver heard; made once, as it takes ten seconds."""
    heard: list[EpochReport] = []
    return run(JOB, store, dataset, run_id="two", on_epoch=heard.append), heard


def with_training(**changes: object) -> TrainJob:
    return JOB.model_copy(update={"training": JOB.training.model_copy(update=changes)})


def test_two_workers_equal_one_and_apply_the_transforms_they_are_given(first_call, dataset):
    together, _ = first_call
    alone = trained_here(JOB, dataset)
    assert_same_weights(together, alone)
    for one, two in zip(alone.history, together.history, strict=True):
        assert two.validation_loss == pytest.approx(one.validation_loss, rel=1e-4)


@pytest.mark.soak  # the placement contract has both, on workers without Ray
@pytest.mark.parametrize("strategy", ["fsdp", "pipeline"])
def test_a_network_that_no_worker_has_whole_is_trained_the_same_and_kept_whole(
    ray_cluster, store, dataset, strategy
):
    short = with_training(epochs=4)
    job = short.model_copy(update={"scaling": short.scaling.model_copy(update={"strategy": strategy})})
    assert_same_weights(run(job, store, dataset, run_id=strategy), trained_here(short, dataset))


def test_the_driver_hears_every_epoch(first_call):
    together, heard = first_call
    assert [report.epoch for report in heard] == list(range(1, 41))
    assert tuple(heard) == together.history


def test_nothing_is_pickled_into_the_store(first_call, store):
    kept = {path.suffix for path in (store.root / "runs/two").rglob("*") if path.is_file()}
    assert kept <= {".safetensors", ".json", ""}
    assert ".safetensors" in kept


@pytest.mark.soak  # tests/journeys/test_resume.py kills a driver, and the second goes on, for every change
def test_a_second_call_for_the_same_run_goes_on_from_its_checkpoint(first_call, store, dataset):
    longer = with_training(epochs=42)
    heard: list[int] = []
    end = run(longer, store, dataset, run_id="two", on_epoch=lambda report: heard.append(report.epoch))
    assert heard == [41, 42]
    assert_same_weights(end, trained_here(longer, dataset))


def test_a_lost_worker_is_replaced_and_the_weights_are_the_same_to_the_bit(first_call, store, dataset):
    uninterrupted, _ = first_call
    killed: list[int] = []
    heard: list[int] = []

    def kill_a_worker(report: EpochReport) -> None:
        heard.append(report.epoch)
        if report.epoch < 6 or killed:
            return
        # Only among our own descendants: other Rays may run on this machine.
        for process in psutil.Process().children(recursive=True):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                process.kill()
                killed.append(process.pid)
                return

    end = run(JOB, store, dataset, run_id="lost", on_epoch=kill_a_worker)
    assert killed
    assert [report.epoch for report in end.history] == list(range(1, 41))
    assert len(heard) - len(set(heard)) <= JOB.training.checkpoint_every
    for name, tensor in uninterrupted.weights.items():
        assert torch.equal(end.weights[name], tensor), name


def test_a_driver_that_is_told_to_stop_leaves_what_it_waits_for(ray_cluster):
    @ray.remote(num_cpus=0)
    def silent() -> None:
        time.sleep(600)

    waiting = silent.remote()
    with interruptible():
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(KeyboardInterrupt):
            ray.get(waiting, timeout=30)
    ray.cancel(waiting, force=True)


def test_a_training_that_diverged_says_so_and_is_not_repeated(ray_cluster, store, dataset):
    diverging = with_training(optimizer="sgd", learning_rate=1e30)
    told: list[Told] = []
    with pytest.raises(RunFailed, match=r"training bad failed: .*lower training\.learning_rate") as caught:
        run(diverging, store, dataset, run_id="bad", on_told=told.append)
    assert caught.value.run == "bad"
    assert sum(isinstance(one, Started) for one in told) == 1


@pytest.mark.soak  # tests/unit/test_train_telling.py: all stop together, and a checkpoint is left
def test_a_spent_budget_stops_all_workers_after_an_epoch_and_keeps_its_checkpoint(
    ray_cluster, store, dataset
):
    told: list[Told] = []
    heard: list[int] = []
    allowance = Allowance(Budget(hours=0.5), Spent(seconds=1799.9), called_at=time.time())
    with pytest.raises(OutOfBudget, match=r"of its budget of 0\.5 hours; what it trained is kept") as caught:
        run(
            JOB,
            store,
            dataset,
            run_id="spent",
            on_epoch=lambda report: heard.append(report.epoch),
            on_told=told.append,
            allowance=allowance,
        )
    assert caught.value.run == "spent"
    assert heard == [1]
    assert [which.epoch for which in Checkpoints(store, "spent").list()] == [1], "although none was due"
    assert sum(isinstance(one, FirstStepTaken) for one in told) == 1
    workers = {one.worker: one.cpu_seconds for one in told if isinstance(one, WorkerSpent)}
    assert len(workers) == 2
    assert min(workers.values()) > 0.1, "each imports torch"
