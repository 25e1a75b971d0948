"""The front of a compression on a terminal: a small picture that moves as trials end, and the recipes on it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raymaas.cli.loglines import brief
from raymaas.evaluate.pareto import Candidate, front
from raymaas.specs.compression import VALIDATION, Gate
from raymaas.specs.search import Finished, Trial

_COLUMNS, _LINES = 60, 10
_MOST_ROWS = 8
_REACH = 8  # how far below the best the picture shows, in what the gate lets a recipe lose
_BEATEN, _ON_FRONT = "·", "●"


def moving_front(trials: Sequence[Trial], gate: Gate) -> RenderableType:
    """Bytes across on a log scale, the gate's metric upwards; below it the recipes that none beats."""
    finished = [trial for trial in trials if isinstance(trial.outcome, Finished)]
    if not finished:
        return Text("no recipe is through yet", style="dim")
    best = _front(finished, gate)
    metric = gate.metric.replace("_", " ")
    head = f"{len(trials)} recipes, {len(best)} on the front ({_ON_FRONT}); validation {metric} over bytes"
    return Group(Text(head, style="bold"), *_picture(finished, best, gate), _table(best, gate))


def _picture(finished: Sequence[Trial], best: Sequence[Trial], gate: Gate) -> list[Text]:
    column = VALIDATION + gate.metric
    sizes = [math.log(trial.metrics["bytes"]) for trial in finished]
    values = [trial.metrics[column] for trial in finished]
    most = min(values) if gate.mode == "min" else max(values)
    end = most + (1 if gate.mode == "min" else -1) * _REACH * gate.max_loss
    inside = [value for value in values if gate.loss(value, parent=end) <= 0] or [most]
    low, high = min(inside), max(inside)
    canvas = [[" "] * _COLUMNS for _ in range(_LINES)]
    names = {trial.trial for trial in best}
    # The front last, so that nothing beaten covers it.
    for trial, size, value in sorted(
        zip(finished, sizes, values, strict=True), key=lambda one: one[0].trial in names
    ):
        across = _place(size, min(sizes), max(sizes), cells=_COLUMNS)
        upwards = _place(value, low, high, cells=_LINES)
        canvas[_LINES - 1 - upwards][across] = _ON_FRONT if trial.trial in names else _BEATEN
    labels = [f"{high:.4g}", *[""] * (_LINES - 2), f"{low:.4g}"]
    width = max(map(len, labels))
    lines = [Text(f"{label:>{width}} │{''.join(row)}") for label, row in zip(labels, canvas, strict=True)]
    ends = [f"{math.exp(size):,.0f}" for size in (min(sizes), max(sizes))]
    foot = f"{' ' * width} └{'─' * _COLUMNS}\n{' ' * width}  {ends[0]}{ends[1]:>{_COLUMNS - len(ends[0])}}"
    return [*lines, Text(foot, style="dim")]


def _table(best: Sequence[Trial], gate: Gate) -> Table:
    table = Table("bytes", "ratio", gate.metric, "recipe", box=None, pad_edge=False, header_style="bold")
    for trial in best[:_MOST_ROWS]:
        recipe = ", ".join(f"{field} {brief(value)}" for field, value in trial.point.items())
        table.add_row(
            f"{trial.metrics['bytes']:,.0f}",
            f"1/{trial.metrics['ratio']:.1f}",
            f"{trial.metrics[VALIDATION + gate.metric]:.4f}",
            Text(recipe or "the recipe"),
        )
    return table


def _front(finished: Sequence[Trial], gate: Gate) -> list[Trial]:
    """The smallest first."""
    best = front([Candidate(t.trial, t.point, t.metrics) for t in finished], gate.objectives)
    names = {one.name for one in best}
    return sorted((t for t in finished if t.trial in names), key=lambda trial: trial.metrics["bytes"])


def _place(value: float, low: float, high: float, *, cells: int) -> int:
    """Which of `cells` it falls into; what lies outside is at the edge, and all is in the middle of no range."""
    if high <= low:
        return cells // 2
    return min(cells - 1, max(0, round((value - low) / (high - low) * (cells - 1))))
