"""StoreContract: what every Store must do. A test class inherits it and says which `store` it means.

It is checked by negative controls: stores broken on purpose must fail it (see test_store_controls).
"""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from raymaas.errors import AlreadyExists, InvalidInput, NotFound
from raymaas.store import Store, open_store

RACERS = 4
RACED_KEYS = tuple(f"race/{n:03d}" for n in range(100))
LARGE = bytes(range(256)) * (45 * 1024)  # 11.25 MiB: three parts, of which S3 takes 5 MiB or more
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
    shared = True  # by all processes; else racers are threads

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

    def test_a_large_file_is_whole_and_never_overwritten(self, store: Store) -> None:
        store.create("a/large", LARGE)
        assert store.size("a/large") == len(LARGE)
        assert store.read("a/large") == LARGE
        assert store.read_range("a/large", start=5 * 1024 * 1024 - 2, length=4) == b"\xfe\xff\x00\x01"
        with pytest.raises(AlreadyExists, match="a/large"):
            store.create("a/large", LARGE[::-1])
        assert store.read("a/large") == LARGE

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
        keys = ["a/B", "a/b-c", "a/b.c", "a/b0", "a/b=", "a/b_", "a/bb"]
        folders = ["b-x/1", "b.x/1", "b0/1", "b0/2/1", "bx/1"]
        for key in reversed(keys + folders):
            store.create(key, b"x")
        assert store.list("a/") == keys
        assert store.list("b0/") == ["b0/1", "b0/2/1"]
        assert store.list("") == keys + folders

    def test_paging_finds_every_key_also_where_a_folder_begins_like_its_neighbour(self, store: Store) -> None:
        # '-' and '.' sort before '/', so servers that keep folders give them in an order of their own.
        keys = ["a-b/x", "a.b/x", "a/b-c", "a/b.c", "a/b/x", "a/b0", "a0/x"]
        for key in keys:
            store.create(key, b"x")
        for limit in (1, 2, 3, 100):
            assert sorted(paged(store, "", limit=limit)) == keys
        assert store.list("a/b/") == ["a/b/x"]

    def test_pages_together_are_the_whole_listing(self, store: Store) -> None:
        keys = [f"p/{n // 3}/{n:02d}" for n in range(10)]
        for key in keys:
            store.create(key, b"x")
        for limit in (1, 3, 4, 100):
            assert paged(store, "p/", limit=limit) == keys

    def test_a_listing_may_begin_after_a_key_that_is_not_there(self, store: Store) -> None:
        for key in ("p/1", "p/3", "p/5/x"):
            store.create(key, b"x")
        assert store.list("p/", after="p/2") == ["p/3", "p/5/x"]
        assert store.list("p/", after="p/4", limit=1) == ["p/5/x"]
        assert store.list("p/", after="a") == ["p/1", "p/3", "p/5/x"]
        assert store.list("p/", after="z") == []

    def test_first_is_the_smallest_key_of_a_folder(self, store: Store) -> None:
        assert store.first("models/x/versions/") is None
        for n in (7, 5, 9):
            store.create(f"models/x/versions/{n}", b"x")
        store.create("models/x/by-run/0", b"x")
        assert store.first("models/x/versions/") == "models/x/versions/5"
        assert store.first("models/") == "models/x/by-run/0"

    def test_children_are_the_folders_that_hold_keys(self, store: Store) -> None:
        assert store.children("") == []
        for key in ("models/b/versions/1", "models/a/state/1", "models/a/state/2", "models/file"):
            store.create(key, b"x")
        assert store.children("models/") == ["a", "b"]
        assert store.children("models/a/") == ["state"]
        assert store.children("") == ["models"]
        assert store.children("elsewhere/") == []
        store.delete("models/b/versions/1")
        assert set(store.children("models/")) - {"b"} == {"a"}

    def test_children_are_all_found_however_many(self, store: Store) -> None:
        names = [f"n{number:02d}" for number in range(25)]
        for name in names:
            store.create(f"m/{name}/x", b"x")
        assert store.children("m/") == names
        assert store.list("m/", limit=25) == [f"m/{name}/x" for name in names]

    def test_deleting_a_folder_s_name_deletes_none_of_its_keys(self, store: Store) -> None:
        store.create("a/b/c", b"x")
        for name in ("a", "a/b", "a/b/c/d"):
            store.delete(name)
        assert store.read("a/b/c") == b"x"

    def test_a_deleted_key_can_be_created_again(self, store: Store) -> None:
        store.create("a/b", b"first")
        store.delete("a/b")
        store.create("a/b", b"second")
        assert store.read("a/b") == b"second"

    def test_it_travels_to_another_process_by_its_url(self, store: Store) -> None:
        store.create("a/b", b"x")
        if not self.shared:
            with pytest.raises(InvalidInput, match="invisible to every other process"):
                open_store(store.url)
            return
        assert open_store(store.url).read("a/b") == b"x"
        assert open_store(store.url).url == store.url
        assert pickle.loads(pickle.dumps(store)).read("a/b") == b"x"

    def test_deleting_is_silent_when_nothing_is_there(self, store: Store) -> None:
        store.create("a/b", b"x")
        store.delete("a/b")
        store.delete("a/b")
        store.delete("a")
        store.delete("never/was")
        assert not store.exists("a/b")
        assert store.list("") == []

    def test_keys_outside_the_grammar_are_refused(self, store: Store) -> None:
        calls: list[Callable[[str], Any]] = [
            store.read,
            store.size,
            store.exists,
            store.delete,
            lambda key: store.create(key, b"x"),
            lambda key: store.read_range(key, start=0, length=1),
        ]
        for call, key in itertools.product(calls, BAD_KEYS):
            with pytest.raises(InvalidInput, match="not a key"):
                call(key)
        assert store.list("") == []

    def test_prefixes_that_are_not_folders_are_refused(self, store: Store) -> None:
        calls: list[Callable[[str], Any]] = [store.first, store.list, store.children]
        for call, prefix in itertools.product(calls, ("a", "/", "../", "a//", ".incoming/")):
            with pytest.raises(InvalidInput):
                call(prefix)

    def test_a_limit_below_one_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidInput, match="limit"):
            store.list("", limit=0)

    def test_the_clock_is_utc_and_does_not_run_backwards(self, store: Store) -> None:
        moments = [store.now() for _ in range(5)]
        assert moments == sorted(moments)
        assert all(moment.utcoffset() == timedelta(0) for moment in moments)

    def test_threads_share_one_store(self, store: Store) -> None:
        def write_and_read(number: int) -> bytes:
            store.create(f"t/{number}", b"%d" % number)
            return store.read(f"t/{number}")

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(write_and_read, range(40))) == [b"%d" % number for number in range(40)]

    def race(self, store: Store) -> dict[int, list[str]]:
        """The keys that each racer won."""
        # Spawned, not forked: the test process has threads.
        processes = multiprocessing.get_context("spawn")
        makers: tuple[Any, Any, Any] = (threading.Barrier, queue.Queue, threading.Thread)
        if self.shared:
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


def paged(store: Store, prefix: str, *, limit: int) -> list[str]:
    """The whole listing, by pages of `limit`."""
    found: list[str] = []
    while page := store.list(prefix, after=found[-1] if found else None, limit=limit):
        assert len(page) <= limit
        found += page
        assert len(found) <= 1000, "the pages do not end"
    return found


def _read_or_none(store: Store, key: str) -> bytes | None:
    try:
        return store.read(key)
    except NotFound:
        return None
