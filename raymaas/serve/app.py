"""One version's HTTP application, complete in itself: a whole request in, a whole reply out, behind any server.

It answers the Open Inference Protocol, refuses callers without the edge's secret, and records every answer it gives. It
knows neither Ray nor the store. A request that is wrong is answered 4xx, whatever it holds: 5xx is for faults of ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson

from raymaas import __version__
from raymaas.bundle.signature import check_inputs, with_defaults
from raymaas.errors import (
    DeadlineExceeded,
    Denied,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    RaymaasError,
    TooLarge,
    Unavailable,
)
from raymaas.serve.coding import WORTH_BYTES, chosen_coding, deflated, inflate
from raymaas.serve.deadlines import TIMEOUT_HEADER, sooner, timeout_of_header
from raymaas.serve.http1 import Asked, Reply
from raymaas.serve.oip import describe
from raymaas.serve.oip.answer import JSON_HEADERS, Headers, encode
from raymaas.serve.oip.limits import MAX_BODY_BYTES, refuse_large
from raymaas.serve.oip.request import JSON, Head, Heads, decode
from raymaas.serve.oip.statistics import Statistics
from raymaas.serve.result_cache import ResultCache, key_of
from raymaas.specs.tensors import LENGTH_HEADER
from raymaas.specs.versions import Signature

EDGE_HEADER = b"x-raymaas-edge"
REQUEST_ID_HEADER = b"x-request-id"
KEY_HEADER = b"x-raymaas-key"  # the id of the caller's key, which the edge has checked; never the key
SHADOW_HEADER = b"x-raymaas-shadow"  # the version that is to get a copy of this request; only edges set it
COPY_HEADER = b"x-raymaas-copy"  # this request is a copy of one that the version of this number answered
FALLBACK_HEADER = b"x-raymaas-fallback"  # the version that answers should this one fail; only edges set it
FELL_BACK_HEADER = (
    b"x-raymaas-fell-back"  # in a reply: the version that failed, where another one's answer is in it
)
INFER = "infer"

Arrays = Mapping[str, np.ndarray]

_HEALTH = ("/v2/health/live", "/v2/health/ready")
_DESCRIPTIONS = ("", "ready", "config", "stats")
_LENGTH_HEADER = LENGTH_HEADER.encode()
_GONE = 503
_FAULT = 500
_ANY_OR_JSON = (b"*/*", b"application/json")

log = logging.getLogger("raymaas.replica")


class Recorder(Protocol):
    """Told of each finished request. It is called between two others, so it must not wait for anything."""

    def __call__(
        self, *, status: int, seconds: float, request_id: str, rows: int | None, key_id: str, shadow: bool
    ) -> None: ...


@dataclass(frozen=True, eq=False)
class Copy:
    """An infer request that was answered, and what it was answered: `version` is to answer it as well."""

    version: int
    secret: bytes
    request_id: bytes
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


class Keeper(Protocol):
    """Keeps some of the answers to infer requests. It is called between two others, so it must not wait."""

    @property
    def rate(self) -> float:
        """Which share of the requests it may want; mostly none."""
        ...

    def wants(self, request_id: str) -> bool: ...
    def hear(self, request_id: str, inputs: Arrays, outputs: Arrays) -> None: ...


class Fallback(Protocol):
    """Has another version answer an infer request on which this one failed."""

    async def __call__(
        self, asked: Asked, version: int, *, timeout_s: float | None = None
    ) -> Reply | None: ...


class Compute(Protocol):
    """Runs the model: arrays in, arrays out. Cancelling it drops what has not begun.

    Raises DeadlineExceeded after `timeout_s`, and QuotaExceeded when too much waits.
    """

    async def __call__(
        self, method: str, inputs: dict[str, np.ndarray], *, timeout_s: float | None = None
    ) -> dict[str, np.ndarray]: ...


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


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Headers = JSON_HEADERS
    rows: int | None = None


class InferenceApp:
    """The application of one version.

    `secret_sha256` is the hex digest of the edge's secret: knowing it does not let anybody in. Every request but the
    two health checks must carry the secret in `x-raymaas-edge`, or is answered 401. Applications of one replica may
    share their `statistics` and their `cache`, without which nothing is cached. `shadow` gets copies of the requests
    that the edge marked, and `keeper` hears the answers it wants, once they are given; those from the cache are not
    among them. `fallback` is asked for requests that fail here with a fault of ours, where the edge named a version.
    """

    def __init__(
        self,
        served: Served,
        *,
        compute: Compute,
        secret_sha256: str,
        record: Recorder,
        statistics: Statistics | None = None,
        cache: ResultCache[Answer] | None = None,
        shadow: Callable[[Copy], None] | None = None,
        keeper: Keeper | None = None,
        fallback: Fallback | None = None,
    ) -> None:
        self._fallback = fallback
        self._shadow = shadow
        self._keeper = keeper
        self._served = served
        self._compute = compute
        self._secret_sha256 = secret_sha256
        self._secret: bytes | None = None  # once somebody has shown it: a comparison costs less than a digest
        self._record = record
        self._statistics = statistics or Statistics()
        self._cache = cache
        self._actions = _actions(served)
        self._heads = {method: Heads() for method in (INFER, *served.methods)}

    async def predict(
        self,
        body: bytes,
        method: str = INFER,
        head: Head = JSON,
        *,
        timeout_s: float | None = None,
        afterwards: Sequence[Callable[[Arrays, Arrays], None]] = (),
    ) -> Answer:
        """Decode, check against the method's signature, run, encode. `afterwards` get inputs and outputs."""
        served = self._served
        signature = served.signature_of(method)
        began = time.perf_counter()
        try:
            request = decode(body, signature, head, self._heads[method])
            inputs = with_defaults(signature, request.inputs)
            rows = check_inputs(signature, inputs)
            read = time.perf_counter()
            outputs = await self._compute(method, inputs, timeout_s=sooner(timeout_s, request.timeout_s))
            computed = time.perf_counter()
            answer = encode(request, outputs, model=served.model, version=served.version, signature=signature)
        except BaseException:
            self._statistics.failed(time.perf_counter() - began)
            raise
        self._statistics.answered(
            rows=rows,
            reading_s=read - began,
            computing_s=computed - read,
            writing_s=time.perf_counter() - computed,
        )
        for act in afterwards:
            # Its turn comes when this coroutine has next to wait: by then the answer is written.
            asyncio.get_running_loop().call_soon(act, inputs, outputs)
        return Answer(200, answer.body, answer.headers, rows)

    async def _predicted(self, asked: Asked, method: str) -> Answer:
        """The answer to a request: from the cache, or predicted."""
        body, headers = _body(asked), asked.headers
        head, timeout_s = _head(headers), timeout_of_header(headers.get(TIMEOUT_HEADER))
        afterwards = self._afterwards(headers) if method == INFER else ()
        if self._cache is None:
            return await self.predict(body, method, head, timeout_s=timeout_s, afterwards=afterwards)
        began = time.perf_counter()
        key = key_of(f"{self._served.model}@{self._served.version}", method, body, head)
        kept = self._cache.get(key)
        if kept is not None:
            self._statistics.repeated(time.perf_counter() - began)
            return kept
        answer = await self.predict(body, method, head, timeout_s=timeout_s, afterwards=afterwards)
        self._cache.put(key, answer)
        return answer

    def _afterwards(self, headers: Mapping[bytes, bytes]) -> Sequence[Callable[[Arrays, Arrays], None]]:
        """What is to be done with an answer once it is given."""
        acts = []
        if SHADOW_HEADER in headers and (copying := self._copying(headers)):
            acts.append(copying)
        if self._keeper is not None and self._keeper.rate and COPY_HEADER not in headers:
            request_id = headers.get(REQUEST_ID_HEADER, b"").decode("latin-1")
            if self._keeper.wants(request_id):
                acts.append(partial(self._keeper.hear, request_id))
        return acts

    def _copying(self, headers: Mapping[bytes, bytes]) -> Callable[[Arrays, Arrays], None] | None:
        """Makes a copy of an answered request, of what came in and went out, for the version that the edge named."""
        shadow = self._shadow
        if shadow is None:
            return None
        version, secret = int(headers[SHADOW_HEADER]), headers.get(EDGE_HEADER, b"")
        request_id = headers.get(REQUEST_ID_HEADER, b"")
        return lambda inputs, outputs: shadow(Copy(version, secret, request_id, inputs, outputs))

    async def answer(self, asked: Asked) -> Reply:
        """The reply, whatever was asked; recorded. When this is cancelled, the caller has gone."""
        started = time.perf_counter()
        request_id = asked.headers.get(REQUEST_ID_HEADER, b"")
        try:
            answer = await self._route(asked)
        except RaymaasError as error:
            body = _error_body(str(error), error.code, request_id)
            answer = Answer(_status(error), body, _error_headers(error))
        except asyncio.CancelledError:
            self._told(asked, request_id, _GONE, None, started)
            raise
        except Exception:
            log.exception("request %s failed", request_id.decode("latin-1"))
            sentence = (
                "the model failed on this request; its replica's log has the reason under this request id"
            )
            answer = Answer(500, _error_body(sentence, RaymaasError.code, request_id))
        if answer.status == _FAULT and FALLBACK_HEADER in asked.headers and self._fallback is not None:
            reply = await self._answered_elsewhere(asked, self._fallback, started)
            if reply is not None:
                self._told(asked, request_id, answer.status, answer.rows, started)
                return reply
        body, headers = _coded(answer, asked.headers)
        if request_id:
            headers.append((REQUEST_ID_HEADER, request_id))
        self._told(asked, request_id, answer.status, answer.rows, started)
        return Reply(answer.status, headers, body)

    async def _answered_elsewhere(self, asked: Asked, fallback: Fallback, started: float) -> Reply | None:
        """What the version says that answers for this one, in the time that is left; recorded where it was given."""
        timeout_s = timeout_of_header(asked.headers.get(TIMEOUT_HEADER))
        if timeout_s is not None:
            timeout_s -= time.perf_counter() - started
            if timeout_s <= 0:
                return None
        request_id = asked.headers.get(REQUEST_ID_HEADER, b"")
        try:
            reply = await fallback(asked, int(asked.headers[FALLBACK_HEADER]), timeout_s=timeout_s)
        except asyncio.CancelledError:
            self._told(asked, request_id, _GONE, None, started)
            raise
        if reply is None or not request_id:
            return reply
        return Reply(reply.status, [*reply.headers, (REQUEST_ID_HEADER, request_id)], reply.body)

    def _told(self, asked: Asked, request_id: bytes, status: int, rows: int | None, started: float) -> None:
        self._record(
            status=status,
            seconds=time.perf_counter() - started,
            request_id=request_id.decode("latin-1"),
            rows=rows,
            key_id=asked.headers.get(KEY_HEADER, b"").decode("latin-1"),
            shadow=COPY_HEADER in asked.headers,
        )

    async def _route(self, asked: Asked) -> Answer:
        path = asked.path.rstrip("/")
        if path in _HEALTH:
            return _json({"live": True, "ready": True})
        self._check_secret(asked.headers)
        action = self._actions.get(path)
        if action is not None and asked.method == "POST" and action not in _DESCRIPTIONS:
            return await self._predicted(asked, action)
        if action in _DESCRIPTIONS and asked.method in ("GET", "HEAD"):
            return _json(self._description(action))
        if path == "/v2":
            return _json(describe.server(__version__, describe.REPLICA_EXTENSIONS))
        raise self._nothing_at(asked.method, path)

    def _description(self, action: str) -> dict[str, Any]:
        served = self._served
        if action == "ready":
            return {"name": served.model, "ready": True}
        if action == "stats":
            return self._statistics.answer(model=served.model, version=served.version)
        if action == "config":
            return describe.config(
                model=served.model,
                version=served.version,
                runtime=served.runtime,
                signature=served.signature,
            )
        return describe.metadata(
            model=served.model,
            version=served.version,
            runtime=served.runtime,
            signature=served.signature,
            methods=served.methods,
        )

    def _nothing_at(self, method: str, path: str) -> NotFound:
        served = self._served
        match path.strip("/").split("/"):
            case ["v2", "models", served.model, "versions", served.version, *rest]:
                pass
            case ["v2", "models", served.model, *rest] if rest[:1] != ["versions"]:
                pass
            case _:
                return NotFound(f"this replica serves {served.model}@{served.version}, not {path[:200]}")
        if method == "POST" and len(rest) == 1:
            known = ", ".join((INFER, *served.methods))
            return NotFound(
                f"{served.model}@{served.version} does not answer {rest[0][:60]!r}; POST to one of {known}"
            )
        return NotFound(
            f"{method} {path[:200]} is not a path of this model; POST .../infer, or GET the model, .../ready, "
            ".../config or .../stats"
        )

    def _check_secret(self, headers: Mapping[bytes, bytes]) -> None:
        given = headers.get(EDGE_HEADER, b"")
        if self._secret is not None and hmac.compare_digest(given, self._secret):
            return
        if not hmac.compare_digest(hashlib.sha256(given).hexdigest(), self._secret_sha256):
            raise Denied("this replica answers only through its edge; send the request to the edge's URL")
        self._secret = given


