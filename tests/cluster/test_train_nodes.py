"""Training over two simulated nodes: it equals one worker's, and goes on with one when the other is lost."""

import tempfile
from collections.abc import Iterator

import pytest
import ray
from digits_fits import JOB, assert_same_weights, run, trained_here
from marks import CLUSTER
from ray.cluster_utils import Cluster

from raymaas.specs.jobs import TrainJob, Workers
from raymaas.train.checkpoint import EpochReport
from raymaas.train.telling import Started, Told, WorkerSpent

# tests/contracts/test_placement_contract.py has the equality, of workers in processes of one machine.
pytestmark = [*CLUSTER, pytest.mark.soak]


def on(**workers: int) -> TrainJob:
    """The job on workers that need a whole CPU each, so that no node has room for two."""
    training = JOB.training.model_copy(update={"epochs": 16})
    return JOB.model_copy(update={"training": training, "scaling": Workers(cpus_per_worker=1, **workers)})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of one CPU."""
    with pytest.MonkeyPatch.context() as environment, tempfile.TemporaryDirectory(prefix="rt") as folder:
        environment.delenv("RAY_AUTH_MODE", raising=False)
        # Ray Train's controller looks every 2 s by default.
        environment.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        # For as long it waits for a node that is gone, a minute by default.
        environment.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "10")
        nodes = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "include_dashboard": False, "temp_dir": folder},
        )
        nodes.add_node(num_cpus=1)
        ray.init(address=nodes.address, log_to_driver=False)
        try:
            yield nodes
        finally:
            ray.shutdown()
            nodes.shutdown()


def test_two_nodes_equal_one_worker(cluster, store, dataset):
    job = on(workers=2)
    assert_same_weights(run(job, store, dataset, run_id="nodes"), trained_here(job, dataset))


def test_elastic_workers_are_as_many_as_there_is_room_for_and_go_on_when_a_node_is_lost(
    cluster, store, dataset
):
    job = on(workers=3, min_workers=1)
    workers: list[set[str]] = []
    heard: list[int] = []

    def count(told: Told) -> None:
        if isinstance(told, Started):
            workers.append(set())
        elif isinstance(told, WorkerSpent) and workers:
            workers[-1].add(told.worker)

    def lose_a_node(report: EpochReport) -> None:
        heard.append(report.epoch)
        if report.epoch == 5 and len(workers) == 1:
            (other,) = cluster.worker_nodes
            cluster.remove_node(other, allow_graceful=False)

    end = run(job, store, dataset, run_id="elastic", on_epoch=lose_a_node, on_told=count)
    assert [len(each) for each in workers] == [2, 1]
    assert len(heard) - len(set(heard)) <= job.training.checkpoint_every
    assert_same_weights(end, trained_here(job, dataset))
