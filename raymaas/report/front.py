"""The front of a search: what each recipe takes and is worth, as a table and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from raymaas.report.canvas import BAD, FAINT, GOOD, TRAINING, VALIDATION, dress, figure, png
from raymaas.specs.accounting import BATCH, RuntimeFinding
from raymaas.specs.compression import VALIDATION as VALIDATION_PREFIX
from raymaas.specs.compression import Gate
from raymaas.specs.selecting import Rule

_DIGITS = 6
_ROOM = 3.0  # how far beyond the gate a picture reaches, in distances from the gate to the best


@dataclass(frozen=True)
class Dot:
    """One recipe that was tried, and where it stands."""

    name: str
    settings: Mapping[str, object]
    metrics: Mapping[str, float]
    passes: bool = False
    """Whether the gate lets it through."""
    on_front: bool = False
    stopped: str = ""
    """Why it was ended before it was through."""
    is_knee: bool = False
    chosen: tuple[Rule, ...] = ()
    """The rules by which it was chosen."""
    served: RuntimeFinding | None = None
    """In the runtime that would serve it, where that was measured."""

    @property
    def drawn(self) -> bool:
        """Whether it has a place in the picture."""
        return not self.stopped

    @property
    def recipe(self) -> str:
        """Its settings in a line."""
        return (
            ", ".join(f"{field} {written(value)}" for field, value in self.settings.items()) or "the recipe"
        )

    @property
    def marks(self) -> str:
        """What is to be said beside it in a picture."""
        if self.chosen:
            return f"chosen: {', '.join(self.chosen)}"
        return "knee" if self.is_knee else ""

    @property
    def p50_ms(self) -> float | None:
        """Of one row."""
        latency = self.served and self.served.latency(1)
        return latency.p50_ms if latency else None

    @property
    def rows_per_s(self) -> float | None:
        """In batches."""
        return (self.served.rows_per_s or None) if self.served else None


@dataclass(frozen=True)
class FrontView:
    """All recipes of a search beside what they began with and what they may cost."""

    title: str
    gate: Gate
    original_bytes: int
    parent_value: float
    dots: tuple[Dot, ...]
    max_bytes: int | None = None

    @property
    def column(self) -> str:
        """The gate's metric among those of a dot."""
        return VALIDATION_PREFIX + self.gate.metric

    @property
    def metric(self) -> str:
        """The same for people."""
        return self.gate.metric.replace("_", " ")

    @property
    def limit(self) -> float:
        """The worst value that passes."""
        lost = self.gate.max_loss
        return self.parent_value + lost if self.gate.mode == "min" else self.parent_value - lost

    def value(self, dot: Dot) -> float:
        return dot.metrics[self.column]

    def front(self) -> list[Dot]:
        """Those that none beats, the smallest first."""
        return sorted((dot for dot in self.dots if dot.on_front), key=lambda dot: dot.metrics["bytes"])

    def values_shown(self) -> tuple[float, float]:
        """From where to where a picture reaches: what is far beyond the gate would press all else together."""
        values = [self.parent_value, self.limit, *(self.value(dot) for dot in self.dots if dot.drawn)]
        best = max(values, key=self._goodness)
        worst = min(values, key=self._goodness)
        reach = _ROOM * abs(best - self.limit) or abs(best - worst) or 1.0
        end = self.limit + reach if self.gate.mode == "min" else self.limit - reach
        worst = max(worst, end, key=self._goodness)
        return min(best, worst), max(best, worst)

    def _goodness(self, value: float) -> float:
        return -value if self.gate.mode == "min" else value


def written(value: object) -> str:
    """A setting or a figure in few characters."""
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)


def front_csv(view: FrontView) -> bytes:
    """All recipes, the smallest first and the stopped last; 1 is yes in `front`, `passes` and `knee`."""
    settings = _names(dot.settings for dot in view.dots)
    metrics = _names(dot.metrics for dot in view.dots)
    measured = ("runtime", "p50_ms", "p99_ms", f"rows_per_s_batch_{BATCH}")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "front", "passes", "knee", "chosen", *settings, *metrics, *measured, "stopped"])
    for dot in sorted(view.dots, key=lambda dot: (bool(dot.stopped), dot.metrics.get("bytes", 0.0))):
        chosen = [dot.settings.get(name, "") for name in settings]
        found = [dot.metrics.get(name, "") for name in metrics]
        standing = [int(dot.on_front), int(dot.passes), int(dot.is_knee), " ".join(dot.chosen)]
        table.writerow([dot.name, *standing, *chosen, *found, *_served(dot), dot.stopped])
    return text.getvalue().encode()


def front_png(view: FrontView) -> bytes:
    """A picture: bytes across, the gate's metric upwards. What lies far beyond the gate stands at the edge."""
    drawn = figure(6.4, 4.2)
    axes = drawn.add_subplot()
    low, high = view.values_shown()
    margin = 0.04 * (high - low) or 0.01

    def place(dots: Iterable[Dot]) -> tuple[list[float], list[float]]:
        shown = list(dots)
        return [d.metrics["bytes"] for d in shown], [min(max(view.value(d), low), high) for d in shown]

    inside = [dot for dot in view.dots if dot.drawn]
    beside = (8, 7) if view.gate.mode == "min" else (8, -13)  # where the front does not go on
    axes.scatter(
        *place(d for d in inside if not d.passes), s=18, color=FAINT, marker="x", label="fails the gate"
    )
    axes.scatter(
        *place(d for d in inside if d.passes and not d.on_front), s=18, color="0.55", label="passes it"
    )
    axes.plot(*place(view.front()), color=TRAINING, marker="o", markersize=4, linewidth=1, label="front")
    axes.scatter(
        *place(d for d in inside if d.chosen), s=110, facecolors="none", edgecolors=BAD, label="chosen"
    )
    for dot in inside:
        if dot.marks:
            (across,), (upwards,) = place([dot])
            axes.annotate(dot.marks, (across, upwards), xytext=beside, textcoords="offset points", fontsize=8)
    axes.scatter(
        [view.original_bytes], [view.parent_value], marker="*", s=90, color=GOOD, label="the original"
    )
    axes.axhline(view.limit, color=VALIDATION, linestyle=":", linewidth=1, label="gate")
    if view.max_bytes is not None:
        axes.axvline(view.max_bytes, color=VALIDATION, linestyle="--", linewidth=1, label="bytes at most")
    axes.set(xscale="log", ylim=(low - margin, high + margin))
    dress(axes, title=view.title, x="bytes of the coded file", y=f"validation {view.metric}")
    drawn.legend(frameon=False, fontsize="small", loc="outside lower center", ncols=4)
    return png(drawn)


def _served(dot: Dot) -> list[object]:
    if dot.served is None:
        return ["", "", "", ""]
    one = dot.served.latency(1)
    shown: list[object] = [dot.served.runtime, "", "", "" if dot.rows_per_s is None else dot.rows_per_s]
    if one is not None:
        shown[1:3] = [one.p50_ms, one.p99_ms]
    return shown


def _names(parts: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part))
