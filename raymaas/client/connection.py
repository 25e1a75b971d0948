"""Connections: what both HTTP clients are built from, and httpx's failures read as Broken."""

from __future__ import annotations

import getpass
import secrets
import time
from collections.abc import Mapping
from typing import Any

import httpx

from raymaas.client.wire import Answer, Broken, Request, header_text
from raymaas.errors import InvalidInput

DEFAULT_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5.0


def http_options(url: str, *, timeout_s: float, api_key: str | None = None) -> dict[str, Any]:
    """Arguments for `httpx.Client` and `httpx.AsyncClient` alike.

    Proxy variables of the environment are not followed: the server is most often on this very machine.
    """
    if timeout_s <= 0:
        raise InvalidInput(f"timeout_s must be above 0, got {timeout_s}")
    headers = {"x-raymaas-user": header_text(os_user()), "accept": "application/json"}
    return {
        "base_url": url,
        "timeout": httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
        "headers": headers | ({"authorization": f"Bearer {api_key}"} if api_key else {}),
        "trust_env": False,
    }


def new_request_id() -> str:
    """A fresh id that begins with its time, as a UUIDv7 does: what is recorded under it is found by that."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


def request_options(request: Request) -> dict[str, Any]:
    """Arguments for `.request(...)` of either httpx client, with a fresh request id."""
    headers = {"x-request-id": new_request_id()}
    if request.body is not None:
        headers["content-type"] = "application/json"
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.query),
        "content": request.body,
        "headers": headers | dict(request.headers),
    }


def answer_of(response: httpx.Response) -> Answer:
    headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)


def broken_by(error: httpx.TransportError) -> Broken:
    """Only a connection that was never made is certain not to have carried the request."""
    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return Broken(str(error) or type(error).__name__, sent=not unsent)


def os_user() -> str:
    """Who runs this process, for the history of what was changed; 'unknown' where nobody can tell."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
