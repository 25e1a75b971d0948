"""The canvas: how every picture of a report looks, and from a figure to the bytes of a PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINING, VALIDATION, GOOD, BAD, FAINT = "#4477aa", "#ee6677", "#228833", "#cc3311", "0.75"
"""Colours that the colour-blind tell apart (P. Tol, Colour Schemes, 2021, "bright" and "vibrant")."""

_DOTS_PER_INCH = 120


def figure(width_in: float, height_in: float) -> Figure:
    """An empty figure that makes room for its labels by itself."""
    # Half a second to import, and only needed where something is drawn. No pyplot: it keeps every figure in a list.
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), dpi=_DOTS_PER_INCH, layout="constrained")


def dress(axes: Axes, *, title: str, x: str, y: str) -> None:
    """Title, labels and a faint grid."""
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def png(drawn: Figure) -> bytes:
    """The picture as a PNG: the same figure gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(drawn)  # replaces the canvas that figures begin with
    data = io.BytesIO()
    drawn.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()
