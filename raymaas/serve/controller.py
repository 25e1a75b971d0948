"""The controller: makes Ray Serve run what the store says is wanted, and tells the edges what can be reached.

It keeps nothing of its own. Wanted state comes from the store, running state from Ray Serve's REST API (each
application carries the digest of how it was deployed), so a restarted controller goes on where the last one stopped.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import httpx
from ray import serve
from ray.serve.config import HTTPOptions

from raymaas.errors import RaymaasError, Unavailable
from raymaas.registry.states import States
from raymaas.serve.plan import (
    Action,
    RunningApp,
    Start,
    Stop,
    Target,
    config_digest,
    edge_table,
    plan,
    target_of,
    wanted_apps,
)
from raymaas.serve.replica import ReplicaSpec, application
from raymaas.specs.api import DeploymentStatus
from raymaas.specs.serving import EdgeTable

log = logging.getLogger("raymaas.controller")


class ServeBackend(Protocol):
    """What the controller needs of Ray Serve."""

    def running(self) -> tuple[dict[Target, RunningApp], tuple[str, ...]]:
        """Our applications, and host:port of the proxies. Raises Unavailable when Serve cannot be asked."""
        ...

    def apply(self, actions: list[Action], *, release: str) -> None: ...


class RayServe:
    """Ray Serve through its Python API (to change) and its REST API (to read).

    Assumes this process is a Ray driver. `headers` authenticate against the dashboard.
    """

    def __init__(
        self, *, dashboard_url: str, headers: Mapping[str, str], store_url: str, secret_sha256: str
    ) -> None:
        self._rest = httpx.Client(base_url=dashboard_url, headers=dict(headers), timeout=10, trust_env=False)
        self._store_url = store_url
        self._secret_sha256 = secret_sha256

    def start(self, *, host: str, port: int) -> bool:
        """Start Serve with its proxy at `host:port`; False when the cluster already ran it, with its own options."""
        if self._details().get("proxies"):
            return False
        serve.start(proxy_location="EveryNode", http_options=HTTPOptions(host=host, port=port))
        return True

    def running(self) -> tuple[dict[Target, RunningApp], tuple[str, ...]]:
        details = self._details()
        apps = [_running_app(name, app) for name, app in details.get("applications", {}).items()]
        return {app.target: app for app in apps if app}, _proxies(details)

    def apply(self, actions: list[Action], *, release: str) -> None:
        targets = [
            serve.RunTarget(
                target=application(
                    self._replica_spec(start), digest=config_digest(start.scaling, release=release)
                ),
                name=start.target.app_name,
                route_prefix=start.target.route_prefix,
            )
            for start in actions
            if isinstance(start, Start)
        ]
        if targets:
            serve.run_many(
                targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
            )
        for action in actions:
            if isinstance(action, Stop):
                serve.delete(action.target.app_name, _blocking=False)

    def _replica_spec(self, start: Start) -> ReplicaSpec:
        return ReplicaSpec(start.target, self._store_url, start.scaling, self._secret_sha256)

    def _details(self) -> dict[str, Any]:
        try:
            answer = self._rest.get("/api/serve/applications/")
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise Unavailable(f"Ray's dashboard at {self._rest.base_url} does not answer: {error}") from error
        details: dict[str, Any] = answer.json()
        return details


class Controller:
    """The reconcile loop. `poke()` makes it look at once; `table()` serves the edge agents."""

    def __init__(self, states: States, backend: ServeBackend, *, release: str) -> None:
        self._states = states
        self._backend = backend
        self._release = release
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._table: EdgeTable | None = None
        self._closed = False
        self._running: dict[Target, RunningApp] = {}

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
        running, proxies = self._backend.running()
        wanted = wanted_apps(states)
        self._publish(edge_table(states, running, proxies=proxies), running)
        actions = plan(wanted, running, release=self._release)
        if actions:
            log.info("applying %s", ", ".join(_describe(action) for action in actions))
            self._backend.apply(actions, release=self._release)
        return actions

    def statuses(self, model: str) -> dict[int, DeploymentStatus]:
        """By version: how each version of `model` that Ray Serve runs stands."""
        return {
            target.version: DeploymentStatus(status=app.status, message=app.message)
            for target, app in sorted(self._running.items())
            if target.model == model
        }

    async def table(self, after: str | None, wait_s: float) -> EdgeTable | None:
        """The edge table once its revision differs from `after`; None after `wait_s` seconds without a change."""
        return await asyncio.to_thread(self._wait_for_table, after, wait_s)

    def _wait_for_table(self, after: str | None, wait_s: float) -> EdgeTable | None:
        def newer() -> bool:
            return self._table is not None and self._table.revision != after

        with self._changed:
            self._changed.wait_for(lambda: newer() or self._closed, timeout=wait_s)
            return self._table if newer() else None

    def _publish(self, table: EdgeTable, running: dict[Target, RunningApp]) -> None:
        with self._changed:
            self._running = running
            if self._table is None or self._table.revision != table.revision:
                self._table = table
                self._changed.notify_all()


def _proxies(details: Mapping[str, Any]) -> tuple[str, ...]:
    options = details.get("http_options") or {}
    host, port = options.get("host") or "", options.get("port")
    addresses = {
        # A proxy told to listen on loopback cannot be reached at its node's address.
        f"{host if host.startswith('127.') else proxy['node_ip']}:{port}"
        for proxy in details.get("proxies", {}).values()
        if proxy.get("status") == "HEALTHY"
    }
    return tuple(sorted(addresses))


def _running_app(name: str, app: Mapping[str, Any]) -> RunningApp | None:
    target = target_of(name)
    if target is None:
        return None
    replica = app.get("deployments", {}).get("replica", {})
    config = replica.get("deployment_config") or {}
    live = sum(1 for r in replica.get("replicas", []) if r.get("state") == "RUNNING")
    return RunningApp(
        target=target,
        status=_status_of(app.get("status", ""), live),
        message=_reason(replica.get("message") or app.get("message") or ""),
        live_replicas=live,
        config_digest=(config.get("user_config") or {}).get("digest", ""),
    )


def _reason(message: str) -> str:
    """The sentence in Ray Serve's message: of a traceback only its last line, which says what went wrong."""
    lines = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", message).splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in message else " ".join(lines)).strip() if lines else ""


def _status_of(serve_status: str, live_replicas: int) -> Any:
    match serve_status:
        case "RUNNING":
            return "ready"
        case "DELETING":
            return "stopping"
        case "DEPLOY_FAILED" | "UNHEALTHY":
            return "unhealthy"
    return "starting"


def _describe(action: Action) -> str:
    return f"{'start' if isinstance(action, Start) else 'stop'} {action.target.app_name}"
