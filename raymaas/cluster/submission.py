"""Runs as Ray jobs: submitted, stopped, and settled when Ray says that one ended without a word of its own."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable
from datetime import datetime

from ray.job_submission import JobStatus, JobSubmissionClient

from raymaas.errors import RaymaasError, Unavailable
from raymaas.registry.runs import Runs
from raymaas.specs.runs import FINAL_STATES, Failed, Pending, RunSpec, Stopped

log = logging.getLogger("raymaas.submission")


_SUBMISSION_TAKES_S = 60.0


class RayJobs:
    """Submits runs through Ray's Jobs API. A driver finds the store through the cluster card."""

    def __init__(self, dashboard_url: str, runs: Runs, *, now: Callable[[], datetime]) -> None:
        self._dashboard_url = dashboard_url
        self._runs = runs
        self._now = now

    def submit(self, spec: RunSpec) -> None:
        """Start `raymaas run --run ID` as the Ray job of the same id. Raises Unavailable when Ray does not take it."""
        command = [sys.executable, "-m", "raymaas.cli.main", "run", "--run", spec.run_id]
        try:
            self._client().submit_job(
                entrypoint=shlex.join(command),
                submission_id=spec.run_id,
                metadata={"model": spec.job.model, "kind": spec.job.kind, "who": spec.who},
            )
        except Exception as error:
            raise Unavailable(
                f"Ray at {self._dashboard_url} did not take run {spec.run_id}: {error}"
            ) from error

    def stop(self, run_id: str, who: str) -> None:
        """Stop the Ray job and record who did; a run that is over stays as it is."""
        if isinstance(self._runs.status(run_id), FINAL_STATES):
            return
        self._runs.set_status(run_id, Stopped(at=self._now(), who=who))
        self._client().stop_job(run_id)

    def settle(self) -> None:
        """Mark as failed each run whose Ray job ended, or vanished with its head, without recording how."""
        for run in self._runs.list(limit=50):
            if isinstance(run.status, FINAL_STATES):
                continue
            if isinstance(run.status, Pending):
                # Recorded first and submitted after: a young run may not be known to Ray yet.
                submitted = (self._now() - run.created_at).total_seconds() > _SUBMISSION_TAKES_S
            else:
                submitted = run.status.ray_job_id == run.run_id
            if not submitted:
                continue
            status = self._job_status(run.run_id)
            if status is None or status.is_terminal():
                word = (
                    "is unknown to Ray (its head was replaced)"
                    if status is None
                    else f"ended as {status.value}"
                )
                # Read again: the driver may have written its last word while we asked.
                if not isinstance(self._runs.status(run.run_id), FINAL_STATES):
                    reason = f"its Ray job {word} before the run was over"
                    self._runs.set_status(run.run_id, Failed(at=self._now(), error=reason))

    def _job_status(self, run_id: str) -> JobStatus | None:
        try:
            return JobStatus(self._client().get_job_status(run_id))
        except RuntimeError as error:
            if "404" in str(error) or "does not exist" in str(error):
                return None
            raise Unavailable(
                f"Ray at {self._dashboard_url} does not tell about {run_id}: {error}"
            ) from error

    def _client(self) -> JobSubmissionClient:
        try:
            return JobSubmissionClient(self._dashboard_url)
        except (ConnectionError, RuntimeError) as error:
            raise Unavailable(f"Ray's Jobs API at {self._dashboard_url} does not answer: {error}") from error


def settle_quietly(jobs: RayJobs) -> None:
    """`settle` for a loop: what cannot be asked now is asked again next time."""
    try:
        jobs.settle()
    except RaymaasError as error:
        log.info("%s", error)
