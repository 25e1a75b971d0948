"""Collecting garbage: all that nothing needs goes, and nothing else, whatever crashes or happens meanwhile."""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from registry_examples import FILES, START, Clock, Crash, CrashingStore, InterruptedStore, draft

import raymaas.registry
import raymaas.specs
from raymaas.errors import IntegrityError, Refused
from raymaas.registry.blobs import Blobs
from raymaas.registry.collection import IN_FLIGHT, candidates, unnamed
from raymaas.registry.collector import LEASE, LEASE_S, Collector
from raymaas.registry.deletion import delete_version
from raymaas.registry.layout import BLOBS, blob_key, inverted_time, version_key
from raymaas.registry.leases import Leases
from raymaas.registry.states import States
from raymaas.registry.tombstones import Tombstones
from raymaas.registry.versions import Versions
from raymaas.specs.base import Spec
from raymaas.specs.retention import Retention
from raymaas.specs.versions import ModelVersion
from raymaas.store import MemoryStore, Store

GRACE = timedelta(hours=10)
OLD = GRACE + IN_FLIGHT + timedelta(seconds=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


class DyingStore(CrashingStore):
    """The process dies at the `crash_at`-th call: nothing it does from then on takes effect."""

    def _call(self, number: int, name: str, act: Any) -> Any:
        if number > self.crash_at:
            raise Crash
        return super()._call(number, name, act)


def collector(store: Store, *, holder: str = "ana") -> Collector:
    return Collector(store, Retention(), holder=holder, grace=GRACE)


def publish(store: Store, run_id: str, **files: bytes) -> ModelVersion:
    return Versions(store, grace=GRACE).publish(draft(run_id), files or FILES)


def put(store: Store, data: bytes) -> str:
    return blob_key(Blobs(store, grace=GRACE).put(data, name="a file"))


def delete(store: Store, version: int) -> None:
    delete_version(States(store), Tombstones(store), "digits", version, who="ana")


def copies(store: Store) -> set[str]:
    return set(store.list(BLOBS))


def copies_of(*versions: ModelVersion) -> set[str]:
    return {blob_key(entry) for version in versions for entry in version.files.values()}


def test_every_document_that_names_copies_is_known_to_the_collector() -> None:
    """Another one must be read in `registry.marks` before its files are safe."""
    for package in (raymaas.specs, raymaas.registry):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)

    def specs(above: type[Spec]) -> set[type[Spec]]:
        return {above}.union(*(specs(below) for below in above.__subclasses__()))

    naming = {
        spec.__name__
        for spec in specs(Spec)
        if spec.__module__.startswith(("raymaas.specs", "raymaas.registry"))
        and any("FileEntry" in repr(field.annotation) for field in spec.model_fields.values())
    }
    assert naming == {"ModelVersion", "Finished"}


def test_only_copies_that_are_old_enough_are_candidates() -> None:
    def key(age: timedelta) -> str:
        return f"{BLOBS}{'0' * 64}/{inverted_time(START - age)}-{'0' * 16}"

    old, young = key(OLD), key(GRACE + IN_FLIGHT)
    foreign = [f"{BLOBS}readme", f"{BLOBS}{'0' * 64}", old[:-1], f"{old}/more", f"{old}0"]
    found = candidates([*foreign, young, old], now=START, grace=GRACE)
    assert found.delete == (old,)
    assert found.kept == {"not written by raymaas": 5, "younger than 11 h": 1}
    assert unnamed(found, {}).delete == (old,)
    kept = unnamed(found, {old: "of versions", young: "of versions"})
    assert (kept.delete, kept.kept["of versions"]) == ((), 1)


def test_files_that_nothing_names_go_when_they_are_old(store: MemoryStore, clock: Clock) -> None:
    version, orphan = publish(store, "run-1"), put(store, b"left by a crash")
    clock.now = START + OLD - timedelta(seconds=1)
    assert collector(store).collect().files.delete == ()
    clock.now = START + OLD
    young = put(store, b"just put")
    gone = collector(store).collect()
    assert (gone.files.delete, gone.files_bytes) == ((orphan,), len(b"left by a crash"))
    assert gone.files.kept == {"of versions": 2, "younger than 11 h": 1}
    assert copies(store) == copies_of(version) | {young}


def test_a_survey_tells_what_would_go_and_changes_nothing(store: MemoryStore, clock: Clock) -> None:
    publish(store, "run-1")
    orphan = put(store, b"left by a crash")
    clock.now += OLD
    before = store.list("")
    assert collector(store).survey().files.delete == (orphan,)
    assert store.list("") == before


