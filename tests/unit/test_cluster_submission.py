"""Runs as Ray jobs, against a Jobs API that remembers what it was asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ray.job_submission import JobStatus
from registry_examples import WatchedStore

from raymaas.cluster.submission import RayJobs, second_job
from raymaas.errors import Unavailable
from raymaas.registry.runs import Runs
from raymaas.specs.kinds import parse_job
from raymaas.specs.runs import Failed, Pending, Running, RunSpec, Stopped, Succeeded
from raymaas.store import MemoryStore

START = datetime(2026, 3, 1, tzinfo=UTC)
TRAIN = {"kind": "train", "model": "m", "data": {"use": "digits"}, "architecture": {"use": "mlp"}}
COMPRESS = {"kind": "compress", "model": "m", "recipe": [{"use": "prune", "config": {"sparsity": 0.5}}]}


class RememberingJobs:
    """Ray's Jobs API, as far as it is used."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobStatus] = {}
        self.entrypoints: dict[str, str] = {}
        self.answers = True
        self.of_a_former_head: set[str] = set()

    def submit_job(self, *, entrypoint: str, submission_id: str, metadata: dict[str, str]) -> str:
        if submission_id in self.jobs:
            raise RuntimeError(f"{submission_id} was submitted already")
        self.jobs[submission_id] = JobStatus.RUNNING
        self.entrypoints[submission_id] = entrypoint
        return submission_id

    def stop_job(self, job_id: str) -> bool:
        self.jobs[job_id] = JobStatus.STOPPED
        return True

    def get_job_logs(self, job_id: str) -> str:
        """As Ray does: only now its job agent awakes, and sees which of the jobs it remembers are dead."""
        for dead in self.of_a_former_head:
            self.jobs[dead] = JobStatus.FAILED
        return ""

    def get_job_status(self, job_id: str) -> JobStatus:
        if job_id not in self.jobs:
            raise RuntimeError(f"Request failed with status code 404: Job {job_id} does not exist")
        return self.jobs[job_id]


class Scene:
    """A run of `job`, submitted, with its driver at work."""

    def __init__(self, job: dict[str, object]) -> None:
        self.time = START
        self.api = RememberingJobs()
        self.store = MemoryStore(lambda: self.time)
        self.runs = Runs(self.store)
        self.jobs = RayJobs(self.connect, self.runs, now=lambda: self.time)
        parsed = parse_job(job, source="test")
        self.runs.create(RunSpec(run_id="r1", job=parsed, who="me", created_at=START))
        self.jobs.submit(self.runs.spec("r1"))
        self.work(job_id="r1")

    def connect(self) -> RememberingJobs:
        if not self.api.answers:
            raise ConnectionError("nobody there")
        return self.api

    def work(self, *, job_id: str) -> None:
        self.runs.set_status("r1", Running(at=self.time, step="at work", ray_job_id=job_id))

    def die(self, *, job_id: str) -> None:
        self.api.jobs[job_id] = JobStatus.FAILED


def test_a_run_at_work_is_left_alone() -> None:
    scene = Scene(TRAIN)

    scene.jobs.settle()

    assert isinstance(scene.runs.status("r1"), Running)
    assert scene.api.entrypoints["r1"].startswith("exec ")
    assert scene.api.entrypoints["r1"].endswith("run --run r1")


def test_a_run_that_ended_is_not_read_again() -> None:
    scene = Scene(TRAIN)
    store = WatchedStore(scene.store)
    jobs = RayJobs(scene.connect, Runs(store), now=lambda: scene.time)
    scene.runs.set_status("r1", Stopped(at=scene.time, who="me"))
    jobs.settle()
    assert "read" in store.calls
    store.calls.clear()

    jobs.settle()

    assert store.calls == ["list"]


@pytest.mark.parametrize("job", [TRAIN, COMPRESS], ids=["training", "search"])
def test_a_run_whose_driver_died_is_carried_on_once_and_then_marked_failed(job: dict[str, object]) -> None:
    scene = Scene(job)
    scene.die(job_id="r1")

    scene.jobs.settle()
    scene.jobs.settle()

    assert list(scene.api.jobs) == ["r1", second_job("r1")]
    assert scene.api.entrypoints[second_job("r1")] == scene.api.entrypoints["r1"]
    assert isinstance(scene.runs.status("r1"), Running)

    scene.work(job_id=second_job("r1"))
    scene.die(job_id=second_job("r1"))
    scene.jobs.settle()
    status = scene.runs.status("r1")
    assert isinstance(status, Failed)
    assert "FAILED before the run was over" in status.error
    assert ("`raymaas runs resume r1`" in status.error) == (job is TRAIN)


