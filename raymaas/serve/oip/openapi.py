"""The data plane's OpenAPI document: every path below /v2, what may be sent to it and each answer it may give.

It describes what callers meet at an edge: the refusals of HAProxy itself are in it as well as the answers of replicas
and of the control plane. Source: OpenAPI 3.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from raymaas.serve.oip import shapes
from raymaas.serve.oip.shapes import JsonSchema, ref
from raymaas.serve.oip.table import MEDIA as TABLE_MEDIA
from raymaas.specs.names import NAME_SCHEMA
from raymaas.specs.tensors import BINARY_MEDIA, LENGTH_HEADER

PATH = "/v2/openapi.json"
# Of both planes. While there are no keys, nobody needs one.
SECURITY: list[dict[str, list[str]]] = [{"key": []}, {"bearer": []}, {}]
SECURITY_SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}

_Json = dict[str, Any]

_ERRORS: Mapping[int, str] = {
    400: "The request is wrong; the sentence names the input, what was expected and what came.",
    401: "No live API key was sent, and this server needs one.",
    403: "The key has no scope `predict`, or is not for this model.",
    404: "Nothing is served there; for an unknown model the sentence names close ones.",
    405: "This path does not take this method.",
    408: "The request did not arrive in time.",
    409: "What runs is not changed here; the sentence says where it is.",
    411: "The body came without Content-Length.",
    413: "The body is too large, or its JSON holds too many values.",
    429: "The key is over its rate limit, or more requests wait than will be computed in time.",
    431: "The headers are too long.",
    500: "A fault of the server; its log has the reason under the request id.",
    502: "The answer was cut off on its way; send the request again.",
    503: "What was asked for is wanted and not ready; nothing was done, so send the request again.",
    504: "The caller's deadline, or the edge's, came before the answer.",
}
_CARRIED: Mapping[int, tuple[str, JsonSchema]] = {
    401: ("WWW-Authenticate", {"type": "string"}),
    405: ("Allow", {"type": "string"}),
    429: ("Retry-After", {"type": "integer", "minimum": 0}),
}
_REFUSED = tuple(status for status in _ERRORS if status != HTTPStatus.CONFLICT)
_HEALTH_REFUSED = (400, 405, 408, 411, 413, 431, 500, 502, 504)

_ID_SAYS = "Names this request in logs and in the lineage: the caller's own, or one that was made."
_REQUEST_ID = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}

_EXAMPLES = {
    "plain": {"value": {"inputs": [[0.5, 1.5], [2.5, 3.5]]}},
    "tensors": {
        "value": {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [0.5, 1.5, 2.5, 3.5]}],
            "outputs": [{"name": "probabilities"}],
        }
    },
}


def document(release: str) -> dict[str, Any]:
    """The document of the raymaas of this `release`, as JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "raymaas data plane",
            "version": release,
            "description": (
                "Open Inference Protocol v2 with binary tensors, plain JSON and Arrow tables. The control plane "
                "describes itself at /api/v1/openapi.json."
            ),
        },
        "security": SECURITY,
        "paths": _server_paths() | _model_paths(),
        "components": {
            "securitySchemes": SECURITY_SCHEMES,
            "parameters": _parameters(),
            "headers": {"RequestId": {"schema": {"type": "string"}, "description": _ID_SAYS}},
            "responses": {str(status): _error(status) for status in _ERRORS},
            "schemas": shapes.SCHEMAS,
        },
    }


def headers_of(status: int) -> dict[str, Any]:
    """What an error of this status always carries, on either plane."""
    if status not in _CARRIED:
        return {}
    name, schema = _CARRIED[status]
    return {name: {"required": True, "schema": schema}}


def _server_paths() -> dict[str, Any]:
    moved = {"parameters": [_parameter("model")]}
    return {
        "/v2": _get("server_metadata", "Name, version and extensions of the server", "ServerMetadata"),
        PATH: _get("describe_data_plane", "This document", "OpenApi"),
        "/v2/health/live": _get(
            "server_live", "Whether the edge answers", "Live", errors=_HEALTH_REFUSED, security=[]
        ),
        "/v2/health/ready": _get(
            "server_ready",
            "Whether models can be asked and deployed",
            "Health",
            errors=_HEALTH_REFUSED,
            unready="Health",
            security=[],
        ),
        "/v2/repository/index": {
            "post": _operation(
                "repository_index",
                "Every version that is deployed, or still runs, of the models this caller may ask",
                _answers("RepositoryIndex", _REFUSED),
                requestBody={
                    "required": False,
                    "description": "Whatever it holds, all versions are listed.",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                },
            )
        },
        "/v2/repository/models/{model}/load": moved | {"post": _move("load")},
        "/v2/repository/models/{model}/unload": moved | {"post": _move("unload")},
        "/v2/models/stats": {
            "get": _operation(
                "server_statistics",
                "Refused with 404: statistics are those of one model",
                _refusals(_REFUSED),
            )
        },
    }


