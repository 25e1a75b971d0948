"""Refusals: answers that HAProxy gives by itself, in the shape of errors of the plane that was asked."""

from __future__ import annotations

import json
from http import HTTPStatus

from raymaas.errors import Denied, InvalidInput, NotFound, QuotaExceeded, RaymaasError, Unavailable
from raymaas.specs.problem import Problem

_KINDS: dict[int, type[RaymaasError]] = {
    HTTPStatus.UNAUTHORIZED: Denied,
    HTTPStatus.FORBIDDEN: Denied,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.TOO_MANY_REQUESTS: QuotaExceeded,
}


def refuse(status: int, sentence: str, condition: str, *, header: str = "") -> list[str]:
    """Two rules, since each plane has its own shape of errors. `header` is sent as well, as `Name 'value'`."""
    groups = condition.split(" or ")
    rules = []
    for plane, body in (("api", api_body(status, sentence)), ("!api", data_body(sentence))):
        where = " or ".join(f"{plane} {group}" for group in groups)
        told = f"{body} hdr {header}" if header else body
        rules.append(f"    http-request return status {status} {told} if {where}")
    return rules


def refuse_for(seconds: str, sentence: str, condition: str) -> list[str]:
    """429, with the whole seconds to wait, which HAProxy reads from the variable `seconds`, as Retry-After."""
    now = f"%[var({seconds})]"
    problem = Problem.of(QuotaExceeded(sentence), status=HTTPStatus.TOO_MANY_REQUESTS).model_dump()
    api = json.dumps(problem | {"extra": {"retry_after_s": "@"}})
    data = json.dumps({"error": sentence, "code": QuotaExceeded.code, "retry_after_s": "@"})
    return [
        f"    http-request return status 429 content-type {content_type} lf-string"
        f" {quoted(body.replace('%', '%%').replace(json.dumps('@'), now))} hdr Retry-After {quoted(now)}"
        f" if {plane} {condition}"
        for plane, content_type, body in (
            ("api", "application/problem+json", api),
            ("!api", "application/json", data),
        )
    ]


def data_error(status: int, sentence: str) -> str:
    return f"    http-error status {status} {data_body(sentence)}"


def data_body(sentence: str) -> str:
    return f"content-type application/json string {quoted(json.dumps({'error': sentence}))}"


def api_body(status: int, sentence: str) -> str:
    unlisted = Unavailable if status >= HTTPStatus.INTERNAL_SERVER_ERROR else InvalidInput
    problem = Problem.of(_KINDS.get(status, unlisted)(sentence), status=status).model_dump_json()
    return f"content-type application/problem+json string {quoted(problem)}"


def quoted(text: str) -> str:
    """Strong quotes: HAProxy reads everything between them as it stands."""
    return "'" + text.replace("'", "'\\''") + "'"
