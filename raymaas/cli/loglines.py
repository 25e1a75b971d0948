"""Lines of a run's log: how a trial ended, which version was registered."""

from __future__ import annotations

from pydantic import JsonValue

from raymaas.specs.search import Broken, Finished, Trial
from raymaas.specs.versions import ModelVersion


def trial_line(trial: Trial) -> str:
    """How a trial ended, and what was tried."""
    settings = "  ".join(f"{field} {brief(value)}" for field, value in trial.point.items())
    match trial.outcome:
        case Broken(error=error):
            return f"trial {trial.trial}  {settings}  failed: {error}"
        case Finished(metrics=metrics, seconds=seconds):
            figures = "  ".join(f"{name} {brief(value)}" for name, value in sorted(metrics.items()))
            return f"trial {trial.trial}  {settings}  {figures}  in {seconds:.1f} s"


def version_line(version: ModelVersion) -> str:
    """What was registered; for a compressed version beside what it was made from."""
    accuracy = version.evaluation.metrics["accuracy"]
    line = (
        f"registered {version.model}@{version.version}: test accuracy {accuracy.value:.4f} "
        f"[{accuracy.low:.4f}, {accuracy.high:.4f}], weights {version.weights_bytes} bytes"
    )
    compression = version.lineage.compression
    if compression is None:
        return line
    ratio = compression.original_bytes / version.weights_bytes
    before = compression.parent_evaluation.metrics["accuracy"].value
    return (
        f"{line}, 1/{ratio:.1f} of {version.model}@{compression.original}; "
        f"{version.model}@{version.lineage.parent} has {before:.4f} on the same rows in the same runtime"
    )


def brief(value: JsonValue) -> str:
    """A setting or figure in few characters."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
