"""Tables: Arrow IPC streams in and out, a column for each input or output and a row for each row.

A column is plain numbers, booleans or texts, or lists of equally many numbers, row-major, where a row has a shape.
pyarrow is imported by the first table: a replica that never meets one starts without it. What a stream says is
validated before it is looked at, and nothing in it may unfold to more than its own bytes: no compressed buffers, no
type whose rows take no room.
Source: the Arrow columnar format's IPC streaming format.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from raymaas.errors import InvalidInput
from raymaas.serve.oip.values import brief, fitted
from raymaas.specs.versions import Signature, TensorSpec

if TYPE_CHECKING:
    import pyarrow as pa

MEDIA = "application/vnd.apache.arrow.stream"
HEADERS = ((b"content-type", MEDIA.encode()),)


def is_table(media: str) -> bool:
    """Whether a Content-Type or an Accept header names an Arrow stream first."""
    return media[: len(MEDIA)].lower() == MEDIA


def read(body: bytes, signature: Signature) -> dict[str, np.ndarray]:
    """The columns of a stream as arrays by input name, converted as plain values are.

    Raises InvalidInput for anything else than a stream of columns the signature knows.
    """
    columns = _columns(body)
    specs = {spec.name: spec for spec in signature.inputs}
    for name in columns:
        if name not in specs:
            raise InvalidInput(f"column {brief(name)} is no input; this model takes {', '.join(specs)}")
    return {name: _array(column, specs[name]) for name, column in columns.items()}


def write(outputs: Mapping[str, np.ndarray], names: Mapping[str, Any], *, classes: tuple[str, ...]) -> bytes:
    """`outputs` as a stream of one batch; `names` and the classes, as JSON, are its schema's metadata."""
    import orjson
    import pyarrow as pa

    metadata = {key: str(value) for key, value in names.items()}
    if classes:
        metadata["classes"] = orjson.dumps(classes).decode()
    columns = {name: _column(array) for name, array in outputs.items()}
    schema = pa.schema([(name, column.type) for name, column in columns.items()], metadata=metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _columns(body: bytes) -> dict[str, pa.Array]:
    import pyarrow as pa

    try:
        for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
            if _is_compressed(message.metadata.to_pybytes()):
                raise InvalidInput("the Arrow stream is compressed; write it without compression")
        table = pa.ipc.open_stream(pa.py_buffer(body)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, struct.error) as error:
        raise InvalidInput(f"the body is not an Arrow IPC stream: {str(error)[:200]}") from None
    if len(set(table.column_names)) < len(table.column_names):
        raise InvalidInput("the table has two columns of one name; each input is one column")
    return {name: table.column(name) for name in table.column_names}


def _is_compressed(metadata: bytes) -> bool:
    """Whether a message's buffers are compressed: the flatbuffer field `compression` of its record batch is there.

    Message is (version, header_type, header, ...), RecordBatch (length, nodes, buffers, compression, ...) and
    DictionaryBatch (id, data: RecordBatch, ...), in Arrow's Message.fbs.
    """
    message = struct.unpack_from("<I", metadata)[0]
    at_type, at_header = _field(metadata, message, 1), _field(metadata, message, 2)
    kind = metadata[at_type] if at_type else 0
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH) or not at_header:
        return False
    batch = _follow(metadata, at_header)
    if kind == _DICTIONARY_BATCH:
        at_data = _field(metadata, batch, 1)
        if not at_data:
            return False
        batch = _follow(metadata, at_data)
    return _field(metadata, batch, 3) != 0


_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3


def _follow(buffer: bytes, at: int) -> int:
    return int(at + struct.unpack_from("<I", buffer, at)[0])


def _field(buffer: bytes, table: int, number: int) -> int:
    """Where a field of a flatbuffer table is; 0 when it is absent."""
    vtable = table - struct.unpack_from("<i", buffer, table)[0]
    if vtable < 0:
        raise struct.error("a table's fields lie outside its message")
    size = struct.unpack_from("<H", buffer, vtable)[0]
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", buffer, vtable + slot)[0] if slot + 2 <= size else 0
    return table + offset if offset else 0


