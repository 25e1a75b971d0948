"""Hollow graphs: ONNX files without the numbers that the coded weights beside them hold, and filling them.

A table in the graph's metadata says for each emptied initializer where its numbers are:

    {"initializer": name, "form": form, "pieces": [[tensor, first row, row after the last], ...], "transposed": false}

Its value is those rows one after the other, transposed if it says so, in the initializer's own shape. A tensor of two
dimensions or more has a row for each of its outputs, one of fewer dimensions a row for each number. Forms:

    dense     float32, the weights
    levels    int8, the levels less their zero points: no float is on the way from the file to an integer kernel
    rounded   int8, the weights over the initializer `scale`, one number for each row, rounded half to even
    scales    float32, one for each row: the grid's own
    zeros     no pieces

`raymaas.bundle.hollowing` makes such graphs. Reading them needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import onnx
import orjson
from onnx import TensorProto, numpy_helper
from pydantic import ValidationError

from raymaas.bundle.rmz.tensors import Coded, Quantized
from raymaas.errors import IntegrityError
from raymaas.specs.base import Spec

TABLE = "raymaas.weights"
"""The key of the table in the metadata."""

Form = Literal["dense", "levels", "rounded", "scales", "zeros"]
Piece = tuple[str, int, int]

_AS_OFTEN = 4  # as the numbers of the coded file may be used in a graph; those of tied weights are, twice
_TYPES: Mapping[Form, tuple[int, ...]] = {
    "dense": (TensorProto.FLOAT,),
    "levels": (TensorProto.INT8,),
    "rounded": (TensorProto.INT8,),
    "scales": (TensorProto.FLOAT,),
    "zeros": (TensorProto.INT8, TensorProto.UINT8),
}


class Emptied(Spec):
    """One line of the table."""

    initializer: str
    form: Form
    pieces: tuple[Piece, ...] = ()
    transposed: bool = False
    scale: str = ""


def filled(graph: bytes, tensors: Mapping[str, Coded]) -> bytes:
    """The graph with its weights inside, from `tensors` of the coded file; as it is, when it is not hollow.

    Allocates in proportion to what `tensors` hold, whatever the graph claims. Raises IntegrityError when it is no
    graph, or when its table does not fit it or the tensors.
    """
    proto = parsed(graph)
    table = _table(proto)
    if not table:
        return graph
    initializers = {initializer.name: initializer for initializer in proto.graph.initializer}
    most = _AS_OFTEN * sum(math.prod(coded.shape) for coded in tensors.values())
    for emptied in table:
        most -= _size(emptied, initializers, tensors)
        if most < 0:
            raise IntegrityError("the table of a hollow graph uses the coded weights too often")
    for emptied in table:
        initializers[emptied.initializer].raw_data = _value(emptied, initializers, tensors).tobytes()
    keep_metadata(proto, [])
    return serialized(proto)


def parsed(graph: bytes) -> Any:
    """The graph as onnx's own object. Raises IntegrityError when it is none."""
    try:
        return onnx.load_model_from_string(graph)
    except Exception:  # of protobuf, whose classes are not onnx's to promise
        raise IntegrityError("an ONNX graph cannot be read; publish the version again") from None


def serialized(proto: Any) -> bytes:
    """The same graph gives the same bytes."""
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def keep_metadata(proto: Any, table: Sequence[Emptied]) -> None:
    """Let the metadata of the graph be its table, or nothing."""
    del proto.metadata_props[:]
    if table:
        lines = [emptied.model_dump(mode="json", exclude_defaults=True) for emptied in table]
        proto.metadata_props.add(key=TABLE, value=orjson.dumps(lines).decode())


def rows_of(array: np.ndarray) -> np.ndarray:
    """[rows, values in each]: see above what a row is."""
    return array.reshape(len(array), math.prod(array.shape[1:])) if array.ndim >= 2 else array.reshape(-1, 1)


def numbers(form: Form, coded: Coded) -> np.ndarray | None:
    """All rows of a tensor in one of the forms that need nothing else; None where it has no such."""
    if form == "dense":
        dense = coded.dense()
        return rows_of(dense) if dense.dtype == np.float32 else None
    if not isinstance(coded, Quantized):
        return None
    if form == "levels":
        levels = coded.centred()
        fits = levels.size == 0 or (levels.min() >= -128 and levels.max() <= 127)
        return rows_of(levels.astype(np.int8)) if fits else None
    count = len(rows_of(coded.levels))
    return np.broadcast_to(coded.scale.astype(np.float32), count)[:, None]


