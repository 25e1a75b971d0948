"""A job that is registered runs again by itself, and what it trained is rolled out by itself."""

from __future__ import annotations

import pytest
from journey_home import Home, wait_until

from raymaas.client import Client
from raymaas.errors import NotFound
from raymaas.specs.rollouts import RolloutState
from raymaas.specs.runs import Succeeded

pytestmark = [pytest.mark.journey]


def rollout_of(client: Client, version: int) -> RolloutState | None:
    try:
        found = client.rollouts.get("digits")
    except NotFound:
        return None
    return found if found.new == version else None


def test_a_schedule_trains_a_version_that_takes_over_by_itself(home: Home, digits: str) -> None:
    start = "start={every_h: 0.003}"
    plan = "rollout={steps: [10, 100], every_s: 60, guards: {max_error_rate: 0.01}, give_up_after_s: 3600}"
    short = ("--set", "training.epochs=1", "--set", "scaling.workers=1")
    with home.client() as client:
        client.promote("digits@1")
        home.cli(
            "triggers",
            "add",
            "jobs/train_digits.yaml",
            "--name",
            "nightly",
            "--set",
            start,
            "--set",
            plan,
            *short,
        )
        wait_until(
            lambda: bool(client.triggers.get("nightly").starts), timeout_s=60, what="the trigger starts a run"
        )
        client.triggers.remove("nightly")
        (started,) = [
            r.run_id for r in client.runs.list(model="digits") if r.who.startswith("trigger nightly")
        ]
        run = client.run(started)
        ended = run.wait(timeout_s=180)
        assert isinstance(ended, Succeeded)
        assert run.spec().why == "every 0.003 h"
        assert ended.version is not None
        version = ended.version
        assert "begins at 10 % beside 1" in "".join(run.logs())
        found = rollout_of(client, version)
        assert found is not None
        assert (found.phase, found.old, found.percent) == ("advancing", 1, 10)
        assert f"rollout of digits@{version} beside 1" in home.cli("status").stdout
        client.rollouts.abort("digits")
        wait_until(
            lambda: client.models.state("digits").traffic[1] == 100,
            timeout_s=20,
            what="version 1 answers again",
        )
        client.undeploy(f"digits@{version}")
