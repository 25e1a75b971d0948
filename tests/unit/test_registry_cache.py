"""The blob cache: a second reader needs the manifest only, and nothing it does can hurt the store."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from registry_examples import FILES, WatchedStore, draft, memory_store

from raymaas.errors import IntegrityError
from raymaas.registry.cache import BlobCache
from raymaas.registry.layout import blob_key
from raymaas.registry.versions import Versions
from raymaas.specs.base import sha256_hex
from raymaas.specs.versions import FileEntry


def entry_of(data: bytes) -> FileEntry:
    return FileEntry(sha256=sha256_hex(data), bytes=len(data), copy_id=f"{'0' * 17}-{'0' * 16}")


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return BlobCache(tmp_path / "cache", limit_bytes=100)


def keep(cache: BlobCache, data: bytes, *, used_at: int) -> None:
    cache.put(entry_of(data), data)
    os.utime(cache.folder / sha256_hex(data), (used_at, used_at))


def test_a_second_start_reads_the_manifest_and_nothing_else(cache: BlobCache) -> None:
    store = memory_store()
    Versions(store).publish(draft(), FILES)
    for expected in (["read"] * (1 + len(FILES)), ["read"]):
        watched = WatchedStore(store)
        versions = Versions(watched, cache=cache)
        assert versions.read_files(versions.manifest("digits", 1)) == FILES
        assert watched.calls == expected


@pytest.mark.parametrize("held", [b"weightz", b"", b"weights and more"])
def test_what_was_changed_in_the_cache_is_never_given(cache: BlobCache, held: bytes) -> None:
    store = memory_store()
    versions = Versions(store, cache=cache)
    manifest = versions.publish(draft(), FILES)
    versions.read_files(manifest)
    (cache.folder / manifest.files["model.safetensors"].sha256).write_bytes(held)
    assert versions.read_file(manifest, "model.safetensors") == b"weights"
    assert cache.get(manifest.files["model.safetensors"]) == b"weights"


def test_what_is_damaged_in_the_store_is_not_cached(cache: BlobCache) -> None:
    store = memory_store()
    versions = Versions(store, cache=cache)
    entry = versions.publish(draft(), FILES).files["model.onnx"]
    store.delete(blob_key(entry))
    store.create(blob_key(entry), b"grapH")
    with pytest.raises(IntegrityError):
        versions.read_file(versions.get("digits", 1), "model.onnx")
    assert cache.get(entry) is None


def test_the_longest_unused_make_room(cache: BlobCache) -> None:
    old, older, new = b"a" * 40, b"b" * 40, b"c" * 60
    keep(cache, old, used_at=2_000)
    keep(cache, older, used_at=1_000)
    keep(cache, new, used_at=3_000)
    assert cache.get(entry_of(older)) is None
    assert cache.get(entry_of(old)) == old  # From now on `new` is the one unused for longest.
    keep(cache, b"d" * 50, used_at=4_000)
    assert cache.get(entry_of(new)) is None
    assert cache.get(entry_of(old)) == old


def test_a_file_above_the_limit_is_not_kept_and_moves_nothing_out(cache: BlobCache) -> None:
    keep(cache, b"a" * 40, used_at=1_000)
    cache.put(entry_of(b"b" * 101), b"b" * 101)
    assert [path.name for path in cache.folder.iterdir()] == [sha256_hex(b"a" * 40)]


def test_a_full_disk_costs_a_warning_and_leaves_nothing_half_written(
    cache: BlobCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = memory_store()
    versions = Versions(store, cache=cache)
    manifest = versions.publish(draft(), FILES)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert versions.read_files(manifest) == FILES
    assert list(cache.folder.iterdir()) == []
    assert "No space left on device" in caplog.text
    assert versions.read_files(manifest) == FILES
    assert len(list(cache.folder.iterdir())) == len(FILES)


def test_a_cache_that_cannot_be_made_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    versions = Versions(memory_store(), cache=BlobCache(tmp_path / "file" / "cache", limit_bytes=100))
    assert versions.read_files(versions.publish(draft(), FILES)) == FILES
    assert "cannot keep" in caplog.text