def _actions(served: Served) -> dict[str, str]:
    """Each path that is answered, and what follows the model and its optional version in it."""
    model = f"/v2/models/{served.model}"
    return {
        f"{path}/{action}".rstrip("/"): action
        for path in (model, f"{model}/versions/{served.version}")
        for action in (*_DESCRIPTIONS, INFER, *served.methods)
    }


def all_of(*recorders: Recorder) -> Recorder:
    """One recorder that tells each, in order."""

    def record(
        *, status: int, seconds: float, request_id: str, rows: int | None, key_id: str, shadow: bool
    ) -> None:
        for each in recorders:
            each(
                status=status,
                seconds=seconds,
                request_id=request_id,
                rows=rows,
                key_id=key_id,
                shadow=shadow,
            )

    return record


def _body(asked: Asked) -> bytes:
    """The body, inflated. Raises TooLarge before more than the limit is held."""
    refuse_large(len(asked.body))
    encoding = asked.headers.get(b"content-encoding")
    if encoding is None:
        return asked.body
    return inflate(asked.body, encoding.decode("latin-1"), max_bytes=MAX_BODY_BYTES)


def _head(asked: Mapping[bytes, bytes]) -> Head:
    return _head_of(
        asked.get(b"content-type", b"application/json"),
        asked.get(_LENGTH_HEADER),
        asked.get(b"accept", b"*/*"),
    )


