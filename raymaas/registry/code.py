"""Code of users' own, as archives under their digests: what a run was given is what its workers import.

They are small, few, and named by jobs in lineages, so collection leaves them alone.
"""

from __future__ import annotations

from raymaas.errors import IntegrityError
from raymaas.registry.layout import code_key
from raymaas.registry.once import write_bytes
from raymaas.specs.base import sha256_hex
from raymaas.store import Store


def keep_code(store: Store, packed: bytes) -> str:
    """Put the archive into the store, unless it is there; its SHA-256."""
    digest = sha256_hex(packed)
    write_bytes(store, code_key(digest), packed)
    return digest


def read_code(store: Store, digest: str) -> bytes:
    """The archive under that digest, verified. Raises NotFound, or IntegrityError when it is another."""
    packed = store.read(code_key(digest))
    found = sha256_hex(packed)
    if found != digest:
        raise IntegrityError(
            f"{code_key(digest)} is damaged: its sha256 is {found[:12]}...; submit the job again"
        )
    return packed
