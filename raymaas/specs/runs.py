"""Run documents: what was asked (RunSpec), how it stands (states that carry their data), what it measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from raymaas.specs.base import Document, Moment, OneLine, Spec
from raymaas.specs.budget import Spent
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
    why: OneLine = Field("", description="What started it, where nobody did by hand.")
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
    """Done; the versions it published."""

    state: Literal["succeeded"] = "succeeded"
    at: Moment
    version: int | None
    seconds: float
    also: tuple[int, ...] = Field((), description="Further versions, of a job that published several.")

    @property
    def versions(self) -> tuple[int, ...]:
        """All that it published."""
        return (*(() if self.version is None else (self.version,)), *self.also)


class Failed(Spec):
    """Ended with an error; the log has the traceback."""

    state: Literal["failed"] = "failed"
    at: Moment
    error: str


class Stopped(Spec):
    """Ended because somebody stopped it, or because its budget was spent."""

    state: Literal["stopped"] = "stopped"
    at: Moment
    who: str
    why: OneLine = ""


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


class FirstStep(Spec):
    """What the time went into from the run's acceptance to the first step of its optimizer. All in seconds."""

    driver_s: float = Field(ge=0, description="Until Ray had started the driver's process.")
    joining_s: float = Field(ge=0, description="The driver's imports, and joining the cluster.")
    data_s: float = Field(ge=0, description="Preparing the data set in the store.")
    workers_s: float = Field(ge=0, description="Ray Train starting the workers.")
    reading_s: float = Field(ge=0, description="The workers reading their rows.")
    building_s: float = Field(ge=0, description="Building the model and wrapping it for all workers.")
    step_s: float = Field(ge=0, description="The first step itself.")

    @property
    def seconds(self) -> float:
        return float(sum(value for _, value in self))


class RunProgress(Document):
    """How far a training is and what it has used. Only the newest is kept."""

    kind = "run-progress"

    run_id: Name
    sequence: int = Field(1, ge=1, description="Counts up with each that replaced another.")
    write_id: str = ""
    at: Moment
    epoch: int = Field(0, ge=0, description="The epoch under way, or the last one; 0 before the first.")
    share: float = Field(0.0, ge=0, le=1, description="How much of that epoch is done.")
    epochs: int | None = Field(default=None, ge=1, description="Epochs at most; null until training began.")
    samples_per_s: float | None = Field(
        default=None, ge=0, description="Training rows per second of late, over all workers."
    )
    spent: Spent = Field(default=Spent(), description="Of this run.")
    before: Spent = Field(default=Spent(), description="Of the runs that this one continues.")
    first_step: FirstStep | None = Field(default=None, description="Null until it was taken.")


class Run(Spec):
    """A run as users see it: what was asked and how it stands."""

    run_id: Name
    model: Name
    kind: str
    who: str
    created_at: Moment
    status: RunState
    resumes: Resumes | None = None


class RunFile(Spec):
    """A file that a run left for people to look at, such as report/report.md."""

    name: str
    bytes: int = Field(ge=0)


RUN_STATE: TypeAdapter[RunState] = TypeAdapter(RunState)
