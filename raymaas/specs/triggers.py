"""Trigger documents: jobs that are run again by themselves, and when they were."""

from __future__ import annotations

from pydantic import Field

from raymaas.specs.base import Document, Moment, OneLine, Spec
from raymaas.specs.jobs import TrainJob
from raymaas.specs.names import Name


class TriggerRevision(Document):
    """One entry in the log of a trigger; the newest holds."""

    kind = "trigger"

    name: Name
    revision: int = Field(ge=1, description="Counts up by one with each change.")
    write_id: str
    job: TrainJob | None = Field(description="With `start`; null: the trigger was removed.")
    paused: bool = False
    since: Moment = Field(
        description="From when on a schedule counts: when the job was registered, or resumed."
    )
    who: OneLine
    why: OneLine = ""
    at: Moment


class TriggerStart(Document):
    """A run that a trigger starts, written before the run: whoever finds it without its run starts that one."""

    kind = "trigger-start"

    name: Name
    revision: int = Field(ge=1, description="Counts up by one with each start.")
    write_id: str
    run_id: Name
    job: TrainJob = Field(
        description="What it trains, with a number for each version that the trigger names."
    )
    due: Moment = Field(description="The moment it is for: one that has a start has no other.")
    why: OneLine = Field(description="What made it due, with its figures.")
    who: OneLine
    at: Moment


class Trigger(Spec):
    """A trigger as it stands, and its last starts, newest first."""

    now: TriggerRevision
    starts: tuple[TriggerStart, ...]
