"""Choices: which trials compressions chose, one document for each run, create-only."""

from __future__ import annotations

from raymaas.errors import AlreadyExists, NotFound
from raymaas.registry.layout import choice_key
from raymaas.registry.once import new_write_id, write_document
from raymaas.specs.selecting import Chosen
from raymaas.store import Store


class Choices:
    """The choices in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, chosen: Chosen) -> Chosen:
        """Keep the choice of its run; returns the one that is kept. Of two the first counts."""
        written = chosen.model_copy(update={"write_id": new_write_id()})
        try:
            write_document(self._store, choice_key(chosen.run_id), written)
        except AlreadyExists:
            return self._read(chosen.run_id)
        return written

    def of_run(self, run_id: str) -> Chosen | None:
        """What the run chose; None before it did."""
        try:
            return self._read(run_id)
        except NotFound:
            return None

    def _read(self, run_id: str) -> Chosen:
        key = choice_key(run_id)
        return Chosen.unseal(self._store.read(key), source=key)
