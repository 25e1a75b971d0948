"""The autoscaling policy inside Ray Serve's own controller: replicas follow from what is on the demand board."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from marks import CLUSTER

from raymaas.serve.autoscaling import BUSY, ByLoad
from raymaas.serve.demand_board import publish_demand, read_demand, withdraw_demand
from raymaas.specs.demand import Demand, VersionDemand

pytestmark = CLUSTER

APP = "digits@1"


@pytest.fixture
def serve(ray_cluster: str) -> Iterator[Any]:
    from ray import serve  # warns as it is imported, which only a test's marks forgive

    serve.start(http_options={"location": "NoServer"})
    yield serve
    serve.shutdown()


def replicas(serve: Any) -> int:
    app = serve.status().applications.get(APP)
    return app.deployments["replica"].replica_states.get("RUNNING", 0) if app and app.deployments else 0


def publish_until(serve: Any, count: int, *, in_flight: int) -> None:
    """Tell the board, as often as edges would, until there are `count` replicas."""
    deadline = time.monotonic() + 90
    while replicas(serve) != count:
        assert time.monotonic() < deadline, f"{replicas(serve)} replicas instead of {count}"
        seen = VersionDemand(in_flight=in_flight, requests_per_s=0)
        publish_demand(Demand(at=datetime.now(UTC), versions={APP: seen}))
        time.sleep(0.2)


def test_replicas_come_for_what_is_in_flight_at_edges_and_go_when_nothing_is(serve: Any) -> None:
    class Idle:  # here, since no process of Ray's can import this file
        def record_autoscaling_stats(self) -> dict[str, float]:
            return {BUSY: 0.0}

    deployment = serve.deployment(
        name="replica",
        ray_actor_options={"num_cpus": 0},
        autoscaling_config={
            "min_replicas": 0,
            "initial_replicas": 1,
            "max_replicas": 2,
            "policy": {
                "policy_function": f"{ByLoad.__module__}:{ByLoad.__name__}",
                "policy_kwargs": {"target_busy": 0.7, "most_each": 10},
            },
            "upscale_delay_s": 0,
            "downscale_delay_s": 0,
            "metrics_interval_s": 0.5,
            "look_back_period_s": 1,
        },
    )(Idle)
    serve.run(deployment.bind(), name=APP, route_prefix=None)
    assert replicas(serve) == 1, "nothing is on the board, so the one there is stays"
    publish_until(serve, 2, in_flight=15)
    publish_until(serve, 0, in_flight=0)
    withdraw_demand()
    assert read_demand() is None
