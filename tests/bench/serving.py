"""The data plane beside its peers, in one run on one machine: `make bench ARGS=serving`.

The model is a perceptron of 784-128-10, the request one row. The edge asks for a key and splits 90 to 10 over two
versions; a bare ASGI application stands behind the same HAProxy with one route and no checks; FastAPI and Ray Serve are
as their tutorials have them, asked directly. Every server is warmed up, all compute with one thread, and each round
asks all of them in turn. Printed are medians over the rounds, and ratios of the same round with their range: of closed
loops, and of requests that come at a fixed rate. Ray Serve, whose processes are never quite idle, runs only while it
is measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import orjson

from raymaas.wiring import open_registry
from tests.bench.asked import Asked, of_rows
from tests.bench.closed_loop import Told, closed_loop, require_wrk
from tests.bench.open_loop import Latency, open_loop
from tests.bench.own_cluster import own_cluster, trained
from tests.bench.served.running import behind_haproxy, server, wait_until_answered

CONNECTIONS, WARM_S = 32, 2
SHARE = 0.3  # of the rate that raymaas reaches in a closed loop
OURS, BARE, FASTAPI, RAY_SERVE = "raymaas", "bare ASGI", "FastAPI", "Ray Serve"
T = TypeVar("T")


def main(rounds: int = 5, seconds: int = 4) -> None:
    require_wrk()
    with two_versions() as (url, key, graph), server("bare.py", graph) as bare:
        with behind_haproxy(bare, graph.parent) as proxied, server("with_fastapi.py", graph) as fastapi:
            ours, row = f"{url}/v2/models/mnist-mlp/infer", one_row()
            text = {
                OURS: of_rows(ours, row, binary=False, key=key),
                BARE: of_rows(proxied, row, binary=False),
                FASTAPI: of_rows(fastapi, row, binary=False),
            }
            tensors = {
                OURS: of_rows(ours, row, binary=True, key=key),
                BARE: of_rows(proxied, row, binary=True),
            }
            report("JSON", text, rounds=rounds, seconds=seconds)
            report("binary", tensors, rounds=rounds, seconds=seconds)
        with server("with_ray_serve.py", graph) as ray_serve:
            beside = {OURS: text[OURS], RAY_SERVE: of_rows(ray_serve, row, binary=False)}
            report_closed("JSON", beside, rounds=rounds, seconds=seconds)


def one_row() -> np.ndarray:
    """float32 [1, 28, 28], as MNIST has them."""
    return np.random.default_rng(0).integers(0, 256, (1, 28, 28)).astype(np.float32)


@contextmanager
def two_versions() -> Iterator[tuple[str, str, Path]]:
    """A cluster with two versions of the perceptron, 90 to 10: its URL, a key, and the graph of the first."""
    with own_cluster(OMP_NUM_THREADS="1") as home:
        for version in (1, 2):
            trained(home, "mnist_mlp", "training.epochs=1", f"training.seed={version}")
            home.cli("deploy", f"mnist-mlp@{version}")
        home.cli("traffic", "mnist-mlp", "1=90", "2=10")
        made = home.cli("keys", "create", "bench", "--scope", "admin", "--scope", "predict", "--json")
        plan = home.plan()
        versions = open_registry(plan.storage).versions
        graph = home.path / "model.onnx"
        graph.write_bytes(versions.read_file(versions.get("mnist-mlp", 1), "model.onnx"))
        yield plan.url, orjson.loads(made.stdout)["key"], graph


def report(form: str, asked: Mapping[str, Asked], *, rounds: int, seconds: int) -> None:
    per_s = SHARE * report_closed(form, asked, rounds=rounds, seconds=seconds)
    paced = {name: asked[name] for name in (OURS, BARE)}
    found = in_turn(paced, lambda one: open_loop(one, per_s=per_s, seconds=seconds), rounds=rounds)
    print(f"\n{form}, {per_s:.0f} requests a second, {SHARE:.0%} of the above")
    for name, latencies in found.items():
        p50, p99 = (median(latencies, figure) for figure in ("p50_ms", "p99_ms"))
        failed = sum(len(one.failures) for one in latencies)
        print(f"  {name:<10} p50 {p50:6.2f} ms, p99 {p99:6.2f} ms, {failed} failed")
    print(f"  {OURS} is {ratio(found, BARE, 'p50_ms')} of the p50, {ratio(found, BARE, 'p99_ms')} of the p99")


def report_closed(form: str, asked: Mapping[str, Asked], *, rounds: int, seconds: int) -> float:
    """Gives the requests a second of raymaas with many connections."""
    for one in asked.values():
        wait_until_answered(one)
        closed_loop(one, connections=CONNECTIONS, seconds=WARM_S)
    many, alone = (
        in_turn(asked, lambda one, c=count: closed_loop(one, connections=c, seconds=seconds), rounds=rounds)
        for count in (CONNECTIONS, 1)
    )
    print(f"\n{form}, closed loop of {CONNECTIONS} connections and of one")
    for name in asked:
        rate, busy, idle = (
            median(many[name], "per_s"),
            median(many[name], "p50_ms"),
            median(alone[name], "p50_ms"),
        )
        failed = sum(told.failed for told in (*many[name], *alone[name]))
        print(f"  {name:<10} {rate:7.0f}/s, p50 {busy:6.2f} ms   one: p50 {idle:6.3f} ms   {failed} failed")
    for theirs in [name for name in asked if name != OURS]:
        print(
            f"  {OURS} is {ratio(many, theirs, 'per_s')} of the requests a second of {theirs},"
            f" {ratio(alone, theirs, 'p50_ms')} of its p50 at one connection"
        )
    return median(many[OURS], "per_s")


def in_turn(asked: Mapping[str, Asked], measure: Callable[[Asked], T], *, rounds: int) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, one in asked.items():
            found[name].append(measure(one))
    return found


def median(found: list[Told] | list[Latency], figure: str) -> float:
    return statistics.median(getattr(one, figure) for one in found)


def ratio(found: Mapping[str, list[Told]] | Mapping[str, list[Latency]], theirs: str, figure: str) -> str:
    """Of raymaas to them: the median over the rounds, and the range."""
    pairs = zip(found[OURS], found[theirs], strict=True)
    ratios = [getattr(ours, figure) / getattr(other, figure) for ours, other in pairs]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
