"""The request log: what a replica leaves in the store, and how one request is found again."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from registry_examples import START, Clock, WatchedStore, memory_store

from raymaas.client.connection import new_request_id
from raymaas.errors import IntegrityError, InvalidInput, NotFound, OutcomeUnknown, Unavailable
from raymaas.registry.layout import requests_folder, requests_key, time_of
from raymaas.registry.requests import Requests, time_in
from raymaas.serve import request_log
from raymaas.serve.plan import Target
from raymaas.serve.request_log import PER_CHUNK, RequestLog
from raymaas.specs.base import canonical_json, sha256_hex
from raymaas.specs.requests import Compared, RequestChunk
from raymaas.store import LocalStore, MemoryStore, Store

DIGITS_2 = Target("digits", 2)


def log_to(store: Store, *, target: Target = DIGITS_2, least_status: int = 0) -> RequestLog:
    return RequestLog(
        store, target, replica="r4x", least_status=least_status, clock=lambda: START.timestamp() + 0.25
    )


def answer(log: RequestLog, *request_ids: str, status: int = 200, rows: int | None = 1) -> None:
    for request_id in request_ids:
        log(status=status, seconds=0.0015, request_id=request_id, rows=rows)


def id_at(moment: datetime) -> str:
    return f"{int(moment.timestamp() * 1000):012x}0123456789ab"


def test_an_answer_is_found_by_its_id_with_all_that_was_noted(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    log = log_to(store)
    answer(log, "a-1", "b-2", rows=3)
    answer(log, "c-3", status=400, rows=None)
    log.write()

    found = Requests(store).find("digits", 2, "b-2")
    assert found.at == START + timedelta(milliseconds=250)
    assert (found.request_id, found.model, found.version, found.replica) == ("b-2", "digits", 2, "r4x")
    assert (found.status, found.milliseconds, found.rows) == (200, 1.5, 3)
    refused = Requests(store).find("digits", 2, "c-3")
    assert (refused.status, refused.rows) == (400, None)
    assert len(store.list("requests/")) == 1


def test_an_unknown_id_is_told_how_long_requests_are_kept() -> None:
    store = memory_store()
    log = log_to(store)
    answer(log, "a-1", "a-11")
    log.write()
    for model, version, request_id in (("digits", 2, "a"), ("digits", 1, "a-1"), ("churn", 2, "a-1")):
        with pytest.raises(
            NotFound, match=rf"no request '{request_id}' .*{model}@{version}; .* keep_requests_days"
        ):
            Requests(store).find(model, version, request_id)
    for bad in ("", "two words", "x" * 129, '"'):
        with pytest.raises(InvalidInput, match="is not a request id"):
            Requests(store).find("digits", 2, bad)


def test_what_did_not_come_through_an_edge_is_not_recorded() -> None:
    store = memory_store()
    log = log_to(store)
    answer(log, "", "x" * 129)
    answer(log, "guessed", status=401)
    log.write()
    assert store.list("") == []


def test_a_log_of_errors_has_nothing_else() -> None:
    store = memory_store()
    log = log_to(store, least_status=400)
    answer(log, "good")
    answer(log, "bad", status=503)
    log.write()
    (key,) = store.list("requests/")
    assert RequestChunk.unseal(store.read(key), source=key).request_ids == ("bad",)


def test_a_request_is_found_with_the_key_it_was_asked_with() -> None:
    store = memory_store()
    log = log_to(store)
    for request_id, key_id in (("a-1", "0123abcd"), ("b-2", ""), ("c-3", "no key id"), ("d-4", "0000000f")):
        log(status=200, seconds=0.001, request_id=request_id, rows=1, key_id=key_id)
    log.write()
    found = [
        Requests(store).find("digits", 2, request_id).key_id for request_id in ("a-1", "b-2", "c-3", "d-4")
    ]
    assert found == ["0123abcd", None, None, "0000000f"]


def test_copies_are_marked_and_what_was_compared_is_written_once() -> None:
    store = memory_store()
    sums = {3: Compared(rows=5, rows_disagreed=1, errors=0, dropped=2)}
    news = [{}, sums, {}]
    log = RequestLog(store, DIGITS_2, replica="r4x", compared=lambda: news.pop() if news else {})
    log(status=200, seconds=0.001, request_id="a-1", rows=1, shadow=True)
    log(status=200, seconds=0.001, request_id="b-2", rows=1)
    log.write()
    assert [Requests(store).find("digits", 2, each).shadow for each in ("a-1", "b-2")] == [True, False]
    log.write()
    chunks = [RequestChunk.unseal(store.read(key), source=key) for key in store.list("requests/")]
    assert sorted((chunk.request_ids, chunk.compared) for chunk in chunks) == [
        ((), sums),
        (("a-1", "b-2"), {}),
    ]


def test_a_chunk_of_before_there_were_keys_is_read() -> None:
    store = memory_store()
    body = {
        "kind": "request-log",
        "format": 1,
        "model": "digits",
        "version": 2,
        "replica": "r4x",
        "request_ids": ["a-1", "a-2"],
        "at_ms": [1, 2],
        "statuses": [200, 200],
        "microseconds": [5, 6],
        "rows": [1, None],
        "dropped": 0,
    }
    sealed = canonical_json(body | {"digest": sha256_hex(canonical_json(body))})
    store.create(requests_key("digits", 2, START, "r4x"), sealed)
    found = Requests(store).find("digits", 2, "a-2")
    assert (found.request_id, found.milliseconds, found.key_id) == ("a-2", 0.006, None)


def test_a_chunk_that_names_a_key_it_does_not_have_is_refused() -> None:
    columns = {"request_ids": ("a",), "at_ms": (1,), "statuses": (200,), "microseconds": (1,), "rows": (1,)}
    with pytest.raises(InvalidInput, match="names a key that the request log does not have"):
        RequestChunk.parse(
            columns
            | {"model": "m", "version": 1, "replica": "r", "key_ids": (), "asked_with": (1,), "dropped": 0},
            source="chunk",
        )


def test_all_requests_since_then_are_read_unless_they_are_too_many() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    chunks_every_5_s(clock, store, count=20)
    watched = WatchedStore(store)
    requests = Requests(watched, chunks_per_search=10)
    late = [chunk.request_ids[0] for chunk in requests.since(START + timedelta(seconds=50))]
    assert late == [f"r-{k}" for k in range(19, 9, -1)]
    assert list(requests.since(START, model="churn")) == []
    reads = watched.calls.count("read")
    with pytest.raises(InvalidInput, match=r"more than 10 pieces .* ask for a shorter time"):
        list(requests.since(START))
    assert watched.calls.count("read") == reads


def chunks_every_5_s(clock: Clock, store: Store, *, count: int) -> None:
    """Chunk k of `count`, written k * 5 s after START, has request `r-k` and one whose id has its time."""
    for k in range(count):
        clock.now = START + timedelta(seconds=5 * k)
        log = log_to(store)
        answer(log, f"r-{k}", id_at(clock.now))
        log.write()


def test_an_id_with_its_time_is_found_without_looking_through_the_rest() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    chunks_every_5_s(clock, store, count=3000)

    def reads(request_id: str) -> int:
        watched = WatchedStore(store)
        Requests(watched).find("digits", 2, request_id)
        return watched.calls.count("read")

    assert reads(id_at(START + timedelta(seconds=500))) <= 192
    assert reads("r-100") > 2800


def test_a_search_that_would_be_endless_says_how_to_go_on() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    chunks_every_5_s(clock, store, count=300)
    requests = Requests(store, chunks_per_search=100)
    assert requests.find("digits", 2, "r-200").request_id == "r-200"
    with pytest.raises(
        NotFound, match=r"since 2026-03-01T00:16:35\+00:00; say before=2026-03-01T00:16:35"
    ) as told:
        requests.find("digits", 2, "r-150")
    assert "since" in str(told.value)
    before = START + timedelta(seconds=995)
    assert requests.find("digits", 2, "r-150", before=before).request_id == "r-150"


def test_a_client_makes_ids_that_tell_their_time() -> None:
    told = time_in(new_request_id())
    assert told is not None
    assert abs(datetime.now(UTC) - told) < timedelta(minutes=1)
    assert time_in("0199f3a0-c1b2-7abc-8def-0123456789ab") == time_in("0199f3a0c1b2")
    for untimed in ("order-7", "a" * 128, "0" * 32, "", "0199f3a0"):
        assert time_in(untimed) is None


def test_a_chunk_lies_where_its_time_says() -> None:
    for at in (START, START + timedelta(days=400, microseconds=7)):
        key = requests_key("digits", 2, at, "r4x")
        assert time_of(key) == at
        assert key.startswith(requests_folder("digits", 2))
    assert requests_key("digits", 2, START + timedelta(seconds=1), "a") < requests_key(
        "digits", 2, START, "z"
    )


def test_a_chunk_of_another_version_or_damaged_is_refused() -> None:
    store = memory_store()
    log = log_to(store)
    answer(log, "a-1")
    log.write()
    (key,) = store.list("requests/")
    sealed = store.read(key)
    moved = key.replace("/2/", "/3/", 1)
    store.create(moved, sealed)
    with pytest.raises(IntegrityError, match="holds requests of digits@2"):
        Requests(store).find("digits", 3, "a-1")
    store.delete(key)
    store.create(key, sealed.replace(b'"statuses":[200]', b'"statuses":[500]'))
    with pytest.raises(IntegrityError, match="its own digest"):
        Requests(store).find("digits", 2, "a-1")


class FailingStore(WatchedStore):
    """Its creates fail, before or after they took effect, as often as `errors` says."""

    errors: list[Exception]

    def _call(self, number: int, name: str, act: object) -> object:
        if name == "create" and self.errors:
            error = self.errors.pop()
            if isinstance(error, OutcomeUnknown):
                act()  # type: ignore[operator]
            raise error
        return act()  # type: ignore[operator]


def test_a_store_that_fails_gets_the_same_chunk_again_and_nothing_is_lost_or_doubled() -> None:
    inner = memory_store()
    store = FailingStore(inner)
    store.errors = [OutcomeUnknown("reply lost"), Unavailable("busy")]
    log = log_to(store)
    answer(log, "a-1")
    with pytest.raises(Unavailable):
        log.write()
    answer(log, "a-2")
    log.write()
    kept = [RequestChunk.unseal(inner.read(key), source=key) for key in inner.list("requests/")]
    assert sorted(request_id for chunk in kept for request_id in chunk.request_ids) == ["a-1", "a-2"]


def test_chunks_of_one_moment_lie_beside_each_other() -> None:
    store = MemoryStore(Clock())
    log = log_to(store)
    for request_id in ("a-1", "a-2"):
        answer(log, request_id)
        log.write()
    assert len(store.list("requests/")) == 2


def test_what_is_too_much_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "_MOST_WAITING", 3)
    store = memory_store()
    log = log_to(store)
    answer(log, "a-1", "a-2", "a-3", "a-4", "a-5")
    log.write()
    answer(log, "a-6")
    log.write()
    newest, older = (RequestChunk.unseal(store.read(key), source=key) for key in store.list("requests/"))
    assert (older.request_ids, older.dropped) == (("a-1", "a-2", "a-3"), 2)
    assert (newest.request_ids, newest.dropped) == (("a-6",), 0)


def test_a_full_chunk_is_written_at_once_and_the_rest_when_it_is_closed() -> None:
    store = memory_store()
    written = threading.Event()

    class Telling(WatchedStore):
        def _call(self, number: int, name: str, act: object) -> object:
            result = act()  # type: ignore[operator]
            if name == "create":
                written.set()
            return result

    log = log_to(Telling(store))
    log.start()
    answer(log, *(f"r-{n}" for n in range(PER_CHUNK)))
    assert written.wait(timeout=4), "long before the next interval would be over"
    answer(log, "last")
    log.close()
    log.close()
    assert Requests(store).find("digits", 2, "last").request_id == "last"
