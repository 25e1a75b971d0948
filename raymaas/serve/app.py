"""One version's HTTP application: bare ASGI, complete in itself, the same behind any server.

It answers the Open Inference Protocol below whatever prefix it is mounted at (the ASGI `root_path`), refuses callers
without the edge's secret, and records every answer it gives. It knows neither Ray nor the store.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import orjson

from raymaas.bundle.runtimes.base import Runtime
from raymaas.bundle.signature import check_inputs, with_defaults
from raymaas.errors import Denied, InvalidInput, NotFound, QuotaExceeded, RaymaasError, Unavailable
from raymaas.serve import oip
from raymaas.specs.versions import Signature

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

EDGE_HEADER = b"x-raymaas-edge"
REQUEST_ID_HEADER = b"x-request-id"
INFER = "infer"
MAX_BODY_BYTES = 16 * 1024 * 1024

log = logging.getLogger("raymaas.replica")


class Recorder(Protocol):
    """Told of each finished request. It is called between two others, so it must not wait for anything."""

    def __call__(self, *, status: int, seconds: float, request_id: str, rows: int | None) -> None: ...


class Compute(Protocol):
    """Runs the model off the event loop: arrays in, arrays out, one batch at a time."""

    async def __call__(self, method: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Served:
    """What an application says of the version it answers for."""

    model: str
    version: str
    signature: Signature
    runtime: str
    methods: Mapping[str, Signature] = field(default_factory=dict)
    """What it answers besides `infer`, by name."""

    def signature_of(self, method: str) -> Signature:
        """Raises NotFound for a method this version does not have."""
        if method == INFER:
            return self.signature
        if method not in self.methods:
            known = ", ".join((INFER, *self.methods))
            raise NotFound(f"{self.model}@{self.version} does not answer {method!r}; POST to one of {known}")
        return self.methods[method]


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    rows: int | None = None


class InferenceApp:
    """The ASGI callable of one version.

    `secret_sha256` is the hex digest of the edge's secret: knowing it does not let anybody in. Every request but the
    two health checks must carry the secret in `x-raymaas-edge`, or is answered 401.
    """

    def __init__(self, served: Served, *, compute: Compute, secret_sha256: str, record: Recorder) -> None:
        self._served = served
        self._compute = compute
        self._secret_sha256 = secret_sha256
        self._record = record

    async def predict(self, body: bytes, method: str = INFER) -> Answer:
        """Decode, check against the method's signature, run, encode."""
        served = self._served
        signature = served.signature_of(method)
        request = oip.decode(body, signature)
        inputs = with_defaults(signature, request.inputs)
        rows = check_inputs(signature, inputs)
        outputs = await self._compute(method, inputs)
        encoded = oip.encode(
            request, outputs, model=served.model, version=served.version, signature=signature
        )
        return Answer(200, encoded, rows=rows)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1003})
        started = time.perf_counter()
        request_id = _header(scope, REQUEST_ID_HEADER)
        try:
            answer = await self._route(scope, receive)
        except RaymaasError as error:
            answer = Answer(_status(error), _error_body(str(error), error.code, request_id))
        except Exception:
            log.exception("request %s failed", request_id)
            sentence = (
                "the model failed on this request; its replica's log has the reason under this request id"
            )
            answer = Answer(500, _error_body(sentence, RaymaasError.code, request_id))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer.body)).encode()),
        ]
        if request_id:
            headers.append((REQUEST_ID_HEADER, request_id.encode()))
        seconds = time.perf_counter() - started
        self._record(status=answer.status, seconds=seconds, request_id=request_id, rows=answer.rows)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        return None

    async def _route(self, scope: Scope, receive: Receive) -> Answer:
        method, parts = scope["method"], _path_below_mount(scope)
        if parts in (["v2", "health", "live"], ["v2", "health", "ready"]):
            return _json({"live": True, "ready": True})
        self._check_secret(scope)
        if parts == ["v2"]:
            return _json({"name": "raymaas", "version": "2", "extensions": []})
        action = self._action(parts)
        if method == "POST" and action and "/" not in action:
            self._served.signature_of(action)
            return await self.predict(await _read_body(scope, receive), action)
        if (method, action) == ("GET", "ready"):
            return _json({"name": self._served.model, "ready": True})
        if (method, action) == ("GET", ""):
            served = self._served
            return _json(
                oip.metadata(
                    model=served.model,
                    version=served.version,
                    runtime=served.runtime,
                    signature=served.signature,
                    methods=served.methods,
                )
            )
        raise NotFound(
            f"{method} {scope['path']} is not a path of this model; POST .../infer or GET .../ready"
        )

    def _action(self, parts: list[str]) -> str:
        """What follows the model and its optional version in the path; NotFound when it names another version."""
        served = self._served
        match parts:
            case ["v2", "models", served.model, "versions", served.version, *rest]:
                return "/".join(rest)
            case ["v2", "models", served.model, *rest] if rest[:1] != ["versions"]:
                return "/".join(rest)
        raise NotFound(f"this replica serves {served.model}@{served.version}, not {'/'.join(parts)}")

    def _check_secret(self, scope: Scope) -> None:
        given = hashlib.sha256(_header(scope, EDGE_HEADER).encode("latin-1")).hexdigest()
        if not hmac.compare_digest(given, self._secret_sha256):
            raise Denied("this replica answers only through its edge; send the request to the edge's URL")


def all_of(*recorders: Recorder) -> Recorder:
    """One recorder that tells each, in order."""

    def record(*, status: int, seconds: float, request_id: str, rows: int | None) -> None:
        for each in recorders:
            each(status=status, seconds=seconds, request_id=request_id, rows=rows)

    return record


def compute_with(runtime: Runtime, run_off_loop: Callable[..., Awaitable[Any]]) -> Compute:
    """`runtime` made awaitable by `run_off_loop(function, argument)`."""

    async def compute(method: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        function = runtime.run if method == INFER else partial(runtime.call, method)
        outputs: dict[str, np.ndarray] = await run_off_loop(function, inputs)
        return outputs

    return compute


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Unavailable("the caller went away before its request was complete")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MAX_BODY_BYTES:
            raise InvalidInput(f"the body is larger than {MAX_BODY_BYTES} bytes; send fewer rows per request")
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _path_below_mount(scope: Scope) -> list[str]:
    # Ray Serve and newer ASGI servers leave root_path inside path; older ones strip it.
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.strip("/").split("/")


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def _json(value: dict[str, Any]) -> Answer:
    return Answer(200, orjson.dumps(value))


def _error_body(sentence: str, code: str, request_id: str) -> bytes:
    return orjson.dumps({"error": sentence, "code": code, "request_id": request_id or None})


def _status(error: RaymaasError) -> int:
    match error:
        case InvalidInput():
            return 400
        case Denied():
            return 401
        case NotFound():
            return 404
        case QuotaExceeded():
            return 429
        case Unavailable():
            return 503
    return 500
