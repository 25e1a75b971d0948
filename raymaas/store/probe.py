"""The probe: whether what stands behind a store's URL keeps the one promise that everything rests on."""

from __future__ import annotations

import secrets

from raymaas.errors import AlreadyExists, Refused
from raymaas.store.contract import Store


def require_conditions(store: Store) -> None:
    """Afterwards it is known that a second writer of a key is turned away; the store is as it was before.

    Raises Refused when it is not, as on S3 servers that ignore If-None-Match, and as the store does when it
    cannot be written to.
    """
    key = f"probes/{secrets.token_hex(16)}"
    store.create(key, b"first")
    try:
        store.create(key, b"second")
    except AlreadyExists:
        return
    finally:
        store.delete(key)
    raise Refused(
        f"the store at {store.url} let a second writer overwrite a key, so versions could be lost; use a server that"
        " honours If-None-Match, as AWS S3 does, or a folder"
    )
