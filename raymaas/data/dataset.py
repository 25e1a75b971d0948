"""Data sets in the store: Parquet named by the fingerprint of its content, and a sealed card beside it.

Under datasets/<name>/<fingerprint>/ lie

    part-<n>.parquet   the rows, all in part-0 unless they came in pieces because they may not fit in memory
    card.json          what is in them; written last, so its appearance is the publication
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from raymaas.data.cards import card_key, dataset_folder
from raymaas.data.catalogue import dataset_name, source_of
from raymaas.data.columns import INPUT, KEPT, cards_of, digest_columns
from raymaas.data.parting import fingerprint_of_parts, memory_bytes, parted
from raymaas.data.rows import Rows, joined, own_parts, rows_of, stored_features
from raymaas.data.sources.base import DataFiles, Source
from raymaas.data.table import PARTS, Learned
from raymaas.data.taking import keep_taken, taken_before
from raymaas.errors import AlreadyExists, IntegrityError, InvalidInput
from raymaas.specs.base import canonical_json
from raymaas.specs.datasets import DataPart, DatasetCard
from raymaas.specs.jobs import Component
from raymaas.store import Store


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared data set and all its rows, checked against its card."""

    card: DatasetCard
    rows: Rows
    part_N: np.ndarray | None = None
    """The set's own division, int8 codes of `raymaas.data.table.PARTS`; None when it brings none."""


def fingerprint_of(table: pa.Table, *, classes: tuple[str, ...]) -> str:
    """SHA-256 over classes, and over each column's name, type, shape and little-endian bytes.

    `table` was taken by `rows_of`; without a target it has no column `y`. It does not depend on how Parquet
    encoded the rows, nor on pyarrow's version; features kept as bytes are hashed as bytes.
    """
    digest = hashlib.sha256(canonical_json(classes))
    arrays = [("row", table["row"].to_numpy(), "<i8")]
    if "x" in table.column_names:
        features = stored_features(table, name="")
        arrays.append(("x", features, "|u1" if features.dtype == np.uint8 else "<f4"))
    if "y" in table.column_names:
        y_N = table["y"].to_numpy()
        arrays.append(("y", y_N, "<i8" if y_N.dtype == np.int64 else "<f4"))
    if "part" in table.column_names:
        arrays.append(("part", table["part"].to_numpy(), "|i1"))
    for name, array, dtype in arrays:
        digest.update(canonical_json([name, dtype, list(array.shape)]))
        digest.update(np.ascontiguousarray(array, dtype=dtype).data)
    digest.update(digest_columns(table))
    return digest.hexdigest()


def prepare(store: Store, component: Component, *, files: DataFiles | None = None) -> Dataset:
    """Put the data set that `component` names into the store, unless the same content is there already.

    Doing it twice, or from two processes at once, leaves one copy. Raises InvalidInput for an unknown set or
    setting, and for data that cannot be trained on; NotFound for files that are not there.
    """
    done = _put(store, component, files or DataFiles())
    return done if isinstance(done, Dataset) else open_dataset(store, done.name, done.fingerprint)


def put(store: Store, component: Component, *, files: DataFiles | None = None) -> DatasetCard:
    """The same without all its rows in memory, where the set comes in pieces: then with a part or two at a time."""
    done = _put(store, component, files or DataFiles())
    return done.card if isinstance(done, Dataset) else done


def put_table(store: Store, table: pa.Table, *, name: str) -> Dataset:
    """Put `table`, of the form of `raymaas.data.table`, into the store as data set `name`.

    Raises InvalidInput when a column, a type or a value is not what training can use.
    """
    learned = Learned.of(table, name=name)
    rows = rows_of(table, name=name, learned=learned)
    part_N = own_parts(table, name=name)
    described = _described(table, learned, name=name)
    fingerprint = fingerprint_of(table, classes=learned.classes)
    card = _card(described, fingerprint=fingerprint, rows=len(rows), own=_counts(part_N))
    if store.exists(card_key(name, card.fingerprint)):
        return open_dataset(store, name, card.fingerprint)
    _create(store, part_key(card, 0), _parquet(table))
    _create(store, card_key(name, card.fingerprint), card.seal())
    return Dataset(card=card, rows=rows, part_N=part_N)


def put_parts(store: Store, tables: Iterable[pa.Table], *, name: str) -> DatasetCard:
    """Put the rows of all `tables` into the store, part by part.

    They are gone through twice: the parts lie in a folder that is named by all of them, so they are all checked
    before one is written. Raises InvalidInput as `put_table`, and when they were others the second time.
    """
    parts: list[DataPart] = []
    own: dict[str, int] = {}
    described: dict[str, Any] = {}
    for table in parted(tables, name=name):
        learned = Learned.of(table, name=name)
        rows_of(table, name=name, learned=learned)
        described = described or _described(table, learned, name=name)
        for part, count in _counts(own_parts(table, name=name)).items():
            own[part] = own.get(part, 0) + count
        fingerprint = fingerprint_of(table, classes=learned.classes)
        parts.append(DataPart(fingerprint=fingerprint, rows=len(table), bytes=memory_bytes(table)))
    rows, whole = sum(part.rows for part in parts), fingerprint_of_parts(parts)
    card = _card(described, fingerprint=whole, rows=rows, own=own, parts=parts)
    if store.exists(card_key(name, whole)):
        return card
    for number, table in enumerate(parted(tables, name=name)):
        again = fingerprint_of(table, classes=card.classes)
        if number >= len(parts) or again != parts[number].fingerprint:
            raise InvalidInput(f"data set {name!r} changed while it was read; prepare it again")
        _create(store, part_key(card, number), _parquet(table))
    _create(store, card_key(name, whole), card.seal())
    return card


