"""Evaluating: from what is to be measured to a report that is kept with the run. Nothing is registered."""

from __future__ import annotations

from collections.abc import Mapping

from raymaas.jobs.comparing import compare_versions
from raymaas.jobs.folds import cross_validate
from raymaas.jobs.measuring import measure
from raymaas.jobs.parts import JobParts
from raymaas.jobs.sampling import judge_samples
from raymaas.registry.reports import Reports
from raymaas.specs.evaluating import Against, ByFolds, BySamples, EvaluateJob, How, OnData
from raymaas.specs.evaluation import Metric, leading
from raymaas.specs.reports import (
    Comparison,
    EvaluationReport,
    FoldsFigures,
    Found,
    SamplesFigures,
    VersionFigures,
)


def evaluate(job: EvaluateJob, parts: JobParts) -> EvaluationReport:
    """Measure what the job says and keep what was found. Repeated for the same run, the first report counts."""
    found = _found(job.how, parts)
    report = Reports(parts.store).keep(
        EvaluationReport(run_id=parts.run_id, at=parts.store.now(), found=found)
    )
    parts.say(told(report.found))
    return report


def told(found: Found) -> str:
    """The leading figure in a sentence, for the run's log; the report has them all."""
    match found:
        case VersionFigures(version=version, evaluation=evaluation):
            return f"{version}: {_said(evaluation.metrics)} on {evaluation.rows} rows of {evaluation.dataset}"
        case FoldsFigures(folds=folds, repeats=repeats, metrics=metrics):
            return f"mean over {folds * repeats} folds: {_said(metrics)}"
        case Comparison(verdict=verdict):
            return verdict
        case SamplesFigures(judge=judge, classes_found=classes, entropy=entropy):
            return f"{judge} finds {classes} of {len(found.found)} classes, entropy {entropy.value:.4f} nats"


def _said(metrics: Mapping[str, Metric]) -> str:
    name, metric = leading(metrics)
    return f"{name} {metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})"


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
