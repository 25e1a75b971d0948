"""What to start, change and stop: pure decisions over wanted state and what Ray Serve runs. No Ray here."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from raymaas.specs.api import Standing
from raymaas.specs.base import canonical_json
from raymaas.specs.buckets import Layout, among, in_order
from raymaas.specs.keys import EdgeKey
from raymaas.specs.serving import EdgeTable, EdgeTarget, ModelState, Scaling


@dataclass(frozen=True, order=True)
class Target:
    """One version of one model, as a Ray Serve application."""

    model: str
    version: int

    @property
    def app_name(self) -> str:
        return f"{self.model}@{self.version}"

    @property
    def route_prefix(self) -> str:
        return f"/models/{self.model}/{self.version}"


def target_of(app_name: str) -> Target | None:
    """The target an application's name stands for; None for an application that is not ours."""
    found = re.fullmatch(r"([a-z0-9][a-z0-9._-]{0,62})@([1-9][0-9]*)", app_name)
    return Target(found[1], int(found[2])) if found else None


@dataclass(frozen=True)
class RunningApp:
    """One of our applications as Ray Serve reports it."""

    target: Target
    status: Standing
    message: str
    live_replicas: int
    config_digest: str
    addresses: tuple[str, ...] = ()
    """host:port of its replicas' own servers, of those that have announced themselves."""


@dataclass(frozen=True)
class Start:
    """Run `target` like this; also changes one that runs otherwise."""

    target: Target
    scaling: Scaling


@dataclass(frozen=True)
class Stop:
    target: Target


Action = Start | Stop


def config_digest(scaling: Scaling, *, release: str) -> str:
    """Names one way of running a version: it changes when the scaling or the serving code does."""
    return hashlib.sha256(release.encode() + canonical_json(scaling.model_dump(mode="json"))).hexdigest()[:16]


def wanted_apps(states: Iterable[ModelState]) -> dict[Target, Scaling]:
    return {
        Target(state.model, version): scaling
        for state in states
        for version, scaling in state.scaling.items()
    }


def plan(
    wanted: Mapping[Target, Scaling], running: Mapping[Target, RunningApp], *, release: str
) -> list[Action]:
    """The actions that turn `running` into `wanted`: starts before stops, so that nothing is missed in between."""
    starts: list[Action] = [
        Start(target, scaling)
        for target, scaling in sorted(wanted.items(), key=lambda item: item[0])
        if _needs_start(running.get(target), config_digest(scaling, release=release))
    ]
    stops: list[Action] = [
        Stop(target)
        for target in sorted(running)
        if target not in wanted and running[target].status != "stopping"
    ]
    return starts + stops


def _needs_start(app: RunningApp | None, digest: str) -> bool:
    if app is None:
        return True
    return app.status != "stopping" and app.config_digest != digest


def reachable(
    running: Mapping[Target, RunningApp], *, before: AbstractSet[Target] = frozenset()
) -> set[Target]:
    """The versions that requests may be sent to.

    A version must have had a live replica once, or be one that Ray Serve is to start for its first request. From then
    on it stays until Ray Serve gives it up: one that lost its only replica, or whose replicas a restarted Ray Serve has
    not found again yet, is waited for in Ray Serve's own queue.
    """
    return {
        target
        for target, app in running.items()
        if app.status != "stopping"
        and (app.live_replicas or app.status == "ready" or (target in before and app.status != "failed"))
    }


def edge_table(
    states: Iterable[ModelState],
    live: AbstractSet[Target],
    *,
    proxies: Iterable[str],
    running: Mapping[Target, RunningApp] | None = None,
    keys: Iterable[EdgeKey] = (),
) -> EdgeTable:
    """What edges route: the `live` versions, where their replicas listen, and the aliases and weights that lead there.
    And the `keys` of those who may ask.

    The buckets of a version that is not live, or not well while another of its model is, are served by the others until
    it is.
    """
    states, running = list(states), running or {}
    ill = {t for t in live if t in running and running[t].status in ("unhealthy", "failed")}
    targets = tuple(
        EdgeTarget(
            model=target.model,
            version=target.version,
            path_prefix=target.route_prefix,
            replicas=tuple(sorted(running[target].addresses)) if target in running else (),
        )
        for target in sorted(live)
    )
    aliases = {state.model: state.aliases for state in states if state.aliases}
    layouts = {
        state.model: layout
        for state in states
        if (layout := _live_layout(state, live - ill) or _live_layout(state, live))
    }
    traffic = {model: dict(sorted(Counter(layout).items())) for model, layout in layouts.items()}
    body = EdgeTable(
        revision="",
        proxies=tuple(sorted(proxies)),
        targets=targets,
        aliases=aliases,
        traffic=traffic,
        buckets={model: layout for model, layout in layouts.items() if layout != in_order(traffic[model])},
        sticky={state.model: state.sticky.removeprefix("header:") for state in states if state.sticky},
        shadows={
            state.model: state.shadow
            for state in states
            if state.shadow and Target(state.model, state.shadow.version) in live
        },
        fallbacks={
            state.model: state.fallback
            for state in states
            if state.fallback and Target(state.model, state.fallback) in live
        },
        keys=tuple(keys),
    )
    digest = hashlib.sha256(canonical_json(body.model_dump(mode="json"))).hexdigest()[:16]
    return body.model_copy(update={"revision": digest})


def _live_layout(state: ModelState, live: AbstractSet[Target]) -> Layout:
    return among(state.layout, [v for v in state.traffic if Target(state.model, v) in live])
