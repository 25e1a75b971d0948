"""Lost replies on the way to a real S3 server: every outcome is told as it is, and settled by reading back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import aiohttp
import pytest
from botocore.exceptions import EndpointConnectionError
from lossy_proxy import Answer, Fate, LossyProxy, Request
from s3_server import BUCKET, S3Server

from raymaas.errors import AlreadyExists, Denied, InvalidInput, OutcomeUnknown, RaymaasError, Unavailable
from raymaas.registry.once import new_write_id, write_bytes, write_document
from raymaas.specs.runs import RunStatus, Stopped
from raymaas.store.s3 import S3Store
from raymaas.store.s3_client import S3Tuning
from raymaas.store.s3_fault import fault_of
from raymaas.store.s3_place import S3Place

TRIES = 3
TUNING = S3Tuning(tries=TRIES, multipart_from_bytes=6 * 1024 * 1024, part_bytes=5 * 1024 * 1024)
LARGE = bytes(11 * 1024 * 1024)


@dataclass(frozen=True)
class Link:
    """A store reached through a proxy, and the same store past it."""

    store: S3Store
    direct: S3Store
    proxy: LossyProxy
    waits: list[float]  # how long the store would have slept; it does not

    @property
    def methods(self) -> list[str]:
        return [request.method for request, _ in self.proxy.seen]


@pytest.fixture(scope="module")
def module_link(s3: S3Server) -> Iterator[Link]:
    waits: list[float] = []
    with LossyProxy(s3.endpoint) as proxy:
        place = S3Place.parse(s3.url("outcomes", endpoint=proxy.endpoint))
        store = S3Store(place, tuning=TUNING, random=lambda: 0.5, sleep=waits.append)
        yield Link(store, S3Store(S3Place.parse(s3.url("outcomes"))), proxy, waits)


@pytest.fixture
def link(module_link: Link) -> Link:
    """The module's link, with nothing lost and nothing seen."""
    module_link.proxy.rule = lambda request: Fate.PASS
    module_link.proxy.seen.clear()
    module_link.waits.clear()
    return module_link


@pytest.fixture
def key(s3_prefix: str) -> str:
    """A key that no other test uses, alone in its folder."""
    return f"{s3_prefix}/document"


def folder_of(key: str) -> str:
    return key.removesuffix("document")


def all_of(method: str, fate: Fate | Answer) -> Callable[[Request], Fate | Answer]:
    return lambda request: fate if request.method == method else Fate.PASS


def first_of(method: str, fate: Fate | Answer, *, times: int = 1) -> Callable[[Request], Fate | Answer]:
    met: list[Request] = []

    def rule(request: Request) -> Fate | Answer:
        if request.method != method or len(met) == times:
            return Fate.PASS
        met.append(request)
        return fate

    return rule


def completing(fate: Fate | Answer) -> Callable[[Request], Fate | Answer]:
    """For the request that commits a multipart upload."""
    return lambda request: fate if request.method == "POST" and "uploadId=" in request.path else Fate.PASS


def a_document() -> RunStatus:
    at = "2026-01-01T00:00:00Z"
    state = Stopped.model_validate({"at": at, "who": "ann"})
    return RunStatus(run_id="r-1", sequence=1, write_id=new_write_id(), status=state)


