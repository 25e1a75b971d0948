"""Rollouts through a real edge, with replicas on real fast lanes that keep their bounds, fail, or are slow."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from edge_rig import Front, edge_process, edge_settings, end_haproxy, eventually
from serving_rig import Replica, Served, served

from raymaas.client import Client
from raymaas.serve import request_log
from raymaas.serve.request_log import RequestLog
from raymaas.specs.rollouts import RolloutState

INFER = "/v2/models/digits/infer"
_CALLERS = 4
PLAN = {"steps": [30, 100], "every_s": 2, "min_requests": 60}


class Site:
    def __init__(self, cluster: Served, front: Front) -> None:
        self.cluster, self.front = cluster, front

    @property
    def new(self) -> Replica:
        return self.cluster.serve.replicas[1]

    @contextmanager
    def asked(self) -> Iterator[Counter[int]]:
        """Statuses of what some callers ask meanwhile, one request after the other."""
        stop, found = threading.Event(), Counter[int]()

        def ask() -> None:
            while not stop.is_set():
                status, _, _ = self.front.ask(INFER, b"x", {})
                found[status] += 1
                time.sleep(0.005)

        callers = [threading.Thread(target=ask) for _ in range(_CALLERS)]
        for caller in callers:
            caller.start()
        try:
            yield found
        finally:
            stop.set()
            for caller in callers:
                caller.join()

    @contextmanager
    def conducted(self) -> Iterator[None]:
        """Rounds, each by a controller that remembers nothing of the one before."""
        stop = threading.Event()

        def rounds() -> None:
            while not stop.wait(0.3):
                vars(self.cluster.world).pop("conductor", None)
                self.cluster.world.conductor.round()
                self.cluster.changed()

        conducting = threading.Thread(target=rounds)
        conducting.start()
        try:
            yield
        finally:
            stop.set()
            conducting.join()

    def rolled_out(self, guards: dict[str, float]) -> RolloutState:
        with self.asked() as found, Client(f"http://{self.cluster.control}") as client:
            eventually(lambda: found[200] > 50, "version 1 answers")
            eventually(lambda: bool(self.cluster.world.demands), "the edge tells")
            client.rollouts.begin("digits@2", PLAN | {"guards": guards})
            with self.conducted():
                *_, ended = client.rollouts.follow("digits")
            revision = self.cluster.changed()
            eventually(lambda: self.front.now().revision == revision, "the edge follows the end")
            answered = found[200]
            eventually(lambda: found[200] > answered + 50, "it still answers")
        assert sum(found.values()) - found[200] == self.new.failed, (
            "nothing failed that no replica had failed"
        )
        return ended

    def answering(self) -> set[int]:
        return {self.front.ask(INFER, b"x", {})[1]["version"] for _ in range(30)}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Versions 1 and 2 of digits behind an edge, all traffic on 1."""
    monkeypatch.setattr(request_log, "EVERY_S", 0.5)
    with served(1, 2) as cluster, ExitStack() as stack:
        for replica in cluster.serve.replicas:
            log = RequestLog(cluster.world.store, replica.target, replica=f"r{replica.target.version}")
            log.start()
            stack.callback(log.close)
            replica.record = log
        front = Front(edge_settings(control=cluster.control), tmp_path / "edge")
        agent, front = stack.enter_context(edge_process(front.settings, front.run_dir))
        stack.callback(end_haproxy, front)
        front.wait_for_agent(agent.pid)
        revision = cluster.changed()
        eventually(lambda: front.now().revision == revision, "the edge follows")
        yield Site(cluster, front)


def test_a_version_as_good_as_the_old_one_is_promoted_and_nothing_fails(site: Site) -> None:
    ended = site.rolled_out({"max_error_rate": 0.05, "max_p99_ratio": 3.0})
    assert ended.phase == "promoted", ended.decision.summary
    assert (ended.whole.new.errors, site.answering()) == (0, {2})
    assert ended.whole.new.requests >= 2 * PLAN["min_requests"]
    assert ended.whole.old.timed > 0


def test_a_version_that_fails_is_rolled_back(site: Site) -> None:
    site.new.fails_every = 4
    ended = site.rolled_out({"max_error_rate": 0.05})
    assert ended.phase == "rolled_back", ended.decision.summary
    assert ended.whole.new.errors > 0
    assert ended.whole.new.errors <= site.new.failed
    assert site.answering() == {1}


def test_a_version_that_is_slow_is_rolled_back_and_nothing_fails(site: Site) -> None:
    site.new.takes_s = 0.08
    ended = site.rolled_out({"max_p99_ratio": 1.5})
    assert ended.phase == "rolled_back", ended.decision.summary
    (finding,) = ended.findings
    assert finding.estimate is None or finding.estimate > 1.5
    assert (site.new.failed, site.answering()) == (0, {1})
