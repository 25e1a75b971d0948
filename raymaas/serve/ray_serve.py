"""Ray Serve as the controller's backend: changed through its Python API, read through its REST API."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
from ray import serve
from ray.serve.config import HTTPOptions

from raymaas.errors import Unavailable
from raymaas.registry.cache import BlobCache
from raymaas.serve.announcing import Announcement, announced, withdraw
from raymaas.serve.plan import Action, RunningApp, Start, Stop, Target, config_digest, target_of
from raymaas.serve.replica import ReplicaSpec, application

# A replica that a restarted Serve controller recovers, or that takes a new configuration, goes on answering.
_LIVE_STATES = ("RUNNING", "RECOVERING", "UPDATING", "PENDING_MIGRATION")


class RayServe:
    """The cluster's Ray Serve.

    Each application carries the digest of how it was deployed as its user_config, so nothing has to be remembered.
    Assumes this process is a Ray driver. `headers` authenticate against the dashboard.
    """

    def __init__(
        self,
        *,
        dashboard_url: str,
        headers: Mapping[str, str],
        store_url: str,
        secret_sha256: str,
        cache: BlobCache | None,
    ) -> None:
        self._rest = httpx.Client(base_url=dashboard_url, headers=dict(headers), timeout=10, trust_env=False)
        self._store_url = store_url
        self._secret_sha256 = secret_sha256
        self._cache = cache

    def start(self, *, host: str, port: int) -> bool:
        """Start Serve with its proxy at `host:port`; False when the cluster already ran it, with its own options."""
        if self._details().get("proxies"):
            return False
        serve.start(proxy_location="EveryNode", http_options=HTTPOptions(host=host, port=port))
        return True

    def running(self) -> tuple[dict[Target, RunningApp], tuple[str, ...]]:
        details = self._details()
        if not details.get("controller_info"):
            # While Serve's controller restarts, its API shows an empty Serve: believing it would deploy all again.
            raise Unavailable("Ray Serve's controller is not there; waiting for Ray to restart it")
        known = announced()
        apps = [_running_app(name, app, known) for name, app in details.get("applications", {}).items()]
        withdraw(_ended(known, details))
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
        return ReplicaSpec(start.target, self._store_url, start.scaling, self._secret_sha256, self._cache)

    def _details(self) -> dict[str, Any]:
        try:
            answer = self._rest.get("/api/serve/applications/")
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise Unavailable(f"Ray's dashboard at {self._rest.base_url} does not answer: {error}") from error
        details: dict[str, Any] = answer.json()
        return details


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


def _running_app(name: str, app: Mapping[str, Any], known: Iterable[Announcement] = ()) -> RunningApp | None:
    target = target_of(name)
    if target is None:
        return None
    replica = app.get("deployments", {}).get("replica", {})
    config = replica.get("deployment_config") or {}
    live = {r["replica_id"] for r in replica.get("replicas", []) if r.get("state") in _LIVE_STATES}
    return RunningApp(
        target=target,
        status=_status_of(app.get("status", ""), len(live)),
        message=_reason(replica.get("message") or app.get("message") or ""),
        live_replicas=len(live),
        config_digest=(config.get("user_config") or {}).get("digest", ""),
        given_up=app.get("status") == "DEPLOY_FAILED",
        addresses=tuple(one.address for one in known if one.app == name and one.replica in live),
    )


def _ended(known: Iterable[Announcement], details: Mapping[str, Any]) -> list[Announcement]:
    """What replicas that were killed left behind: Ray Serve has none of that id, in any state."""
    there = {
        replica["replica_id"]
        for app in details.get("applications", {}).values()
        for deployment in app.get("deployments", {}).values()
        for replica in deployment.get("replicas", [])
    }
    return [one for one in known if one.replica not in there]


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
