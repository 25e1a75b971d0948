"""Durable training: `kill -9` of driver or head, and the version that comes out has the weights it would have had.

A killed worker is `tests/cluster`'s affair.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from durable_training import Training, job, kill_head, started, weights_of
from journey_home import ROOT, Home, wait_until

from raymaas.client import Client

pytestmark = [pytest.mark.journey]

EPOCHS = 60
INTERVAL = 10
KILL_AFTER = 15  # an epoch that is no checkpoint's, long before the end
# Of one worker, so that a process without Ray gives the same bits.
JOB = [*job(epochs=EPOCHS, interval=INTERVAL), "--set", "scaling.workers=1"]


@pytest.fixture
def client(home: Home) -> Iterator[Client]:
    with home.client() as client:
        yield client


@pytest.fixture(scope="module")
def uninterrupted(home: Home) -> str:
    """The digest of the weights that `JOB` gives when nobody disturbs it."""
    file, *settings = (word for word in JOB if word != "--set")
    return weights_of(home, home.train_here(ROOT / file, *settings))


def resumed(run: Training, client: Client) -> Training:
    shown = run.home.cli("runs", "resume", run.run_id, "--no-wait", RAYMAAS_URL=run.home.plan().url).stdout
    assert shown.strip() == f"{run.run_id}-r2"
    assert run.state() == "failed", "a final state stays"
    return Training(run.home, client.run(shown.strip()))


def test_a_training_whose_driver_was_killed_is_carried_on_by_itself(
    home: Home, client: Client, uninterrupted: str
) -> None:
    run = started(home, client, JOB)
    run.reaches(KILL_AFTER)

    run.kill_driver()

    assert run.weights() == uninterrupted
    assert 0 < run.repeated() <= INTERVAL
    assert len(run.handle.metrics()) == EPOCHS


@pytest.mark.soak  # the cluster tests go on from a checkpoint as well, to the bit
def test_killed_twice_it_has_failed_and_resuming_it_ends_with_the_same_weights(
    home: Home, client: Client, uninterrupted: str
) -> None:
    run = started(home, client, JOB)
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
    run = started(home, client, JOB)
    run.reaches(KILL_AFTER)

    kill_head(home)

    wait_until(lambda: run.state() in ("failed", "succeeded"), timeout_s=240, what="the run has ended")
    # Ray's memory on disk may know the job still: then it was carried on by itself.
    end = resumed(run, client) if run.state() == "failed" else run
    assert end.weights() == uninterrupted
    assert run.repeated() <= INTERVAL


@pytest.mark.soak  # tests/contracts/test_client_contract.py branches off, and unit tests go on after any epoch
def test_training_goes_on_from_a_chosen_epoch_with_other_settings(home: Home, client: Client) -> None:
    run = started(home, client, JOB).handle
    run.wait(timeout_s=240)
    branch = client.run(run.run_id).resume(
        from_epoch=INTERVAL, settings=["training.epochs=12", "scaling.workers=2"]
    )
    branch.wait(timeout_s=120)
    assert [metrics.epoch for metrics in branch.metrics()] == [INTERVAL + 1, INTERVAL + 2]
    log = "".join(branch.logs())
    assert f"going on after epoch {INTERVAL} of {run.run_id}" in log
