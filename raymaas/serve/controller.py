"""The controller: makes Ray Serve run what the store says is wanted, and tells the edges what can be reached.

It keeps nothing of its own: wanted state comes from the store, running state from Ray Serve, so a restarted controller
goes on where the last one stopped. It knows Ray Serve only as a `ServeBackend`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from raymaas.errors import RaymaasError
from raymaas.registry.states import States
from raymaas.serve.plan import (
    Action,
    RunningApp,
    Start,
    Target,
    config_digest,
    edge_table,
    plan,
    reachable,
    wanted_apps,
)
from raymaas.specs.api import DeploymentStatus
from raymaas.specs.keys import EdgeKey, KeyRing
from raymaas.specs.serving import EdgeTable, ModelState, Scaling

log = logging.getLogger("raymaas.controller")


class ServeBackend(Protocol):
    """What the controller needs of Ray Serve."""

    def running(self) -> tuple[dict[Target, RunningApp], tuple[str, ...]]:
        """Our applications, and host:port of the proxies. Raises Unavailable when Serve cannot be asked."""
        ...

    def apply(self, actions: list[Action], *, release: str) -> None: ...


class Controller:
    """The reconcile loop. `poke()` makes it look at once; `table()` serves the edge agents."""

    def __init__(
        self,
        states: States,
        backend: ServeBackend,
        *,
        release: str,
        ring: Callable[[], KeyRing | None] = lambda: None,
    ) -> None:
        self._states = states
        self._backend = backend
        self._release = release
        self._ring = ring
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._table: EdgeTable | None = None
        self._closed = False
        self._running: dict[Target, RunningApp] = {}
        self._proxies: tuple[str, ...] = ()
        self._live: set[Target] = set()

    def poke(self) -> None:
        self._wake.set()

    def close(self) -> None:
        """Let every waiting edge agent go, so that the process can end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def run(self, stop: threading.Event, *, every_s: float = 1.0) -> None:
        """Reconcile until `stop` is set. An error is logged and tried again: nothing else can be done with it."""
        while not stop.is_set():
            try:
                self.reconcile()
            except RaymaasError as error:
                log.warning("%s", error)
            except Exception:
                log.exception("reconciling failed; trying again")
            self._wake.wait(every_s)
            self._wake.clear()

    def reconcile(self) -> list[Action]:
        """One round: read what is wanted and what runs, publish the edge table, act on the difference."""
        states = [state for model in self._states.models() if (state := self._states.current(model))]
        ring = self._ring()
        keys = [key.for_edge() for key in ring.live] if ring else []
        # A moved alias or weight need not wait for Ray Serve: versions that ran a moment ago still do.
        if self._table is not None:
            self._publish(states, keys, self._running, self._proxies)
        running, proxies = self._backend.running()
        self._publish(states, keys, running, proxies)
        actions = plan(wanted_apps(states), running, release=self._release)
        if actions:
            log.info("applying %s", ", ".join(_describe(action) for action in actions))
            self._backend.apply(actions, release=self._release)
        return actions

    def statuses(self, model: str, wanted: Mapping[int, Scaling]) -> dict[int, DeploymentStatus]:
        """By version: how each that Ray Serve runs stands; it starts while it is run otherwise than `wanted`."""
        found = {}
        for target, app in sorted(self._running.items()):
            if target.model == model:
                scaling = wanted.get(target.version)
                digest = config_digest(scaling, release=self._release) if scaling else app.config_digest
                found[target.version] = (
                    DeploymentStatus(status=app.status, message=app.message)
                    if app.config_digest == digest
                    else DeploymentStatus(status="starting", message="waiting for its new settings")
                )
        return found

    async def table(self, after: str | None, wait_s: float) -> EdgeTable | None:
        """The edge table once its revision differs from `after`; None after `wait_s` seconds without a change."""
        return await asyncio.to_thread(self._wait_for_table, after, wait_s)

    def _wait_for_table(self, after: str | None, wait_s: float) -> EdgeTable | None:
        def newer() -> bool:
            return self._table is not None and self._table.revision != after

        with self._changed:
            self._changed.wait_for(lambda: newer() or self._closed, timeout=wait_s)
            return self._table if newer() else None

    def _publish(
        self,
        states: list[ModelState],
        keys: list[EdgeKey],
        running: dict[Target, RunningApp],
        proxies: tuple[str, ...],
    ) -> None:
        live = reachable(running, before=self._live)
        table = edge_table(states, live, proxies=proxies, running=running, keys=keys)
        with self._changed:
            self._running, self._proxies, self._live = running, proxies, live
            if self._table is None or self._table.revision != table.revision:
                self._table = table
                self._changed.notify_all()


def _describe(action: Action) -> str:
    return f"{'start' if isinstance(action, Start) else 'stop'} {action.target.app_name}"
