"""The control plane's OpenAPI document: what FastAPI knows of the routes, with the errors that the border writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from raymaas.serve.oip.openapi import PATH, SECURITY, SECURITY_SCHEMES, headers_of
from raymaas.specs.problem import Problem

_MEDIA = "application/problem+json"
_ERRORS = {
    400: "The request is wrong; the sentence names the field.",
    401: "No live API key was sent, and this server needs one.",
    403: "The key has no scope `admin`, or a page of another site asks.",
    404: "It does not exist.",
    405: "This path does not take this method.",
    409: "It was changed by another caller, or a policy or a present use forbids it.",
    411: "The body came without Content-Length.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    429: "The key is over its rate limit.",
    431: "The headers are too long.",
    500: "A fault of the server, or a damaged document; its log has the reason under the request id.",
    503: "The store or the cluster cannot be reached; nothing was done.",
    504: "It is not known whether it was done; look before asking again.",
}


class DescribedApp(FastAPI):
    """An app whose every operation is said to have every error, as a Problem."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = _document(self)
        return self.openapi_schema


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=(
            f"The data plane describes itself at {PATH}. A request that an edge cannot read or pass on, it "
            'answers itself, with `{"error": ...}` as application/json.'
        ),
        routes=app.routes,
    )
    components = document["components"]
    components["schemas"]["Problem"] = Problem.model_json_schema(mode="serialization")
    components["responses"] = {str(status): _error(status, says) for status, says in _ERRORS.items()}
    components["securitySchemes"] = SECURITY_SCHEMES
    document["security"] = SECURITY
    for operation in _operations(document):
        # FastAPI's own error for wrong requests, which the border answers as 400.
        operation["responses"].pop("422", None)
        operation["responses"] |= {
            str(status): {"$ref": f"#/components/responses/{status}"} for status in _ERRORS
        }
    for left in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(left, None)
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _error(status: int, says: str) -> dict[str, Any]:
    return {
        "description": says,
        "headers": {"x-request-id": {"schema": {"type": "string"}}, **headers_of(status)},
        "content": {_MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
