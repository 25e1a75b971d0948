"""Tables: rows as the bytes of one Parquet file, of which every page carries a checksum."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from raymaas.errors import IntegrityError


def to_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    raw: bytes = sink.getvalue().to_pybytes()
    return raw


def from_parquet(raw: bytes, *, source: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All columns, or those of `columns` that it has.

    Raises IntegrityError when a page differs from its checksum, or when `raw` is no Parquet file.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(raw), page_checksum_verification=True)
        return file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(f"{source} was damaged; nothing was loaded from it ({error})") from None


def joined(tables: Sequence[pa.Table], empty: pa.Schema) -> pa.Table:
    """Their rows below one another, with every column that any has; none of none, in the columns of `empty`.

    A column whose type changed has the type of the first table that has it, and null where it had another: what was
    a number before a rule had it hashed is not comparable with the hashes.
    """
    types: dict[str, pa.DataType] = {}
    for table in tables:
        for field in table.schema:
            if not pa.types.is_null(field.type):
                types.setdefault(field.name, field.type)
    schema = pa.schema([*empty, *((name, kind) for name, kind in types.items() if name not in empty.names)])
    same = [
        pa.table(
            [
                table[field.name] if _has(table, field) else pa.nulls(len(table), field.type)
                for field in schema
            ],
            schema=schema,
        )
        for table in tables
    ]
    return pa.concat_tables(same) if same else schema.empty_table()


def _has(table: pa.Table, field: pa.Field) -> bool:
    return field.name in table.schema.names and table.schema.field(field.name).type == field.type
