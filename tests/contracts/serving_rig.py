"""What edges follow: replicas on real fast lanes, the real control API, and a Ray Serve that starts nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from control_server import World, serving
from edge_rig import SECRET

from raymaas.serve.control_api import build_app
from raymaas.serve.controller import Controller
from raymaas.serve.fast_lane import FastLane
from raymaas.serve.http1 import Asked, Reply
from raymaas.serve.plan import Action, RunningApp, Target


class Replica:
    """Says of every request which replica answered it, once it `may`."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.may = threading.Event()
        self.may.set()
        self.came = threading.Semaphore(0)
        """Released by each request that has come."""
        self.takes_s = 0.0
        self.fails_every = 0
        """Every so many requests are answered 500; 0: none."""
        self.failed = self._asked = 0
        self.record: Callable[..., None] | None = None
        """Told of each answer, as a replica's request log is."""
        self.lane = FastLane(
            self._answer, host="127.0.0.1", prefix=target.route_prefix, max_body_bytes=100_000
        )

    async def _answer(self, asked: Asked) -> Reply:
        self.came.release()
        began = time.perf_counter()
        await asyncio.to_thread(self.may.wait)
        await asyncio.sleep(self.takes_s)
        key = asked.headers.get(b"x-raymaas-key", b"").decode()
        self._asked += 1
        status = 500 if self.fails_every and self._asked % self.fails_every == 0 else 200
        self.failed += status == 500
        if self.record:
            request_id = asked.headers.get(b"x-request-id", b"").decode()
            self.record(status=status, seconds=time.perf_counter() - began, request_id=request_id, rows=1)
        return Reply(
            status,
            [],
            orjson.dumps({"replica": self.lane.address, "version": self.target.version, "key": key}),
        )

    def end(self) -> None:
        self.may.set()
        self.lane.leave(quiet_s=0, at_most_s=5)


class ListedServe:
    """A Ray Serve that runs `replicas` and starts nothing."""

    def __init__(self) -> None:
        self.replicas: list[Replica] = []

    def running(self) -> tuple[dict[Target, RunningApp], tuple[str, ...]]:
        apps: dict[Target, RunningApp] = {}
        for replica in self.replicas:
            app = apps.get(replica.target, RunningApp(replica.target, "ready", "", 0, "digest"))
            apps[replica.target] = replace(
                app, live_replicas=app.live_replicas + 1, addresses=(*app.addresses, replica.lane.address)
            )
        return apps, ("127.0.0.1:1",)

    def apply(self, actions: list[Action], *, release: str) -> None:
        """Whatever is wanted, `running` stays as it is."""


class Served:
    """A deployed world behind the real control API at `control`; edges follow its controller."""

    def __init__(self, world: World, serve: ListedServe, controller: Controller, *, control: str) -> None:
        self.world, self.serve, self.controller, self.control = world, serve, controller, control

    def changed(self) -> str:
        """Have the controller look at once; the revision of the table that edges are to follow."""
        self.controller.reconcile()
        table = asyncio.run(self.controller.table(None, 0))
        assert table is not None
        return table.revision

    def move(self, step: Callable[..., Any], **wanted: Any) -> str:
        """Move digits by one of registry.moves; the revision that follows."""
        self.world.states.move("digits", partial(step, **wanted), who="ana")
        return self.changed()


@contextmanager
def served(*versions: int) -> Iterator[Served]:
    """Each of `versions` of digits deployed, with one replica."""
    world, serve = World(), ListedServe()
    controller = Controller(world.states, serve, release="r", ring=world.keys.ring)
    serve.replicas = [Replica(Target("digits", version)) for version in versions]
    for version in versions:
        world.publish()
        world.deploy(version)
    parts = replace(world.parts(), edge_tables=controller, edge_secret=SECRET)
    try:
        with serving(build_app(parts)) as url:
            controller.reconcile()
            yield Served(world, serve, controller, control=url.removeprefix("http://"))
            controller.close()
    finally:
        for replica in serve.replicas:
            replica.end()
