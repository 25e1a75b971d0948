"""Starting what raymaas is measured beside, each as a process of its own, until it has answered a request."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from raymaas.cluster.ports import free_ports
from raymaas.serve.edge.haproxy import find_binary
from tests.bench.asked import Asked

PATH = "/v2/models/m/infer"
_FOLDER = Path(__file__).parent
_START_S = 120.0


@contextmanager
def server(script: str, graph: Path) -> Iterator[str]:
    """The URL that a script of this folder answers inferences at once it listens."""
    port = free_ports(1)[0]
    with _process([sys.executable, str(_FOLDER / script), str(graph), str(port)]):
        yield f"http://127.0.0.1:{port}{PATH}"


@contextmanager
def behind_haproxy(url: str, folder: Path) -> Iterator[str]:
    """The URL of a HAProxy with one route and no checks before the server of `url`."""
    front, server_port = free_ports(1)[0], httpx.URL(url).port
    config = folder / "bare.cfg"
    config.write_text(
        f"defaults\n mode http\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n"
        f"frontend f\n bind 127.0.0.1:{front}\n default_backend b\n"
        f"backend b\n http-reuse always\n server s 127.0.0.1:{server_port}\n"
    )
    with _process([str(find_binary()), "-db", "-f", str(config)]):
        yield f"http://127.0.0.1:{front}{PATH}"


def wait_until_answered(asked: Asked) -> None:
    """Ask until it is answered 200, as a first request may find a server that is still starting."""
    deadline = time.monotonic() + _START_S
    with httpx.Client(trust_env=False, timeout=5) as http:
        while True:
            try:
                answer = http.post(asked.url, content=asked.body, headers=asked.headers)
                said = f"HTTP {answer.status_code}: {answer.text[:200]}"
                if answer.status_code == 200:
                    return
            except httpx.HTTPError as error:
                said = repr(error)
            if time.monotonic() > deadline:
                raise RuntimeError(f"{asked.url} is not ready after {_START_S:g} s: {said}")
            time.sleep(0.1)


@contextmanager
def _process(command: Sequence[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=sys.stderr)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)
