"""The data plane beside its peers, in one run on one machine: `make bench ARGS=serving`; wrk is the client.

The model is a perceptron of 784-128-10, the request one row. The edge asks for a key and splits 90 to 10 over two
versions; a bare ASGI application stands behind the same HAProxy with one route and no checks; FastAPI and Ray Serve are
as their tutorials have them, asked directly. Every server is warmed up, all compute with one thread, and each round
asks all of them in turn. Printed are medians over the rounds, and ratios of the same round with their range.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from raymaas.cli.local import settings_from_environment, storage_in_use
from raymaas.cluster.plan import ClusterPlan
from raymaas.cluster.ports import free_ports
from raymaas.serve.edge.haproxy import find_binary
from raymaas.wiring import open_registry

ROUNDS, SECONDS, WARM_S = 5, 4, 2
CONNECTIONS = 32
SERVED = Path(__file__).parent / "served"
RAYMAAS = str(Path(sys.executable).parent / "raymaas")


@dataclass(frozen=True)
class Asked:
    """A request that wrk sends over and over."""

    url: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Told:
    """What wrk says of some seconds."""

    per_s: float
    p50_ms: float
    failed: int


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("the client is wrk: apt-get install wrk, or brew install wrk, and run this again")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        home = {"RAYMAAS_HOME": folder, "RAYMAAS_PORT": "0", "RAYMAAS_DASHBOARD_PORT": "0"}
        environment = os.environ | home | {"OMP_NUM_THREADS": "1"}
        url, key, graph = running.enter_context(two_versions(Path(folder), environment))
        bare = running.enter_context(server("bare.py", graph))
        proxied = running.enter_context(behind_haproxy(bare, Path(folder)))
        fastapi = running.enter_context(server("with_fastapi.py", graph))
        ray_serve = running.enter_context(server("with_ray_serve.py", graph))
        report(url, key, bare=f"http://127.0.0.1:{proxied}", fastapi=fastapi, ray_serve=ray_serve)


@contextmanager
def two_versions(home: Path, environment: dict[str, str]) -> Iterator[tuple[str, str, Path]]:
    """A cluster with two versions of the perceptron, 90 to 10: its URL, a key, and the graph of the first."""
    subprocess.run([RAYMAAS, "up"], env=environment, check=True, stdout=sys.stderr)
    try:
        run_dir = home / "run"
        plan = ClusterPlan.unseal((run_dir / "cluster.json").read_bytes(), source="cluster.json")
        environment = environment | {"RAYMAAS_URL": plan.url}

        def raymaas(*arguments: str) -> str:
            return subprocess.run(
                [RAYMAAS, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

        for seed in ("0", "1"):
            settings = ("--set", "training.epochs=1", "--set", f"training.seed={seed}")
            raymaas("train", "jobs/train_mnist_mlp.yaml", *settings)
            raymaas("deploy", f"mnist-mlp@{int(seed) + 1}")
        raymaas("traffic", "mnist-mlp", "1=90", "2=10")
        key = orjson.loads(
            raymaas("keys", "create", "bench", "--scope", "admin", "--scope", "predict", "--json")
        )["key"]
        os.environ["RAYMAAS_HOME"] = str(home)
        registry = open_registry(storage_in_use(settings_from_environment(), None))
        manifest = registry.versions.get("mnist-mlp", 1)
        graph = home / "model.onnx"
        graph.write_bytes(registry.versions.read_file(manifest, "model.onnx"))
        yield plan.url, key, graph
    finally:
        subprocess.run([RAYMAAS, "down"], env=environment, check=True, stdout=sys.stderr)


@contextmanager
def server(script: str, graph: Path) -> Iterator[int]:
    """The port of that server, once it listens."""
    port = free_ports(1)[0]
    process = subprocess.Popen([sys.executable, str(SERVED / script), str(graph), str(port)])
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def behind_haproxy(port: int, folder: Path) -> Iterator[int]:
    """The port of a HAProxy that only sends on."""
    front = free_ports(1)[0]
    config = folder / "bare.cfg"
    config.write_text(
        f"defaults\n mode http\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n"
        f"frontend f\n bind 127.0.0.1:{front}\n default_backend b\n"
        f"backend b\n http-reuse always\n server s 127.0.0.1:{port}\n"
    )
    process = subprocess.Popen([str(find_binary()), "-db", "-f", str(config)])
    try:
        _wait_for(front, process)
        yield front
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} does not listen")


def report(url: str, key: str, *, bare: str, fastapi: int, ray_serve: int) -> None:
    row = np.random.default_rng(0).integers(0, 256, 784).astype(np.float32)
    tensor = {"name": "x", "shape": [1, 28, 28], "datatype": "FP32"}
    text = orjson.dumps({"inputs": [tensor | {"data": row.tolist()}]})
    head = orjson.dumps(
        {
            "inputs": [tensor | {"parameters": {"binary_data_size": row.nbytes}}],
            "parameters": {"binary_data_output": True},
        }
    )
    plain = {"content-type": "application/json"}
    binary = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    ours, path = f"{url}/v2/models/mnist-mlp/infer", "/v2/models/m/infer"
    keyed = {"authorization": f"Bearer {key}"}
    asked = {
        "raymaas, JSON": Asked(ours, text, plain | keyed),
        "bare ASGI, JSON": Asked(bare + path, text, plain),
        "FastAPI, JSON": Asked(f"http://127.0.0.1:{fastapi}{path}", text, plain),
        "Ray Serve, JSON": Asked(f"http://127.0.0.1:{ray_serve}{path}", text, plain),
        "raymaas, binary": Asked(ours, head + row.tobytes(), binary | keyed),
        "bare ASGI, binary": Asked(bare + path, head + row.tobytes(), binary),
    }
    with tempfile.TemporaryDirectory() as folder:
        scripts = {
            name: _script(one, Path(folder) / f"{i}.lua") for i, (name, one) in enumerate(asked.items())
        }
        many = _rounds(asked, scripts, connections=CONNECTIONS)
        alone = _rounds(asked, scripts, connections=1)
    print(f"{'':20} {CONNECTIONS} connections          one connection")
    for name in asked:
        rate = statistics.median(told.per_s for told in many[name])
        busy = statistics.median(told.p50_ms for told in many[name])
        idle = statistics.median(told.p50_ms for told in alone[name])
        failed = sum(told.failed for told in (*many[name], *alone[name]))
        print(f"{name:20} {rate:7.0f}/s, p50 {busy:6.2f} ms   p50 {idle:6.3f} ms   {failed} failed")
    for ours_, theirs in (
        ("raymaas, JSON", "bare ASGI, JSON"),
        ("raymaas, JSON", "FastAPI, JSON"),
        ("raymaas, JSON", "Ray Serve, JSON"),
        ("raymaas, binary", "bare ASGI, binary"),
    ):
        print(
            f"{ours_} / {theirs}: {_ratio(many[ours_], many[theirs], 'per_s')} of the requests a second, ",
            end="",
        )
        print(f"{_ratio(alone[ours_], alone[theirs], 'p50_ms')} of the p50 at one connection")


def _ratio(ours: list[Told], theirs: list[Told], figure: str) -> str:
    ratios = [getattr(a, figure) / getattr(b, figure) for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _rounds(asked: dict[str, Asked], scripts: dict[str, Path], *, connections: int) -> dict[str, list[Told]]:
    found: dict[str, list[Told]] = {name: [] for name in asked}
    for name, one in asked.items():
        wrk(one, scripts[name], connections=connections, seconds=WARM_S)
    for _ in range(ROUNDS):
        for name, one in asked.items():
            found[name].append(wrk(one, scripts[name], connections=connections, seconds=SECONDS))
    return found


def wrk(asked: Asked, script: Path, *, connections: int, seconds: int) -> Told:
    """Closed loop, one thread."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), asked.url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    per_s = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    p50 = re.search(r"50%\s+([0-9.]+)(us|ms|s)", said)
    assert per_s, said
    assert p50, said
    failed = sum(int(count) for count in re.findall(r"Non-2xx or 3xx responses: (\d+)", said))
    failed += sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", said)))
    return Told(float(per_s[1]), float(p50[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p50[2]], failed)


def _script(asked: Asked, path: Path) -> Path:
    quoted = "".join(f"\\{byte:03d}" for byte in asked.body)
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in asked.headers.items()]
    path.write_text("\n".join(['wrk.method = "POST"', f'wrk.body = "{quoted}"', *lines]))
    return path


if __name__ == "__main__":
    main()
