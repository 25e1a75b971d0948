"""The kinds of jobs: from a mapping in YAML, JSON or a sealed document to the job it describes, and back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, JsonValue, PlainSerializer

from raymaas.errors import InvalidInput
from raymaas.specs.base import Document, Places
from raymaas.specs.compression import CompressJob
from raymaas.specs.evaluating import EvaluateJob
from raymaas.specs.jobs import TrainJob
from raymaas.specs.sweeping import SweepJob

Job = TrainJob | CompressJob | SweepJob | EvaluateJob

JOB_KINDS: dict[str, type[TrainJob] | type[CompressJob] | type[SweepJob] | type[EvaluateJob]] = {
    TrainJob.kind: TrainJob,
    CompressJob.kind: CompressJob,
    SweepJob.kind: SweepJob,
    EvaluateJob.kind: EvaluateJob,
}


def parse_job(data: Any, *, source: str, places: Places | None = None) -> Job:
    """The job in a mapping read from YAML or JSON; its `kind` (default `train`) says which document it is.

    `places` says where in `source` each field stands, as for `Spec.parse`.

    Raises InvalidInput naming `source`, the field, and the nearest known name.
    """
    if not isinstance(data, dict):
        raise InvalidInput(
            f"{source}: a job is a mapping with fields such as model and data, got {type(data).__name__}"
        )
    fields = dict(data)
    kind = fields.pop("kind", TrainJob.kind)
    if not isinstance(kind, str) or kind not in JOB_KINDS:
        raise InvalidInput(f"{source}: kind {kind!r} is unknown; known are {', '.join(sorted(JOB_KINDS))}")
    return JOB_KINDS[kind].parse(fields, source=source, places=places)


def job_fields(job: Document) -> dict[str, JsonValue]:
    """What `parse_job` reads back as the same job."""
    return job.model_dump(mode="json") | {"kind": job.kind}


def _within_a_document(value: Any) -> Any:
    return parse_job(value, source="job") if isinstance(value, dict) else value


AnyJob = Annotated[Job, BeforeValidator(_within_a_document), PlainSerializer(job_fields, return_type=dict)]
"""A job as a field of another document; written with its `kind`, which older documents leave out for `train`."""
