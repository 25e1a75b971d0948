"""What the edge costs, as ratios measured in one run on a cluster of its own.

Closed loop, one-row requests of the digits MLP as JSON, through the edge and straight at Ray Serve's proxy in turn,
round after round, so that both see the same machine. Prints the median of the rounds and their spread.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from sklearn.datasets import load_digits

from raymaas.cluster.plan import ClusterPlan

ROUNDS, SECONDS = 5, 3.0


def measure(ask: Callable[[httpx.Client], None], connections: int) -> tuple[float, float]:
    """Requests per second, and the median latency in milliseconds."""
    latencies: list[float] = []
    deadline = time.perf_counter() + SECONDS

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
    return len(latencies) / SECONDS, statistics.median(latencies) * 1e3


def main() -> None:
    raymaas = str(Path(sys.executable).parent / "raymaas")
    with tempfile.TemporaryDirectory() as folder:
        home = {"RAYMAAS_HOME": folder, "RAYMAAS_PORT": "0", "RAYMAAS_DASHBOARD_PORT": "0"}
        environment = os.environ | home
        subprocess.run([raymaas, "up"], env=environment, check=True)
        try:
            run_dir = Path(folder) / "run"
            plan = ClusterPlan.unseal((run_dir / "cluster.json").read_bytes(), source="cluster.json")
            environment["RAYMAAS_URL"] = plan.url
            subprocess.run([raymaas, "train", "jobs/train_digits.yaml"], env=environment, check=True)
            subprocess.run([raymaas, "deploy", "digits@1"], env=environment, check=True)
            report(plan, secret=(run_dir / "edge-secret").read_text())
        finally:
            subprocess.run([raymaas, "down"], env=environment, check=True)


def report(plan: ClusterPlan, *, secret: str) -> None:
    body = {"inputs": load_digits().data[:1].tolist()}
    below = f"http://127.0.0.1:{plan.serve_port}/models/digits/1/v2/models/digits/infer"

    def through_edge(http: httpx.Client) -> None:
        http.post(f"{plan.url}/v2/models/digits/infer", json=body).raise_for_status()

    def past_edge(http: httpx.Client) -> None:
        http.post(below, json=body, headers={"x-raymaas-edge": secret}).raise_for_status()

    print("connections   through the edge            straight at Ray Serve       ratio of rates (min to max)")
    for connections in (1, 8):
        rounds = [
            (measure(through_edge, connections), measure(past_edge, connections)) for _ in range(ROUNDS)
        ]
        edge, straight = zip(*rounds, strict=True)
        ratios = [e[0] / s[0] for e, s in rounds]
        print(
            f"{connections:>11}   {figures(edge)}   {figures(straight)}   "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def figures(results: tuple[tuple[float, float], ...]) -> str:
    rate = statistics.median(rate for rate, _ in results)
    latency = statistics.median(latency for _, latency in results)
    return f"{rate:6.0f} req/s, p50 {latency:5.2f} ms"
