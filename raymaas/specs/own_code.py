"""Code of users' own in a job, wherever that runs: a training, each fold or trial of one, a trial of a compression."""

from __future__ import annotations

from raymaas.specs.compression import CompressJob
from raymaas.specs.evaluating import ByFolds, EvaluateJob
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.kinds import Job
from raymaas.specs.sweeping import SweepJob


def own_code(job: Job) -> str | None:
    """The class `my_package.net:Net`, or the metric, whose code must travel with `job`; None for none, or if it has."""
    match job:
        case TrainJob(architecture=architecture, code=None) if architecture.is_own_code:
            return architecture.use
        case CompressJob(own_metric=str(use), code=None) if use:
            return use
        case EvaluateJob(how=ByFolds(job=trained)):
            return own_code(trained)
        case SweepJob(job={"architecture": {"use": str(use)}, **fields}) if fields.get("code") is None:
            return use if Component(use=use).is_own_code else None
    return None


def with_code(job: Job, sha256: str) -> Job:
    """`job` with the digest of that code wherever it trains. One that names none stays as it is."""
    if own_code(job) is None:
        return job
    match job:
        case TrainJob() | CompressJob():
            return job.model_copy(update={"code": sha256})
        case EvaluateJob(how=ByFolds() as how):
            trained = how.model_copy(update={"job": with_code(how.job, sha256)})
            return job.model_copy(update={"how": trained})
        case SweepJob():
            return job.model_copy(update={"job": job.job | {"code": sha256}})
    return job
