"""Runs over HTTP: submit a job, follow its log and epochs, read what it left, stop it, resume it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from mimetypes import guess_type
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from raymaas.client.jobfile import read_job
from raymaas.errors import Refused, Unavailable
from raymaas.registry.resolve import pinned
from raymaas.serve.api.border import caller
from raymaas.serve.api.parts import ControlParts
from raymaas.specs.api import LogPart, ResumeRequest, RunFiles, RunList, RunMetrics, SubmitRequest
from raymaas.specs.kinds import parse_job
from raymaas.specs.names import Name, new_run_id
from raymaas.specs.own_code import own_code, with_code
from raymaas.specs.reports import EvaluationReport
from raymaas.specs.runs import FINAL_STATES, Failed, Run, RunSpec

Who = Annotated[str, Depends(caller)]


def runs_router(parts: ControlParts) -> APIRouter:
    """Routes below /runs."""
    router = APIRouter(prefix="/runs", tags=["runs"])
    runs = parts.runs

    @router.post("", status_code=201)
    def submit_run(body: SubmitRequest, who: Who) -> Run:
        job = parse_job(body.job, source="job")
        if body.code is not None and own_code(job):
            job = with_code(job, runs.keep_code(body.code))
        job = pinned(job, parts.versions, parts.states, now=parts.now())
        return start(
            RunSpec(run_id=new_run_id(job.kind, job.model), job=job, who=who, created_at=parts.now())
        )

    def start(asked: RunSpec) -> Run:
        spec = runs.create(asked)
        try:
            parts.submitter.submit(spec)
        except Unavailable as error:
            with suppress(Refused):
                runs.set_status(spec.run_id, Failed(at=parts.now(), error=f"it was never started: {error}"))
            raise
        return runs.get(spec.run_id)

    @router.get("")
    def list_runs(model: Name | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> RunList:
        return RunList(runs=tuple(runs.list(limit=limit, model=model)))

    @router.get("/{run_id}")
    def get_run(run_id: str) -> Run:
        return runs.get(run_id)

    @router.get("/{run_id}/metrics")
    def get_metrics(run_id: str, after: Annotated[int, Query(ge=0)] = 0) -> RunMetrics:
        return RunMetrics(
            epochs=runs.epochs(run_id, after=after),
            trials=runs.trials(run_id),
            progress=runs.progresses.newest(run_id),
        )

    @router.get("/{run_id}/spec")
    def get_spec(run_id: str) -> RunSpec:
        return runs.spec(run_id)

    @router.get("/{run_id}/files")
    def list_files(run_id: str) -> RunFiles:
        runs.spec(run_id)
        return RunFiles(files=runs.artifacts(run_id).list())

    @router.get(
        "/{run_id}/files/{name:path}",
        response_class=Response,
        responses={200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    def get_file(run_id: str, name: str) -> Response:
        data = runs.artifacts(run_id).read(name)
        return Response(data, media_type=guess_type(name)[0] or "application/octet-stream")

    @router.get("/{run_id}/evaluation")
    def get_evaluation(run_id: str) -> EvaluationReport:
        runs.spec(run_id)
        return parts.reports.of_run(run_id)

    @router.get("/{run_id}/logs")
    def get_logs(run_id: str, after: Annotated[int, Query(ge=0)] = 0) -> LogPart:
        # Asked before the log is read: only then does a final status mean that nothing can follow.
        ended = isinstance(runs.status(run_id), FINAL_STATES)
        text, last = runs.read_log(run_id, after=after)
        return LogPart(text=text, next=last, final=ended)

    @router.post("/{run_id}/stop")
    def stop_run(run_id: str, who: Who) -> Run:
        runs.spec(run_id)
        parts.submitter.stop(run_id, who)
        return runs.get(run_id)

    @router.post("/{run_id}/resume", status_code=201)
    def resume_run(run_id: str, body: ResumeRequest, who: Who) -> Run:
        at, resumption = parts.now(), parts.resumption
        changed = partial(read_job, settings=body.settings)
        if body.from_epoch is not None:
            return start(resumption.branched(run_id, body.from_epoch, who=who, at=at, changed=changed))
        return start(resumption.continued(run_id, who=who, at=at, changed=changed))

    return router