@lru_cache(256)
def _head_of(content_type: bytes, length: bytes | None, accept: bytes) -> Head:
    if length is None and content_type == b"application/json" and accept in _ANY_OR_JSON:
        return JSON
    return Head(content_type.decode("latin-1"), (length or b"").decode("latin-1"), accept.decode("latin-1"))


def _coded(answer: Answer, asked: Mapping[bytes, bytes]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Body and headers, compressed where the caller takes that and it is worth it."""
    accepted = asked.get(b"accept-encoding")
    coding = (
        chosen_coding(accepted.decode("latin-1")) if accepted and len(answer.body) >= WORTH_BYTES else None
    )
    if coding is None:
        return answer.body, list(answer.headers)
    told = ((b"content-encoding", coding.encode()), (b"vary", b"accept-encoding"))
    return deflated(answer.body, coding), [*answer.headers, *told]


def _json(value: dict[str, Any]) -> Answer:
    return Answer(200, orjson.dumps(value))


def _error_body(sentence: str, code: str, request_id: bytes) -> bytes:
    return orjson.dumps({"error": sentence, "code": code, "request_id": request_id.decode("latin-1") or None})


def _error_headers(error: RaymaasError) -> Headers:
    if not isinstance(error, QuotaExceeded):
        return JSON_HEADERS
    return (*JSON_HEADERS, (b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))


def _status(error: RaymaasError) -> int:
    match error:
        case TooLarge():
            return 413
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
        case DeadlineExceeded():
            return 504
    return 500
