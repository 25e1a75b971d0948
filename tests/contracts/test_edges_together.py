"""Two ingress hosts: whole edges in processes of their own follow one controller over HTTP, before real fast lanes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from edge_rig import SECRET, Front, alive, edge_process, edge_settings, end_haproxy, eventually
from serving_rig import Served, served

from raymaas.registry import moves
from raymaas.serve.edge.runtime import RuntimeSocket
from raymaas.specs.keys import Grant

INFER = "/v2/models/digits/infer"


@dataclass
class Host:
    """An ingress host: its edge, and the process of the agent."""

    front: Front
    agent: subprocess.Popen[bytes]


@dataclass
class Site:
    cluster: Served
    hosts: tuple[Host, Host]
    key: str
    stack: ExitStack

    def start(self, front: Front) -> Host:
        agent, front = self.stack.enter_context(edge_process(front.settings, front.run_dir))
        self.stack.callback(end_haproxy, front)
        front.wait_for_agent(agent.pid)
        return Host(front, agent)

    def follow(self, revision: str, *hosts: Host) -> None:
        for host in hosts or self.hosts:
            eventually(
                lambda host=host: host.front.now().revision == revision,  # type: ignore[misc]
                f"{host.front.run_dir} follows {revision}",
            )

    def answers(self, host: Host, path: str = INFER, *, times: int = 5, key: str | None = None) -> set[int]:
        """Statuses of requests, or versions that answered."""
        headers = {"x-api-key": self.key if key is None else key}
        found = set()
        for _ in range(times):
            status, body, _ = host.front.ask(path, b"x", headers)
            found.add(body["version"] if status == 200 else status)
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Versions 1 and 2 of digits behind two edges; all traffic goes to 1, and a key is needed."""
    with served(1, 2) as cluster, ExitStack() as stack:
        key = cluster.world.keys.create(Grant(name="ops", scopes=("admin", "predict")), who="ana").text
        site = Site(cluster, (None, None), key, stack)  # type: ignore[arg-type]
        folder = tmp_path_factory.mktemp("site")
        fronts = [Front(edge_settings(control=cluster.control), folder / name) for name in ("a", "b")]
        site.hosts = (site.start(fronts[0]), site.start(fronts[1]))
        site.follow(cluster.changed())
        yield site


def test_both_route_the_same_and_both_follow_a_move(site: Site) -> None:
    def maps() -> list[dict[str, str]]:
        return [RuntimeSocket(host.front.run_dir / "admin.sock").map() for host in site.hosts]

    assert [site.answers(host) for host in site.hosts] == [{1}, {1}]
    assert [site.answers(host, "/v2/models/digits/versions/2/infer") for host in site.hosts] == [{2}, {2}]
    assert maps()[0] == maps()[1]

    site.follow(site.cluster.move(moves.promote, version=2))
    assert [site.answers(host) for host in site.hosts] == [{2}, {2}]
    site.follow(site.cluster.move(moves.promote, version=1))
    assert [site.answers(host, "/v2/models/digits/versions/prod/infer") for host in site.hosts] == [{1}, {1}]
    assert maps()[0] == maps()[1]


def test_keys_hold_on_both_and_a_revoked_one_on_neither(site: Site) -> None:
    keys = site.cluster.world.keys
    shop = keys.create(Grant(name="shop"), who="ops").text
    site.follow(site.cluster.changed())
    assert [site.answers(host, key=shop) for host in site.hosts] == [{1}, {1}]
    assert [site.answers(host, key="") for host in site.hosts] == [{401}, {401}]
    keys.revoke("shop", who="ops")
    site.follow(site.cluster.changed())
    assert [site.answers(host, key=shop) for host in site.hosts] == [{401}, {401}]


def test_both_tell_what_is_asked_of_each_version_while_it_is(site: Site) -> None:
    """Requests that a replica keeps waiting are seen by the edge they came through, and by no other."""
    replica = site.cluster.serve.replicas[0]
    replica.may.clear()

    def told(host: Host) -> tuple[int, int] | None:
        newest = [one for one in site.cluster.world.demands if one.edge == str(host.front.run_dir)][-1:]
        return newest and tuple(newest[0].versions[f"digits@{n}"].in_flight for n in (1, 2))  # type: ignore[return-value]

    with ThreadPoolExecutor(5) as pool:
        asking = [pool.submit(site.answers, host, times=1) for host in (*site.hosts, *site.hosts[:1] * 3)]
        for _ in asking:
            assert replica.came.acquire(timeout=10)
        eventually(lambda: [told(host) for host in site.hosts] == [(4, 0), (1, 0)], "they are told")
        replica.may.set()
        assert [each.result() for each in asking] == [{1}] * 5
    eventually(lambda: [told(host) for host in site.hosts] == [(0, 0), (0, 0)], "nothing is in flight")
    rates = [one.versions["digits@1"].requests_per_s for one in site.cluster.world.demands]
    assert max(rates) > 0


def test_the_command_runs_one_more_edge_until_it_is_told_to_end(site: Site, tmp_path: Path) -> None:
    (secret := tmp_path / "secret").write_text(f"{SECRET}\n")
    settings = edge_settings(control=site.cluster.control)
    command = [sys.executable, "-m", "raymaas.cli.main", "edge", "--port", str(settings.port)]
    command += ["--control", settings.control, "--secret-file", str(secret)]
    with subprocess.Popen(command, env=os.environ | {"RAYMAAS_HOME": str(tmp_path / "home")}) as agent:
        front = Front(settings, tmp_path / "home" / "edge")
        try:
            status = front.wait_for_agent(agent.pid)
            third = Host(front, agent)
            site.follow(site.cluster.changed(), third)
            assert site.answers(third) == {1}
            assert site.answers(third, key="") == {401}
            agent.terminate()
            assert agent.wait(timeout=20) == 0
            assert status.haproxy_pid is not None
            assert status.haproxy_started_at is not None
            assert not alive(status.haproxy_pid, status.haproxy_started_at)
        finally:
            agent.kill()
            end_haproxy(front)


def test_a_host_that_dies_costs_the_other_nothing_and_follows_again_when_it_is_back(site: Site) -> None:
    doomed, other = site.hosts
    done = threading.Event()

    def keep_asking() -> Counter[int]:
        found: Counter[int] = Counter()
        while not done.is_set():
            found.update(site.answers(other, times=1))
        return found

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(keep_asking)
        doomed.agent.kill()
        doomed.agent.wait()
        haproxy = doomed.front.now().haproxy_pid
        assert haproxy is not None
        os.kill(haproxy, signal.SIGKILL)
        revision = site.cluster.move(moves.promote, version=2)
        site.follow(revision, other)
        assert site.answers(other) == {2}
        done.set()
        answered = asking.result()
    assert answered.keys() <= {1, 2}, "every request was answered"

    back = site.start(doomed.front)
    site.hosts = (back, other)
    site.follow(revision)
    assert site.answers(back) == {2}
    site.follow(site.cluster.move(moves.promote, version=1))
