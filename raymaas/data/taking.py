"""Rows that are taken once: which data set settings mean from then on, whatever becomes of what it was read from."""

from __future__ import annotations

from contextlib import suppress

from raymaas.data.cards import find_card, taken_key
from raymaas.data.sources.base import Source
from raymaas.errors import AlreadyExists, NotFound
from raymaas.specs.base import canonical_json, sha256_hex
from raymaas.specs.datasets import DatasetCard, TakenRows
from raymaas.store import Store


def taken_before(store: Store, name: str, source: Source) -> DatasetCard | None:
    """The card of what these settings of data set `name` meant when they were first read; None when they never were."""
    key = _key(name, source)
    try:
        first = TakenRows.unseal(store.read(key), source=key)
    except NotFound:
        return None
    return find_card(store, name, first.fingerprint)


def keep_taken(store: Store, card: DatasetCard, source: Source) -> DatasetCard:
    """Have these settings mean the data set of `card`, unless another was first; the card of the one that counts."""
    with suppress(AlreadyExists):
        store.create(_key(card.name, source), TakenRows(fingerprint=card.fingerprint).seal())
    return taken_before(store, card.name, source) or card


def _key(name: str, source: Source) -> str:
    return taken_key(name, sha256_hex(canonical_json(source.model_dump(mode="json"))))