def _array(column: pa.ChunkedArray, spec: TensorSpec) -> np.ndarray:
    import pyarrow as pa

    kind = column.type
    if spec.dtype == "BYTES":
        return _texts(column, spec)
    row: tuple[int, ...] = ()
    values = column
    while pa.types.is_fixed_size_list(values.type) or pa.types.is_list(values.type):
        _refuse_nulls(values, spec)
        values, row = _unpacked(values, row, spec)
    numbers = values.type
    if not (pa.types.is_integer(numbers) or pa.types.is_floating(numbers) or pa.types.is_boolean(numbers)):
        raise InvalidInput(f"column {spec.name!r}: expected {spec.dtype}, got {str(kind)[:80]}")
    if values.null_count and not (spec.nullable and not row):
        raise InvalidInput(f"column {spec.name!r} holds null; nothing may be missing there")
    # Null becomes NaN here, and integers beside it float64.
    array = fitted(values.to_numpy(), spec)
    return _shaped(array, (len(column), *row), spec)


def _unpacked(
    values: pa.ChunkedArray, row: tuple[int, ...], spec: TensorSpec
) -> tuple[pa.ChunkedArray, tuple[int, ...]]:
    """One level of lists taken off: what they hold, one after another, and the shape of a row by now."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_fixed_size_list(values.type):
        size = values.type.list_size
    else:
        sizes = pc.min_max(pc.list_value_length(values))
        size = sizes["min"].as_py() or 0
        if size != (sizes["max"].as_py() or 0):
            raise InvalidInput(
                f"column {spec.name!r}: its lists have different lengths; every row has the same"
            )
    if size < 1:
        raise InvalidInput(
            f"column {spec.name!r} holds empty lists; it takes {spec.dtype} {list(spec.shape)}"
        )
    return pa.chunked_array([chunk.flatten() for chunk in values.chunks], values.type.value_type), (
        *row,
        size,
    )


def _shaped(array: np.ndarray, shape: tuple[int, ...], spec: TensorSpec) -> np.ndarray:
    """`array` in `shape`; a row that comes as one list takes the shape of the input's rows."""
    row = spec.shape[1:]
    if len(shape) == 2 and len(row) > 1 and min(row) > 0 and prod(row) == shape[1]:
        shape = (shape[0], *row)
    return array.reshape(shape)


def _texts(column: pa.ChunkedArray, spec: TensorSpec) -> np.ndarray:
    import pyarrow as pa

    kind = column.type
    coded = pa.types.is_dictionary(kind)
    words = kind.value_type if coded else kind
    if not (pa.types.is_string(words) or pa.types.is_large_string(words)):
        raise InvalidInput(f"column {spec.name!r}: expected strings, got {str(kind)[:80]}")
    if not spec.nullable:
        _refuse_nulls(column, spec)
    pieces = []
    for chunk in column.chunks:
        if coded:
            # By index, so that a long word which many rows share is there once; the last one is for null.
            dictionary = np.array([*chunk.dictionary.to_pylist(), None], dtype=object)
            pieces.append(
                dictionary[chunk.indices.fill_null(len(dictionary) - 1).to_numpy(zero_copy_only=False)]
            )
        else:
            pieces.append(np.array([*chunk.to_pylist(), None], dtype=object)[:-1])
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=object)


def _refuse_nulls(column: pa.ChunkedArray, spec: TensorSpec) -> None:
    if column.null_count:
        raise InvalidInput(f"column {spec.name!r} holds null; nothing may be missing there")


def _column(array: np.ndarray) -> pa.Array:
    """An array of N rows as a column: lists of fixed size within each other, where a row has a shape."""
    import pyarrow as pa

    column = pa.array(array.reshape(-1), pa.string() if array.dtype == object else None)
    for size in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column