class TestOneDocument:
    def test_a_reply_lost_once_makes_one_s_own_write_look_like_another_s(self, link: Link, key: str) -> None:
        link.proxy.rule = first_of("PUT", Fate.DROP)
        with pytest.raises(AlreadyExists):
            link.store.create(key, b"mine")

    def test_reading_back_settles_a_lost_reply_as_done(self, link: Link, key: str) -> None:
        link.proxy.rule = first_of("PUT", Fate.DROP)
        document = a_document()
        write_document(link.store, key, document)
        assert link.direct.list(folder_of(key)) == [key]
        assert link.direct.read(key) == document.seal()

    def test_a_write_of_which_no_reply_arrives_is_unknown(self, link: Link, key: str) -> None:
        link.proxy.rule = all_of("PUT", Fate.DROP)
        with pytest.raises(OutcomeUnknown, match=key):
            link.store.create(key, b"mine")
        assert link.direct.read(key) == b"mine"
        assert set(link.methods) == {"PUT"}, "nothing is cleaned up when the outcome is unknown"

    def test_reading_back_settles_an_unknown_outcome_as_done(self, link: Link, key: str) -> None:
        link.proxy.rule = all_of("PUT", Fate.DROP)
        write_document(link.store, key, a_document())
        assert link.direct.list(folder_of(key)) == [key]

    def test_a_write_cut_on_its_way_is_unknown_too_and_may_be_written_again(
        self, link: Link, key: str
    ) -> None:
        link.proxy.rule = all_of("PUT", Fate.CUT)
        document = a_document()
        with pytest.raises(OutcomeUnknown, match="write it again"):
            write_document(link.store, key, document)
        assert link.direct.list(folder_of(key)) == []
        link.proxy.rule = all_of("PUT", Fate.PASS)
        write_document(link.store, key, document)
        write_document(link.store, key, document)
        assert link.direct.list(folder_of(key)) == [key]

    def test_the_one_who_lost_the_race_is_told_so_also_when_replies_are_lost(
        self, link: Link, key: str
    ) -> None:
        theirs = a_document()
        write_document(link.direct, key, theirs)
        link.proxy.rule = all_of("PUT", Fate.DROP)
        with pytest.raises(AlreadyExists, match="written by another"):
            write_document(link.store, key, a_document())
        assert link.direct.read(key) == theirs.seal()

    def test_an_unknown_outcome_that_may_not_be_read_stays_unknown(self, link: Link, key: str) -> None:
        fates = {"PUT": Fate.DROP, "GET": Answer(403, "AccessDenied")}
        link.proxy.rule = lambda request: fates[request.method]
        with pytest.raises(OutcomeUnknown):
            write_document(link.store, key, a_document())

    def test_a_reply_that_does_not_come_in_time_is_unknown(self, link: Link, key: str) -> None:
        place = S3Place.parse(link.store.url)
        impatient = S3Store(place, tuning=S3Tuning(tries=1, read_timeout_s=1.0))
        link.proxy.rule = all_of("PUT", Fate.HOLD)
        with pytest.raises(OutcomeUnknown, match=key):
            impatient.create(key, b"mine")
        assert link.direct.read(key) == b"mine"

    def test_an_unknown_deletion_is_told_and_may_be_repeated(self, link: Link, key: str) -> None:
        link.direct.create(key, b"x")
        link.proxy.rule = all_of("DELETE", Fate.DROP)
        with pytest.raises(OutcomeUnknown, match=key):
            link.store.delete(key)
        link.proxy.rule = all_of("DELETE", Fate.PASS)
        link.store.delete(key)
        assert not link.direct.exists(key)


