"""The three stores keep StoreContract; the one on S3 against a real server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from s3_server import S3Server
from store_contract import StoreContract

from raymaas.store import LocalStore, MemoryStore, Store
from raymaas.store.s3 import S3Store
from raymaas.store.s3_client import S3Tuning
from raymaas.store.s3_place import S3Place

# Small enough that the contract's large file goes up in parts, and its listings come in pages.
SMALL = S3Tuning(multipart_from_bytes=8 * 1024 * 1024, part_bytes=5 * 1024 * 1024, keys_per_page=10)


class TestMemoryStore(StoreContract):
    shared = False

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore(lambda: datetime.now(UTC))


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return LocalStore(tmp_path / "store")


class TestS3Store(StoreContract):
    @pytest.fixture
    def store(self, s3: S3Server, s3_prefix: str) -> Store:
        return S3Store(S3Place.parse(s3.url(s3_prefix)), tuning=SMALL)
