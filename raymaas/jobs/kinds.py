"""From the kind of a job to what carries it out."""

from __future__ import annotations

from raymaas.jobs.parts import JobParts
from raymaas.specs.compression import CompressJob
from raymaas.specs.evaluating import EvaluateJob
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import Job
from raymaas.specs.sweeping import SweepJob
from raymaas.specs.versions import ModelVersion


def carry_out_job(job: Job, parts: JobParts) -> tuple[ModelVersion, ...]:
    """Carry out a job of any kind; returns the versions it published, if its kind does. Ray must be initialised."""
    # Each imports what it needs: a training begins a second earlier without the search of a sweep.
    match job:
        case TrainJob():
            from raymaas.jobs.train import train

            return (train(job, parts),)
        case CompressJob():
            from raymaas.jobs.compress import compress

            return compress(job, parts)
        case SweepJob():
            from raymaas.jobs.sweep import sweep

            sweep(job, parts)
            return ()
        case EvaluateJob():
            from raymaas.jobs.evaluate import evaluate

            evaluate(job, parts)
            return ()
