"""What moves cost the requests under way: `make bench ARGS=moves`.

A perceptron is asked at a constant rate, 30 % of what it answers in a closed loop. First nothing else happens; then a
second version is deployed, and loads beside it; then weights move, the second is promoted, that is rolled back, and
the first is deployed again with other scaling, in place. Printed are the latencies of each while, beside those of the
quiet one just before it, and how many requests failed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from raymaas import Client
from raymaas.specs.serving import Scaling
from tests.bench.asked import Asked, of_rows
from tests.bench.closed_loop import closed_loop, require_wrk
from tests.bench.open_loop import Latency, Load
from tests.bench.own_cluster import own_cluster, replica_addresses, trained
from tests.bench.served.running import wait_until_answered
from tests.bench.serving import CONNECTIONS, SHARE, WARM_S, one_row
from tests.journeys.journey_home import Home, wait_until

_AFTER_S = 3  # a move is felt for so long at most: edges follow within a second


def main(seconds: int = 15) -> None:
    """`seconds` is how long the quiet while before each move is."""
    require_wrk()
    with own_cluster(OMP_NUM_THREADS="1") as home, home.client() as client:
        for seed in (1, 2):
            trained(home, "mnist_mlp", "training.epochs=1", f"training.seed={seed}")
        client.deploy("mnist-mlp@1", timeout_s=180)
        asked = of_rows(f"{home.plan().url}/v2/models/mnist-mlp/infer", one_row(), binary=False)
        wait_until_answered(asked)
        closed_loop(asked, connections=CONNECTIONS, seconds=WARM_S)
        capacity = closed_loop(asked, connections=CONNECTIONS, seconds=5).per_s
        print(f"{SHARE * capacity:.0f} requests a second, {SHARE:.0%} of what a closed loop reaches")
        print(f"{'':<26}{'took':>9}{'p50':>11}{'p99':>11}")
        for name, move in moves(home, client).items():
            measure(name, move, asked, per_s=SHARE * capacity, quiet_s=seconds)


def moves(home: Home, client: Client) -> dict[str, Callable[[], object]]:
    """In this order: each begins where the one before it ended."""
    model = "mnist-mlp"

    def scale() -> None:
        before = replica_addresses(home, version=1)
        client.deploy(f"{model}@1", scaling=Scaling(max_latency_ms=50), timeout_s=180)
        # The version stays ready meanwhile: that it has been replaced only its address tells.
        wait_until(
            lambda: bool(now := replica_addresses(home, version=1)) and not now & before,
            timeout_s=180,
            what="another replica of version 1",
        )

    return {
        "a new version loads": lambda: client.deploy(f"{model}@2", timeout_s=180),
        "weights 50 to 50": lambda: client.traffic(model, {1: 50, 2: 50}),
        "promote": lambda: client.promote(f"{model}@2"),
        "rollback": lambda: client.rollback(model),
        "rollback of the weights": lambda: client.rollback(model),
        "other scaling, in place": scale,
    }


def measure(name: str, move: Callable[[], object], asked: Asked, *, per_s: float, quiet_s: float) -> None:
    with Load(asked, per_s=per_s) as load:
        time.sleep(1)
        begun = time.monotonic()
        time.sleep(quiet_s)
        moved = time.monotonic()
        move()
        took_s = time.monotonic() - moved
        time.sleep(_AFTER_S)
        ended = time.monotonic()
    quiet, during = load.between(begun, moved), load.between(moved, ended)
    times, more_ms = during.p99_ms / quiet.p99_ms, during.p99_ms - quiet.p99_ms
    print(line("quiet", quiet_s, quiet))
    print(
        line(name, took_s, during) + f"; p99 {times:.2f} times the quiet one, {more_ms:+.2f} ms", flush=True
    )


def line(name: str, took_s: float, found: Latency) -> str:
    why = "".join(f", {count} x {failure}" for failure, count in Counter(found.failures).items())
    figures = f"{took_s:>7.1f} s{found.p50_ms:>8.2f} ms{found.p99_ms:>8.2f} ms"
    return f"{name:<26}{figures}   {len(found.failures)} of {found.asked} failed{why}"
