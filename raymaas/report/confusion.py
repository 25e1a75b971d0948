"""The confusion matrix: which classes are taken for which others, as a picture and as the worst pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raymaas.report.canvas import figure, png

_MOST_NUMBERED = 20  # classes; with more, the counts would not fit their cells
_LONGEST_LABEL = 14  # characters


def confusion_png(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> bytes:
    """`confusion[i][j]` rows of class i were answered with class j. Colours are shares of a class's own rows."""
    count_CC = np.array(confusion)
    share_CC = count_CC / np.maximum(count_CC.sum(axis=1, keepdims=True), 1)
    classes = len(count_CC)
    size = min(12.0, max(4.2, 2.4 + 0.42 * classes))
    drawn = figure(size + 0.8, size)
    axes = drawn.add_subplot()
    image = axes.imshow(share_CC, cmap="Blues", vmin=0, vmax=1)
    drawn.colorbar(image, ax=axes, shrink=0.8, label="share of the class's rows")
    short = [label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…" for label in labels]
    step = 1 if classes <= 2 * _MOST_NUMBERED else classes // 20
    places = range(0, classes, step)
    upright = max(map(len, short)) <= 2
    axes.set_xticks(places, [short[place] for place in places], rotation=0 if upright else 45)
    axes.set_yticks(places, [short[place] for place in places])
    if not upright:
        for label in axes.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor")
    axes.set(title="Confusion", xlabel="answered", ylabel="true class")
    if classes <= _MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(count_CC):
            if count:
                dark = share_CC[row, column] > 0.5
                axes.text(
                    column, row, str(count), ha="center", va="center", fontsize=7, color="w" if dark else "k"
                )
    return png(drawn)


def worst_pairs(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], *, most: int = 5
) -> list[tuple[str, str, int]]:
    """True class, the class it was taken for, and how many rows; the most frequent first."""
    pairs = [
        (labels[true], labels[answered], count)
        for true, counts in enumerate(confusion)
        for answered, count in enumerate(counts)
        if true != answered and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]
