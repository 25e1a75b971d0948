"""HTTP as data: what is asked (Request), what came back (Answer or Broken), and which error it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from raymaas.errors import (
    AlreadyExists,
    Denied,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    QuotaExceeded,
    RaymaasError,
    TooLarge,
    Unavailable,
    error_from_wire,
)
from raymaas.specs.problem import Problem

DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE = "RAYMAAS_URL"
KEY_VARIABLE = "RAYMAAS_API_KEY"

_BY_STATUS: Mapping[int, type[RaymaasError]] = {
    400: InvalidInput,
    401: Denied,
    403: Denied,
    404: NotFound,
    405: InvalidInput,
    408: Unavailable,
    409: AlreadyExists,
    413: TooLarge,
    415: InvalidInput,
    422: InvalidInput,
    429: QuotaExceeded,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


@dataclass(frozen=True)
class Request:
    """One HTTP request below the server's URL.

    `repeatable`: sending it twice leaves the server as sending it once does; only then is it retried. `headers`, in
    lower case, go before those every request has.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    repeatable: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")

    def json(self) -> Any:
        """The body. Raises RaymaasError when something other than raymaas answered."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise RaymaasError(
                f"the answer is not JSON, it begins {self.body[:60]!r}; is the URL that of a raymaas server?"
            ) from None


@dataclass(frozen=True)
class Broken:
    """No complete answer came. `sent` is False when the request certainly never reached the server."""

    reason: str
    sent: bool


def server_url(url: str | None, environ: Mapping[str, str]) -> str:
    """`url`, else RAYMAAS_URL, else this machine's edge. Raises InvalidInput unless it is http or https."""
    chosen = (url or environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
    if not chosen.startswith(("http://", "https://")):
        raise InvalidInput(f"{chosen!r} is not a URL such as {DEFAULT_URL}; correct --url or {URL_VARIABLE}")
    return chosen


def key_to_send(key: str | None, environ: Mapping[str, str]) -> str | None:
    """`key`, else RAYMAAS_API_KEY, else None. Raises InvalidInput, without showing it, for what no header can hold."""
    chosen = key or environ.get(KEY_VARIABLE) or None
    if chosen is not None and not (chosen.isascii() and chosen.isprintable() and " " not in chosen):
        raise InvalidInput(
            f"the API key has blanks or other characters that no key has; correct --api-key or {KEY_VARIABLE}"
        )
    return chosen


def header_text(text: str) -> str:
    """`text` as one header value: other characters than printable ASCII become '?'."""
    return "".join(c if " " <= c <= "~" else "?" for c in text).strip() or "unknown"


def error_of_break(broken: Broken, request: Request, *, url: str) -> RaymaasError:
    """What a broken exchange means: nothing was done, or, for a write that was sent, nobody knows."""
    if not broken.sent:
        return Unavailable(
            f"nothing answers at {url} ({broken.reason}); is it running? Start it with `raymaas up`"
        )
    if request.repeatable:
        return Unavailable(f"{url} broke off while answering ({broken.reason}); try again")
    return OutcomeUnknown(
        f"{url} broke off before answering {request.method} {request.path} ({broken.reason}); "
        "it may have been done: look before you repeat it"
    )


def error_of(answer: Answer, request: Request) -> RaymaasError | None:
    """The error an answer means, as the class the server raised; None for a success.

    Understood are Problem documents (control plane), `{"error", "code"}` (data plane and the edge's own
    answers), and any other body, of which only the status is read.
    """
    if answer.status < 400:
        return None
    error = _stated_error(answer, request)
    # A gateway that gave up waiting cannot say whether the write behind it happened.
    if isinstance(error, Unavailable) and answer.status in (502, 504) and not request.repeatable:
        return OutcomeUnknown(f"{error}; it may have been done: look before you repeat it")
    return error


def _stated_error(answer: Answer, request: Request) -> RaymaasError:
    body = _object(answer.body)
    if "type" in body and "detail" in body:
        try:
            return Problem.model_validate(body).to_error()
        except ValidationError:
            return error_from_wire(str(body["type"]), str(body["detail"]), _details(answer, body))
    code = body.get("code", _BY_STATUS.get(answer.status, RaymaasError).code)
    sentence = body.get("error")
    if not isinstance(sentence, str):
        sentence = f"{request.method} {request.path} was answered {answer.status} by something before raymaas"
    return error_from_wire(str(code), sentence, _details(answer, body))


def _object(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _details(answer: Answer, body: Mapping[str, Any]) -> dict[str, Any]:
    """What an error carries beside its sentence: the waiting time, of the body or else of Retry-After."""
    seconds = body.get("retry_after_s", answer.headers.get("retry-after"))
    try:
        return {"retry_after_s": float(seconds)} if seconds is not None else {}
    except (TypeError, ValueError):
        return {}
