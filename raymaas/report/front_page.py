"""The front as a page: one HTML file that needs no network, a picture and a table that light up in each other.

Without JavaScript it is the same picture and table. Whatever comes from a job is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from raymaas.report.front import Dot, FrontView
from raymaas.specs.accounting import BATCH

_WIDTH, _HEIGHT = 760, 430
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 16, 14, 46
_SPEEDS = 5  # shades, from the fastest to the slowest
_TICKS = 6
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def front_html(view: FrontView) -> bytes:
    """The page: bytes across on a log scale, the gate's metric upwards, a shade for the latency where it is known."""
    shades = _shades(view.dots)
    body = "\n".join(
        [
            f"<h1>{escape(view.title)}</h1>",
            f"<p>{_lead(view)}</p>",
            f"<figure>{_svg(view, shades)}{_legend(view, shades)}</figure>",
            '<div id="details" aria-live="polite" hidden></div>',
            _table(view),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(view.title)}</title>\n<style>\n{_asset('front.css')}</style>\n</head>\n<body>\n<main>\n"
        f"{body}\n</main>\n<script>\n{_asset('front.js')}</script>\n</body>\n</html>\n"
    ).encode()


@dataclass(frozen=True)
class _Axes:
    """From bytes and a metric to places in the picture."""

    bytes_from: float
    bytes_to: float
    value_from: float
    value_to: float

    @classmethod
    def around(cls, view: FrontView) -> _Axes:
        sizes = [view.original_bytes, *(dot.metrics["bytes"] for dot in view.dots if dot.drawn)]
        low, high = view.values_shown()
        margin = 0.05 * (high - low) or 0.01
        return cls(max(1.0, min(sizes) / 1.15), max(sizes) * 1.15, low - margin, high + margin)

    def x(self, size: float) -> float:
        share = math.log(max(size, 1.0) / self.bytes_from) / math.log(self.bytes_to / self.bytes_from)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """What lies beyond the picture stands at its edge."""
        inside = min(max(value, self.value_from), self.value_to)
        share = (inside - self.value_from) / (self.value_to - self.value_from)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _svg(view: FrontView, shades: dict[str, int]) -> str:
    axes = _Axes.around(view)
    right, foot = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(_described(view))}">',
        *_grid(axes),
        f'<text class="name" x="{(_LEFT + right) / 2:.0f}" y="{_HEIGHT - 6}">bytes of the coded file</text>',
        f'<text class="name" transform="translate(14 {(foot + _TOP) / 2:.0f}) rotate(-90)">'
        f"validation {escape(view.metric)}</text>",
        f'<line class="gate" x1="{_LEFT}" x2="{right}" y1="{axes.y(view.limit):.1f}" y2="{axes.y(view.limit):.1f}"/>',
    ]
    if view.max_bytes is not None and axes.bytes_from < view.max_bytes < axes.bytes_to:
        across = f"{axes.x(view.max_bytes):.1f}"
        parts.append(f'<line class="gate" x1="{across}" x2="{across}" y1="{_TOP}" y2="{foot}"/>')
    line = " ".join(f"{axes.x(d.metrics['bytes']):.1f},{axes.y(view.value(d)):.1f}" for d in view.front())
    parts.append(f'<polyline class="line" points="{line}"/>')
    x, y = axes.x(view.original_bytes), axes.y(view.parent_value)
    parts.append(
        f'<path class="parent" d="M{x:.1f} {y - 7:.1f}l6 7l-6 7l-6-7z"><title>the original</title></path>'
    )
    # The front last: what is drawn later lies on top.
    for dot in sorted(
        (dot for dot in view.dots if dot.drawn), key=lambda dot: (dot.on_front, bool(dot.chosen))
    ):
        parts += _dot(dot, view, axes, shades)
    return "\n".join([*parts, "</svg>"])


def _dot(dot: Dot, view: FrontView, axes: _Axes, shades: dict[str, int]) -> Iterator[str]:
    x, y = axes.x(dot.metrics["bytes"]), axes.y(view.value(dot))
    classes = ["dot", "on-front" if dot.on_front else "beaten", "passes" if dot.passes else "fails"]
    if dot.name in shades:
        classes.append(f"speed{shades[dot.name]}")
    if dot.chosen:
        yield f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="10"/>'
    if dot.marks:
        beside = y - 9 if view.gate.mode == "min" else y + 18  # where the front does not go on
        yield f'<text class="mark" x="{x + 12:.1f}" y="{beside:.1f}">{escape(dot.marks)}</text>'
    yield (
        f'<circle class="{" ".join(classes)}" cx="{x:.1f}" cy="{y:.1f}" r="{6 if dot.on_front else 4.5}" '
        f'data-trial="{escape(dot.name)}" tabindex="0"><title>{escape(_sentence(dot, view))}</title></circle>'
    )


