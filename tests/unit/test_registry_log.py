"""Logs and single writes: order, exactly one writer per entry, and what a lost reply may mean."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_examples import START, memory_store

from raymaas.errors import AlreadyExists, IntegrityError, InvalidInput, OutcomeUnknown, Unavailable
from raymaas.registry.log import Log, sequence_key, sequence_of
from raymaas.registry.once import write_bytes
from raymaas.specs.runs import Pending, Running, RunStatus
from raymaas.store import MemoryStore, Store

FOLDER = "runs/a/status/"


def place(entry: RunStatus) -> str:
    return f"runs/{entry.run_id}/status/{sequence_key(entry.sequence)}.json"


def log_in(store: Store) -> Log[RunStatus]:
    return Log(store, FOLDER, RunStatus, place)


def entry(sequence: int, write_id: str = "mine", *, run_id: str = "a") -> RunStatus:
    return RunStatus(run_id=run_id, sequence=sequence, write_id=write_id, status=Pending(at=START))


class UnsureStore(MemoryStore):
    """Loses every reply to a create, after writing or before it, and may refuse to say what is there."""

    def __init__(self, *, writes: bool, answers: bool = True) -> None:
        super().__init__(lambda: START)
        self.writes, self.answers = writes, answers

    def create(self, key: str, data: bytes) -> None:
        if self.writes:
            super().create(key, data)
        raise OutcomeUnknown("the reply was lost")

    def read(self, key: str) -> bytes:
        if not self.answers:
            raise Unavailable("the store does not answer")
        return super().read(key)


@given(st.integers(1, 10**12 - 2), st.integers(1, 10**12 - 1))
def test_greater_sequences_have_smaller_keys_of_one_width(a: int, b: int) -> None:
    assert (sequence_key(a) > sequence_key(b)) == (a < b)
    assert len(sequence_key(a)) == len(sequence_key(b)) == 13
    assert sequence_of(f"some/folder/{sequence_key(a)}.json") == a


@pytest.mark.parametrize("sequence", [0, -1, 10**12])
def test_sequences_that_do_not_fit_are_refused(sequence: int) -> None:
    with pytest.raises(InvalidInput, match="sequence"):
        sequence_key(sequence)


@pytest.mark.parametrize(
    "key", ["a/b/readme.json", "a/99.json", "999999999/998", "a/999999998.json", "a/999999999/999.json"]
)
def test_a_foreign_file_in_a_log_is_named(key: str) -> None:
    with pytest.raises(IntegrityError, match="not an entry of a log"):
        sequence_of(key)


def test_the_newest_entry_is_found_and_pages_go_back_from_it() -> None:
    log = log_in(memory_store())
    assert log.newest() is None
    assert log.newest_sequence() == 0
    for n in range(1, 13):
        log.append(entry(n, f"write {n}"))
    assert log.newest() == entry(12, "write 12")
    assert log.newest_sequence() == 12
    assert [e.sequence for e in log.entries(limit=3)] == [12, 11, 10]
    assert [e.sequence for e in log.entries(limit=100, before=3)] == [2, 1]
    assert log.find(7) == entry(7, "write 7")
    assert log.find(13) is None


def test_appending_an_entry_twice_is_harmless_and_anothers_is_refused() -> None:
    log = log_in(memory_store())
    log.append(entry(1))
    log.append(entry(1))
    with pytest.raises(AlreadyExists, match="by another first"):
        log.append(entry(1, "another's"))
    assert log.find(1) == entry(1)


def test_a_lost_reply_to_a_write_that_was_kept_is_success() -> None:
    store = UnsureStore(writes=True)
    log_in(store).append(entry(1))
    assert log_in(store).newest() == entry(1)


def test_a_lost_reply_while_anothers_entry_is_there_is_a_lost_race() -> None:
    store = UnsureStore(writes=False)
    MemoryStore.create(store, place(entry(1)), entry(1, "another's").seal())
    with pytest.raises(AlreadyExists):
        log_in(store).append(entry(1))


@pytest.mark.parametrize(("writes", "answers"), [(False, True), (True, False), (False, False)])
def test_what_cannot_be_told_is_said_to_be_unknown(writes: bool, answers: bool) -> None:
    with pytest.raises(OutcomeUnknown, match=r"status/999999999/998\.json may or may not"):
        log_in(UnsureStore(writes=writes, answers=answers)).append(entry(1))
    with pytest.raises(OutcomeUnknown):
        write_bytes(UnsureStore(writes=writes, answers=answers), "a/b", b"x")


def test_one_of_racing_writers_has_each_entry() -> None:
    store, start, won = memory_store(), Barrier(4, timeout=30), list[tuple[int, str]]()

    def append_all(name: str) -> None:
        start.wait()
        for n in range(1, 101):
            try:
                log_in(store).append(entry(n, name))
            except AlreadyExists:
                continue
            won.append((n, name))

    threads = [Thread(target=append_all, args=(f"writer {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(n for n, _ in won) == list(range(1, 101))
    assert {(e.sequence, e.write_id) for e in log_in(store).entries(limit=200)} == set(won)


def test_an_entry_copied_elsewhere_is_refused() -> None:
    store = memory_store()
    store.create(place(entry(2)), entry(1).seal())
    store.create("runs/b/status/" + sequence_key(1) + ".json", entry(1).seal())
    with pytest.raises(
        IntegrityError, match=r"999999999/997\.json holds the document of .*999999999/998\.json"
    ):
        log_in(store).newest()
    with pytest.raises(IntegrityError):
        Log(store, "runs/b/status/", RunStatus, place).newest()


def test_a_damaged_entry_is_refused() -> None:
    store = memory_store()
    store.create(place(entry(1)), entry(1).seal().replace(b"mine", b"mind"))
    with pytest.raises(IntegrityError, match="digest"):
        log_in(store).newest()


def test_a_union_in_an_entry_comes_back_as_what_it_was() -> None:
    log = log_in(memory_store())
    running = Running(at=START, step="epoch 3 of 20")
    log.append(RunStatus(run_id="a", sequence=1, write_id="w", status=running))
    newest = log.newest()
    assert newest is not None
    assert newest.status == running


def test_bytes_may_be_written_again_but_not_changed() -> None:
    store = memory_store()
    write_bytes(store, "a/b", b"x")
    write_bytes(store, "a/b", b"x")
    with pytest.raises(AlreadyExists, match="holds other bytes"):
        write_bytes(store, "a/b", b"y")
