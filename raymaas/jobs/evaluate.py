"""Evaluating: from what is to be measured to a report that is kept with the run. Nothing is registered."""

from __future__ import annotations

from raymaas.jobs.comparing import compare_versions
from raymaas.jobs.folds import cross_validate
from raymaas.jobs.measuring import measure
from raymaas.jobs.parts import JobParts
from raymaas.jobs.sampling import judge_samples
from raymaas.registry.reports import Reports
from raymaas.specs.evaluating import Against, ByFolds, BySamples, EvaluateJob, How, OnData
from raymaas.specs.reports import EvaluationReport, Found


def evaluate(job: EvaluateJob, parts: JobParts) -> EvaluationReport:
    """Measure what the job says and keep what was found. Repeated for the same run, the first report counts."""
    found = _found(job.how, parts)
    return Reports(parts.store).keep(EvaluationReport(run_id=parts.run_id, at=parts.store.now(), found=found))


def _found(how: How, parts: JobParts) -> Found:
    match how:
        case OnData():
            return measure(how, parts)
        case ByFolds():
            return cross_validate(how, parts)
        case Against():
            return compare_versions(how, parts)
        case BySamples():
            return judge_samples(how, parts)
