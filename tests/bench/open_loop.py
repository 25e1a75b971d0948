"""An open loop: requests come at a constant rate whatever the server does, and take from when they were due.

A closed loop stops asking while the server stalls, and so leaves out what all those would have waited who came in
that time (G. Tene, "How NOT to measure latency", 2013). The load comes from a process of its own, with one thread.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import re
import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from typing import Self
from urllib.parse import urlsplit

import numpy as np

from tests.bench.asked import Asked

CONNECTIONS = 32
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """One request. `due_s` is by time.monotonic; `failure` is empty when it was answered 200."""

    due_s: float
    took_s: float
    failure: str


@dataclass(frozen=True)
class Latency:
    """Of the requests of a while."""

    asked: int
    failures: tuple[str, ...]
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Self:
        """A request that failed took as long as it took to fail."""
        p50, p99 = np.percentile([answer.took_s * 1e3 for answer in answers], [50, 99])
        failures = tuple(answer.failure for answer in answers if answer.failure)
        return cls(len(answers), failures, float(p50), float(p99))


class Load:
    """`per_s` requests a second from entering until leaving; those due by then are still waited for."""

    def __init__(self, asked: Asked, *, per_s: float) -> None:
        # Forked: a new interpreter would take the machine for a second to import what is here already.
        context = multiprocessing.get_context("fork")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_offer, args=(asked, per_s, theirs), daemon=True)
        self._answers: list[Answer] = []

    def __enter__(self) -> Self:
        self._process.start()
        self._ours.recv()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ours.send("stop")
        self._answers = self._ours.recv()
        self._process.join()

    def between(self, since_s: float, until_s: float) -> Latency:
        """Of the requests that were due then; to be asked after leaving."""
        return Latency.of([answer for answer in self._answers if since_s <= answer.due_s < until_s])


def open_loop(asked: Asked, *, per_s: float, seconds: float) -> Latency:
    """Of `seconds` at that rate, after one second that is not counted."""
    with Load(asked, per_s=per_s) as load:
        begun = time.monotonic() + 1
        time.sleep(1 + seconds)
    return load.between(begun, begun + seconds)


def _offer(asked: Asked, per_s: float, pipe: Connection) -> None:
    # A collection over what was inherited would be seen as latency of the server.
    gc.disable()
    # select() waits to the microsecond; epoll, the default, to the millisecond.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    pipe.send(loop.run_until_complete(_offered(asked, per_s, pipe)))


async def _offered(asked: Asked, per_s: float, pipe: Connection) -> list[Answer]:
    loop = asyncio.get_running_loop()
    stopped_s: asyncio.Future[float] = loop.create_future()

    def stop() -> None:
        loop.remove_reader(pipe.fileno())
        stopped_s.set_result(time.monotonic())

    loop.add_reader(pipe.fileno(), stop)
    pipe.send("begun")
    begun_s, numbers, answers = time.monotonic(), count(), list[Answer]()

    async def caller() -> None:
        line = _Line(asked)
        while True:
            due_s = begun_s + next(numbers) / per_s
            await asyncio.sleep(due_s - time.monotonic())
            if stopped_s.done() and due_s > stopped_s.result():
                return
            failure = await line.ask()
            answers.append(Answer(due_s, time.monotonic() - due_s, failure))

    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
    return answers


class _Line:
    """One connection, opened when it is needed and again after a failure; nothing is sent twice."""

    def __init__(self, asked: Asked) -> None:
        url = urlsplit(asked.url)
        headers = {"host": url.netloc, "content-length": str(len(asked.body))} | asked.headers
        lines = [f"POST {url.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self._request = "\r\n".join([*lines, "", ""]).encode() + asked.body
        self._address = url.hostname, url.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> str:
        """Why it failed; empty when it was answered 200."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                status, keeps = await self._exchange()
        except (OSError, EOFError, TimeoutError) as error:
            self._close()
            return f"{type(error).__name__}: {error}"
        if not keeps:
            self._close()
        return "" if status == 200 else f"HTTP {status}"

    async def _exchange(self) -> tuple[int, bool]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"\r\ncontent-length: *(\d+)", head)
        if length is None:
            raise EOFError("an answer without a length")
        await reader.readexactly(int(length[1]))
        return int(head.split(b" ", 2)[1]), b"\r\nconnection: close" not in head

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
