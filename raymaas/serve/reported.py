"""What Ray Serve's REST API reports, `GET /api/serve/applications/`, in our words. No Ray here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from raymaas.serve.plan import RunningApp, target_of
from raymaas.specs.api import Standing

if TYPE_CHECKING:
    from raymaas.serve.announcing import Announcement

# A replica that a restarted Serve controller recovers, or that takes a new configuration, goes on answering.
_LIVE_STATES = ("RUNNING", "RECOVERING", "UPDATING", "PENDING_MIGRATION")


def proxies(details: Mapping[str, Any]) -> tuple[str, ...]:
    options = details.get("http_options") or {}
    host, port = options.get("host") or "", options.get("port")
    addresses = {
        # A proxy told to listen on loopback cannot be reached at its node's address.
        f"{host if host.startswith('127.') else proxy['node_ip']}:{port}"
        for proxy in details.get("proxies", {}).values()
        if proxy.get("status") == "HEALTHY"
    }
    return tuple(sorted(addresses))


def running_app(name: str, app: Mapping[str, Any], known: Iterable[Announcement] = ()) -> RunningApp | None:
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
        addresses=tuple(one.address for one in known if one.app == name and one.replica in live),
    )


def ended(known: Iterable[Announcement], details: Mapping[str, Any]) -> list[Announcement]:
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


def _status_of(serve_status: str, live_replicas: int) -> Standing:
    match serve_status:
        case "RUNNING":
            return "ready"
        case "DELETING":
            return "stopping"
        case "DEPLOY_FAILED":
            return "failed"
        case "UNHEALTHY":
            # So Ray Serve calls a deployment from the first replica on that has to be replaced.
            return "ready" if live_replicas else "unhealthy"
    return "starting"
