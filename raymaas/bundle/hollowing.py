"""Making graphs hollow: finding which of their numbers the coded weights hold, and taking those out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from raymaas.bundle.hollow import (
    Emptied,
    Form,
    Piece,
    filled,
    keep_metadata,
    numbers,
    parsed,
    rounded,
    serialized,
)
from raymaas.bundle.rmz.tensors import Coded
from raymaas.errors import IntegrityError

_LITTLE = 128  # bytes of an initializer; to say where they are takes about as many
_MOST_PIECES = 16
_MOST_ALIKE = 8


class Sources:
    """The numbers of a coded file, to be looked up by value."""

    def __init__(self, tensors: Mapping[str, Coded]) -> None:
        self._rows: dict[Form, dict[str, np.ndarray]] = {
            form: {
                name: found for name, coded in tensors.items() if (found := numbers(form, coded)) is not None
            }
            for form in ("dense", "levels", "scales")
        }
        self._whole = {
            form: {_digest(found): (name, 0, len(found)) for name, found in rows.items()}
            for form, rows in self._rows.items()
        }

    def find(self, form: Form, array: np.ndarray) -> tuple[tuple[Piece, ...], bool] | None:
        """Pieces whose rows make `array`, and whether they must be transposed for it; None where there are none."""
        if whole := self._whole[form].get(_digest(array)):
            return (whole,), False
        if array.ndim == 2 and (whole := self._whole[form].get(_digest(array.T))):
            return (whole,), True
        lengths = sorted({rows.shape[1] for rows in self._rows[form].values()} - {0}, reverse=True)
        for length in lengths:
            # Single numbers are found everywhere: only a list of them, such as a bias, is made of such rows.
            if array.size % length == 0 and (length > 1 or array.size == max(array.shape)):
                pieces = self._runs(form, array.reshape(-1, length))
                if pieces:
                    return pieces, False
        return None

    def of_size(self, size: int) -> Iterator[tuple[str, np.ndarray]]:
        """Tensors of as many numbers by name, dense, as rows."""
        return ((name, rows) for name, rows in self._rows["dense"].items() if rows.size == size)

    def _runs(self, form: Form, wanted: np.ndarray) -> tuple[Piece, ...]:
        """Stretches of rows that are `wanted` one after the other, the longest first; () when there are none.

        Recurrent cells have their gates in another order in a graph.
        """
        known = {
            name: _as_bytes(rows)
            for name, rows in self._rows[form].items()
            if rows.shape[1] == wanted.shape[1]
        }
        pieces: list[Piece] = []
        rows = _as_bytes(wanted)
        done = 0
        while done < len(rows):
            found = max(
                (
                    (_alike(rows[done:], theirs[start:]), name, int(start))
                    for name, theirs in known.items()
                    for start in np.flatnonzero((theirs == rows[done]).all(axis=1))[:_MOST_ALIKE]
                ),
                default=(0, "", 0),
            )
            length, name, start = found
            if not length or len(pieces) == _MOST_PIECES:
                return ()
            pieces.append((name, start, start + length))
            done += length
        return tuple(pieces)


def hollowed(graph: bytes, tensors: Mapping[str, Coded]) -> bytes:
    """`graph` without what `tensors` hold; filling it gives the same graph again, which was tried.

    Raises IntegrityError when it would not.
    """
    proto, sources = parsed(graph), Sources(tensors)
    arrays = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    table = []
    for initializer in proto.graph.initializer:
        array = arrays[initializer.name]
        if array.nbytes > _LITTLE and (emptied := _emptied(initializer, arrays, sources)):
            table.append(emptied)
            initializer.CopyFrom(numpy_helper.from_array(array, initializer.name))
    keep_metadata(proto, [])
    full = serialized(proto)
    taken_out = {emptied.initializer for emptied in table}
    for initializer in proto.graph.initializer:
        if initializer.name in taken_out:
            initializer.ClearField("raw_data")
    keep_metadata(proto, table)
    hollow = serialized(proto)
    if filled(hollow, tensors) != full:
        raise IntegrityError(
            "a graph that was made hollow does not fill to what it was; this is a fault of raymaas"
        )
    return hollow


def _emptied(initializer: Any, arrays: Mapping[str, np.ndarray], sources: Sources) -> Emptied | None:
    name = initializer.name
    array = arrays[name]
    match initializer.data_type:
        case TensorProto.FLOAT:
            for form in ("scales", "dense") if name.endswith("_scale") else ("dense",):
                if found := sources.find(form, array):
                    return Emptied(initializer=name, form=form, pieces=found[0], transposed=found[1])
        case TensorProto.INT8 | TensorProto.UINT8 if not array.any():
            return Emptied(initializer=name, form="zeros")
        case TensorProto.INT8:
            if found := sources.find("levels", array):
                return Emptied(initializer=name, form="levels", pieces=found[0], transposed=found[1])
            return _rounded(name, arrays, sources)
    return None


def _rounded(name: str, arrays: Mapping[str, np.ndarray], sources: Sources) -> Emptied | None:
    """The line of int8 weights whose scale is not that of a grid, or that never had one."""
    beside = name.removesuffix("_quantized") + "_scale"
    scale, array = arrays.get(beside), arrays[name]
    if scale is None:
        return None
    for tensor, rows in sources.of_size(array.size):
        for transposed in (False, True) if array.ndim == 2 else (False,):
            if len(rows) != array.shape[1 if transposed else 0] or scale.shape not in ((), (len(rows),)):
                continue
            value = rounded(rows, scale)
            if np.array_equal(value.T if transposed else value.reshape(array.shape), array):
                pieces = ((tensor, 0, len(rows)),)
                return Emptied(
                    initializer=name, form="rounded", pieces=pieces, transposed=transposed, scale=beside
                )
    return None


def _digest(array: np.ndarray) -> bytes:
    return hashlib.sha256(array.tobytes()).digest()


def _as_bytes(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows).view(np.uint8)


def _alike(one: np.ndarray, other: np.ndarray) -> int:
    """How many rows of the two are the same, from the first on."""
    length = min(len(one), len(other))
    differ = np.flatnonzero((one[:length] != other[:length]).any(axis=1))
    return int(differ[0]) if len(differ) else length