def test_a_run_whose_head_was_replaced_is_marked_failed() -> None:
    scene = Scene(COMPRESS)
    scene.api.jobs.clear()

    scene.jobs.settle()

    status = scene.runs.status("r1")
    assert isinstance(status, Failed)
    assert "head was replaced" in status.error


def test_a_run_that_a_new_head_only_remembers_as_running_is_carried_on() -> None:
    scene = Scene(TRAIN)
    scene.api.of_a_former_head.add("r1")

    scene.jobs.settle()
    scene.jobs.settle()

    assert scene.api.jobs == {"r1": JobStatus.FAILED, second_job("r1"): JobStatus.RUNNING}


def test_a_driver_that_ended_well_is_not_judged() -> None:
    scene = Scene(COMPRESS)
    scene.runs.set_status("r1", Succeeded(at=START, version=2, seconds=1))
    scene.die(job_id="r1")

    scene.jobs.settle()

    assert list(scene.api.jobs) == ["r1"]


def test_a_young_run_that_ray_does_not_know_yet_is_waited_for() -> None:
    scene = Scene(TRAIN)
    young = RunSpec(run_id="r2", job=parse_job(TRAIN, source="test"), who="me", created_at=scene.time)
    scene.runs.create(young)

    scene.jobs.settle()
    assert isinstance(scene.runs.status("r2"), Pending)

    scene.time += timedelta(minutes=2)
    scene.jobs.settle()
    assert isinstance(scene.runs.status("r2"), Failed)


def test_stopping_reaches_the_job_that_carries_the_run_on() -> None:
    scene = Scene(COMPRESS)
    scene.die(job_id="r1")
    scene.jobs.settle()

    scene.jobs.stop("r1", "somebody")
    scene.jobs.settle()

    assert scene.api.jobs[second_job("r1")] == JobStatus.STOPPED
    status = scene.runs.status("r1")
    assert isinstance(status, Stopped)
    assert status.who == "somebody"


def test_stopping_reaches_a_job_that_somebody_submitted_himself_and_one_that_is_gone_is_no_error() -> None:
    scene = Scene(TRAIN)
    scene.api.jobs = {"raysubmit_x": JobStatus.RUNNING}
    scene.work(job_id="raysubmit_x")

    scene.jobs.stop("r1", "somebody")

    assert scene.api.jobs == {"raysubmit_x": JobStatus.STOPPED}


def test_one_run_that_cannot_be_settled_does_not_keep_the_others_from_it() -> None:
    scene = Scene(COMPRESS)
    scene.die(job_id="r1")
    scene.runs.create(
        RunSpec(
            run_id="r0", job=parse_job(TRAIN, source="test"), who="me", created_at=START - timedelta(hours=1)
        )
    )
    submit = scene.api.submit_job

    def refusing(**job: object) -> str:
        raise RuntimeError("no room")

    scene.api.submit_job = refusing  # type: ignore[method-assign, assignment]
    scene.jobs.settle()

    assert isinstance(scene.runs.status("r0"), Failed)
    assert isinstance(scene.runs.status("r1"), Running)
    scene.api.submit_job = submit  # type: ignore[method-assign]
    scene.jobs.settle()
    assert second_job("r1") in scene.api.jobs


def test_a_job_that_somebody_submitted_himself_is_not_ours_to_judge() -> None:
    scene = Scene(TRAIN)
    scene.work(job_id="raysubmit_x")
    scene.api.jobs.clear()

    scene.jobs.settle()

    assert isinstance(scene.runs.status("r1"), Running)


def test_while_ray_does_not_answer_nothing_is_judged_and_submitting_says_so() -> None:
    scene = Scene(TRAIN)
    scene.die(job_id="r1")
    scene.api.answers = False

    scene.jobs.settle()
    assert isinstance(scene.runs.status("r1"), Running)
    with pytest.raises(Unavailable, match="does not answer"):
        scene.jobs.submit(scene.runs.spec("r1"))

    scene.api.answers = True
    scene.jobs.settle()
    assert second_job("r1") in scene.api.jobs
