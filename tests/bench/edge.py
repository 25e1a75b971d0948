"""What the edge costs, as ratios measured in one run on a cluster of its own, and how soon it is back when killed.

Closed loop, one-row requests of the digits MLP as JSON, through the edge and straight at Ray Serve's proxy in turn,
round after round, so that both see the same machine. Prints the median of the rounds and their spread.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import httpx
from sklearn.datasets import load_digits

from raymaas.cluster.plan import ClusterPlan
from tests.bench.edge_returns import report_returns
from tests.bench.own_cluster import own_cluster, trained


def measure(ask: Callable[[httpx.Client], None], connections: int, *, seconds: int) -> tuple[float, float]:
    """Requests per second, and the median latency in milliseconds."""
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds

    def loop() -> None:
        with httpx.Client(timeout=30, trust_env=False) as http:
            while (begun := time.perf_counter()) < deadline:
                ask(http)
                latencies.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=loop) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(latencies) / seconds, statistics.median(latencies) * 1e3


def main(rounds: int = 5, seconds: int = 3) -> None:
    with own_cluster() as home:
        trained(home, "digits")
        home.cli("deploy", "digits@1")
        plan = home.plan()
        report(plan, (home.run_dir / "edge-secret").read_text(), rounds=rounds, seconds=seconds)
        report_returns(plan, lambda: answers(plan), rounds=min(rounds, 3))


def answers(plan: ClusterPlan) -> bool:
    """Whether the edge answers a request on a connection of its own."""
    body = {"inputs": load_digits().data[:1].tolist()}
    try:
        return httpx.post(f"{plan.url}/v2/models/digits/infer", json=body, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def report(plan: ClusterPlan, secret: str, *, rounds: int, seconds: int) -> None:
    body = {"inputs": load_digits().data[:1].tolist()}
    below = f"http://127.0.0.1:{plan.serve_port}/models/digits/1/v2/models/digits/infer"

    def through_edge(http: httpx.Client) -> None:
        http.post(f"{plan.url}/v2/models/digits/infer", json=body).raise_for_status()

    def past_edge(http: httpx.Client) -> None:
        http.post(below, json=body, headers={"x-raymaas-edge": secret}).raise_for_status()

    print("connections   through the edge            straight at Ray Serve       ratio of rates (min to max)")
    for connections in (1, 8):
        found = [
            [measure(ask, connections, seconds=seconds) for ask in (through_edge, past_edge)]
            for _ in range(rounds)
        ]
        edge, straight = zip(*found, strict=True)
        ratios = [e[0] / s[0] for e, s in found]
        print(
            f"{connections:>11}   {figures(edge)}   {figures(straight)}   "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def figures(results: tuple[tuple[float, float], ...]) -> str:
    rate = statistics.median(rate for rate, _ in results)
    latency = statistics.median(latency for _, latency in results)
    return f"{rate:6.0f} req/s, p50 {latency:5.2f} ms"
