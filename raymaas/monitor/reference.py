"""The reference of a version: what it is looked at by, and how the rows and predictions look that it is held against.

Numbers are put into bins that hold about equally many rows each. A number that many rows share, such as an image's
black, has a bin of its own. Rows of many numbers, such as images, are looked at by sums over the row and by some of
their numbers; texts by their words where few are all there are, else by their length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from raymaas.monitor.counts import Counting
from raymaas.monitor.looking import Tensors, numbers, words
from raymaas.specs.drift import Feature, Reference, Source, Take
from raymaas.specs.versions import Signature, TensorSpec

MOST_ROWS = 20_000
"""So many rows say enough; what asks for a reference need not bring more."""

BINS = 16
_ROWS_PER_BIN = (
    20  # By chance alone the index of n against m rows is (bins - 1)(1/n + 1/m): 0.05 of few rows.
)
_COLUMNS = 64
_LABELS = 32
_FEATURES = 128
_SUMS: tuple[Take, ...] = ("mean", "deviation", "zeros")


def reference_of(rows: Tensors, signature: Signature, *, output: str) -> Reference:
    """The reference of `rows`: the inputs of `signature`, and the prediction `output`, of one row at least."""
    count = len(rows["prediction"][output])
    predicted = _predictions(rows, signature, output)
    asked = [list(_inputs(spec, rows)) for spec in signature.inputs]
    # Of a very wide table, the first columns.
    chosen = list(islice((feature for of_tensor in asked for feature in of_tensor), _FEATURES))
    counted = _counted([*predicted, *chosen], rows)
    return Reference(rows=count, features=counted, left_out=_left_out(signature, chosen))


def _counted(features: Sequence[Feature], rows: Tensors) -> tuple[Feature, ...]:
    counts = Counting(features).of(rows)
    return tuple(
        feature.model_copy(update={"counts": of_feature})
        for feature, of_feature in zip(features, counts, strict=True)
    )


def _inputs(spec: TensorSpec, rows: Tensors) -> Iterator[Feature]:
    array_N = rows["input"][spec.name]
    width = int(np.prod(array_N.shape[1:]))
    if spec.dtype == "BYTES":
        if width == 1:
            yield _text("input", spec.name, array_N)
        return
    if spec.dtype == "BOOL" and width == 1:
        yield _category("input", spec.name, spec.name, "word", ("false", "true"))
        return
    varying = -1 in spec.shape[1:]
    if varying or width > _COLUMNS:
        for take in _SUMS:
            yield _number("input", spec.name, array_N, take, name=f"{take} of {spec.name}")
    if not varying:
        for column in _columns(array_N.reshape(len(array_N), -1)):
            name = spec.name if width == 1 else f"{spec.name}{_place(column, array_N.shape[1:])}"
            yield _number("input", spec.name, array_N, "number", column=column, name=name)


def _predictions(rows: Tensors, signature: Signature, output: str) -> list[Feature]:
    array_N = rows["prediction"][output]
    if signature.classes and array_N.ndim == 2:
        return [
            _category("prediction", output, "predicted class", "class", signature.classes),
            _number("prediction", output, array_N, "confidence", name="confidence"),
        ]
    return [_number("prediction", output, array_N, "number", name=output)]


def _number(
    source: Source, tensor: str, array_N: np.ndarray, take: Take, *, name: str, column: int = 0
) -> Feature:
    edges = _edges(numbers(array_N, take, [column])[:, 0])
    zeros = (0,) * (len(edges) + 2)
    return Feature(
        name=name, source=source, tensor=tensor, take=take, column=column, edges=edges, counts=zeros
    )


def _text(source: Source, tensor: str, array_N: np.ndarray) -> Feature:
    """By its words where these tell it. What few rows say is kept nowhere."""
    found = Counter(word for word in words(array_N, "word", ()) if word is not None)
    common = [word for word, times in found.most_common(_LABELS) if times >= _ROWS_PER_BIN]
    if 2 * sum(found[word] for word in common) < found.total():
        return _number(source, tensor, array_N, "length", name=f"length of {tensor}")
    return _category(source, tensor, tensor, "word", tuple(sorted(common)))


def _category(source: Source, tensor: str, name: str, take: Take, labels: tuple[str, ...]) -> Feature:
    zeros = (0,) * (len(labels) + 2)
    return Feature(name=name, source=source, tensor=tensor, take=take, labels=labels, counts=zeros)


def _edges(values_N: np.ndarray) -> tuple[float, ...]:
    """Where bins end that hold about equally many of the values; of a value that fills one, just before it too."""
    present = np.sort(values_N[np.isfinite(values_N)])
    if not len(present):
        return ()
    bins = max(2, min(BINS, len(present) // _ROWS_PER_BIN))
    ends = np.unique(present[np.arange(1, bins) * len(present) // bins])
    share = np.searchsorted(present, ends, "right") - np.searchsorted(present, ends, "left")
    before = np.nextafter(ends[share * bins >= len(present)], -np.inf)
    return tuple(edge for edge in np.union1d(ends, before).tolist() if np.isfinite(edge))


def _columns(flat_NC: np.ndarray) -> list[int]:
    """All columns; of too many, some of those whose values differ, evenly spread."""
    width = flat_NC.shape[1]
    if width <= _COLUMNS:
        return list(range(width))
    differ = np.flatnonzero((flat_NC != flat_NC[0]).any(axis=0))
    chosen = np.linspace(0, len(differ) - 1, min(len(differ), _COLUMNS)).round().astype(int)
    return [int(column) for column in differ[chosen]]


def _place(column: int, shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, np.unravel_index(column, shape)))}]"


def _left_out(signature: Signature, chosen: Sequence[Feature]) -> int:
    """How many numbers and texts of a row no feature is of alone."""
    there = sum(
        int(np.prod(spec.shape[1:], dtype=int)) for spec in signature.inputs if -1 not in spec.shape[1:]
    )
    return max(0, there - sum(feature.take not in _SUMS for feature in chosen))
