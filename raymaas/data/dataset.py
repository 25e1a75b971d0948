"""Data sets in the store: Parquet named by the fingerprint of its content, and a sealed card beside it.

Under datasets/<name>/<fingerprint>/ lie

    part-0.parquet   the rows
    card.json        what is in them; written last, so its appearance is the publication
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raymaas.data.cards import card_key, dataset_folder
from raymaas.data.catalogue import dataset_name, source_of
from raymaas.data.columns import INPUT, KEPT, cards_of, digest_columns
from raymaas.data.rows import Rows, own_parts, rows_of, stored_features
from raymaas.data.sources.base import DataFiles
from raymaas.data.table import PARTS, Learned
from raymaas.errors import AlreadyExists, IntegrityError, InvalidInput
from raymaas.specs.base import canonical_json
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec
from raymaas.store import Store


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared data set and all its rows, checked against its card."""

    card: DatasetCard
    rows: Rows
    part_N: np.ndarray | None = None
    """The set's own division, int8 codes of `raymaas.data.table.PARTS`; None when it brings none."""

    @property
    def input(self) -> TensorSpec:
        """The tensor a model of this data takes."""
        return TensorSpec(name="x", dtype="FP32", shape=(-1, *self.card.shape))


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
    table = source_of(component).table(files or DataFiles())
    return put_table(store, table, name=dataset_name(component))


def put_table(store: Store, table: pa.Table, *, name: str) -> Dataset:
    """Put `table`, of the form of `raymaas.data.table`, into the store as data set `name`.

    Raises InvalidInput when a column, a type or a value is not what training can use.
    """
    learned = Learned.of(table, name=name)
    rows = rows_of(table, name=name, learned=learned)
    part_N = own_parts(table, name=name)
    columns, kept = (cards_of(table, prefix, name=name) for prefix in (INPUT, KEPT))
    fingerprint = fingerprint_of(table, classes=learned.classes)
    shape = () if columns else rows.x_ND.shape[1:]
    card = DatasetCard.parse(
        {
            "name": name,
            "fingerprint": fingerprint,
            "rows": len(rows),
            "features": 0 if columns else math.prod(shape),
            "shape": shape,
            "target": learned.target,
            "classes": learned.classes,
            "columns": columns,
            "kept": kept,
            "own_parts": _counts(part_N),
        },
        source=f"data set {name!r}",
    )
    rows_key, key_of_card = _rows_key(card.name, fingerprint), card_key(card.name, fingerprint)
    if store.exists(key_of_card):
        return open_dataset(store, name, fingerprint)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    for key, data in (
        (rows_key, sink.getvalue().to_pybytes()),
        (key_of_card, card.seal()),
    ):
        try:
            store.create(key, data)
        except AlreadyExists:
            continue  # somebody prepares the same content beside us: the key names it, so theirs is ours
    return Dataset(card=card, rows=rows, part_N=part_N)


def open_dataset(store: Store, name: str, fingerprint: str) -> Dataset:
    """The data set prepared under that name and fingerprint, its rows verified against the fingerprint.

    Raises NotFound when it was not prepared, IntegrityError when the stored rows are others.
    """
    rows_key, key_of_card = _rows_key(name, fingerprint), card_key(name, fingerprint)
    card = DatasetCard.unseal(store.read(key_of_card), source=key_of_card)
    try:
        table = pq.read_table(pa.BufferReader(store.read(rows_key)))
        rows = rows_of(table, name=name, learned=Learned(card.target, card.classes))
        part_N = own_parts(table, name=name)
    except (pa.ArrowException, OSError, InvalidInput) as error:
        raise IntegrityError(f"{rows_key} cannot be read as what was prepared: {error}") from error
    same_rows = fingerprint == card.fingerprint == fingerprint_of(table, classes=card.classes)
    if not same_rows or rows.x_ND.shape[1:] != (card.shape or (0,)):
        raise IntegrityError(f"{rows_key} does not have the fingerprint it is stored under; prepare again")
    return Dataset(card=card, rows=rows, part_N=part_N)


def _counts(part_N: np.ndarray | None) -> dict[str, int]:
    if part_N is None:
        return {}
    counts = {part: int((part_N == code).sum()) for part, code in PARTS.items()}
    return {part: count for part, count in counts.items() if count}


def _rows_key(name: str, fingerprint: str) -> str:
    return f"{dataset_folder(name, fingerprint)}/part-0.parquet"
