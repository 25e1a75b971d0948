"""Lines of a run's log: what an epoch measured, how a trial ended, which version was registered."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from raymaas.specs.runs import EpochMetrics, FirstStep, RunProgress
from raymaas.specs.search import Broken, Finished, Stopped, Trial
from raymaas.specs.versions import ModelVersion

_EPOCH = "epoch "


def epoch_line(metrics: EpochMetrics, progress: RunProgress) -> str:
    """What an epoch measured, how fast, and how long it may still take."""
    return "  ".join(
        part
        for part in (
            f"{_EPOCH}{of_epochs(metrics.epoch, progress.epochs)}",
            figures(metrics.metrics),
            speed(progress.samples_per_s),
            f"elapsed {duration(progress.spent.seconds)}",
            eta(progress, seconds_per_epoch=metrics.metrics.get("seconds")),
        )
        if part
    )


def is_epoch_line(line: str) -> bool:
    """Whether `line` is one of `epoch_line`."""
    return line.startswith(_EPOCH)


def first_step_line(first: FirstStep) -> str:
    """How long it took to the first step, and with what."""
    return (
        f"first step after {first.seconds:.1f} s: Ray starting the driver {first.driver_s:.1f}, imports and joining "
        f"{first.joining_s:.1f}, preparing data {first.data_s:.1f}, Ray Train starting workers {first.workers_s:.1f}, "
        f"reading rows {first.reading_s:.1f}, building the model {first.building_s:.1f}, the step {first.step_s:.1f}"
    )


def used_line(progress: RunProgress) -> str:
    """What a run used, and with the runs that it continues."""
    spent, total = progress.spent, progress.spent + progress.before
    gpu = f", {spent.gpu_hours:.4f} GPU hours" if spent.gpu_seconds else ""
    line = f"used {duration(spent.seconds)} ({spent.hours:.4f} hours), {spent.cpu_hours:.4f} CPU hours{gpu}"
    if not progress.before.seconds:
        return line
    return f"{line}; with what it continues {total.hours:.4f} hours, {total.cpu_hours:.4f} CPU hours"


def figures(metrics: Mapping[str, float]) -> str:
    """Losses and figures of an epoch; validation figures go without that word, the validation loss with it."""
    shown = {"train_loss": "loss", "validation_loss": "validation loss"}
    shown |= {
        n: n.removeprefix("validation_") for n in metrics if n.startswith("validation_") and n not in shown
    }
    return "  ".join(
        f"{name.replace('_', ' ')} {metrics[n]:.4g}" for n, name in shown.items() if n in metrics
    )


def of_epochs(epoch: int, epochs: int | None) -> str:
    """Which epoch of how many, as wide for each."""
    return f"{epoch}" if epochs is None else f"{epoch:>{len(str(epochs))}}/{epochs}"


def speed(samples_per_s: float | None) -> str:
    return "" if samples_per_s is None else f"{samples_per_s:,.0f} samples/s"


def eta(progress: RunProgress, *, seconds_per_epoch: float | None) -> str:
    """How long training may still take, if it is not stopped early; empty while that cannot be told."""
    if progress.epochs is None or seconds_per_epoch is None:
        return ""
    left = progress.epochs - progress.epoch + 1 - progress.share
    return f"ETA {duration(max(0.0, left) * seconds_per_epoch)}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 0:01:07."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def trial_line(trial: Trial) -> str:
    """How a trial ended, and what was tried."""
    settings = "  ".join(f"{field} {brief(value)}" for field, value in trial.point.items())
    match trial.outcome:
        case Broken(error=error):
            return f"trial {trial.trial}  {settings}  failed: {error}"
        case Stopped(reason=reason, seconds=seconds):
            return f"trial {trial.trial}  {settings}  stopped after {seconds:.1f} s: {reason}"
        case Finished(metrics=metrics, seconds=seconds, reused=reused):
            figures = "  ".join(f"{name} {brief(value)}" for name, value in sorted(metrics.items()))
            saved = f", {' and '.join(reused)} taken from another trial" if reused else ""
            return f"trial {trial.trial}  {settings}  {figures}  in {seconds:.1f} s{saved}"


def version_line(version: ModelVersion) -> str:
    """What was registered; for a compressed version beside what it was made from."""
    name, figure = version.evaluation.leading()
    line = (
        f"registered {version.model}@{version.version}: test {name.replace('_', ' ')} {figure.value:.4f} "
        f"[{figure.low:.4f}, {figure.high:.4f}], weights {version.weights_bytes} bytes"
    )
    compression = version.lineage.compression
    if compression is None:
        return line
    ratio = compression.original_bytes / version.weights_bytes
    before = compression.parent_evaluation.metrics[name].value
    return (
        f"{line}, 1/{ratio:.1f} of {version.model}@{compression.original}, served by {version.evaluation.runtime}; "
        f"{version.model}@{version.lineage.parent} has {before:.4f} on the same rows in "
        f"{compression.parent_evaluation.runtime}"
    )


def brief(value: JsonValue) -> str:
    """A setting or figure in few characters."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
