"""What only a folder can do wrong, and that it agrees with memory on every listing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaas.errors import InvalidInput, OutcomeUnknown, Unavailable
from raymaas.store import LocalStore, MemoryStore, Store


def utc_now() -> datetime:
    return datetime.now(UTC)


@settings(max_examples=40)
@given(
    keys=st.sets(
        st.from_regex(r"[ab0][ab0.\-=]{0,2}(/[ab0][ab0.\-=]{0,2}){0,2}", fullmatch=True), max_size=12
    ),
    after=st.from_regex(r"[ab0][ab0./\-]{0,4}", fullmatch=True),
    limit=st.integers(1, 6),
)
def test_a_folder_lists_what_memory_lists(keys: set[str], after: str, limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        local, memory = LocalStore(Path(folder)), MemoryStore(utc_now)
        for key in sorted(keys):
            outcomes = []
            for store in (local, memory):
                try:
                    store.create(key, b"x")
                    outcomes.append("created")
                except InvalidInput as error:
                    outcomes.append(str(error))
            assert outcomes[0] == outcomes[1]
        assert local.list("", limit=100) == memory.list("", limit=100)
        assert local.list("", after=after, limit=limit) == memory.list("", after=after, limit=limit)
        for prefix in {"", *(f"{key.partition('/')[0]}/" for key in keys)}:
            assert local.children(prefix) == memory.children(prefix)
            assert local.first(prefix) == memory.first(prefix)


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_a_key_is_never_also_a_folder(kind: str, tmp_path: Path) -> None:
    store: Store = MemoryStore(utc_now) if kind == "memory" else LocalStore(tmp_path)
    store.create("a/b", b"x")
    with pytest.raises(InvalidInput, match="is a folder"):
        store.create("a", b"x")
    with pytest.raises(InvalidInput, match="is a key already"):
        store.create("a/b/c/d", b"x")


def test_a_memory_store_has_the_clock_it_was_given() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    assert MemoryStore(lambda: moment).now() == moment


def test_the_local_clock_is_that_of_the_file_system(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    before = store.now()
    (tmp_path / "made-between").touch()
    made = datetime.fromtimestamp((tmp_path / "made-between").stat().st_mtime, UTC)
    assert before <= made + timedelta(microseconds=1)
    assert made <= store.now() + timedelta(microseconds=1)


WRITE_BEYOND_A_LIMIT = """
import resource, sys
from pathlib import Path
from raymaas.errors import Unavailable
from raymaas.store import LocalStore
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    LocalStore(Path(sys.argv[1])).create("blobs/large", bytes(1_000_000))
except Unavailable as error:
    print(error)
"""


def test_a_file_that_does_not_fit_is_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITE_BEYOND_A_LIMIT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "no space left" in done.stdout, done.stderr
    assert "blobs/large" in done.stdout
    assert not LocalStore(tmp_path).exists("blobs/large")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_write_that_may_not_survive_power_loss_is_of_unknown_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sync = LocalStore(tmp_path), os.fsync
    store.create("a/first", b"x")

    def failing_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(5, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", failing_for_folders)
    with pytest.raises(OutcomeUnknown, match="a/second"):
        store.create("a/second", b"x")


def test_a_disk_without_hard_links_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: str, target: str) -> None:
        raise OSError(1, "Operation not permitted", source, None, target)

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(InvalidInput, match="without hard links"):
        LocalStore(tmp_path).create("a/b", b"x")
    assert LocalStore(tmp_path).list("") == []


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    store = LocalStore(tmp_path / "loop" / "store")
    with pytest.raises(Unavailable):
        store.create("a/b", b"x")
    with pytest.raises(Unavailable):
        store.read("a/b")
    with pytest.raises(Unavailable):
        store.now()


def test_what_is_not_a_key_never_appears_in_listings(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("runs/a/spec.json", b"x")
    (tmp_path / ".incoming" / "left-by-a-crash").write_bytes(b"half")
    (tmp_path / "runs" / "a" / ".validate_storage_marker").touch()
    (tmp_path / "runs" / "a" / "with space").touch()
    (tmp_path / "runs" / "empty").mkdir()
    assert store.list("") == ["runs/a/spec.json"]
    assert store.children("") == ["runs"]
    assert store.children("runs/") == ["a"]


def test_nothing_but_keys_is_left_after_many_creates(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for n in range(10):
        store.create(f"a/{n}", b"x")
        store.now()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [str(n) for n in range(10)]


def test_arrow_reads_parquet_from_the_same_bytes(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    table = pa.table({"x": [1, 2, 3]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    store.create("data/part.parquet", sink.getvalue().to_pybytes())
    filesystem, root = store.arrow_filesystem()
    assert pq.read_table(f"{root}/data/part.parquet", filesystem=filesystem).equals(table)


def test_arrow_is_refused_a_memory_store() -> None:
    with pytest.raises(InvalidInput, match="file://"):
        MemoryStore(utc_now).arrow_filesystem()
