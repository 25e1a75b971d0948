"""Sampled answers as a table: a row for each row of a request, with what its rule hides hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from raymaas.monitor.masking import Masker
from raymaas.registry.samples import SAMPLE_COLUMNS
from raymaas.specs.sampling import INPUT, OUTPUT


class Asked(Protocol):
    """A request that was answered: arrays by name, [N, ...] each."""

    @property
    def request_id(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def inputs(self) -> Mapping[str, np.ndarray]: ...
    @property
    def outputs(self) -> Mapping[str, np.ndarray]: ...


def table_of(asked: Sequence[Asked], masker: Masker) -> pa.Table:
    """Columns are SAMPLE_COLUMNS, then `in.NAME` and `out.NAME` of what may be kept. All have the same fields."""
    rows = [len(next(iter(each.inputs.values()))) for each in asked]
    columns: dict[str, pa.Array] = {
        "request_id": _repeated([masker.request_id(each.request_id) for each in asked], rows),
        "row": np.concatenate([np.arange(count) for count in rows]),
        "at": _repeated([each.at for each in asked], rows),
    }
    columns = {
        name: pa.array(columns[name], SAMPLE_COLUMNS.field(name).type) for name in SAMPLE_COLUMNS.names
    }
    fields = {INPUT: [each.inputs for each in asked], OUTPUT: [each.outputs for each in asked]}
    for prefix, pieces in fields.items():
        for name in pieces[0]:
            field = f"{prefix}{name}"
            kept = [masker.values(field, piece[name]) for piece in pieces]
            found = [values for values in kept if values is not None]
            if len(found) == len(asked):
                columns[field] = _column(found)
    return pa.table(columns)


def _repeated(values: Sequence[Any], times: Sequence[int]) -> list[Any]:
    return [value for value, count in zip(values, times, strict=True) for _ in range(count)]


def _column(pieces: Sequence[np.ndarray]) -> pa.Array:
    """Single values as they are, and each row of a tensor as the list of its values in row-major order."""
    if pieces[0].dtype.kind in "OU":
        # A text that is missing is None.
        if pieces[0].ndim == 1:
            return pa.array([text for piece in pieces for text in piece.tolist()], pa.string())
        rows = [np.ravel(row).tolist() for piece in pieces for row in piece]
        return pa.array(rows, pa.list_(pa.string()))
    if pieces[0].dtype == np.float16:
        pieces = [piece.astype(np.float32) for piece in pieces]
    kind = pa.from_numpy_dtype(pieces[0].dtype)
    if pieces[0].ndim == 1:
        return pa.array(np.concatenate(pieces), kind)
    flat = np.concatenate([np.ravel(piece) for piece in pieces])
    lengths = np.repeat([int(np.prod(piece.shape[1:])) for piece in pieces], [len(piece) for piece in pieces])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, kind))