def rounded(rows: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """int8: what onnxruntime makes of such weights and scales. Raises IntegrityError for scales that are none."""
    if scale.shape not in ((), (len(rows),)) or not np.all(np.isfinite(scale) & (scale > 0)):
        raise IntegrityError("a hollow graph rounds weights by scales that do not fit them")
    with np.errstate(over="ignore"):
        quotients: np.ndarray = np.rint(rows / (scale[:, None] if scale.ndim else scale))
    if not np.isfinite(quotients).all():
        raise IntegrityError("a hollow graph rounds weights that are not numbers")
    levels: np.ndarray = np.clip(quotients, -128, 127).astype(np.int8)
    return levels


def _table(proto: Any) -> list[Emptied]:
    texts = [entry.value for entry in proto.metadata_props if entry.key == TABLE]
    try:
        table = [Emptied.model_validate(line) for text in texts for line in orjson.loads(text)]
    except (ValidationError, orjson.JSONDecodeError, TypeError):
        raise IntegrityError("the table of a hollow graph is malformed; publish the version again") from None
    named = [emptied.initializer for emptied in table]
    if len(set(named)) < len(named) or len(texts) > 1:
        raise IntegrityError("the table of a hollow graph fills an initializer twice")
    return table


def _size(emptied: Emptied, initializers: Mapping[str, Any], tensors: Mapping[str, Coded]) -> int:
    """How many numbers it is, after everything about it was checked that can be without allocating any."""
    name = emptied.initializer
    initializer = initializers.get(name)
    if initializer is None:
        raise IntegrityError(f"a hollow graph has no initializer {name!r}, which its table fills")
    if initializer.data_type not in _TYPES[emptied.form]:
        raise IntegrityError(f"initializer {name!r} of a hollow graph cannot hold {emptied.form}")
    empty = TensorProto(name=name, data_type=initializer.data_type, dims=initializer.dims)
    if initializer.ListFields() != empty.ListFields():
        raise IntegrityError(f"initializer {name!r} of a hollow graph is not empty")
    size: int = math.prod(max(0, length) for length in initializer.dims)
    if not size:
        raise IntegrityError(f"initializer {name!r} of a hollow graph has no numbers")
    found = 0
    for tensor, start, stop in emptied.pieces:
        coded = tensors.get(tensor)
        if coded is None:
            raise IntegrityError(
                f"a hollow graph wants tensor {tensor!r}, which the coded weights do not hold"
            )
        values, rows = _extent(coded.shape)
        if not 0 <= start < stop <= rows:
            raise IntegrityError(
                f"a hollow graph wants rows {start} to {stop} of {tensor!r}, which has {rows}"
            )
        found += (stop - start) * (1 if emptied.form == "scales" else values)
    if (found != size) if emptied.form != "zeros" else emptied.pieces:
        raise IntegrityError(
            f"initializer {name!r} of a hollow graph holds {size} numbers, its table {found}"
        )
    if emptied.form == "rounded" and emptied.scale not in initializers:
        raise IntegrityError(f"initializer {name!r} of a hollow graph is rounded by an unknown scale")
    return size


def _extent(shape: tuple[int, ...]) -> tuple[int, int]:
    """Values in a row, and rows, of a tensor of that shape."""
    return (math.prod(shape[1:]), shape[0]) if len(shape) >= 2 else (1, math.prod(shape))


def _value(emptied: Emptied, initializers: Mapping[str, Any], tensors: Mapping[str, Coded]) -> np.ndarray:
    if emptied.form == "zeros":
        return np.zeros(tuple(initializers[emptied.initializer].dims), np.int8)
    form: Form = "dense" if emptied.form == "rounded" else emptied.form
    known: dict[str, np.ndarray] = {}  # once for all pieces of a tensor: each keeps all of its rows alive
    pieces = []
    for tensor, start, stop in emptied.pieces:
        if tensor not in known:
            rows = numbers(form, tensors[tensor])
            if rows is None:
                raise IntegrityError(
                    f"a hollow graph wants {form} of {tensor!r}, which the coded weights do not hold"
                )
            known[tensor] = rows
        pieces.append(known[tensor][start:stop])
    if len({rows.shape[1] for rows in pieces}) > 1:
        raise IntegrityError(
            f"initializer {emptied.initializer!r} of a hollow graph is made of rows of other lengths"
        )
    value = np.concatenate(pieces)
    if emptied.form == "rounded":
        value = rounded(value, _scale(initializers[emptied.scale]))
    return np.ascontiguousarray(value.T) if emptied.transposed else value


def _scale(initializer: Any) -> np.ndarray:
    # onnx would read a file that an initializer names.
    if initializer.data_location == TensorProto.DEFAULT and initializer.data_type == TensorProto.FLOAT:
        try:
            array: np.ndarray = numpy_helper.to_array(initializer)
            return array
        except ValueError:
            pass
    raise IntegrityError(f"scale {initializer.name!r} of a hollow graph cannot be read")
