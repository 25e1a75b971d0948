"""Each key of a store, and each model's state log, behaves as if one client at a time had asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hammering import MODEL, Crowd, KeyHistories, hammer_keys, hammer_log
from linearizability import Create, Look, Move, Operation, key_step, log_step, unexplained
from losing import Losing
from lossy_proxy import Fate, LossyProxy
from s3_server import S3Server
from test_store_controls import UnconditionalS3Store

from raymaas.registry.layout import version_key
from raymaas.registry.states import States
from raymaas.store import LocalStore, MemoryStore, Store
from raymaas.store.s3 import S3Store
from raymaas.store.s3_client import S3Tuning
from raymaas.store.s3_place import S3Place

THREADS = Crowd(processes=0, threads=6, times=40, deleting=0.2, seed=1)
PROCESSES = Crowd(processes=2, threads=3, times=30, deleting=0.2, seed=2)
ON_S3 = Crowd(
    processes=2, threads=2, times=20, deleting=0.2, seed=2
)  # racers for one hot key wait for seconds
# Behind a lossy proxy nothing is deleted: a delete that is sent again may hit what was created in between. That
# is why no document of the registry is ever created again at a key that was deleted.
UNDER_LOSS = Crowd(processes=0, threads=6, times=30, deleting=0.0, seed=3)
ONE_TRY = S3Tuning(tries=1, read_timeout_s=10)


@pytest.fixture(params=["memory", "local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore(lambda: datetime.now(UTC))
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    server: S3Server = request.getfixturevalue("s3")
    return S3Store(S3Place.parse(server.url(request.getfixturevalue("s3_prefix"))))


@pytest.fixture
def lossy(s3: S3Server) -> Iterator[LossyProxy]:
    with LossyProxy(s3.endpoint, Losing(0.2, seed=4)) as proxy:
        yield proxy


@pytest.fixture
def lossy_store(s3: S3Server, s3_prefix: str, lossy: LossyProxy) -> Store:
    return S3Store(S3Place.parse(s3.url(s3_prefix, endpoint=lossy.endpoint)), tuning=ONE_TRY)


def crowd_for(store: Store) -> Crowd:
    if isinstance(store, MemoryStore):
        return THREADS
    return ON_S3 if isinstance(store, S3Store) else PROCESSES


def refused(histories: KeyHistories) -> dict[str, tuple[Operation, ...]]:
    """What nobody can explain, by key."""
    stuck = {key: unexplained(history, key_step, None) for key, history in histories.items()}
    return {key: operations for key, operations in stuck.items() if operations}


class TestKeys:
    def test_what_clients_saw_at_once_can_be_put_in_order(self, store: Store) -> None:
        histories = hammer_keys(store, crowd_for(store))
        assert refused(histories) == {}
        creates = [op.act for history in histories.values() for op in history if isinstance(op.act, Create)]
        assert any(act.won for act in creates)
        assert any(act.won is False for act in creates)

    def test_lost_requests_and_replies_leave_nothing_unexplained(
        self, lossy: LossyProxy, lossy_store: Store
    ) -> None:
        assert refused(hammer_keys(lossy_store, UNDER_LOSS)) == {}
        assert lossy.count("PUT", Fate.DROP) > 0
        assert lossy.count("PUT", Fate.CUT) > 0


class TestTheStateLog:
    def test_each_revision_has_one_winner_and_the_losers_are_told(self, store: Store) -> None:
        with_version(store)
        check_log(store, hammer_log(store, crowd_for(store)))

    def test_lost_requests_and_replies_leave_one_winner(
        self, s3: S3Server, s3_prefix: str, lossy: LossyProxy, lossy_store: Store
    ) -> None:
        direct = S3Store(S3Place.parse(s3.url(s3_prefix)))
        with_version(direct)
        check_log(direct, hammer_log(lossy_store, UNDER_LOSS))
        assert lossy.count("PUT", Fate.DROP) > 0


def with_version(store: Store) -> None:
    store.create(version_key(MODEL, 1), b"")


def check_log(store: Store, history: list[Operation]) -> None:
    assert unexplained(history, log_step, 0) == ()
    kept = States(store).history(MODEL, limit=10_000)
    assert [state.revision for state in kept] == list(range(len(kept), 0, -1))
    assert len({state.change.why for state in kept}) == len(kept)
    moves = [operation.act for operation in history if isinstance(operation.act, Move)]
    won = [act.revision + 1 for act in moves if act.won]
    unknown = [act for act in moves if act.won is None]
    assert len(set(won)) == len(won)
    assert set(won) <= {state.revision for state in kept}
    assert len(kept) - len(won) <= len(unknown)
    assert any(act.won is False for act in moves)
    assert any(isinstance(operation.act, Look) for operation in history)


class OverwritingMemoryStore(MemoryStore):
    """Broken on purpose: ignores the condition."""

    def __init__(self) -> None:
        super().__init__(lambda: datetime.now(UTC))

    def create(self, key: str, data: bytes) -> None:
        with self._lock:
            self._held[key] = data


class StaleStore(MemoryStore):
    """Broken on purpose: each thread reads a key once and believes that ever after."""

    def __init__(self) -> None:
        super().__init__(lambda: datetime.now(UTC))
        self.known = threading.local()

    def read(self, key: str) -> bytes:
        known = self.known.__dict__
        if key not in known:
            known[key] = super().read(key)
        return known[key]


class ForgetfulStore(MemoryStore):
    """Broken on purpose: every tenth write is acknowledged and not kept."""

    def __init__(self) -> None:
        super().__init__(lambda: datetime.now(UTC))
        self.writes = 0

    def create(self, key: str, data: bytes) -> None:
        super().create(key, data)
        self.writes += 1
        if self.writes % 10 == 0:
            self.delete(key)


class TestTheCheckerCatches:
    def test_an_s3_server_that_ignores_the_condition(self, s3: S3Server, s3_prefix: str) -> None:
        store = UnconditionalS3Store(S3Place.parse(s3.url(s3_prefix)))
        assert refused(hammer_keys(store, THREADS)) != {}

    @pytest.mark.parametrize("broken", [OverwritingMemoryStore, StaleStore, ForgetfulStore])
    def test_answers_that_no_order_gives(self, broken: type[MemoryStore]) -> None:
        assert refused(hammer_keys(broken(), THREADS)) != {}

    def test_a_log_on_a_store_that_ignores_the_condition(self) -> None:
        store = OverwritingMemoryStore()
        with_version(store)
        assert unexplained(hammer_log(store, THREADS), log_step, 0) != ()
