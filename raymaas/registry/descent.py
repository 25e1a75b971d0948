"""Descent: which versions were made from a data set or from another version, found without looking through all.

A version's entries are written before its manifest, so a published version is always found; after a crash
between the two, or when another run took the number, an entry leads nowhere and is left out by whoever reads it.
An entry says all it has to say with its key, so writing it again is harmless.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from raymaas.errors import IntegrityError
from raymaas.registry.layout import (
    child_key,
    children_folder,
    descendant_key,
    descendants_folder,
    fingerprints_folder,
)
from raymaas.registry.log import sequence_of
from raymaas.registry.once import write_bytes
from raymaas.specs.versions import Lineage
from raymaas.store import Store, check_key

_KEY = re.compile(
    r"(?:models|lineage/data/[^/]+/[^/]+)/(?P<model>[^/]+)/(?:children/[0-9]{9}/[0-9]{3}/)?"
    r"(?P<counter>[0-9]{9}/[0-9]{3})-(?P<run>[^/]+)"
)


@dataclass(frozen=True)
class Claim:
    """The run `run_id` was about to publish this version; only the manifest says whether it did."""

    model: str
    version: int
    run_id: str


@dataclass(frozen=True)
class Claims:
    """One page; `next_after` is the `after` of the next one, None on the last."""

    claims: tuple[Claim, ...]
    next_after: str | None


class Descent:
    """The entries in a store, of all models."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def announce(self, claim: Claim, lineage: Lineage) -> None:
        """Write the entries of a version that is about to be published: one for its data, one for its parent.

        Raises InvalidInput for a fingerprint that cannot be one, and as `write_bytes`; then announce it again.
        """
        keys = []
        if lineage.data_fingerprint:
            keys.append(descendant_key(lineage.data_fingerprint, claim.model, claim.version, claim.run_id))
        if lineage.parent is not None:
            keys.append(child_key(claim.model, lineage.parent, claim.version, claim.run_id))
        for key in keys:
            write_bytes(self._store, key, claim.run_id.encode())

    def fingerprints(self, beginning: str) -> list[str]:
        """The known fingerprints that begin so: eight characters or more, or a whole one. Ascending."""
        found = self._store.children(fingerprints_folder(beginning))
        return [fingerprint for fingerprint in found if fingerprint.startswith(beginning)]

    def of_data(self, fingerprint: str, *, after: str | None = None, limit: int) -> Claims:
        """Versions made from a data set: by model, the newest of each first. `after` is an earlier `next_after`."""
        return self._page(descendants_folder(fingerprint), after, limit)

    def of_parent(self, model: str, parent: int, *, after: str | None = None, limit: int) -> Claims:
        """Versions made from a version, newest first. `after` is an earlier `next_after`."""
        return self._page(children_folder(model, parent), after, limit)

    def _page(self, folder: str, after: str | None, limit: int) -> Claims:
        start = None if after is None else check_key(folder + after)
        keys = self._store.list(folder, after=start, limit=limit)
        more = len(keys) == limit
        return Claims(tuple(map(_claim, keys)), keys[-1].removeprefix(folder) if more else None)


def _claim(key: str) -> Claim:
    match = _KEY.fullmatch(key)
    if match is None:
        raise IntegrityError(f"{key} is no entry of a lineage; remove it, it was not written by raymaas")
    return Claim(match["model"], sequence_of(f"{match['counter']}.json"), match["run"])
