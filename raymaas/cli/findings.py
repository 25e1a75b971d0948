"""Showing what an evaluate job found: figures with their intervals, by slice, by fold, side by side."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from raymaas.cli.show import print_table
from raymaas.specs.evaluation import ClassFigures, Evaluation, Metric, leading
from raymaas.specs.reports import Comparison, FoldsFigures, Found, SamplesFigures, VersionFigures

_COLUMNS = ("metric", "value", "interval", "method")


def print_found(found: Found) -> None:
    """Print `found` for people."""
    match found:
        case VersionFigures():
            _print_version(found)
        case FoldsFigures():
            _print_folds(found)
        case Comparison():
            print_comparison(found)
        case SamplesFigures():
            _print_samples(found)


def print_comparison(found: Comparison) -> None:
    """The verdict, and the difference of every metric that both have."""
    typer.echo(found.verdict)
    how = "as published" if found.source == "recorded" else "asked again"
    typer.echo(
        f"{found.second} minus {found.first} on {found.rows} {found.part} rows of {found.dataset}, {how}"
    )
    _print_metrics(found.differences, sign="+")
    if found.mcnemar:
        typer.echo(f"McNemar: exact p {found.mcnemar.exact_p:.3g}, mid-p {found.mcnemar.mid_p:.3g}")


def _print_version(found: VersionFigures) -> None:
    evaluation = found.evaluation
    typer.echo(
        f"{found.version} on {evaluation.rows} {evaluation.part} rows of {evaluation.dataset}, "
        f"answered by {evaluation.runtime}"
    )
    _print_metrics(evaluation.metrics)
    for name, figures in evaluation.baselines.items():
        typer.echo(f"{name}: " + ", ".join(f"{metric} {value:.4g}" for metric, value in figures.items()))
    if evaluation.classes:
        typer.echo()
        _print_classes(evaluation)
    if found.slices:
        typer.echo()
        rows = [
            (
                part.slice,
                part.rows,
                *(_figure(part.metrics.get(name)) for name in _shared(found)),
                part.warning,
            )
            for part in found.slices
        ]
        print_table(("slice", "rows", *_shared(found), "warning"), rows, empty="")
    if found.robustness:
        typer.echo()
        rows_ = [(one.disturbance, f"{one.severity:g}", _figure(one.figure)) for one in found.robustness]
        print_table(("disturbance", "severity", found.robustness[0].metric), rows_, empty="")
    for note in found.notes:
        typer.echo(f"note: {note}")


def _shared(found: VersionFigures) -> list[str]:
    """The metrics of slices, the leading one first."""
    names = {name for part in found.slices for name in part.metrics}
    first, _ = leading(found.evaluation.metrics)
    return sorted(names, key=lambda name: (name != first, name))


def _print_classes(evaluation: Evaluation) -> None:
    def row(figures: ClassFigures) -> tuple[str | int, ...]:
        three = (figures.precision, figures.recall, figures.f1)
        return figures.label, figures.rows, *(_figure(metric) for metric in three)

    rows = [row(figures) for figures in evaluation.classes]
    print_table(("class", "rows", "precision", "recall", "f1"), rows, empty="")


def _print_folds(found: FoldsFigures) -> None:
    times = f", {found.repeats} times" if found.repeats > 1 else ""
    typer.echo(
        f"{found.folds} folds of {found.rows} rows of {found.dataset}{times}; the test rows took no part"
    )
    rows = [
        (name, f"{metric.value:.4f}", f"{found.deviations[name]:.4f}", *_interval(metric))
        for name, metric in sorted(found.metrics.items())
    ]
    print_table(("metric", "mean", "deviation", "interval", "method"), rows, empty="")
    for note in found.notes:
        typer.echo(f"note: {note}")


def _print_samples(found: SamplesFigures) -> None:
    typer.echo(
        f"{found.judge} finds {found.classes_found} of {len(found.found)} classes in {found.samples} samples of "
        f"{found.version}"
    )
    print_table(("class", "samples"), list(found.found.items()), empty="")
    _print_metrics({"entropy, nats": found.entropy, "probability": found.probability})


def _print_metrics(metrics: Mapping[str, Metric], *, sign: str = "") -> None:
    rows = [
        (name, f"{metric.value:{sign}.4f}", *_interval(metric, sign=sign))
        for name, metric in sorted(metrics.items())
    ]
    print_table(_COLUMNS, rows, empty="")


def _interval(metric: Metric, *, sign: str = "") -> tuple[str, str]:
    return f"{metric.low:{sign}.4f} to {metric.high:{sign}.4f}", f"{metric.confidence:.0%} {metric.method}"


def _figure(metric: Metric | None) -> str:
    return "" if metric is None else f"{metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})"