def _grid(axes: _Axes) -> Iterator[str]:
    foot, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for size in _round_sizes(axes.bytes_from, axes.bytes_to):
        x = axes.x(size)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{foot}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{foot + 16}">{size:,}</text>'
    for value in _round_values(axes.value_from, axes.value_to):
        y = axes.y(value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick side" x="{_LEFT - 6}" y="{y + 4:.1f}">{value:.6g}</text>'


def _table(view: FrontView) -> str:
    columns = (
        "recipe", "standing", "bytes", "times smaller", f"validation {view.metric}", "sparsity", "runtime",
        "p50 ms, 1 row", f"rows/s, {BATCH} rows", "trial",
    )  # fmt: skip
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    order = sorted(view.dots, key=lambda dot: (bool(dot.stopped), dot.metrics.get("bytes", 0.0)))
    rows = [_row(dot, view) for dot in order]
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>"


def _row(dot: Dot, view: FrontView) -> str:
    metrics = dot.metrics
    cells: list[tuple[str, float | None]] = [
        (dot.recipe, None),
        (_standing(dot), None),
        (_figure(metrics.get("bytes"), ",.0f"), metrics.get("bytes")),
        (_figure(metrics.get("ratio"), ".1f"), metrics.get("ratio")),
        (_figure(metrics.get(view.column), ".6g"), metrics.get(view.column)),
        (_figure(metrics.get("sparsity"), ".3f"), metrics.get("sparsity")),
        (dot.served.runtime if dot.served else "", None),
        (_figure(dot.p50_ms, ".3f"), dot.p50_ms),
        (_figure(dot.rows_per_s, ",.0f"), dot.rows_per_s),
        (dot.name, None),
    ]
    shown = "".join(
        f"<td>{escape(text)}</td>" if number is None else f'<td data-value="{number!r}">{escape(text)}</td>'
        for text, number in cells
    )
    chosen = ' class="chosen"' if dot.chosen else ""
    return f'<tr data-trial="{escape(dot.name)}"{chosen}>{shown}</tr>'


def _standing(dot: Dot) -> str:
    if dot.stopped:
        return f"ended early: {dot.stopped}"
    gate = "passes the gate" if dot.passes else "fails the gate"
    return ", ".join(filter(None, [dot.marks, "on the front" if dot.on_front else "", gate]))


def _sentence(dot: Dot, view: FrontView) -> str:
    return (
        f"{dot.recipe}: {dot.metrics['bytes']:,.0f} bytes, validation {view.metric} {view.value(dot):.6g}, "
        f"{_standing(dot)}"
    )


def _lead(view: FrontView) -> str:
    more = "at most" if view.gate.mode == "min" else "at least"
    return escape(
        f"{len(view.dots)} recipes tried. The original takes {view.original_bytes:,} bytes; the parent reaches "
        f"{view.metric} {view.parent_value:.6g} on the validation rows, and a recipe passes the gate with {more} "
        f"{view.limit:.6g}. Test rows took no part. Point at a dot or a row to see its recipe; click to keep it."
    )


def _described(view: FrontView) -> str:
    return f"Bytes against validation {view.metric} of {len(view.dots)} recipes; the table below has the figures."


def _legend(view: FrontView, shades: dict[str, int]) -> str:
    timed = [dot.p50_ms for dot in view.dots if dot.name in shades and dot.p50_ms is not None]
    keys = [
        ("dot on-front passes", "on the front"),
        ("dot beaten passes", "beaten"),
        ("dot beaten fails", "fails the gate"),
    ]
    if timed:
        keys.append(("dot on-front passes speed0", f"fastest, {min(timed):.3f} ms"))
        keys.append((f"dot on-front passes speed{_SPEEDS - 1}", f"slowest, {max(timed):.3f} ms"))
    shown = "".join(
        f'<span><svg viewBox="0 0 14 14" aria-hidden="true"><circle class="{classes}" cx="7" cy="7" r="5"/></svg> '
        f"{escape(text)}</span>"
        for classes, text in keys
    )
    return f"<figcaption>{shown}<span>dashed: the gate</span><span>diamond: the original</span></figcaption>"


def _shades(dots: Sequence[Dot]) -> dict[str, int]:
    """Of those that were timed, the shade by name: 0 is the fastest fifth."""
    timed = sorted((dot.p50_ms, dot.name) for dot in dots if dot.p50_ms is not None)
    if not timed:
        return {}
    fastest, slowest = math.log(max(timed[0][0], 1e-9)), math.log(max(timed[-1][0], 1e-9))
    span = slowest - fastest or 1.0
    return {
        name: min(_SPEEDS - 1, int((math.log(max(ms, 1e-9)) - fastest) / span * _SPEEDS))
        for ms, name in timed
    }


def _round_sizes(low: float, high: float) -> list[int]:
    """1, 2 and 5 times powers of ten between them; powers alone where that would be too many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10**e for e in exponents for step in (1, 2, 5) if e >= 0 and low <= step * 10**e <= high]
    return found if len(found) <= 2 * _TICKS else [size for size in found if str(size)[0] == "1"]


def _round_values(low: float, high: float) -> list[float]:
    step = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    step *= next(times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= _TICKS)
    first = math.ceil(low / step)
    return [round(place * step, 12) for place in range(first, math.floor(high / step) + 1)]


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _asset(name: str) -> str:
    return resources.files("raymaas.report").joinpath(name).read_text(encoding="utf-8")
