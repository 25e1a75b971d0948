"""Links: carry out a flow's steps over HTTP, blocking (Link) or awaited (AsyncLink). Nothing else differs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import httpx

from raymaas.client.connection import answer_of, broken_by, http_options, request_options
from raymaas.client.flow import Call, Done, Emit, Flow, Pause, Reply, RunEvent, Send, Step, advance, exchange
from raymaas.client.waiting import Patience
from raymaas.client.wire import Request

T = TypeVar("T")


class _Base:
    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._clock = clock

    def patience(self, timeout_s: float | None) -> Patience:
        return Patience(self._clock, timeout_s)


class Link(_Base):
    """Blocks. May be shared by threads, as httpx.Client may."""

    def __init__(self, url: str, *, timeout_s: float, api_key: str | None = None) -> None:
        super().__init__(url)
        self._http = httpx.Client(**http_options(url, timeout_s=timeout_s, api_key=api_key))

    def call(self, call: Call[T]) -> T:
        return self.run(exchange(call, url=self.url))

    def run(self, flow: Flow[T], *, on_event: Callable[[RunEvent], None] | None = None) -> T:
        """The flow's result; what it emits is given to `on_event`."""
        step = advance(flow, None)
        while not isinstance(step, Done):
            if on_event and isinstance(step, Emit):
                on_event(step.event)
            step = advance(flow, self._act(step))
        return step.value

    def stream(self, flow: Flow[Any]) -> Iterator[RunEvent]:
        """What the flow emits, as it happens."""
        step = advance(flow, None)
        while not isinstance(step, Done):
            if isinstance(step, Emit):
                yield step.event
            step = advance(flow, self._act(step))

    def close(self) -> None:
        self._http.close()

    def _act(self, step: Step) -> Reply:
        match step:
            case Send(request):
                return self._send(request)
            case Pause(seconds):
                time.sleep(seconds)
        return None

    def _send(self, request: Request) -> Reply:
        try:
            return answer_of(self._http.request(**request_options(request)))
        except httpx.TransportError as error:
            return broken_by(error)


class AsyncLink(_Base):
    """Awaits. Belongs to one event loop, as httpx.AsyncClient does."""

    def __init__(self, url: str, *, timeout_s: float, api_key: str | None = None) -> None:
        super().__init__(url)
        self._http = httpx.AsyncClient(**http_options(url, timeout_s=timeout_s, api_key=api_key))

    async def call(self, call: Call[T]) -> T:
        return await self.run(exchange(call, url=self.url))

    async def run(self, flow: Flow[T], *, on_event: Callable[[RunEvent], None] | None = None) -> T:
        """The flow's result; what it emits is given to `on_event`."""
        step = advance(flow, None)
        while not isinstance(step, Done):
            if on_event and isinstance(step, Emit):
                on_event(step.event)
            step = advance(flow, await self._act(step))
        return step.value

    async def stream(self, flow: Flow[Any]) -> AsyncIterator[RunEvent]:
        """What the flow emits, as it happens."""
        step = advance(flow, None)
        while not isinstance(step, Done):
            if isinstance(step, Emit):
                yield step.event
            step = advance(flow, await self._act(step))

    async def close(self) -> None:
        await self._http.aclose()

    async def _act(self, step: Step) -> Reply:
        match step:
            case Send(request):
                return await self._send(request)
            case Pause(seconds):
                await asyncio.sleep(seconds)
        return None

    async def _send(self, request: Request) -> Reply:
        try:
            return answer_of(await self._http.request(**request_options(request)))
        except httpx.TransportError as error:
            return broken_by(error)
