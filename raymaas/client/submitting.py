"""Submitting: a job is read, the code of one's own that it names is packed, and both are one call."""

from __future__ import annotations

from pathlib import Path

from raymaas.client import calls
from raymaas.client.code import code_of
from raymaas.client.flow import Call
from raymaas.client.jobfile import JobSource, folder_of, read_job_as
from raymaas.specs.compression import CompressJob
from raymaas.specs.evaluating import EvaluateJob
from raymaas.specs.jobs import TrainJob
from raymaas.specs.runs import Run
from raymaas.specs.sweeping import SweepJob

JobKind = type[TrainJob] | type[CompressJob] | type[SweepJob] | type[EvaluateJob]


def submission(kind: JobKind, job: JobSource, *, folder: Path | None = None) -> Call[Run]:
    """The call that starts a run of `job`; code of one's own is looked for below `folder`, else beside the job's file.

    Raises InvalidInput for a job of another kind, one that cannot be read, and code that is not there.
    """
    document = read_job_as(kind, job)
    return calls.submit(document, code=code_of(document, folder=folder or folder_of(job)))
