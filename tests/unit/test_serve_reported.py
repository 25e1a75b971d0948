"""Reading what Ray Serve's REST API says of our applications."""

import pytest

from raymaas.serve.plan import Target
from raymaas.serve.reported import running_app


def told(status: str, *replica_states: str) -> dict[str, object]:
    replicas = [{"replica_id": f"r{n}", "state": state} for n, state in enumerate(replica_states)]
    return {"status": status, "deployments": {"replica": {"replicas": replicas, "message": "a replica died"}}}


@pytest.mark.parametrize(
    ("status", "replica_states", "standing", "live"),
    [
        ("RUNNING", ("RUNNING", "STARTING"), "ready", 1),
        ("DEPLOYING", ("STARTING",), "starting", 0),
        ("UNHEALTHY", ("RUNNING", "STARTING"), "ready", 1),
        ("UNHEALTHY", ("STARTING", "STOPPING"), "unhealthy", 0),
        ("DEPLOY_FAILED", ("STARTING",), "failed", 0),
        ("DEPLOY_FAILED", ("RUNNING",), "failed", 1),
        ("DELETING", ("STOPPING",), "stopping", 0),
    ],
)
def test_how_an_application_stands(
    status: str, replica_states: tuple[str, ...], standing: str, live: int
) -> None:
    app = running_app("digits@2", told(status, *replica_states))
    assert app is not None
    assert (app.target, app.status, app.live_replicas) == (Target("digits", 2), standing, live)
    assert app.message == "a replica died"


def test_an_application_of_somebody_else_is_not_ours() -> None:
    assert running_app("theirs", told("RUNNING")) is None
