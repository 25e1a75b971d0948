"""Run documents: what was asked (RunSpec), how it stands (states that carry their data), what it measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from raymaas.specs.base import Document, Moment, OneLine, Spec
from raymaas.specs.kinds import AnyJob
from raymaas.specs.names import Name


class Resumes(Spec):
    """Where a run goes on from: a checkpoint of another run, instead of fresh weights."""

    run: Name
    epoch: int | None = Field(
        default=None, ge=1, description="After that epoch; absent: the newest checkpoint that can be read."
    )


class RunSpec(Document):
    """What a run was asked to do; written once, before anything starts."""

    kind = "run"

    run_id: Name
    job: AnyJob
    who: OneLine
    created_at: Moment
    resumes: Resumes | None = None
    write_id: str = ""


class Pending(Spec):
    """Accepted; waits for Ray to start it."""

    state: Literal["pending"] = "pending"
    at: Moment


class Running(Spec):
    """Under way; `step` is the sentence a user sees."""

    state: Literal["running"] = "running"
    at: Moment
    step: str
    ray_job_id: str | None = None


class Succeeded(Spec):
    """Done; the version it published."""

    state: Literal["succeeded"] = "succeeded"
    at: Moment
    version: int | None
    seconds: float


class Failed(Spec):
    """Ended with an error; the log has the traceback."""

    state: Literal["failed"] = "failed"
    at: Moment
    error: str


class Stopped(Spec):
    """Ended because somebody stopped it."""

    state: Literal["stopped"] = "stopped"
    at: Moment
    who: str


RunState = Annotated[Pending | Running | Succeeded | Failed | Stopped, Field(discriminator="state")]
FINAL_STATES = (Succeeded, Failed, Stopped)


class RunStatus(Document):
    """One entry of a run's create-only status log; the newest one is the truth."""

    kind = "run-status"

    run_id: Name
    sequence: int = Field(ge=1)
    write_id: str
    status: RunState


class EpochMetrics(Document):
    """What one epoch measured."""

    kind = "epoch-metrics"

    run_id: Name
    epoch: int = Field(ge=1)
    metrics: dict[str, float]


class Run(Spec):
    """A run as users see it: what was asked and how it stands."""

    run_id: Name
    model: Name
    kind: str
    who: str
    created_at: Moment
    status: RunState
    resumes: Resumes | None = None


RUN_STATE: TypeAdapter[RunState] = TypeAdapter(RunState)
