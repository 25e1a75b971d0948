"""Leases: one holder at a time by the store's clock, whatever races, crashes or is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Literal

import pytest
from registry_examples import START, Clock, Crash, CrashingStore, InterruptedStore

from raymaas.errors import InvalidInput, OutcomeUnknown, Refused, Unavailable
from raymaas.registry.leases import Lease, Leases
from raymaas.store import LocalStore, MemoryStore, Store


class DeafStore(MemoryStore):
    """While it is deaf, it does what it is told and no answer comes back."""

    deaf = False

    def create(self, key: str, data: bytes) -> None:
        super().create(key, data)
        if self.deaf:
            raise OutcomeUnknown("the reply was lost")

    def read(self, key: str) -> bytes:
        if self.deaf:
            raise Unavailable("no answer")
        return super().read(key)


How = Literal["before", "after", "lost reply"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


def acquire(store: Store, holder: str) -> Lease:
    return Leases(store).acquire("gc", holder=holder, for_s=60)


def test_a_held_lease_is_refused_naming_its_holder_and_its_end(store: MemoryStore, clock: Clock) -> None:
    acquire(store, "ana on a laptop")
    clock.now += timedelta(seconds=59.9)
    with pytest.raises(Refused, match=r"'gc' is under way: ana on a laptop .* until 2026-03-01 00:01:00 UTC"):
        acquire(store, "bob")
    Leases(store).acquire("another-thing", holder="bob", for_s=60)


def test_a_released_lease_is_free_at_once(store: MemoryStore) -> None:
    with Leases(store).held("gc", holder="ana", for_s=60), pytest.raises(Refused):
        acquire(store, "bob")
    acquire(store, "bob")


def test_a_lease_is_released_when_the_work_fails(store: MemoryStore) -> None:
    with pytest.raises(Crash), Leases(store).held("gc", holder="ana", for_s=60):
        raise Crash
    acquire(store, "bob")


def test_the_lease_of_a_crashed_holder_is_taken_over_when_it_ends(store: MemoryStore, clock: Clock) -> None:
    crashed = acquire(store, "ana")
    clock.now += timedelta(seconds=60)
    taken = acquire(store, "bob")
    for late in (crashed.renew, crashed.keep, crashed.release):
        with pytest.raises(Refused, match=r"of ana ended at .* and is with bob now"):
            late()
    taken.renew()
    newest = Leases(store).newest("gc")
    assert newest is not None
    assert (newest.holder, newest.acquired_at) == ("bob", START + timedelta(seconds=60))


def test_a_late_renewal_is_refused_though_nobody_took_it(store: MemoryStore, clock: Clock) -> None:
    lease = acquire(store, "ana")
    clock.now += timedelta(seconds=60)
    with pytest.raises(Refused, match=r"of ana ended at 2026-03-01 00:01:00 UTC; begin again"):
        lease.renew()
    acquire(store, "bob")


def test_keeping_renews_once_less_than_half_is_left(store: MemoryStore, clock: Clock) -> None:
    lease = acquire(store, "ana")
    clock.now += timedelta(seconds=30)
    lease.keep()
    assert lease.expires_at == START + timedelta(seconds=60)
    clock.now += timedelta(seconds=1)
    lease.keep()
    assert lease.expires_at == START + timedelta(seconds=91)
    clock.now = START + timedelta(seconds=90)
    with pytest.raises(Refused, match="ana has the lease until 2026-03-01 00:01:31"):
        acquire(store, "bob")


def test_a_lease_of_no_time_is_refused(store: MemoryStore) -> None:
    with pytest.raises(InvalidInput, match="longer than 0 s, got 0"):
        Leases(store).acquire("gc", holder="ana", for_s=0)


@pytest.mark.parametrize("kind", ["memory", "local"])
@pytest.mark.parametrize("before", ["never held", "released", "expired"])
def test_of_those_who_race_for_a_lease_one_gets_it(
    kind: str, before: str, tmp_path: Path, clock: Clock
) -> None:
    store = MemoryStore(clock) if kind == "memory" else LocalStore(tmp_path)
    if before == "released":
        acquire(store, "zoe").release()
    elif before == "expired":
        Leases(store).acquire("gc", holder="zoe", for_s=1e-6)
        clock.now += timedelta(seconds=1)
    start = Barrier(8, timeout=30)

    def race(n: int) -> str:
        start.wait()
        try:
            acquire(store, f"racer {n}")
        except Refused as refused:
            return str(refused)
        return f"racer {n}"

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(race, range(8)))
    newest = Leases(store).newest("gc")
    assert newest is not None
    assert told.count(newest.holder) == 1
    assert sum(f"{newest.holder} has the lease until" in text for text in told) == 7


@pytest.mark.parametrize(("at", "doing"), [(4, "now"), (5, "create")])
def test_a_renewal_on_its_way_when_another_takes_over_is_refused(
    store: MemoryStore, clock: Clock, at: int, doing: str
) -> None:
    taken: list[Lease] = []

    def take_over() -> None:
        clock.now += timedelta(seconds=60)
        taken.append(acquire(store, "bob"))

    interrupted = InterruptedStore(store, at, take_over)
    sleepy = acquire(interrupted, "ana")
    with pytest.raises(Refused, match="is with bob now"):
        sleepy.renew()
    assert interrupted.calls[at - 1] == doing
    taken[0].renew()


@pytest.mark.parametrize("how", ["before", "after", "lost reply"])
def test_a_crash_at_any_step_delays_the_next_holder_at_most_until_the_lease_ends(how: How) -> None:
    crash_at, finished = 0, False
    while not finished:
        crash_at += 1
        clock = Clock()
        inner = MemoryStore(clock)
        crashing = CrashingStore(inner, crash_at, how)
        with suppress(Crash, OutcomeUnknown):
            lease = acquire(crashing, "ana")
            clock.now += timedelta(seconds=20)
            lease.renew()
        finished = len(crashing.calls) < crash_at
        with suppress(Refused):
            acquire(inner, "bob")
            continue
        clock.now += timedelta(seconds=60)
        acquire(inner, "cleo")
    assert crash_at > 4


def test_a_renewal_whose_reply_was_lost_is_followed_by_the_next(clock: Clock) -> None:
    store = DeafStore(clock)
    lease = acquire(store, "ana")
    clock.now += timedelta(seconds=20)
    store.deaf = True
    with pytest.raises(OutcomeUnknown):
        lease.renew()
    assert lease.expires_at == START + timedelta(seconds=60)
    store.deaf = False
    clock.now += timedelta(seconds=20)
    lease.renew()
    assert lease.expires_at == START + timedelta(seconds=100)
    with pytest.raises(Refused, match="ana has the lease until 2026-03-01 00:01:40"):
        acquire(store, "bob")
    lease.release()
    acquire(store, "bob")
