"""The protocol's tests share one served version, `malformed.SIGNATURE`: as Ray Serve has it, and on the fast lane."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import malformed
from control_server import serving
from edge_rig import SECRET, end, launch

from raymaas.serve.app import InferenceApp, Served
from raymaas.serve.asgi import AsgiApp
from raymaas.serve.fast_lane import FastLane
from raymaas.serve.oip.limits import MAX_BODY_BYTES
from raymaas.specs.keys import EdgeKey
from raymaas.specs.serving import EdgeTable, EdgeTarget

MODEL = "/v2/models/m"
INFER = f"{MODEL}/versions/3/infer"


@contextmanager
def protocol_server() -> Iterator[str]:
    """The URL of version 3 of model `m`; the edge's secret is empty, so that anybody may ask."""
    with serving(AsgiApp(_app(secret="").answer, max_body_bytes=MAX_BODY_BYTES)) as url:
        yield url


@contextmanager
def protocol_edge(
    run_dir: Path, *, control: str | None = None, keys: tuple[EdgeKey, ...] = ()
) -> Iterator[str]:
    """The URL of an edge before a replica's own server that has it, and the control plane at the address `control`."""
    answering = _app(secret=SECRET).answer
    lane = FastLane(answering, host="127.0.0.1", prefix="/models/m/3", max_body_bytes=MAX_BODY_BYTES)
    target = EdgeTarget(model="m", version=3, path_prefix="/models/m/3", replicas=(lane.address,))
    edge = launch(run_dir, control=control or lane.address, max_body_bytes=MAX_BODY_BYTES)
    try:
        traffic = {"m": {3: 100}}
        edge.follow(EdgeTable(revision="r1", proxies=(), targets=(target,), traffic=traffic, keys=keys))
        yield f"http://127.0.0.1:{edge.settings.port}"
    finally:
        end([edge])
        lane.leave(quiet_s=0, at_most_s=5)


def _app(*, secret: str) -> InferenceApp:
    return InferenceApp(
        Served(model="m", version="3", signature=malformed.SIGNATURE, runtime="test"),
        compute=malformed.compute,
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        record=lambda **told: None,
    )
