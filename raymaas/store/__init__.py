"""The store: bytes at a URL, in a folder or a bucket. Its owner of create-if-absent, and of fsspec and s3fs."""

from raymaas.store.contract import Store, check_key, check_prefix
from raymaas.store.local import LocalStore
from raymaas.store.memory import MemoryStore
from raymaas.store.opening import open_store
from raymaas.store.probe import require_conditions

__all__ = [
    "LocalStore",
    "MemoryStore",
    "Store",
    "check_key",
    "check_prefix",
    "open_store",
    "require_conditions",
]
