"""Triggers over HTTP: jobs that are run again by themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from raymaas.errors import InvalidInput
from raymaas.registry.resolve import pinned, resolve
from raymaas.serve.api.border import caller
from raymaas.serve.api.parts import ControlParts
from raymaas.specs.api import TriggerList, TriggerMoveRequest, TriggerRequest
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import parse_job
from raymaas.specs.names import Name, Reference
from raymaas.specs.own_code import own_code, with_code
from raymaas.specs.triggers import Trigger, TriggerRevision

Who = Annotated[str, Depends(caller)]


def triggers_router(parts: ControlParts) -> APIRouter:
    """Routes below /triggers."""
    router = APIRouter(prefix="/triggers", tags=["triggers"])
    triggers, runs = parts.triggers, parts.runs

    @router.get("")
    def list_triggers() -> TriggerList:
        return TriggerList(triggers=tuple(triggers.list()))

    @router.get("/{trigger}")
    def get_trigger(trigger: Name) -> Trigger:
        """As it stands, with its last ten starts."""
        return Trigger(now=triggers.get(trigger), starts=tuple(triggers.starts(trigger)))

    @router.put("/{trigger}")
    def set_trigger(trigger: Name, body: TriggerRequest, who: Who) -> TriggerRevision:
        """Have a training job run when its `start` says, from now on. What it names must be there."""
        job = parse_job(body.job, source="job")
        if not isinstance(job, TrainJob):
            raise InvalidInput(f"a trigger runs a train job, not a {job.kind!r} job")
        if job.start is None:
            raise InvalidInput(
                "the job does not say when to run: give it a section such as start: {every_h: 24}, or"
                " start: {on_drift: digits@prod}"
            )
        pinned(job, parts.versions, parts.states, now=parts.now())
        if job.start.on_drift is not None:
            resolve(Reference.parse(job.start.on_drift), parts.versions, parts.states)
        if body.code is not None and own_code(job):
            coded = with_code(job, runs.keep_code(body.code))
            assert isinstance(coded, TrainJob)
            job = coded
        return triggers.set(trigger, job, who=who, why=body.why)

    @router.post("/{trigger}/pause")
    def pause_trigger(trigger: Name, body: TriggerMoveRequest, who: Who) -> TriggerRevision:
        return triggers.pause(trigger, paused=True, who=who, why=body.why)

    @router.post("/{trigger}/resume")
    def resume_trigger(trigger: Name, body: TriggerMoveRequest, who: Who) -> TriggerRevision:
        return triggers.pause(trigger, paused=False, who=who, why=body.why)

    @router.delete("/{trigger}")
    def remove_trigger(trigger: Name, who: Who, why: str = "") -> TriggerRevision:
        """Runs that it has started go on."""
        return triggers.remove(trigger, who=who, why=why)

    return router