class TestTries:
    def test_a_read_survives_lost_replies(self, link: Link, key: str) -> None:
        link.direct.create(key, b"x")
        link.proxy.rule = first_of("GET", Fate.DROP, times=TRIES - 1)
        assert link.store.read(key) == b"x"

    def test_waits_double_and_are_cut_by_chance(self, link: Link, key: str) -> None:
        link.direct.create(key, b"x")
        link.proxy.rule = first_of("GET", Answer(503, "SlowDown"), times=TRIES - 1)
        assert link.store.read(key) == b"x"
        assert link.waits == [0.05, 0.1]  # half, as the test's chance is, of 0.1 and 0.2

    def test_what_is_never_answered_is_unavailable(self, link: Link, key: str) -> None:
        link.proxy.rule = all_of("GET", Fate.CUT)
        asks: list[Callable[[], object]] = [
            lambda: link.store.read(key),
            lambda: link.store.exists(key),
            lambda: link.store.list(""),
            lambda: link.store.children(""),
            link.store.now,
        ]
        for ask in asks:
            with pytest.raises(Unavailable):
                ask()

    def test_a_conflict_of_writers_is_tried_again(self, link: Link, key: str) -> None:
        link.proxy.rule = first_of("PUT", Answer(409, "ConditionalRequestConflict"))
        link.store.create(key, b"x")
        assert link.direct.read(key) == b"x"
        assert len(link.waits) == 1

    @pytest.mark.parametrize(
        ("answer", "error", "tries"),
        [
            (Answer(409, "ConditionalRequestConflict"), Unavailable, TRIES),
            (Answer(503, "SlowDown"), Unavailable, TRIES),
            (Answer(400, "RequestTimeout"), Unavailable, TRIES),
            (Answer(500, "InternalError"), OutcomeUnknown, TRIES),
            (Answer(502, "BadGateway"), OutcomeUnknown, TRIES),
            (Answer(403, "AccessDenied"), Denied, 1),
            (Answer(403, "RequestTimeTooSkewed"), Denied, 1),
            (Answer(501, "NotImplemented"), InvalidInput, 1),
            (Answer(400, "EntityTooLarge"), Unavailable, 1),
        ],
    )
    def test_what_an_answer_means_for_a_write(
        self, link: Link, key: str, answer: Answer, error: type[RaymaasError], tries: int
    ) -> None:
        link.proxy.rule = all_of("PUT", answer)
        with pytest.raises(RaymaasError) as raised:
            link.store.create(key, b"x")
        assert type(raised.value) is error
        assert len(link.proxy.seen) == tries

    def test_a_server_that_is_not_there_did_nothing(self, s3: S3Server) -> None:
        with LossyProxy(s3.endpoint) as gone:
            place = S3Place.parse(s3.url("a", endpoint=gone.endpoint))
        waits: list[float] = []
        store = S3Store(place, tuning=TUNING, sleep=waits.append)
        with pytest.raises(Unavailable, match=r"cannot be reached.*check endpoint_url"):
            store.create("a/b", b"x")
        assert len(waits) == TRIES - 1

    def test_a_server_that_never_says_a_word_is_given_up(self, s3: S3Server) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            place = S3Place("bucket", endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
            store = S3Store(place, tuning=S3Tuning(tries=1, connect_timeout_s=0.5, read_timeout_s=0.5))
            with pytest.raises(OutcomeUnknown):
                store.create("a/b", b"x")
            with pytest.raises(Unavailable):
                store.read("a/b")

    def test_a_connection_reset_after_sending_is_not_taken_for_one_never_made(self) -> None:
        reset = aiohttp.ClientOSError(104, "Connection reset by peer")
        fault = fault_of(EndpointConnectionError(endpoint_url="http://host", error=reset))
        assert fault is not None
        assert fault.may_be_done

    def test_acknowledged_writes_survive_a_killed_server_and_writers_go_on(
        self, s3: S3Server, s3_prefix: str
    ) -> None:
        store = S3Store(S3Place.parse(s3.url(s3_prefix)))
        acknowledged: list[str] = []
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                key = f"a/{len(acknowledged):05d}"
                try:
                    write_bytes(store, key, key.encode())
                except (Unavailable, OutcomeUnknown):
                    continue
                acknowledged.append(key)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            _until(lambda: len(acknowledged) > 20)
            s3.kill()
            before = len(acknowledged)
            s3.start()
            _until(lambda: len(acknowledged) > before + 20)
        finally:
            stop.set()
            writer.join(timeout=120)
        assert store.list("a/", limit=100_000) == acknowledged
        assert all(store.read(key) == key.encode() for key in acknowledged[before - 10 : before + 10])


class TestLargeFiles:
    def test_lost_parts_are_sent_again(self, link: Link, key: str) -> None:
        link.proxy.rule = first_of("PUT", Fate.CUT, times=2)
        link.store.create(key, LARGE)
        assert link.direct.read(key) == LARGE

    def test_a_lost_reply_to_the_commit_is_unknown_and_the_file_is_whole(self, link: Link, key: str) -> None:
        link.proxy.rule = completing(Fate.DROP)
        with pytest.raises(OutcomeUnknown, match=key):
            link.store.create(key, LARGE)
        assert link.direct.read(key) == LARGE
        assert "DELETE" not in link.methods

    def test_a_commit_that_may_yet_arrive_keeps_its_parts(self, link: Link, key: str, s3: S3Server) -> None:
        link.proxy.rule = completing(Fate.CUT)
        with pytest.raises(OutcomeUnknown):
            link.store.create(key, LARGE)
        assert not link.direct.exists(key)
        assert begun_uploads(s3, key) == 1

    def test_parts_that_cannot_be_sent_are_discarded_and_nothing_is_written(
        self, link: Link, key: str, s3: S3Server
    ) -> None:
        link.proxy.rule = all_of("PUT", Answer(500, "InternalError"))
        with pytest.raises(Unavailable):
            link.store.create(key, LARGE)
        assert not link.direct.exists(key)
        assert begun_uploads(s3, key) == 0

    def test_the_parts_of_one_who_lost_the_race_are_discarded(
        self, link: Link, key: str, s3: S3Server
    ) -> None:
        link.direct.create(key, b"theirs")
        with pytest.raises(AlreadyExists):
            link.store.create(key, LARGE)
        assert link.direct.read(key) == b"theirs"
        assert begun_uploads(s3, key) == 0


def begun_uploads(s3: S3Server, key: str) -> int:
    """Uploads for `key` that were begun, and neither completed nor discarded."""
    answer = s3.client().call_s3("list_multipart_uploads", Bucket=BUCKET)
    return sum(each["Key"].endswith(key) for each in answer.get("Uploads", ()))


def _until(reached: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(6000):
        if reached():
            return
        tick.wait(0.01)
    raise AssertionError("the writer stands still")
