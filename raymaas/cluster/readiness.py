"""Whether a cluster's services can be used: each is asked over HTTP, by the standard library alone.

The supervisor asks, which lives as long as the cluster: httpx would be a quarter of its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPException
from urllib.request import ProxyHandler, Request, build_opener

from raymaas.cluster.plan import ClusterPlan

_TIMEOUT_S = 2.0


def ready_checks(plan: ClusterPlan, *, token: str | None) -> dict[str, Callable[[], bool]]:
    """By service: whether it answers now."""
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    return {
        "head": partial(answers, f"{plan.dashboard_url}/api/version", bearer),
        "controller": partial(answers, f"{plan.control_url}/v2/health/live", {}),
        "edge-agent": partial(answers, f"{plan.url}/v2/health/ready", {}),
    }


def answers(url: str, headers: Mapping[str, str]) -> bool:
    """Whether GET `url` is answered 200 within two seconds; no proxy of the environment is asked."""
    try:
        request = Request(url, headers=dict(headers))
        with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False