def test_files_of_a_deleted_version_go_after_the_grace_period_and_shared_ones_stay(
    store: MemoryStore, clock: Clock
) -> None:
    kept = publish(store, "run-1", **{"model.safetensors": b"shared", "model.onnx": b"one"})
    deleted = publish(store, "run-2", **{"model.safetensors": b"shared", "model.onnx": b"two"})
    clock.now += 2 * OLD
    delete(store, 2)
    clock.now += GRACE - timedelta(seconds=1)
    assert collector(store).collect().files.kept == {"of versions": 2, "of versions deleted a moment ago": 1}
    clock.now += timedelta(seconds=1)
    gone = set(collector(store).collect().files.delete)
    assert gone == copies_of(deleted) - copies_of(kept)
    assert len(gone) == 1
    assert copies(store) == copies_of(kept)
    assert Versions(store).manifest("digits", 2) == deleted


def test_a_deleted_version_that_a_state_still_names_keeps_its_files(store: MemoryStore, clock: Clock) -> None:
    version = publish(store, "run-1")
    delete(store, 1)
    newest = States(store).current("digits")
    assert newest is not None
    # No move makes such a state; whatever did, what is wanted running must be able to run.
    States(store)._log("digits").append(
        newest.model_copy(update={"revision": 2, "aliases": {"prod": 1}, "write_id": "w"})
    )
    clock.now += 2 * OLD
    assert collector(store).collect().files.kept == {"of deleted versions still in use": 2}
    assert copies(store) == copies_of(version)


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_nothing_goes_while_it_cannot_be_told_what_is_in_use(
    store: MemoryStore, clock: Clock, damage: str
) -> None:
    for run in ("run-1", "run-2"):
        publish(store, run)
    orphan = put(store, b"left by a crash")
    clock.now += OLD
    key = version_key("digits", 1)
    sealed = store.read(key)
    store.delete(key)
    if damage == "flipped":
        store.create(key, sealed.replace(b"digits", b"digitz"))
    with pytest.raises(
        IntegrityError, match=r"nothing was deleted, since it cannot be told .*models/digits/versions"
    ):
        collector(store).collect()
    assert orphan in copies(store)


def old_store(clock: Clock) -> tuple[MemoryStore, ModelVersion]:
    """A store with one version that is kept, one long deleted, and what two crashed publishers left."""
    clock.now = START
    store = MemoryStore(clock)
    kept = publish(store, "run-1")
    publish(store, "run-2", **{"model.safetensors": b"other weights"})
    delete(store, 2)
    put(store, b"left by a crash")
    put(store, b"left by another")
    clock.now += 2 * OLD
    return store, kept


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_collector_killed_at_any_step_does_no_harm_and_the_next_finishes(how: Any, clock: Clock) -> None:
    crash_at, finished = 0, False
    while not finished:
        crash_at += 1
        store, kept = old_store(clock)
        dying = DyingStore(store, crash_at, how)
        with suppress(Crash):
            collector(dying).collect()
        finished = len(dying.calls) < crash_at
        assert Versions(store).read_files(kept) == FILES
        clock.now += timedelta(seconds=LEASE_S)
        collector(store).collect()
        assert copies(store) == copies_of(kept)
    assert crash_at > 20


@pytest.mark.parametrize("data", [b"left by a crash", b"other weights", b"weights", b"new"])
def test_a_publication_at_any_step_of_a_collection_keeps_its_files(data: bytes, clock: Clock) -> None:
    at, finished = 0, False
    while not finished:
        at += 1
        store, kept = old_store(clock)
        beside: list[ModelVersion] = []

        def publish_beside(into: Store = store, published: list[ModelVersion] = beside) -> None:
            published.append(publish(into, "run-3", **{"model.safetensors": data}))

        interrupted = InterruptedStore(store, at, publish_beside)
        collector(interrupted).collect()
        finished = len(interrupted.calls) < at
        for version in (kept, *beside):
            assert Versions(store).read_files(version)
        clock.now += 2 * OLD
        collector(store).collect()
        assert copies(store) == copies_of(kept, *beside)
    assert at > 20


