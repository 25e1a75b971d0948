"""Ray Serve as the controller's backend: changed through its Python API, read through its REST API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from ray import serve
from ray.serve.config import HTTPOptions

from raymaas.errors import Unavailable
from raymaas.registry.cache import BlobCache
from raymaas.serve.announcing import announced, withdraw
from raymaas.serve.plan import Action, RunningApp, Start, Stop, Target, config_digest
from raymaas.serve.replica import ReplicaSpec, application
from raymaas.serve.reported import ended, proxies, running_app


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
        apps = [running_app(name, app, known) for name, app in details.get("applications", {}).items()]
        withdraw(ended(known, details))
        return {app.target: app for app in apps if app}, proxies(details)

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
