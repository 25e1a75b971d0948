"""One-hot coding: a text that is one of a few becomes as many numbers, one of them 1 and the others 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from pydantic import Field

from raymaas.data.transforms.base import OverColumns, Step
from raymaas.data.transforms.frame import Frame, is_text


class OneHotCoded(Step):
    """The categories of each column. A text that is none of them becomes zeros."""

    categories: Mapping[str, tuple[str, ...]]

    def apply(self, frame: Frame) -> Frame:
        return frame.with_columns(
            {name: _coded(frame.require(name), known) for name, known in self.categories.items()}
        )


class OneHot(OverColumns):
    """Turns each text into a number for each category, 1 for its own and 0 for the others.

    Categories are the texts of the training rows, sorted. Any other text, also one a client sends, is all zeros.
    """

    at_most: int = Field(
        100, ge=1, description="Categories of a column: the most frequent ones, and the others are zeros."
    )

    def fit(self, frame: Frame) -> OneHotCoded:
        names = frame.choose(self.columns, among=is_text, what="text")
        return OneHotCoded(categories={name: self._categories(frame.require(name)) for name in names})

    def _categories(self, texts_N: np.ndarray) -> tuple[str, ...]:
        counts = Counter(texts_N.tolist())
        return tuple(sorted(sorted(counts, key=lambda text: (-counts[text], text))[: self.at_most]))


def _coded(texts_N: np.ndarray, known: tuple[str, ...]) -> np.ndarray:
    places = {text: place for place, text in enumerate(known)}
    place_N = np.fromiter((places.get(text, -1) for text in texts_N), np.int64, len(texts_N))
    coded_NC = np.zeros((len(texts_N), len(known)), np.float32)
    rows = np.flatnonzero(place_N >= 0)
    coded_NC[rows, place_N[rows]] = 1
    return coded_NC
