"""Writing once: what to conclude when a create says "exists" or "unknown", which may be one's own write.

The clients below a store retry, so a lost reply makes one's own write look like a conflict. What lies at the
key is the only witness: documents are told apart by a random `write_id`, plain bytes by comparing them.
"""

from __future__ import annotations

import secrets
from typing import Protocol, Self

from raymaas.errors import AlreadyExists, Denied, NotFound, OutcomeUnknown, Unavailable
from raymaas.store import Store


class Entry(Protocol):
    """A sealed document that knows its own write."""

    @property
    def write_id(self) -> str: ...
    def seal(self) -> bytes: ...
    @classmethod
    def unseal(cls, raw: bytes, *, source: str) -> Self: ...


def new_write_id() -> str:
    """A random word that marks one write as one's own."""
    return secrets.token_hex(16)


def write_document(store: Store, key: str, entry: Entry) -> None:
    """Afterwards `entry` lies at `key`. Repeating it with the same `write_id` is harmless.

    Raises AlreadyExists when another entry is there, Unavailable when nothing was written, and OutcomeUnknown
    when it cannot be told: then write the same entry again.
    """
    try:
        store.create(key, entry.seal())
    except (AlreadyExists, OutcomeUnknown) as error:
        held = type(entry).unseal(_what_lies_at(store, key, error), source=key)
        if held.write_id != entry.write_id:
            raise AlreadyExists(f"{key} was written by another first; read it and decide") from None


def write_bytes(store: Store, key: str, data: bytes) -> None:
    """Afterwards `data` lies at `key`. Repeating it is harmless. Raises as `write_document`."""
    try:
        store.create(key, data)
    except (AlreadyExists, OutcomeUnknown) as error:
        if _what_lies_at(store, key, error) != data:
            raise AlreadyExists(f"{key} holds other bytes; what a key holds never changes") from None


def _what_lies_at(store: Store, key: str, error: Exception) -> bytes:
    try:
        return store.read(key)
    except (NotFound, Unavailable, Denied):
        raise OutcomeUnknown(f"{key} may or may not have been written; write it again to know") from error
