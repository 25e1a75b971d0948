"""No request fails while traffic moves, a version is promoted and rolled back, and one is upgraded in place."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from journey_home import ROOT, Home, wait_until

from raymaas.cli.asking import Steady
from raymaas.errors import Refused
from raymaas.specs.serving import Scaling

pytestmark = [pytest.mark.journey]


@pytest.fixture(scope="module")
def two_versions(home: Home, digits: str) -> Iterator[int]:
    """`digits@1` and another version deployed, all traffic on version 1; gives the other's number."""
    with home.client() as client:
        other = home.train_here(ROOT / "jobs/train_digits.yaml")
        client.deploy(f"digits@{other}", timeout_s=120)
        assert client.models.state("digits").traffic.get(other) == 0
        client.traffic("digits", {1: 100, other: 0})
        yield other
        client.promote("digits@1")
        client.undeploy(f"digits@{other}")


def test_nothing_fails_while_everything_moves(home: Home, two_versions: int, rows: np.ndarray) -> None:
    other = two_versions
    with home.client() as client, Steady(home.plan().url, "digits", rows[0]) as steady:
        client.traffic("digits", {1: 50, other: 50})
        steady.seconds_until_answered_by(other, since=time.monotonic(), timeout_s=20)
        client.promote(f"digits@{other}")
        steady.seconds_until_only(other, since=time.monotonic(), timeout_s=20)
        client.rollback("digits")
        steady.seconds_until_answered_by(1, since=time.monotonic(), timeout_s=20)
        client.rollback("digits")
        steady.seconds_until_only(1, since=time.monotonic(), timeout_s=20)

        before = steady.answered
        client.deploy("digits@1", scaling=Scaling(threads=2), timeout_s=120)
        wait_until(lambda: steady.answered > before + 50, timeout_s=60, what="answers after the upgrade")

    assert steady.failures == []
    with home.client() as client:
        actions = [change.action for change in client.models.history("digits", limit=5)]
    assert actions == ["deploy", "rollback", "rollback", "promote", "traffic"]


def test_what_is_in_use_cannot_be_undeployed(home: Home, two_versions: int) -> None:
    with home.client() as client:
        client.traffic("digits", {1: 90, two_versions: 10})
        with pytest.raises(Refused, match="10"):
            client.undeploy(f"digits@{two_versions}")
        client.traffic("digits", {1: 100, two_versions: 0})
        client.alias_set("digits@canary", two_versions)
        with pytest.raises(Refused, match="canary"):
            client.undeploy(f"digits@{two_versions}")
        client.alias_set("digits@canary", 1)


def test_history_says_who_moved_what_and_why(home: Home, two_versions: int) -> None:
    with home.client() as client:
        client.alias_set("digits@judged", two_versions, why="better on slice 7")
        entry = client.models.history("digits", limit=1)[0]

    assert entry.action == "alias"
    assert "judged" in entry.summary
    assert entry.why == "better on slice 7"
    assert entry.who not in ("", "anonymous")
    with home.client() as client:
        client.alias_set("digits@judged", 1)
