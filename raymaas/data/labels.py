"""Labels as people write them, numbers or text, and their class indices."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymaas.errors import InvalidInput


def class_indices(
    labels: pa.ChunkedArray, *, classes: tuple[str, ...] | None, where: str, first_row: int | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """int64 [N] and the classes they index: those given, or the different labels found, sorted.

    `where` says in a message which labels these are, and `first_row` what the first row is called; without it they
    are all there are.
    Raises InvalidInput for a missing label, one outside `classes`, fractions, and fewer than two classes.
    """
    texts = label_texts(labels, where=where, first_row=first_row)
    if classes is None:
        classes = in_order(pc.unique(texts).to_pylist())
    if len(set(classes)) < max(2, len(classes)):
        raise InvalidInput(
            f"{where} has the classes {', '.join(map(repr, classes)) or 'of no row'}; "
            "a classifier needs at least two different ones"
        )
    index_N = pc.index_in(texts, value_set=pa.array(classes, pa.string()))
    outside = np.flatnonzero(index_N.is_null().to_numpy())
    if len(outside):
        raise InvalidInput(
            f"{where} has {texts[int(outside[0])].as_py()!r} in row {(first_row or 0) + outside[0]}, which is none of "
            f"{', '.join(map(repr, classes))}; correct it"
        )
    return index_N.to_numpy().astype(np.int64), classes


def label_texts(labels: pa.ChunkedArray, *, where: str, first_row: int | None = None) -> pa.ChunkedArray:
    """Labels as text. Raises InvalidInput for a missing one, and for fractions."""
    start = first_row or 0
    texts = _as_text(labels, where=where, first_row=start)
    missing = np.flatnonzero(texts.is_null().to_numpy())
    if len(missing):
        extent = "in all" if first_row is None else f"up to row {start + len(labels) - 1}"
        raise InvalidInput(
            f"{where} has no label in row {start + missing[0]}; fill or drop it ({len(missing)} {extent})"
        )
    return texts


def in_order(labels: Collection[str]) -> tuple[str, ...]:
    """Different labels in the order of their class indices: whole numbers as such, all else as text."""
    return tuple(sorted(labels, key=_whole) if all(map(_is_whole, labels)) else sorted(labels))


def _as_text(labels: pa.ChunkedArray, *, where: str, first_row: int) -> pa.ChunkedArray:
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    kind = labels.type
    if pa.types.is_floating(kind):
        # NaN is how numpy and pandas write a missing label.
        labels = pc.if_else(pc.is_nan(labels), None, labels)
        broken = np.flatnonzero(pc.fill_null(pc.not_equal(labels, pc.round(labels)), False).to_numpy())
        if len(broken):
            raise InvalidInput(
                f"{where} has {labels[int(broken[0])].as_py()} in row {first_row + broken[0]}; "
                "labels are whole numbers or text"
            )
        labels = labels.cast(pa.int64())
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    ):
        raise InvalidInput(f"{where} is {kind}; labels are whole numbers, text or true and false")
    return labels.cast(pa.string())


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


def _whole(text: str) -> int:
    return int(text)
