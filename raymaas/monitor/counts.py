"""Counting rows in the bins of a reference. Counts of replicas and of times add up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from raymaas.monitor.looking import Tensors, numbers, words
from raymaas.specs.drift import Feature, Source, Take

Counts = tuple[tuple[int, ...], ...]
"""Of each feature: rows in each bin, then rows without a value."""

_ROWS_AT_ONCE = 256
_Group = tuple[Source, str, Take]


class Counting:
    """Counts rows in the bins of `features`; `of` may be asked any number of times."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = features
        groups: dict[_Group, list[int]] = defaultdict(list)
        for place, feature in enumerate(features):
            groups[feature.source, feature.tensor, feature.take].append(place)
        self._groups = groups
        self._edges = {
            group: _padded([features[place].edges for place in places]) for group, places in groups.items()
        }

    def of(self, rows: Tensors) -> Counts:
        """The counts of `rows`, which have all tensors that the features are of."""
        counts: list[tuple[int, ...]] = [()] * len(self._features)
        for group, places in self._groups.items():
            source, tensor, take = group
            features = [self._features[place] for place in places]
            array_N = rows[source][tensor]
            if features[0].is_category:
                for place, feature in zip(places, features, strict=True):
                    counts[place] = _of_words(words(array_N, take, feature.labels), feature.labels)
                continue
            columns, edges = [feature.column for feature in features], self._edges[group]
            found = np.zeros((len(places), edges.shape[1] + 2), np.int64)
            for start in range(0, len(array_N), _ROWS_AT_ONCE):
                found += _of_numbers(numbers(array_N[start : start + _ROWS_AT_ONCE], take, columns), edges)
            for place, feature, of_feature in zip(places, features, found, strict=True):
                counts[place] = (*of_feature[: feature.bins].tolist(), int(of_feature[-1]))
        return tuple(counts)


def added(counts: Iterable[Counts]) -> Counts:
    """The sum of some counts of the same features, of one at least."""
    first, *others = counts
    sums = [np.array(of_feature) for of_feature in first]
    for each in others:
        for so_far, of_feature in zip(sums, each, strict=True):
            so_far += of_feature
    return tuple(tuple(of_feature.tolist()) for of_feature in sums)


def _padded(edges: Sequence[Sequence[float]]) -> np.ndarray:
    """[F, most edges]; what a feature has fewer of is infinite, where no number is beyond."""
    padded = np.full((len(edges), max(map(len, edges))), np.inf)
    for row, of_feature in zip(padded, edges, strict=True):
        row[: len(of_feature)] = of_feature
    return padded


def _of_numbers(values_NF: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """int64 [F, most bins + 1]: how many values are in each bin, and last how many are missing or infinite."""
    features, bins = len(edges), edges.shape[1] + 1
    bin_NF = np.greater(values_NF[:, :, None], edges).sum(axis=2)
    bin_NF[~np.isfinite(values_NF)] = bins
    flat = bin_NF + np.arange(features) * (bins + 1)
    return np.bincount(flat.ravel(), minlength=features * (bins + 1)).reshape(features, bins + 1)


def _of_words(found: Sequence[str | None], labels: Sequence[str]) -> tuple[int, ...]:
    bin_of: dict[str | None, int] = {label: number for number, label in enumerate(labels)}
    bin_of[None] = len(labels) + 1
    bins = [bin_of.get(word, len(labels)) for word in found]
    return tuple(np.bincount(bins, minlength=len(labels) + 2).tolist())
