"""Runs as Ray jobs: submitted, stopped, and settled when Ray says that one ended without a word of its own."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from ray.job_submission import JobStatus

from raymaas.errors import NotFound, RaymaasError, Unavailable
from raymaas.registry.runs import Runs
from raymaas.specs.runs import FINAL_STATES, Failed, Run, Running, RunSpec, Stopped

log = logging.getLogger("raymaas.submission")


_SUBMISSION_TAKES_S = 60.0


# Their trials, folds or checkpoints are in the store, so a second driver goes on where the first one died.
_CARRIED_ON = ("compress", "evaluate", "sweep", "train")


class JobsApi(Protocol):
    """The part of Ray's JobSubmissionClient that is used here."""

    def submit_job(self, *, entrypoint: str, submission_id: str, metadata: dict[str, str]) -> str: ...

    def stop_job(self, job_id: str) -> bool: ...

    def get_job_status(self, job_id: str) -> JobStatus: ...

    def get_job_logs(self, job_id: str) -> str: ...


class RayJobs:
    """Submits runs through Ray's Jobs API. A driver finds the store through the cluster card.

    `connect()` gives the API, or raises ConnectionError or RuntimeError.
    """

    def __init__(self, connect: Callable[[], JobsApi], runs: Runs, *, now: Callable[[], datetime]) -> None:
        self._connect = connect
        self._runs = runs
        self._now = now
        self._watched: set[str] = set()
        self._ended: set[str] = set()

    def submit(self, spec: RunSpec) -> None:
        """Start `raymaas run --run ID` as the Ray job of the same id. Raises Unavailable when Ray does not take it."""
        self._submit(spec, job_id=spec.run_id)

    def stop(self, run_id: str, who: str) -> None:
        """Stop the run's Ray job and record who did; a run that is over stays as it is."""
        status = self._runs.status(run_id)
        if isinstance(status, FINAL_STATES):
            return
        self._runs.set_status(run_id, Stopped(at=self._now(), who=who))
        # What the driver said it is; before it has, or before the second one has, what was submitted.
        known = status.ray_job_id if isinstance(status, Running) else None
        for job_id in {known or run_id, second_job(run_id)}:
            if self._status(job_id) is not None:
                self._api().stop_job(job_id)

    def settle(self) -> None:
        """Look after each run whose Ray job ended, or vanished with its head, without recording how.

        A training or a search is carried on by a second Ray job, once; any other run is marked as failed.
        """
        newest = self._runs.newest_ids(limit=50)
        self._ended &= set(newest)
        for run_id in newest:
            if run_id in self._ended:
                continue
            try:
                run = self._runs.get(run_id)
                if isinstance(run.status, FINAL_STATES):
                    self._ended.add(run_id)
                elif self._is_ours(run):
                    self._settle(run)
            except NotFound:
                continue  # Its creation was cut off, or is under way.
            except RaymaasError as error:
                # One that cannot be settled now must not keep the others from it.
                log.info("%s: %s", run_id, error)

    def _settle(self, run: Run) -> None:
        second = self._status(second_job(run.run_id))
        status = second or self._status(run.run_id)
        if status is not None and not status.is_terminal():
            self._have_watched(second_job(run.run_id) if second else run.run_id)
            return
        # Read again: the driver may have written its last word while we asked.
        if isinstance(self._runs.status(run.run_id), FINAL_STATES):
            return
        if run.kind in _CARRIED_ON and status is not None and second is None:
            log.warning("the driver of %s died; carrying it on", run.run_id)
            self._submit(self._runs.spec(run.run_id), job_id=second_job(run.run_id))
            return
        how = "is unknown to Ray (its head was replaced)" if status is None else f"ended as {status.value}"
        error = f"its Ray job {how} before the run was over"
        if run.kind == "train":
            error += f"; `raymaas runs resume {run.run_id}` goes on from its newest checkpoint"
        self._runs.set_status(run.run_id, Failed(at=self._now(), error=error))

    def _is_ours(self, run: Run) -> bool:
        """Whether the run was submitted here, not by somebody's own `ray job submit`."""
        if isinstance(run.status, Running):
            return run.status.ray_job_id in (run.run_id, second_job(run.run_id))
        # Recorded first and submitted after: a young run may not be known to Ray yet.
        return (self._now() - run.created_at).total_seconds() > _SUBMISSION_TAKES_S

    def _submit(self, spec: RunSpec, *, job_id: str) -> None:
        # `exec`: Ray watches the shell it starts, so the driver must be that process and not a child outliving it.
        command = (
            f"exec {shlex.join([sys.executable, '-m', 'raymaas.cli.main', 'run', '--run', spec.run_id])}"
        )
        metadata = {"model": spec.job.model, "kind": spec.job.kind, "who": spec.who}
        api = self._api()
        try:
            api.submit_job(entrypoint=command, submission_id=job_id, metadata=metadata)
        except Exception as error:
            raise Unavailable(f"Ray's Jobs API did not take run {spec.run_id}: {error}") from error

    def _have_watched(self, job_id: str) -> None:
        """Have Ray look whether a job is alive that it calls running.

        A new head remembers the jobs of the one before as running, and its job agent finds out that they are dead
        only after it was asked for something (`get_job_manager` in ray/dashboard/modules/job/job_agent.py).
        """
        if job_id in self._watched:
            return
        try:
            self._api().get_job_logs(job_id)
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"Ray's Jobs API does not look after {job_id}: {error}") from error
        self._watched.add(job_id)

    def _status(self, job_id: str) -> JobStatus | None:
        """None when Ray knows no such job."""
        api = self._api()
        try:
            return JobStatus(api.get_job_status(job_id))
        except (OSError, RuntimeError) as error:
            if "404" in str(error) or "does not exist" in str(error):
                return None
            raise Unavailable(f"Ray's Jobs API does not tell about {job_id}: {error}") from error

    def _api(self) -> JobsApi:
        try:
            return self._connect()
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"Ray's Jobs API does not answer: {error}") from error


def second_job(run_id: str) -> str:
    """The Ray job that carries on a run whose first job, of the run's own id, died."""
    return f"{run_id}-again"
