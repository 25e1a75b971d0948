"""Data sets in the store: Parquet named by the fingerprint of its content, and a sealed card beside it.

Under datasets/<name>/<fingerprint>/ lie

    part-0.parquet   the rows
    card.json        what is in them; written last, so its appearance is the publication
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from raymaas.data.builtin import load_builtin
from raymaas.data.cards import card_key, dataset_folder
from raymaas.data.rows import Rows, rows_of
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

    @property
    def input(self) -> TensorSpec:
        """The tensor a model of this data takes."""
        return TensorSpec(name="x", dtype="FP32", shape=(-1, self.card.features))


def fingerprint_of(rows: Rows, *, classes: tuple[str, ...]) -> str:
    """SHA-256 over classes, and over each column's name, type, shape and little-endian bytes.

    It does not depend on how Parquet encoded the rows, nor on pyarrow's version.
    """
    digest = hashlib.sha256(canonical_json(classes))
    for name, array, dtype in (("row", rows.id_N, "<i8"), ("x", rows.x_ND, "<f4"), ("y", rows.y_N, "<i8")):
        digest.update(canonical_json([name, dtype, list(array.shape)]))
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    return digest.hexdigest()


def prepare(store: Store, component: Component) -> Dataset:
    """Put the built-in set that `component` names into the store, unless the same content is there already.

    Doing it twice, or from two processes at once, leaves one copy. Raises InvalidInput for an unknown set.
    """
    return put_table(store, load_builtin(component), name=component.use)


def put_table(store: Store, table: pa.Table, *, name: str) -> Dataset:
    """Put `table` (columns as in `raymaas.data.builtin`) into the store as data set `name`.

    Raises InvalidInput when a column, a type or a value is not what training can use.
    """
    metadata = table.schema.metadata or {}
    if b"classes" not in metadata:
        raise InvalidInput(f"data set {name!r} names no classes; put them into its schema's metadata as JSON")
    classes = tuple(orjson.loads(metadata[b"classes"]))
    rows = rows_of(table, name=name, classes=len(classes))
    fingerprint = fingerprint_of(rows, classes=classes)
    card = DatasetCard.parse(
        {
            "name": name,
            "fingerprint": fingerprint,
            "rows": len(rows),
            "features": rows.x_ND.shape[1],
            "classes": classes,
        },
        source=f"data set {name!r}",
    )
    rows_key, key_of_card = _rows_key(card.name, fingerprint), card_key(card.name, fingerprint)
    if store.exists(key_of_card):
        return open_dataset(store, name, fingerprint)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    for key, data in (
        (rows_key, sink.getvalue().to_pybytes()),
        (key_of_card, card.seal()),
    ):
        try:
            store.create(key, data)
        except AlreadyExists:
            continue  # somebody prepares the same content beside us: the key names it, so theirs is ours
    return Dataset(card=card, rows=rows)


def open_dataset(store: Store, name: str, fingerprint: str) -> Dataset:
    """The data set prepared under that name and fingerprint, its rows verified against the fingerprint.

    Raises NotFound when it was not prepared, IntegrityError when the stored rows are others.
    """
    rows_key, key_of_card = _rows_key(name, fingerprint), card_key(name, fingerprint)
    card = DatasetCard.unseal(store.read(key_of_card), source=key_of_card)
    try:
        table = pq.read_table(pa.BufferReader(store.read(rows_key)))
        rows = rows_of(table, name=name, classes=len(card.classes))
    except (pa.ArrowException, OSError, InvalidInput) as error:
        raise IntegrityError(f"{rows_key} cannot be read as what was prepared: {error}") from error
    if not fingerprint == card.fingerprint == fingerprint_of(rows, classes=card.classes):
        raise IntegrityError(f"{rows_key} does not have the fingerprint it is stored under; prepare again")
    return Dataset(card=card, rows=rows)


def _rows_key(name: str, fingerprint: str) -> str:
    return f"{dataset_folder(name, fingerprint)}/part-0.parquet"
