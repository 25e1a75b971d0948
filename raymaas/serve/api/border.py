"""The HTTP border: which status an error has, how it is written, and what no route gets to see."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping
from typing import get_type_hints
from urllib.parse import urlsplit

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raymaas.errors import (
    AlreadyExists,
    Denied,
    IntegrityError,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    QuotaExceeded,
    RaymaasError,
    Refused,
    RunFailed,
    TooLarge,
    Unavailable,
)
from raymaas.serve.api.gate import HEALTH, Gate
from raymaas.serve.oip import openapi
from raymaas.specs.base import OneLine, Spec
from raymaas.specs.problem import Problem

MAX_BODY_BYTES = 1024 * 1024
REQUEST_ID_HEADER = "x-request-id"
USER_HEADER = "x-raymaas-user"

_STATUS: Mapping[type[RaymaasError], int] = {
    InvalidInput: 400,
    TooLarge: 413,
    Denied: 403,
    NotFound: 404,
    AlreadyExists: 409,
    Refused: 409,
    QuotaExceeded: 429,
    IntegrityError: 500,
    RunFailed: 500,
    Unavailable: 503,
    OutcomeUnknown: 504,
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

log = logging.getLogger("raymaas.api")


def caller(request: Request) -> OneLine:
    """Who asks, as histories keep it: the name of the key, or while nobody needs one what they say of themselves."""
    if request.state.key is not None:
        name: str = request.state.key.name
        return name
    return request.headers.get(USER_HEADER, "").strip()[:100] or "anonymous"


def error_response(error: RaymaasError, *, path: str, request_id: str, status: int | None = None) -> Response:
    """`error` in the shape of the plane `path` belongs to: OIP's `{"error"}` below /v2, else a Problem."""
    status = _STATUS.get(type(error), 500) if status is None else status
    if _on_data_plane(path):
        body = {"error": str(error), "code": error.code, "request_id": request_id, **error.details()}
        response = Response(orjson.dumps(body), status, media_type="application/json")
    else:
        problem = Problem.of(error, status=status, request_id=request_id)
        response = Response(orjson.dumps(problem.model_dump()), status, media_type="application/problem+json")
    if isinstance(error, QuotaExceeded | Unavailable) and error.retry_after_s is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if status == 401:
        response.headers["www-authenticate"] = 'Bearer realm="raymaas"'
    return response


def may_ask(request: Request, model: str) -> bool:
    """Whether the key of this request is for `model`."""
    return request.state.key is None or request.state.key.may_ask(model)


def add_border(app: FastAPI, gate: Gate) -> None:
    """Make every error of `app`, foreseen or not, one of ours, and refuse what `Border` and `gate` refuse."""
    app.add_exception_handler(RaymaasError, _on_raymaas_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(Border, gate=gate)


class Border:
    """ASGI middleware: a request id on every answer, and nobody without a key where keys are needed, nor a body that
    is too large, not JSON, or another site's.

    A browser lets any page post a form anywhere, but not as JSON, nor without naming the page's origin.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID_HEADER, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        path = scope["path"]
        try:
            scope["state"]["key"], refusal = await self._gate.admit(path, headers)
        except RaymaasError as unreadable:
            scope["state"]["key"], refusal = None, (_STATUS.get(type(unreadable), 500), unreadable)
        refusal = refusal or _refusal(scope, headers)
        if refusal is not None:
            status, error = refusal
            response = error_response(error, path=path, request_id=request_id, status=status)
            return await response(scope, receive, send_with_id)
        try:
            await self._app(scope, _limited(receive), send_with_id)
        except Exception as error:
            if started:
                raise
            known = error if isinstance(error, RaymaasError) else None
            if known is None:
                log.exception("request %s failed: %s %s", request_id, scope["method"], path)
                known = RaymaasError(
                    f"raymaas failed on this request; the controller's log has the reason under {request_id}"
                )
            await error_response(known, path=path, request_id=request_id)(scope, receive, send_with_id)
        return None


_OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


def _refusal(scope: Scope, headers: Headers) -> tuple[int, RaymaasError] | None:
    """Status and error for a request that no route may see."""
    method, path = scope["method"], scope["path"]
    # A page of another site whose name was made to mean 127.0.0.1 is of the same origin as its own requests. It has no
    # key, so where one was sent the server may be called by any name; and health is no secret.
    host = urlsplit(f"//{headers.get('host', '')}").hostname
    if host not in _OWN_HOSTS and scope["state"]["key"] is None and path not in HEALTH:
        return 403, Denied(f"this server answers as {', '.join(sorted(_OWN_HOSTS))}, not as {host!r}")
    if method in ("GET", "HEAD", "OPTIONS") or _on_data_plane(path):
        return None
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return 403, Denied(
            f"a page of {origin} may not change anything here; use the client, the CLI or this site"
        )
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        return 413, TooLarge(f"the body has {length} bytes; at most {MAX_BODY_BYTES} are read")
    has_body = length != "0" or "transfer-encoding" in headers
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and media != "application/json":
        given = repr(media) if media else "none"
        return 415, InvalidInput(f"the body must have content-type application/json, got {given}")
    return None


def _limited(receive: Receive) -> Receive:
    """`receive`, refusing a body that grows beyond the limit without having announced it."""
    size = 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise TooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes, more is not read")
        return message

    return limited


async def _on_raymaas_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RaymaasError)
    return error_response(error, path=request.url.path, request_id=request.state.request_id)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    known = InvalidInput(_sentence(request, error))
    return error_response(known, path=request.url.path, request_id=request.state.request_id)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, what = request.url.path, f"{request.method} {request.url.path}"
    if isinstance(error.__cause__, RaymaasError):
        # FastAPI wraps what reading the body raised.
        return error_response(error.__cause__, path=path, request_id=request.state.request_id)
    where = openapi.PATH if _on_data_plane(path) else "/api/v1/docs"
    if error.status_code == 404:
        known: RaymaasError = NotFound(f"{what} does not exist; {where} lists what does")
    elif error.status_code == 405:
        known = InvalidInput(f"{what} is not possible; {where} lists the methods of this path")
    else:
        known = InvalidInput(f"{what}: {error.detail}")
    request_id = request.state.request_id
    response = error_response(known, path=path, request_id=request_id, status=error.status_code)
    if error.status_code == 405:
        response.headers["allow"] = ", ".join(_methods(request))
    return response


def _methods(request: Request) -> list[str]:
    """The methods of the path that was asked. Starlette's own list is that of one route, and a path has several."""
    routes = request.app.routes
    return [
        method
        for method in ("GET", "POST", "PUT", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def _sentence(request: Request, error: RequestValidationError) -> str:
    """What is wrong with a query or a body, field by field."""
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return f"the body is not JSON: {problems[0].get('ctx', {}).get('error', 'it cannot be parsed')}"
    in_body = all(problem["loc"][:1] == ("body",) for problem in problems)
    document = _body_document(request)
    if in_body and document is not None:
        try:
            document.parse(error.body, source="body")
        except InvalidInput as explained:
            # The document's own words: they name the nearest field that exists.
            return str(explained)
    return "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems)


def _body_document(request: Request) -> type[Spec] | None:
    """The document that the route reads the body as: the type of its argument `body`."""
    found = get_type_hints(request.scope["endpoint"]).get("body")
    return found if isinstance(found, type) and issubclass(found, Spec) else None


def _on_data_plane(path: str) -> bool:
    return path == "/v2" or path.startswith("/v2/")