def open_card(store: Store, name: str, fingerprint: str) -> DatasetCard:
    """What the data set holds that was prepared under that name and fingerprint. Raises NotFound, IntegrityError."""
    key = card_key(name, fingerprint)
    card = DatasetCard.unseal(store.read(key), source=key)
    if card.fingerprint != fingerprint or (card.parts and fingerprint_of_parts(card.parts) != fingerprint):
        raise IntegrityError(f"{key} does not have the fingerprint it is stored under; prepare again")
    return card


def open_dataset(store: Store, name: str, fingerprint: str) -> Dataset:
    """The data set prepared under that name and fingerprint, its rows verified against the fingerprint.

    Raises NotFound when it was not prepared, IntegrityError when the stored rows are others.
    """
    card = open_card(store, name, fingerprint)
    parts = [open_part(store, card, number) for number in range(len(card.parts) or 1)]
    own = [part.part_N for part in parts if part.part_N is not None]
    return Dataset(
        card=card, rows=joined([part.rows for part in parts]), part_N=np.concatenate(own) if own else None
    )


def open_part(store: Store, card: DatasetCard, number: int) -> Dataset:
    """The rows of one part, verified. Raises NotFound, IntegrityError."""
    key = part_key(card, number)
    try:
        table = pq.read_table(pa.BufferReader(store.read(key)))
        rows = rows_of(table, name=card.name, learned=Learned(card.target, card.classes))
        part_N = own_parts(table, name=card.name)
    except (pa.ArrowException, OSError, InvalidInput) as error:
        raise IntegrityError(f"{key} cannot be read as what was prepared: {error}") from error
    wanted = card.parts[number].fingerprint if card.parts else card.fingerprint
    if fingerprint_of(table, classes=card.classes) != wanted or rows.x_ND.shape[1:] != (card.shape or (0,)):
        raise IntegrityError(f"{key} does not have the fingerprint it is stored under; prepare again")
    return Dataset(card=card, rows=rows, part_N=part_N)


def part_key(card: DatasetCard, number: int) -> str:
    """Where the rows of a part lie."""
    return f"{dataset_folder(card.name, card.fingerprint)}/part-{number}.parquet"


def _put(store: Store, component: Component, files: DataFiles) -> Dataset | DatasetCard:
    source, name = source_of(component), dataset_name(component)
    if not source.taken_once:
        return _read(store, source, name, files)
    if (card := taken_before(store, name, source)) is not None:
        return card
    read = _read(store, source, name, files)
    return keep_taken(store, read.card if isinstance(read, Dataset) else read, source)


def _read(store: Store, source: Source, name: str, files: DataFiles) -> Dataset | DatasetCard:
    tables = source.tables(files)
    some = iter(tables)
    table = next(some)
    if next(some, None) is None:
        return put_table(store, table, name=name)
    del table, some
    return put_parts(store, tables, name=name)


def _described(table: pa.Table, learned: Learned, *, name: str) -> dict[str, Any]:
    """What a card says that the first rows of a set already show."""
    columns, kept = (cards_of(table, prefix, name=name) for prefix in (INPUT, KEPT))
    shape = () if columns else stored_features(table, name=name).shape[1:]
    return {
        "name": name,
        "features": 0 if columns else math.prod(shape),
        "shape": shape,
        "target": learned.target,
        "classes": learned.classes,
        "columns": columns,
        "kept": kept,
        "feedback": orjson.loads((table.schema.metadata or {}).get(b"feedback", b"null")),
    }


def _card(
    described: Mapping[str, Any],
    *,
    fingerprint: str,
    rows: int,
    own: Mapping[str, int],
    parts: Sequence[DataPart] = (),
) -> DatasetCard:
    fields = {**described, "fingerprint": fingerprint, "rows": rows, "own_parts": own, "parts": parts}
    return DatasetCard.parse(fields, source=f"data set {described['name']!r}")


def _counts(part_N: np.ndarray | None) -> dict[str, int]:
    if part_N is None:
        return {}
    counts = {part: int((part_N == code).sum()) for part, code in PARTS.items()}
    return {part: count for part, count in counts.items() if count}


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _create(store: Store, key: str, data: bytes) -> None:
    try:
        store.create(key, data)
    except AlreadyExists:
        return  # somebody prepares the same content beside us: the key names it, so theirs is ours
