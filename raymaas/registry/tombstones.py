"""Tombstones: which versions were deleted, by whom and why. Their manifests stay and their numbers are spent."""

from __future__ import annotations

from contextlib import suppress

from raymaas.errors import AlreadyExists, NotFound
from raymaas.registry.layout import deleted_folder, deleted_key, version_key
from raymaas.registry.log import Log
from raymaas.specs.serving import Deletion, Tombstone
from raymaas.store import Store


class Tombstones:
    """The tombstones in a store, of all models."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, model: str, version: int) -> Deletion | None:
        found = self._log(model).find(version)
        return None if found is None else found.deletion

    def set(self, model: str, deletion: Deletion) -> None:
        """Afterwards that version is deleted, by this deletion or an earlier one. Raises as the store does.

        Only `registry.deletion` may call it: a version in use must not be deleted.
        """
        with suppress(AlreadyExists):
            self._log(model).append(Tombstone(model=model, deletion=deletion))

    def require_alive(self, model: str, version: int) -> None:
        """Raises NotFound unless the version was published and not deleted; its manifest is not read."""
        if not self._store.exists(version_key(model, version)):
            raise NotFound(
                f"version {version} of {model!r} does not exist; `raymaas models show {model}` lists those that do"
            )
        self.require_kept(model, version)

    def require_kept(self, model: str, version: int) -> None:
        """Raises NotFound when the version was deleted."""
        gone = self.find(model, version)
        if gone is not None:
            because = f": {gone.why}" if gone.why else ""
            raise NotFound(
                f"version {version} of {model!r} was deleted by {gone.who} on {gone.at:%Y-%m-%d}{because};"
                f" `raymaas models show {model}` lists those that are kept"
            )

    def versions(self, model: str, *, newest: int, oldest: int) -> frozenset[int]:
        """The deleted ones among the versions from `oldest` to `newest`."""
        return frozenset(self._log(model).sequences(newest=newest, oldest=oldest))

    def _log(self, model: str) -> Log[Tombstone]:
        return Log(
            self._store, deleted_folder(model), Tombstone, lambda t: deleted_key(t.model, t.deletion.version)
        )
