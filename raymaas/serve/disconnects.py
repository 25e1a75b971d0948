"""Disconnects: a caller that went away ends the wait for its answer, so that nothing is computed for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Self

from raymaas.errors import Unavailable

PATIENCE_S = 0.02
"""A request that is answered sooner is not looked after: nearly all are, and a task for each would slow them all."""


class WhileConnected:
    """A block of the current task that is cancelled, and then raises Unavailable, when the caller disconnects.

    `receive` is the request's ASGI channel, its body already read: all that can still come is its end.
    """

    def __init__(
        self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]], *, patience_s: float = PATIENCE_S
    ) -> None:
        self._receive = receive
        self._patience_s = patience_s
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._gone = False

    async def __aenter__(self) -> Self:
        loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._timer = loop.call_later(self._patience_s, self._watch, loop)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and self._task and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise Unavailable("the caller went away before it was answered")

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watcher = loop.create_task(self._look_out())

    async def _look_out(self) -> None:
        if (await self._receive())["type"] == "http.disconnect" and self._task:
            self._gone = True
            self._task.cancel()
