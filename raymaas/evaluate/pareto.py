"""The Pareto front: the points that no other point beats in every figure; as a table and as a picture.

A point beats another when it is at least as good in every objective and better in one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raymaas.specs.search import Objective

_DOTS_PER_INCH = 120


@dataclass(frozen=True)
class Candidate:
    """One trial: its name, what was chosen for it, and what it measured."""

    name: str
    settings: Mapping[str, object]
    metrics: Mapping[str, float]


def front(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> list[Candidate]:
    """The candidates that none beats, in the order given; of equal ones, all."""
    return [c for c in candidates if not any(beats(other, c, objectives) for other in candidates)]


def beats(one: Candidate, other: Candidate, objectives: Sequence[Objective]) -> bool:
    """Whether `one` is nowhere worse than `other`, and somewhere better."""
    gains = [
        (one.metrics[o.metric] - other.metrics[o.metric]) * (1 if o.mode == "max" else -1) for o in objectives
    ]
    return min(gains) >= 0 and max(gains) > 0


def front_csv(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> bytes:
    """All candidates, the best of the first objective first; column `front` is 1 for those that none beats."""
    names = {c.name for c in front(candidates, objectives)}
    settings = list(dict.fromkeys(key for c in candidates for key in c.settings))
    metrics = list(dict.fromkeys(key for c in candidates for key in c.metrics))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "front", *settings, *metrics])
    sign = 1 if objectives[0].mode == "min" else -1
    for c in sorted(candidates, key=lambda c: sign * c.metrics[objectives[0].metric]):
        chosen = [c.settings.get(key, "") for key in settings]
        table.writerow([c.name, int(c.name in names), *chosen, *(c.metrics.get(key, "") for key in metrics)])
    return text.getvalue().encode()


def front_png(
    candidates: Sequence[Candidate], objectives: tuple[Objective, Objective], *, title: str
) -> bytes:
    """A picture of two objectives: every candidate a dot, the front joined by a line."""
    from matplotlib.backends.backend_agg import (
        FigureCanvasAgg,  # half a second to import, and only needed here
    )
    from matplotlib.figure import Figure

    across, upwards = (objective.metric for objective in objectives)
    best = sorted(front(candidates, objectives), key=lambda c: c.metrics[across])
    # No pyplot: it keeps every figure in a global list.
    figure = Figure(figsize=(6, 4), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(
        [c.metrics[across] for c in candidates], [c.metrics[upwards] for c in candidates], color="0.6"
    )
    axes.plot([c.metrics[across] for c in best], [c.metrics[upwards] for c in best], marker="o")
    axes.set(xlabel=across.replace("_", " "), ylabel=upwards.replace("_", " "), title=title)
    axes.grid(alpha=0.3)
    png = io.BytesIO()
    FigureCanvasAgg(figure)  # replaces the canvas that figures begin with
    figure.savefig(png, format="png")
    return png.getvalue()
