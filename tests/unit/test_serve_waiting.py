"""What a caller may ask of its wait, and what it is told: deadlines, a full queue, going away, the cache."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pytest

from raymaas.errors import DeadlineExceeded, InvalidInput, QuotaExceeded, Unavailable, error_from_wire
from raymaas.serve.app import Answer, InferenceApp, Served
from raymaas.serve.asgi import AsgiApp
from raymaas.serve.deadlines import sooner, timeout_of_header, timeout_of_parameter
from raymaas.serve.disconnects import WhileConnected
from raymaas.serve.load import BatchCount, LoadFigures
from raymaas.serve.oip.limits import MAX_BODY_BYTES
from raymaas.serve.oip.statistics import Statistics
from raymaas.serve.result_cache import ResultCache, key_of
from raymaas.specs.versions import Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1, 2)),),
    outputs=(
        TensorSpec(name="double", dtype="FP32", shape=(-1, 2)),
        TensorSpec(name="triple", dtype="FP32", shape=(-1, 2)),
    ),
)
X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


class Replica:
    """An application whose model answers, fails or waits for ever; `asked` are the timeouts it was given."""

    def __init__(self, *, version: str = "3", fails: Exception | None = None, cache: Any = None) -> None:
        self.asked: list[float | None] = []
        self.recorded: list[int] = []
        self.hangs = False
        self.dropped = 0
        self._fails = fails
        app = InferenceApp(
            Served(model="m", version=version, signature=SIGNATURE, runtime="test"),
            compute=self._compute,
            secret_sha256=hashlib.sha256(b"edge").hexdigest(),
            record=lambda status, **_: self.recorded.append(status),
            cache=cache,
        )
        self._app = AsgiApp(app.answer, max_body_bytes=MAX_BODY_BYTES)

    async def _compute(
        self, method: str, inputs: dict[str, np.ndarray], *, timeout_s: float | None = None
    ) -> dict[str, np.ndarray]:
        self.asked.append(timeout_s)
        if self._fails:
            raise self._fails
        if self.hangs:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.dropped += 1
                raise
        return {"double": inputs["x"] * 2, "triple": inputs["x"] * 3}

    def ask(self, body: Any, headers: Mapping[str, str] | None = None) -> tuple[int, Any, dict[bytes, bytes]]:
        sent: list[Any] = []
        messages = [{"type": "http.request", "body": orjson.dumps(body), "more_body": False}]

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        given = {"x-raymaas-edge": "edge", **(headers or {})}
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v2/models/m/infer",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        asyncio.run(self._app(scope, receive, send))
        if not sent:
            return 0, None, {}
        told = dict(sent[0]["headers"])
        json = told[b"content-type"] == b"application/json"
        return sent[0]["status"], orjson.loads(sent[1]["body"]) if json else sent[1]["body"], told


PLAIN = {"inputs": [[1, 2]]}


@pytest.mark.parametrize(
    ("header", "parameter", "seconds"),
    [
        (None, None, None),
        ("250", None, 0.25),
        ("0.5", None, 0.0005),
        (None, 250_000, 0.25),
        (None, 0, None),
        ("250", 100_000, 0.1),
        ("250", 900_000, 0.25),
        ("250", 0, 0.25),
    ],
)
def test_a_caller_says_how_long_it_waits_by_header_or_parameter(
    header: str | None, parameter: int | None, seconds: float | None
) -> None:
    replica = Replica()
    body = {"inputs": [X], "parameters": {} if parameter is None else {"timeout": parameter}}
    status, _, _ = replica.ask(body, {"x-raymaas-timeout-ms": header} if header else {})
    assert status == 200
    assert replica.asked == [seconds]


@pytest.mark.parametrize("header", ["0", "-1", "soon", "nan", "inf", "", "\xff"])
def test_a_header_that_is_no_time_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput, match="it must be a number of milliseconds above 0"):
        timeout_of_header(header.encode("latin-1"))


@pytest.mark.parametrize("parameter", [-1, 1.5, "10", True, [1]])
def test_a_parameter_that_is_no_time_is_refused(parameter: Any) -> None:
    with pytest.raises(InvalidInput, match='"timeout" must be a whole number of microseconds'):
        timeout_of_parameter(parameter)
    assert Replica().ask({"inputs": [X], "parameters": {"timeout": parameter}})[0] == 400


def test_the_shorter_time_holds() -> None:
    assert sooner(None, 2.0, 1.0) == 1.0
    assert sooner(None, None) is None


def test_what_came_too_late_is_a_504_and_the_same_error_for_the_client() -> None:
    status, body, headers = Replica(fails=DeadlineExceeded("too late")).ask(PLAIN)
    assert (status, body["error"]) == (504, "too late")
    assert type(error_from_wire(body["code"], body["error"])) is DeadlineExceeded
    assert b"retry-after" not in headers


@pytest.mark.parametrize(("wait_s", "told"), [(0.0, b"1"), (0.2, b"1"), (2.1, b"3")])
def test_a_full_queue_is_a_429_that_says_in_whole_seconds_when_to_come_back(
    wait_s: float, told: bytes
) -> None:
    status, body, headers = Replica(fails=QuotaExceeded("full", retry_after_s=wait_s)).ask(PLAIN)
    assert (status, body["code"], headers[b"retry-after"]) == (429, "quota-exceeded", told)


def test_the_wait_ends_when_the_caller_goes_away() -> None:
    replica = Replica()
    replica.hangs = True
    assert replica.ask(PLAIN)[0] == 0, "nobody is there to be answered"
    assert replica.dropped == 1
    assert replica.recorded == [503]


def test_a_caller_that_stays_or_is_answered_soon_is_left_alone() -> None:
    looked = 0

    async def silent() -> dict[str, Any]:
        nonlocal looked
        looked += 1
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def scene() -> None:
        async with WhileConnected(silent, patience_s=0):
            pass
        for _ in range(3):
            await asyncio.sleep(0)
        assert not looked
        async with WhileConnected(silent, patience_s=0):
            while not looked:
                await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 2  # the watcher is about to end
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scene())
    assert looked == 1


def test_a_task_that_others_cancel_is_cancelled_all_the_same() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def waits(outcomes: list[str]) -> None:
        try:
            async with WhileConnected(gone, patience_s=30):
                await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            outcomes.append("cancelled")
            raise
        except Unavailable:
            outcomes.append("gone")

    async def scene() -> list[str]:
        outcomes: list[str] = []
        task = asyncio.create_task(waits(outcomes))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return outcomes

    assert asyncio.run(scene()) == ["cancelled"]


def test_the_same_bytes_are_computed_once() -> None:
    cache: ResultCache[Answer] = ResultCache(1 << 20)
    replica = Replica(cache=cache)
    first, second = replica.ask(PLAIN), replica.ask(PLAIN)
    assert first == second
    assert first[0] == 200
    assert len(replica.asked) == 1
    figures = cache.figures()
    assert (figures.hits, figures.misses, figures.entries) == (1, 1, 1)


def test_without_a_cache_all_is_computed() -> None:
    replica = Replica()
    replica.ask(PLAIN)
    replica.ask(PLAIN)
    assert len(replica.asked) == 2


def test_whatever_decides_an_answer_keeps_it_apart() -> None:
    cache: ResultCache[Answer] = ResultCache(1 << 20)
    asked: list[tuple[Any, dict[str, str]]] = [
        (PLAIN, {}),
        ({"inputs": [[1, 3]]}, {}),
        ({"inputs": [X]}, {}),
        ({"inputs": [X], "id": "7"}, {}),
        ({"inputs": [X], "outputs": [{"name": "double"}]}, {}),
        ({"inputs": [X], "outputs": [{"name": "triple"}]}, {}),
        (PLAIN, {"accept": "application/vnd.apache.arrow.stream"}),
    ]
    replica, other = Replica(cache=cache), Replica()
    for body, headers in asked * 2:
        assert replica.ask(body, headers) == other.ask(body, headers)
    assert len(replica.asked) == len(asked)


def test_an_answer_of_another_version_is_never_given_again() -> None:
    cache: ResultCache[Answer] = ResultCache(1 << 20)
    old, new = Replica(version="3", cache=cache), Replica(version="4", cache=cache)
    assert [each.ask(PLAIN)[1]["model_version"] for each in (old, new, old, new)] == ["3", "4", "3", "4"]
    assert (len(old.asked), len(new.asked)) == (1, 1)
    keys = {
        key_of(version, method, b"body", how)
        for version in ("m@3", "m@4")
        for method in ("infer", "encode")
        for how in ("a", "b")
    }
    assert len(keys) == 8


def test_failures_are_not_kept() -> None:
    cache: ResultCache[Answer] = ResultCache(1 << 20)
    replica = Replica(cache=cache, fails=QuotaExceeded("full"))
    replica.ask(PLAIN)
    replica.ask({"inputs": [[1]]})
    assert cache.figures().entries == 0


def test_what_was_asked_for_longest_ago_is_forgotten_first_and_memory_is_bounded() -> None:
    cache: ResultCache[Answer] = ResultCache(10_000)
    for number in range(20):
        cache.put(number, Answer(200, b"." * 1600))
        assert cache.figures().bytes <= 10_000
        cache.get(0)
    assert cache.get(0) is not None
    assert cache.get(1) is None
    assert cache.get(19) is not None
    assert cache.figures().entries == 5
    cache.put("large", Answer(200, b"." * 10_000))
    assert cache.get("large") is None
    assert cache.figures().entries == 5


def test_the_statistics_tell_of_batches_waiting_and_repeated_answers() -> None:
    batches = {1: BatchCount(3, 3, 0.25), 8: BatchCount(2, 12, 0.5)}
    load = LoadFigures(
        waiting=4,
        computing=2,
        batches=batches,
        rows=17,
        queue_s=1.5,
        compute_s=0.75,
        failed=0,
        refused=5,
        expired=6,
        abandoned=7,
    )
    statistics = Statistics(lambda: load)
    statistics.answered(rows=2, reading_s=0.25, computing_s=1.0, writing_s=0.25)
    statistics.repeated(0.5)
    (told,) = statistics.answer(model="m", version="3")["model_stats"]
    assert (told["inference_count"], told["execution_count"]) == (2, 5)
    parts = told["inference_stats"]
    assert parts["success"] == {"count": 2, "ns": 2_000_000_000}
    assert parts["cache_hit"] == {"count": 1, "ns": 500_000_000}
    assert parts["queue"] == {"count": 15, "ns": 1_500_000_000}
    assert parts["compute_infer"] == {"count": 15, "ns": 750_000_000}
    assert told["batch_stats"] == [
        {"batch_size": 1, "compute_infer": {"count": 3, "ns": 250_000_000}},
        {"batch_size": 8, "compute_infer": {"count": 2, "ns": 500_000_000}},
    ]
    kept = {"waiting": 4, "computing": 2, "refused": 5, "expired": 6, "abandoned": 7}
    assert told["queue_stats"] == kept
