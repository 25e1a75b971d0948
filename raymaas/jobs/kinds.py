"""From the kind of a job to what carries it out."""

from __future__ import annotations

from raymaas.jobs.compress import compress
from raymaas.jobs.parts import JobParts
from raymaas.jobs.sweep import sweep
from raymaas.jobs.train import train
from raymaas.specs.compression import CompressJob
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import Job
from raymaas.specs.sweeping import SweepJob
from raymaas.specs.versions import ModelVersion


def carry_out_job(job: Job, parts: JobParts) -> ModelVersion | None:
    """Carry out a job of any kind; returns the version it published, if its kind does. Ray must be initialised."""
    match job:
        case TrainJob():
            return train(job, parts)
        case CompressJob():
            return compress(job, parts)
        case SweepJob():
            sweep(job, parts)
            return None
