"""Code of one's own over HTTP: whatever command or client submits a job that trains it, the code arrives with it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from control_server import Switch, Type, World
from own_network import JOB, write_package

from raymaas.client import AsyncClient, Client
from raymaas.client.code import pack
from raymaas.registry.code import read_code
from raymaas.specs.evaluating import ByFolds, EvaluateJob
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import Job
from raymaas.specs.sweeping import SweepJob

SWEEP = {"kind": "sweep", "job": JOB, "fields": {"training.epochs": {"choice": [1, 2]}}}
FOLDS = {"kind": "evaluate", "model": "mine", "how": {"by": "folds", "job": JOB}}


@pytest.fixture
def package(world: World, tmp_path: Path) -> Path:
    """The folder of the package, with a job file beside it."""
    world.outcome = "never ends"
    (write_package(tmp_path) / "job.yaml").write_text(json.dumps(JOB))
    return tmp_path


def assert_brought(world: World, package: Path) -> None:
    """The newest run names the code of the package, which the store has."""
    job = world.runs.spec(world.runs.list()[0].run_id).job
    assert read_code(world.store, digest_in(job)) == pack("tiny_nets.net:Net", package)


def digest_in(job: Job) -> str:
    match job:
        case TrainJob(code=str(digest)) | EvaluateJob(how=ByFolds(job=TrainJob(code=str(digest)))):
            return digest
        case SweepJob():
            return str(job.job["code"])
    raise AssertionError(f"{job.kind} names no code")


@pytest.mark.parametrize(
    "command",
    [
        ["train", "JOB"],
        ["evaluate", "JOB", "--folds", "3"],
        ["sweep", "JOB", "--search", "training.epochs=choice:1,2"],
    ],
    ids=lambda command: command[0],
)
def test_the_commands_take_the_code_beside_the_job_file(
    world: World, raymaas: Type, package: Path, command: list[str]
) -> None:
    typed = [str(package / "job.yaml") if word == "JOB" else word for word in command]
    status, _, err = raymaas(*typed, "--no-wait")
    assert status == 0, err
    assert_brought(world, package)


def test_both_clients_take_the_code_below_a_folder(
    world: World, server: tuple[str, Switch], package: Path
) -> None:
    with Client(server[0]) as client:
        for submit, job in ((client.train, JOB), (client.evaluate, FOLDS), (client.sweep, SWEEP)):
            submit(job, folder=package)
            assert_brought(world, package)

    async def again() -> None:
        async with AsyncClient(server[0]) as client:
            for submit, job in ((client.train, JOB), (client.evaluate, FOLDS), (client.sweep, SWEEP)):
                await submit(job, folder=package)
                assert_brought(world, package)

    asyncio.run(again())
