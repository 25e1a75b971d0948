"""StoreContract: what every Store must do. A test class inherits it and says which `store` it means.

It is checked by negative controls: stores broken on purpose must fail it (see test_store_contract).
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from raymaas.errors import AlreadyExists, InvalidInput, NotFound
from raymaas.store import Store

RACERS = 4
RACED_KEYS = tuple(f"race/{n:03d}" for n in range(200))
BAD_NAMES = ("", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a/.b", "a b", "a\\b", "ä", "a\n", "a/*")
BAD_KEYS = (*BAD_NAMES, "too-long-a-segment" * 12, "/".join(["too-long-a-key"] * 70))


def claim(store: Store, racer: int, start: Any, results: Any) -> None:
    """Once all racers are there, try to create every key; put the racer and the keys won into `results`."""
    start.wait()
    won = []
    for key in RACED_KEYS:
        try:
            store.create(key, f"racer {racer}".encode())
        except AlreadyExists:
            continue
        won.append(key)
    results.put((racer, won))


class StoreContract:
    racing_in_processes = True

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    def test_what_is_created_is_read_back(self, store: Store) -> None:
        store.create("models/digits/x.json", b"some bytes")
        assert store.read("models/digits/x.json") == b"some bytes"
        assert store.size("models/digits/x.json") == 10
        assert store.exists("models/digits/x.json")

    def test_an_empty_file_is_a_file(self, store: Store) -> None:
        store.create("a/empty", b"")
        assert store.read("a/empty") == b""
        with pytest.raises(AlreadyExists):
            store.create("a/empty", b"no longer empty")
        assert store.read("a/empty") == b""

    def test_a_held_key_is_never_overwritten(self, store: Store) -> None:
        store.create("a/b", b"first")
        with pytest.raises(AlreadyExists, match="a/b"):
            store.create("a/b", b"second")
        assert store.read("a/b") == b"first"

    def test_exactly_one_of_racing_creators_wins_each_key(self, store: Store) -> None:
        won = self.race(store)
        assert sorted(key for keys in won.values() for key in keys) == list(RACED_KEYS)
        for racer, keys in won.items():
            assert all(store.read(key) == f"racer {racer}".encode() for key in keys)

    def test_a_reader_sees_all_of_a_file_or_nothing(self, store: Store) -> None:
        data = bytes(range(256)) * 4096
        keys = [f"large/{n}" for n in range(10)]

        def write_all() -> None:
            for key in keys:
                store.create(key, data)

        writer = threading.Thread(target=write_all)
        writer.start()
        try:
            for key in keys:
                while (seen := _read_or_none(store, key)) is None and writer.is_alive():
                    if key in store.list("large/"):
                        assert store.read(key) == data
                assert (store.read(key) if seen is None else seen) == data
        finally:
            writer.join(timeout=60)

    def test_a_range_is_cut_at_the_end_and_empty_past_it(self, store: Store) -> None:
        store.create("a/range", b"0123456789")
        assert store.read_range("a/range", start=2, length=3) == b"234"
        assert store.read_range("a/range", start=8, length=100) == b"89"
        assert store.read_range("a/range", start=10, length=1) == b""
        assert store.read_range("a/range", start=0, length=0) == b""
        with pytest.raises(InvalidInput):
            store.read_range("a/range", start=-1, length=2)

    def test_what_is_absent_is_not_found_by_name(self, store: Store) -> None:
        store.create("folder/file", b"x")
        for absent in ("nothing/here", "folder", "folder/file/below"):
            assert not store.exists(absent)
            asks: list[Callable[[str], Any]] = [
                store.read,
                store.size,
                lambda key: store.read_range(key, start=0, length=1),
            ]
            for ask in asks:
                with pytest.raises(NotFound, match=absent):
                    ask(absent)

    def test_keys_list_in_the_order_of_their_bytes(self, store: Store) -> None:
        # '-' and '.' sort before '/', so a folder's keys do not come where its bare name would.
        keys = ["a-b/x", "a.b/x", "a/b-c", "a/b.c", "a/b/x", "a/b0", "a/bb", "a0/x"]
        for key in reversed(keys):
            store.create(key, b"x")
        assert store.list("") == keys
        assert store.list("a/") == ["a/b-c", "a/b.c", "a/b/x", "a/b0", "a/bb"]
        assert store.list("a/b/") == ["a/b/x"]

    def test_pages_together_are_the_whole_listing(self, store: Store) -> None:
        keys = [f"p/{n // 3}/{n:02d}" for n in range(10)]
        for key in keys:
            store.create(key, b"x")
        for limit in (1, 3, 4, 100):
            paged: list[str] = []
            while page := store.list("p/", after=paged[-1] if paged else None, limit=limit):
                assert len(page) <= limit
                paged += page
            assert paged == keys

    def test_a_listing_may_begin_after_a_key_that_is_not_there(self, store: Store) -> None:
        for key in ("p/1", "p/3", "p/5/x"):
            store.create(key, b"x")
        assert store.list("p/", after="p/2") == ["p/3", "p/5/x"]
        assert store.list("p/", after="p/5") == ["p/5/x"]
        assert store.list("p/", after="z") == []

    def test_first_is_the_smallest_key_of_a_folder(self, store: Store) -> None:
        assert store.first("models/x/versions/") is None
        for n in (7, 5, 9):
            store.create(f"models/x/versions/{n}", b"x")
        store.create("models/x/by-run/0", b"x")
        assert store.first("models/x/versions/") == "models/x/versions/5"
        assert store.first("models/") == "models/x/by-run/0"

    def test_children_are_the_folders_that_hold_keys(self, store: Store) -> None:
        for key in ("models/b/versions/1", "models/a/state/1", "models/a/state/2", "models/file"):
            store.create(key, b"x")
        assert store.children("models/") == ["a", "b"]
        assert store.children("models/a/") == ["state"]
        assert store.children("") == ["models"]
        assert store.children("elsewhere/") == []
        store.delete("models/b/versions/1")
        assert store.children("models/") == ["a"]

    def test_deleting_is_silent_when_nothing_is_there(self, store: Store) -> None:
        store.create("a/b", b"x")
        store.delete("a/b")
        store.delete("a/b")
        store.delete("a")
        store.delete("never/was")
        assert not store.exists("a/b")
        assert store.list("") == []

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_keys_outside_the_grammar_are_refused(self, store: Store, key: str) -> None:
        calls: list[Callable[[str], Any]] = [
            store.read,
            store.size,
            store.exists,
            store.delete,
            lambda key: store.create(key, b"x"),
            lambda key: store.read_range(key, start=0, length=1),
        ]
        for call in calls:
            with pytest.raises(InvalidInput, match="not a key"):
                call(key)
        assert store.list("") == []

    @pytest.mark.parametrize("prefix", ["a", "/", "../", "a//", ".incoming/"])
    def test_prefixes_that_are_not_folders_are_refused(self, store: Store, prefix: str) -> None:
        calls: list[Callable[[str], Any]] = [store.first, store.list, store.children]
        for call in calls:
            with pytest.raises(InvalidInput):
                call(prefix)

    def test_a_limit_below_one_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidInput, match="limit"):
            store.list("", limit=0)

    def test_the_clock_is_utc_and_does_not_run_backwards(self, store: Store) -> None:
        moments = [store.now() for _ in range(5)]
        assert moments == sorted(moments)
        assert all(moment.utcoffset() == timedelta(0) for moment in moments)

    def race(self, store: Store) -> dict[int, list[str]]:
        """The keys that each racer won."""
        # Spawned, not forked: the test process has threads.
        processes = multiprocessing.get_context("spawn")
        makers: tuple[Any, Any, Any] = (threading.Barrier, queue.Queue, threading.Thread)
        if self.racing_in_processes:
            makers = (processes.Barrier, processes.Queue, processes.Process)
        make_barrier, make_queue, make_racer = makers
        start, results = make_barrier(RACERS, timeout=120), make_queue()
        racers = [make_racer(target=claim, args=(store, n, start, results)) for n in range(RACERS)]
        for racer in racers:
            racer.start()
        won = dict(results.get(timeout=120) for _ in racers)
        for racer in racers:
            racer.join()
        return won


def _read_or_none(store: Store, key: str) -> bytes | None:
    try:
        return store.read(key)
    except NotFound:
        return None
