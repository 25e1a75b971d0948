"""The fast lane: a server in a thread that answers below its prefix, says when it leaves, and ends what it began."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from raymaas.serve import fast_lane
from raymaas.serve.fast_lane import HEALTH_PATH, FastLane
from raymaas.serve.http1 import Asked, Reply

PREFIX = "/models/digits/1"


class Echo:
    """Answers with the path below its mount, once it may."""

    def __init__(self) -> None:
        self.may, self.asked = threading.Event(), threading.Event()
        self.may.set()
        self.thread = ""

    async def answer(self, asked: Asked) -> Reply:
        self.asked.set()
        self.thread = threading.current_thread().name
        await asyncio.to_thread(self.may.wait)
        return Reply(200, [], asked.path.encode())


def lane_of(app: Echo) -> FastLane:
    return FastLane(app.answer, host="127.0.0.1", prefix=PREFIX, max_body_bytes=1000)


@pytest.fixture
def app() -> Echo:
    return Echo()


@pytest.fixture
def lane(app: Echo) -> Iterator[FastLane]:
    lane = lane_of(app)
    yield lane
    app.may.set()
    lane.leave(quiet_s=0, at_most_s=5)


def get(lane: FastLane, path: str) -> httpx.Response:
    return httpx.get(f"http://{lane.address}{path}", trust_env=False, timeout=10)


def test_it_answers_below_its_prefix_in_a_thread_of_its_own(app: Echo, lane: FastLane) -> None:
    assert get(lane, f"{PREFIX}/v2/models/digits").text == "/v2/models/digits"
    assert app.thread == "fast-lane"
    assert get(lane, PREFIX).status_code == 200


@pytest.mark.parametrize("path", ["/models/digits/12/v2", "/models/digits/2/v2", "/v2/models/digits", "/"])
def test_what_is_meant_for_another_version_is_to_be_sent_again(app: Echo, lane: FastLane, path: str) -> None:
    answer = get(lane, path)
    assert answer.status_code == 503
    assert "another version's now; send the request again" in answer.json()["error"]
    assert not app.asked.is_set()


def test_its_health_is_asked_past_the_application(app: Echo, lane: FastLane) -> None:
    quiet_s = lane.quiet_s()
    assert get(lane, HEALTH_PATH).json() == {"live": True}
    assert not app.asked.is_set()
    asyncio.run(lane.probe())
    assert lane.quiet_s() > quiet_s, "nobody asked"
    worked_s = lane.cpu_s()
    get(lane, f"{PREFIX}/v2")
    assert lane.cpu_s() > worked_s


def test_one_that_leaves_says_so_and_finishes_what_it_began(app: Echo, lane: FastLane) -> None:
    app.may.clear()
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(get(lane, f"{PREFIX}/slow")))
    asking.start()
    assert app.asked.wait(10)
    leaving = threading.Thread(target=lambda: lane.leave(quiet_s=3, at_most_s=20))
    leaving.start()
    while get(lane, HEALTH_PATH).status_code == 200:
        pass
    assert get(lane, HEALTH_PATH).json() == {"live": False}
    app.may.set()
    late = get(lane, f"{PREFIX}/late")
    for thread in (asking, leaving):
        thread.join(15)
    assert (found[0].text, late.text) == ("/slow", "/late")
    with pytest.raises(httpx.ConnectError):
        get(lane, HEALTH_PATH)
    with pytest.raises(RuntimeError, match=r"own server at 127\.0\.0\.1:\d+ does not answer"):
        asyncio.run(lane.probe())


def test_a_long_request_is_no_quiet_time(app: Echo, lane: FastLane) -> None:
    """A replica that is quiet is called idle, and may be taken away."""

    async def asked_by_another_loop() -> float:
        async def look() -> float:
            return lane.quiet_s()

        quiet_s: float = await lane.run(look())
        return quiet_s

    while lane.quiet_s() == 0:
        pass
    assert asyncio.run(asked_by_another_loop()) == 0
    app.may.clear()
    asking = threading.Thread(target=lambda: get(lane, f"{PREFIX}/slow"))
    asking.start()
    assert app.asked.wait(10)
    asked_at = time.monotonic()
    assert lane.quiet_s() == 0
    app.may.set()
    asking.join(10)
    assert lane.quiet_s() < time.monotonic() - asked_at, "it begins with the answer"


def test_how_long_its_thread_worked_is_known_when_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def undefined(_: int) -> int:
        raise AssertionError("for a thread that has ended this may as well end the process")

    lane = lane_of(Echo())
    get(lane, f"{PREFIX}/v2")
    worked_s = lane.cpu_s()
    lane.leave(quiet_s=0, at_most_s=5)
    monkeypatch.setattr(time, "pthread_getcpuclockid", undefined)
    assert lane.cpu_s() >= worked_s > 0


def test_a_probe_that_fails_leaves_no_connection(lane: FastLane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_lane, "_PROBE_TIMEOUT_S", 0.01)
    may, stuck = threading.Event(), threading.Event()

    async def hold_its_loop() -> None:
        stuck.set()
        may.wait()

    async def hold() -> None:
        await lane.run(hold_its_loop())

    holding = threading.Thread(target=lambda: asyncio.run(hold()))
    holding.start()
    assert stuck.wait(10)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ResourceWarning)
            with pytest.raises(RuntimeError, match="does not answer"):
                asyncio.run(lane.probe())
            gc.collect()
    finally:
        may.set()
    holding.join(10)
    assert warned == []


def test_another_loop_can_have_things_done_on_its_loop(lane: FastLane) -> None:
    async def where(answer: str) -> tuple[str, str]:
        if not answer:
            raise ValueError("nothing to answer")
        return answer, threading.current_thread().name

    assert asyncio.run(lane.run(where("yes"))) == ("yes", "fast-lane")
    with pytest.raises(ValueError, match="nothing to answer"):
        asyncio.run(lane.run(where("")))


def test_two_replicas_of_a_host_have_ports_of_their_own(lane: FastLane) -> None:
    other = lane_of(Echo())
    assert other.address != lane.address
    other.leave(quiet_s=0, at_most_s=5)
