"""`kill -9` of a replica whenever two are registered, 30 times, under 50 requests a second: `make bench ARGS=kills`.

Half of the requests are asked once, and the others by the Python client, which repeats what may be repeated. Printed is
how many of each failed, and how long the slowest took.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import psutil
from sklearn.datasets import load_digits

from raymaas.specs.serving import Scaling
from tests.bench.own_cluster import own_cluster, replica_addresses, trained
from tests.journeys.journey_home import Home

KILLS, PER_SECOND, CALLERS = 30, 50, 10


class Caller:
    """Asks at a steady pace, and counts."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.asked, self.slowest_s = 0, 0.0
        self.failures: list[str] = []

    def _run(self) -> None:
        pause_s = CALLERS / PER_SECOND
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                self._ask()
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            took_s = time.monotonic() - begun
            self.asked, self.slowest_s = self.asked + 1, max(self.slowest_s, took_s)
            self._stop.wait(max(0.0, pause_s - took_s))

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def two_replicas() -> Iterator[Home]:
    """A cluster with two replicas of digits@1."""
    with own_cluster() as home, home.client() as client:
        trained(home, "digits")
        client.deploy("digits@1", scaling=Scaling(min_replicas=2, max_replicas=2), timeout_s=180)
        yield home


def registered(home: Home) -> list[psutil.Process]:
    """The replicas whose ports the edge knows, and that live."""
    ports = {int(address.rpartition(":")[2]) for address in replica_addresses(home)}
    found = {
        connection.pid
        for connection in psutil.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in ports and connection.pid
    }
    processes = []
    for pid in sorted(found):
        with suppress(psutil.NoSuchProcess):  # it has ended since
            processes.append(psutil.Process(pid))
    return processes


def main() -> None:
    row = load_digits().data[:1]
    with two_replicas() as home, home.client() as client, httpx.Client(trust_env=False) as http:
        url = home.plan().url

        def once() -> None:
            answer = http.post(f"{url}/v2/models/digits/infer", json={"inputs": row.tolist()}, timeout=60)
            answer.raise_for_status()

        def repeated() -> None:
            client.model("digits").predict(row)

        raw = [Caller(once) for _ in range(CALLERS // 2)]
        retrying = [Caller(repeated) for _ in range(CALLERS // 2)]
        with ExitStack() as asking:
            for caller in (*raw, *retrying):
                asking.enter_context(caller)
            for number in range(KILLS):
                while len(replicas := registered(home)) < 2:
                    time.sleep(0.1)
                time.sleep(1)
                replicas[number % 2].send_signal(signal.SIGKILL)
                print(f"kill {number + 1} of {KILLS}", file=sys.stderr, flush=True)
            time.sleep(5)
    for name, callers in (("asked once", raw), ("the client's retries", retrying)):
        asked = sum(caller.asked for caller in callers)
        failures = [failure for caller in callers for failure in caller.failures]
        slowest_s = max(caller.slowest_s for caller in callers)
        answered = 100 * (1 - len(failures) / asked)
        print(
            f"{name}: {len(failures)} of {asked} failed, {answered:.3f} % answered, slowest {slowest_s:.2f} s"
        )
        for failure in sorted(set(failures)):
            print(f"  {failures.count(failure)} x {failure}")
