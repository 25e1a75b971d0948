"""Joining a Ray head that was there before: finding it, and taking only our own things away again."""

from __future__ import annotations

from pathlib import Path

import ray
from ray import serve

from raymaas.cluster.card import withdraw_card
from raymaas.cluster.lifecycle import Head
from raymaas.cluster.plan import ClusterPlan
from raymaas.errors import Unavailable
from raymaas.serve.demand_board import withdraw_demand
from raymaas.serve.plan import target_of

SERVE_STARTED_FILE = "serve-started"


def find_head(address: str, *, token_file: str | None) -> Head:
    """The head at `address` ("auto" or host:port). Raises Unavailable when there is none or it refuses the token."""
    try:
        context = ray.init(address=address, namespace="raymaas", log_to_driver=False, configure_logging=False)
    except Exception as error:
        raise Unavailable(
            f"no Ray head answers at {address!r} ({str(error).splitlines()[0]}); "
            "start one with `ray start --head`, or let `raymaas up` start its own"
        ) from error
    try:
        dashboard, gcs = context.dashboard_url, ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()
    if not dashboard:
        raise Unavailable(f"the Ray head at {gcs} has no dashboard; start it with --include-dashboard=true")
    return Head(ray_address=gcs, dashboard_url=f"http://{dashboard}", token_file=token_file)


def connect(plan: ClusterPlan) -> None:
    """Make this process a driver of the plan's cluster."""
    try:
        ray.init(address=plan.ray_address, namespace="raymaas", log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError) as error:
        raise Unavailable(f"the Ray head at {plan.ray_address} does not answer: {error}") from error


def connect_as_driver() -> None:
    """Make this process a driver of the cluster that RAY_ADDRESS names. Raises Unavailable when it does not answer."""
    try:
        ray.init(namespace="raymaas", log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError) as error:
        raise Unavailable(f"the Ray cluster does not answer: {error}") from error


def ray_version() -> str:
    return ray.__version__


def withdraw(plan: ClusterPlan) -> None:
    """Delete our Serve applications, card and figures from a head that goes on, and Serve itself if we started it."""
    connect(plan)
    try:
        ours = [name for name in serve.status().applications if target_of(name)]
        for name in ours:
            serve.delete(name)
        if Path(plan.run_dir, SERVE_STARTED_FILE).exists():
            serve.shutdown()  # type: ignore[no-untyped-call]
        withdraw_card()
        withdraw_demand()
    finally:
        ray.shutdown()