def _model_paths() -> dict[str, Any]:
    """Each path of a model twice: for the version its traffic chooses, and for one that is named."""
    paths: dict[str, Any] = {}
    slots = (
        ("/v2/models/{model}", "model", ["model"]),
        ("/v2/models/{model}/versions/{version}", "version", ["model", "version"]),
    )
    for path, kind, slot in slots:
        named = [*slot, "asked_version"] if kind == "model" else slot
        where = {"parameters": [_parameter(name) for name in named]}
        described = (
            ("", "metadata", "Inputs, outputs and methods", "ModelMetadata"),
            ("/ready", "ready", "Whether it answers", "ModelReady"),
            ("/config", "config", "Its configuration, as Triton has it", "ModelConfig"),
            ("/stats", "statistics", "What the replica that is met has answered", "ModelStatistics"),
        )
        for below, name, summary, answer in described:
            paths[path + below] = where | _get(f"{kind}_{name}", summary, answer)
        paths[f"{path}/infer"] = where | {"post": _inference(f"{kind}_infer", "Predict")}
        called = [*where["parameters"], _parameter("method")]
        own = _inference(
            f"{kind}_call", "Another method of the model, such as `embed`; its metadata lists them"
        )
        paths[f"{path}/{{method}}"] = {"parameters": called, "post": own}
    return paths


def _get(
    operation_id: str,
    summary: str,
    answer: str,
    *,
    errors: Iterable[int] = _REFUSED,
    unready: str | None = None,
    **rest: Any,
) -> _Json:
    """A path that is only read. Its 503 may also be `unready`."""
    answers = _answers(answer, errors)
    if unready is not None:
        answers["503"] = _described(
            _ERRORS[503], {"application/json": {"schema": {"anyOf": [ref(unready), ref("Error")]}}}
        )
    return {"get": _operation(operation_id, summary, answers, **rest)}


def _move(action: str) -> _Json:
    summary = "Refused: what runs is decided by the control API, which keeps who changed it, when and why"
    return _operation(f"repository_{action}", summary, _refusals(_ERRORS))


def _inference(operation_id: str, summary: str) -> _Json:
    binary = {"schema": {"type": "string", "contentMediaType": BINARY_MEDIA}}
    table = {"schema": {"type": "string", "contentMediaType": TABLE_MEDIA}}
    answered = _described(
        "Every output that was asked for, in the form of the request, or as a table where Accept names that.",
        {
            "application/json": {"schema": ref("InferAnswer")},
            BINARY_MEDIA: binary,
            TABLE_MEDIA: table,
        },
    )
    answered["headers"] = {
        **_REQUEST_ID,
        LENGTH_HEADER: {
            "description": "Bytes of the JSON before the tensors. Only a binary answer has it.",
            "schema": {"type": "integer", "minimum": 1},
        },
    }
    return _operation(
        operation_id,
        summary,
        {"200": answered, **_refusals(_REFUSED)},
        parameters=[_parameter(name) for name in ("timeout", "json_length", "coding")],
        requestBody={
            "required": True,
            "description": (
                f"JSON; or with {LENGTH_HEADER} JSON and then raw tensors, little-endian and row-major, in its "
                "order; or an uncompressed Arrow IPC stream with a column for each input."
            ),
            "content": {
                "application/json": {"schema": ref("InferRequest"), "examples": _EXAMPLES},
                BINARY_MEDIA: binary,
                TABLE_MEDIA: table,
            },
        },
    )


def _operation(operation_id: str, summary: str, responses: _Json, **rest: Any) -> _Json:
    return {"operationId": operation_id, "summary": summary, "responses": responses, **rest}


def _answers(schema: str, errors: Iterable[int]) -> _Json:
    answered = _described("The answer.", {"application/json": {"schema": ref(schema)}})
    return {"200": answered, **_refusals(errors)}


def _refusals(statuses: Iterable[int]) -> _Json:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _error(status: int) -> _Json:
    told = _described(_ERRORS[status], {"application/json": {"schema": ref("Error")}})
    told["headers"] = _REQUEST_ID | headers_of(status)
    return told


def _described(description: str, content: _Json) -> _Json:
    return {"description": description, "headers": _REQUEST_ID, "content": content}


def _parameter(name: str) -> _Json:
    return {"$ref": f"#/components/parameters/{name}"}


def _parameters() -> dict[str, Any]:
    def in_path(name: str, says: str, schema: JsonSchema = NAME_SCHEMA) -> _Json:
        return {"name": name, "in": "path", "required": True, "description": says, "schema": schema}

    def in_head(name: str, says: str, schema: JsonSchema) -> _Json:
        return {"name": name, "in": "header", "description": says, "schema": schema}

    return {
        "model": in_path("model", "A model's name."),
        "version": in_path("version", "The number of a version, or an alias such as `prod`."),
        "method": in_path("method", "A method's name."),
        "asked_version": in_head(
            "x-raymaas-version",
            "The number of a version, or an alias, as it may stand in the path; at an edge.",
            NAME_SCHEMA,
        ),
        "timeout": in_head(
            "x-raymaas-timeout-ms",
            "How long the caller waits; what is not computed by then is dropped and answered 504.",
            {"type": "number", "exclusiveMinimum": 0},
        ),
        "json_length": in_head(
            LENGTH_HEADER,
            "Bytes of the JSON before the tensors; 0 where the body is the only input, raw. Without it the body "
            "is JSON, or an Arrow stream.",
            {"type": "integer", "minimum": 0},
        ),
        "coding": in_head(
            "Content-Encoding",
            "How the body is compressed; the length of the JSON is counted without.",
            {"type": "string", "enum": ["identity", "gzip", "deflate"]},
        ),
    }
