"""Client and AsyncClient as one: an asynchronous client is used like its blocking twin."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

Connect = Callable[..., Any]


class Awaited:
    """An async object used like its blocking twin: coroutines are run, async iterators are walked."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return self._settled(getattr(self._target, name))

    def _settled(self, value: Any) -> Any:
        if inspect.isawaitable(value):
            return self._settled(self._loop.run_until_complete(value))
        if hasattr(value, "__aiter__"):
            return self._walk(value)
        if inspect.ismethod(value):
            return lambda *args, **kwargs: self._settled(value(*args, **kwargs))
        if type(value).__name__.startswith("Async"):
            return Awaited(value, self._loop)
        return value

    def _walk(self, iterator: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._loop.run_until_complete(anext(iterator))
            except StopAsyncIteration:
                return
