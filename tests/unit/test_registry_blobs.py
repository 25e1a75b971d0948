"""Blobs: equal bytes once, checked when read, reused only while no collector may take them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from registry_examples import START, CrashingStore, draft

from raymaas.errors import IntegrityError, Unavailable
from raymaas.registry.blobs import Blobs
from raymaas.registry.layout import blob_key, inverted_time, time_of
from raymaas.registry.versions import Versions
from raymaas.specs.versions import FileEntry
from raymaas.store import MemoryStore

GRACE = timedelta(hours=10)


class Clock:
    """Stands still until it is moved."""

    now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


def test_a_time_in_a_key_is_found_again_and_later_ones_sort_first() -> None:
    later = START + timedelta(microseconds=1)
    assert time_of(f"some/where/{inverted_time(START)}-word") == START
    assert inverted_time(later) < inverted_time(START)
    with pytest.raises(IntegrityError, match="no time in its name"):
        time_of("blobs/sha256/00/readme")


def test_equal_bytes_are_kept_once_and_given_back(store: MemoryStore) -> None:
    first, again = (Blobs(store).put(b"weights", name="model.safetensors") for _ in range(2))
    assert first == again
    assert store.list("blobs/") == [blob_key(first)]
    assert Blobs(store).get(first, name="model.safetensors") == b"weights"


@pytest.mark.parametrize(
    ("age", "reused"), [(GRACE / 2 - timedelta(microseconds=1), True), (GRACE / 2, False)]
)
def test_a_copy_that_could_be_collected_before_it_is_named_is_not_reused(
    store: MemoryStore, clock: Clock, age: timedelta, reused: bool
) -> None:
    blobs = Blobs(store, grace=GRACE)
    old = blobs.put(b"weights", name="w")
    clock.now = START + age
    new = blobs.put(b"weights", name="w")
    assert (new == old) is reused
    assert (new.sha256, new.bytes) == (old.sha256, old.bytes)
    store.delete(blob_key(old))
    assert store.exists(blob_key(new)) is not reused


def test_a_publication_that_took_too_long_uploads_again_before_it_names_the_files(
    store: MemoryStore, clock: Clock
) -> None:
    def wait_before_the_manifest(name: str, size: int) -> None:
        clock.now += GRACE / 2 if clock.now < START + GRACE / 2 else timedelta()

    versions = Versions(store, grace=GRACE)
    manifest = versions.publish(draft(), {"model.safetensors": b"weights"}, on_kept=wait_before_the_manifest)
    copies = store.list("blobs/")
    assert len(copies) == 2
    assert manifest.created_at - time_of(blob_key(manifest.files["model.safetensors"])) < GRACE / 2


def test_a_publication_that_never_is_fast_enough_ends_with_a_sentence(
    store: MemoryStore, clock: Clock
) -> None:
    def crawl(name: str, size: int) -> None:
        clock.now += GRACE / 2

    with pytest.raises(Unavailable, match="took longer than 5:00:00 each of 3 times"):
        Versions(store, grace=GRACE).publish(draft(), {"model.safetensors": b"weights"}, on_kept=crawl)
    assert Versions(store).models() == []


@pytest.mark.parametrize("held", [b"weightz", b"weight", b"", None])
def test_a_damaged_or_missing_blob_is_refused_when_read_and_replaced_when_put_again(
    store: MemoryStore, held: bytes | None
) -> None:
    entry = Blobs(store).put(b"weights", name="w")
    store.delete(blob_key(entry))
    if held is not None:
        store.create(blob_key(entry), held)
    with pytest.raises(IntegrityError, match=r"model\.onnx is (damaged|missing)"):
        Blobs(store).get(entry, name="model.onnx")
    again = Blobs(store).put(b"weights", name="model.onnx")
    assert again.copy_id != entry.copy_id
    assert Blobs(store).get(again, name="model.onnx") == b"weights"


def test_a_missing_blob_is_named() -> None:
    entry = FileEntry(sha256="0" * 64, bytes=1, copy_id=f"{'0' * 17}-{'0' * 16}")
    with pytest.raises(IntegrityError, match=r"graph\.onnx is missing"):
        Blobs(MemoryStore(Clock())).get(entry, name="graph.onnx")


def test_a_blob_whose_reply_was_lost_is_there(store: MemoryStore) -> None:
    lossy = CrashingStore(store, crash_at=3, how="lost reply")
    entry = Blobs(lossy).put(b"weights", name="w")
    assert lossy.calls[2] == "create"
    assert Blobs(store).get(entry, name="w") == b"weights"


def test_all_files_are_kept_and_each_is_told(store: MemoryStore) -> None:
    files = {f"part-{n}": bytes([n]) * (n + 1) for n in range(20)}
    told: dict[str, int] = {}
    blobs = Blobs(store, grace=GRACE)
    entries, until = blobs.put_all(files, on_kept=told.__setitem__)
    assert told == {name: len(data) for name, data in files.items()}
    assert {name: blobs.get(entry, name=name) for name, entry in entries.items()} == files
    assert until == START + GRACE / 2
