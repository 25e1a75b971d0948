"""Negative controls: stores broken on purpose, each of which StoreContract must catch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3Server
from store_contract import RACERS, StoreContract
from test_store_contract import SMALL

from raymaas.errors import Refused
from raymaas.store import LocalStore, MemoryStore, Store, open_store, require_conditions
from raymaas.store.s3 import S3Store
from raymaas.store.s3_place import S3Place

ABOUT_CONDITIONS = {
    "test_a_held_key_is_never_overwritten",
    "test_a_large_file_is_whole_and_never_overwritten",
    "test_an_empty_file_is_a_file",
    "test_exactly_one_of_racing_creators_wins_each_key",
}


class Threads(StoreContract):
    """The contract to run by hand; its racers share what the test holds."""

    __test__ = False
    shared = False


def failed_by(make: Callable[[str], Store]) -> set[str]:
    """Which of some tests of the contract fail on what `make` builds, each given a store of its own."""
    failed = set()
    for name in sorted(ABOUT_CONDITIONS | {"test_what_is_created_is_read_back"}):
        try:
            getattr(Threads(), name)(make(name))
        except (AssertionError, pytest.fail.Exception):
            failed.add(name)
    return failed


class OverwritingStore(LocalStore):
    """Broken on purpose: ignores the condition."""

    def create(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class UnconditionalS3Store(S3Store):
    """Broken on purpose: what a server does that takes If-None-Match for noise."""

    def _commit(self, method: str, full_key: str, **arguments: Any) -> None:
        self._client.call(method, commits=True, Key=full_key, **arguments)


class CheckThenWriteStore(MemoryStore):
    """Broken on purpose: asks whether the key is there, then writes. All racers ask before any writes."""

    def __init__(self) -> None:
        super().__init__(lambda: datetime.now(UTC))
        self.asked = threading.Barrier(RACERS, timeout=30)

    def create(self, key: str, data: bytes) -> None:
        there = self.exists(key)
        self.asked.wait()
        if not there:
            self.delete(key)
            super().create(key, data)


class WritingInPlaceStore(LocalStore):
    """Broken on purpose: the first half of a file is visible before the second, long enough to be read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.half_was_read = threading.Event()

    def create(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            self.half_was_read.wait(timeout=30)
            file.write(data[len(data) // 2 :])

    def read(self, key: str) -> bytes:
        data = super().read(key)
        self.half_was_read.set()
        return data


class TestTheContractCatches:
    def test_a_folder_that_ignores_the_condition(self, tmp_path: Path) -> None:
        assert failed_by(lambda name: OverwritingStore(tmp_path / name)) == ABOUT_CONDITIONS

    def test_an_s3_server_that_ignores_the_condition(self, s3: S3Server, s3_prefix: str) -> None:
        place = S3Place.parse(s3.url(s3_prefix))
        failed = failed_by(
            lambda name: UnconditionalS3Store(replace(place, prefix=f"{place.prefix}{name}/"), tuning=SMALL)
        )
        assert failed == ABOUT_CONDITIONS

    def test_a_store_that_checks_and_then_writes(self) -> None:
        with pytest.raises(AssertionError):
            Threads().test_exactly_one_of_racing_creators_wins_each_key(CheckThenWriteStore())

    def test_a_store_that_writes_in_place(self, tmp_path: Path) -> None:
        with pytest.raises(AssertionError):
            Threads().test_a_reader_sees_all_of_a_file_or_nothing(WritingInPlaceStore(tmp_path))


class TestTheProbe:
    def test_is_passed_by_a_store_that_keeps_its_promise_and_leaves_nothing(
        self, s3: S3Server, s3_prefix: str, tmp_path: Path
    ) -> None:
        for store in (open_store(s3.url(s3_prefix)), LocalStore(tmp_path / "new")):
            require_conditions(store)
            assert store.list("") == []

    def test_refuses_a_server_that_ignores_the_condition(self, s3: S3Server, s3_prefix: str) -> None:
        store = UnconditionalS3Store(S3Place.parse(s3.url(s3_prefix)))
        with pytest.raises(Refused, match="let a second writer overwrite a key"):
            require_conditions(store)
        assert store.list("") == []