@pytest.mark.parametrize(
    "pause", [timedelta(), GRACE / 2 - timedelta(seconds=2), GRACE / 2, GRACE / 2 + IN_FLIGHT, 2 * GRACE]
)
def test_a_collection_at_any_step_of_a_publication_leaves_its_files(pause: timedelta, clock: Clock) -> None:
    """The publisher reuses the oldest copies that it may, and sleeps at the step where the collector comes."""
    at, finished, reused = 0, False, False
    while not finished:
        at += 1
        clock.now = START
        store = MemoryStore(clock)
        orphans = {put(store, data) for data in FILES.values()}
        clock.now += GRACE / 2 - timedelta(seconds=1)

        interrupted = InterruptedStore(store, at, lambda: None)

        def collect(store: Store = store, calls: list[str] = interrupted.calls) -> None:
            # Once the publisher looked at the clock, what it sends is no longer on its way than IN_FLIGHT.
            looked = calls.count("now") > 1
            clock.now += min(pause, GRACE / 2 + IN_FLIGHT) if looked else pause
            collector(store).collect()

        interrupted.interrupt = collect
        version = publish(interrupted, "run-1")
        finished = len(interrupted.calls) < at
        assert Versions(store).read_files(version) == FILES
        reused = reused or copies_of(version) == orphans
        clock.now += 2 * OLD
        collector(store).collect()
        assert copies(store) == copies_of(version)
    assert at > 10
    assert reused


def test_a_survey_that_sleeps_at_any_step_after_a_publication_spares_its_files(clock: Clock) -> None:
    """Files are looked for before documents: what grows old in between was named by then."""
    at, finished = 0, False
    while not finished:
        at += 1
        clock.now = START
        store = MemoryStore(clock)
        orphan = put(store, b"left by a crash")
        beside: list[ModelVersion] = []

        def publish_and_sleep(into: Store = store, published: list[ModelVersion] = beside) -> None:
            published.append(publish(into, "run-1"))
            clock.now += OLD

        interrupted = InterruptedStore(store, at, publish_and_sleep)
        plan = collector(interrupted).survey()
        finished = len(interrupted.calls) < at
        assert set(plan.files.delete) <= {orphan}
    assert at > 4


def test_a_deletion_at_any_step_of_a_collection_leaves_its_files_for_the_grace_period(clock: Clock) -> None:
    at, finished = 0, False
    while not finished:
        at += 1
        store, kept = old_store(clock)
        interrupted = InterruptedStore(store, at, partial(delete, store, 1))
        collector(interrupted).collect()
        finished = len(interrupted.calls) < at
        assert copies(store) == copies_of(kept)
    assert at > 20


def test_two_collectors_do_not_work_at_once(store: MemoryStore, clock: Clock) -> None:
    orphan = put(store, b"left by a crash")
    clock.now += OLD
    with Leases(store).held(LEASE, holder="bob", for_s=LEASE_S):
        with pytest.raises(Refused, match="'gc' is under way: bob has the lease until"):
            collector(store).collect()
        assert collector(store).survey().files.delete == (orphan,)
    assert copies(store) == {orphan}
    collector(store).collect()
    assert copies(store) == set()


def test_a_collector_that_lost_its_lease_stops_deleting(clock: Clock) -> None:
    def orphaned() -> MemoryStore:
        clock.now = START
        store = MemoryStore(clock)
        for n in range(250):
            put(store, bytes([n]))
        clock.now += OLD
        return store

    watched = InterruptedStore(orphaned(), at=0, interrupt=lambda: None)
    collector(watched).collect()
    first_delete = watched.calls.index("delete") + 1
    assert copies(watched.inner) == set()
    store = orphaned()

    def sleep() -> None:
        clock.now += timedelta(seconds=LEASE_S)
        Leases(store).acquire(LEASE, holder="bob", for_s=LEASE_S)

    with pytest.raises(Refused, match=r"the lease on 'gc' of ana ended .* and is with bob now"):
        collector(InterruptedStore(store, first_delete, sleep)).collect()
    assert len(copies(store)) == 150


def test_a_long_collection_keeps_its_lease(clock: Clock) -> None:
    class SlowStore(MemoryStore):
        """Each deletion takes two seconds."""

        def delete(self, key: str) -> None:
            super().delete(key)
            clock.now += timedelta(seconds=LEASE_S / 300)

    store = SlowStore(clock)
    for n in range(1000):
        put(store, n.to_bytes(2, "big"))
    clock.now += OLD
    collector(store).collect()
    assert copies(store) == set()


def test_a_collection_is_due_so_long_after_the_last_one_began(store: MemoryStore, clock: Clock) -> None:
    day = timedelta(days=1)
    assert collector(store).collect_if_due(day) is not None
    clock.now += day - timedelta(seconds=1)
    assert collector(store, holder="bob").collect_if_due(day) is None
    clock.now += timedelta(seconds=1)
    assert collector(store, holder="bob").collect_if_due(day) is not None
