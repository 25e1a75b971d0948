"""The data plane's messages as JSON Schemas: requests to infer, its answers, descriptions, errors.

Members that are not named here may be there too, in both directions: the protocol is extended by adding some.
Source: JSON Schema 2020-12, which OpenAPI 3.1 uses.
"""

from __future__ import annotations

from typing import Any

from raymaas.specs.tensors import BINARY_SIZE, DATATYPES, PLAIN

JsonSchema = dict[str, Any]


def ref(name: str) -> JsonSchema:
    """The schema of that name in SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: JsonSchema, optional: JsonSchema | None = None, says: str = "") -> JsonSchema:
    properties = {**required, **(optional or {})}
    told = {"description": says} if says else {}
    return {"type": "object", "required": list(required), "properties": properties, **told}


def _list_of(items: JsonSchema) -> JsonSchema:
    return {"type": "array", "items": items}


_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 0}
_DATATYPE = {"enum": list(DATATYPES)}
_SHAPE = _list_of({"type": "integer", "minimum": -1})
_SIZES = _list_of(_COUNT)
_VALUES = {
    "description": "Nested lists of numbers, booleans, texts or null, or one flat list, row-major.",
    "type": "array",
}
_BINARY_SIZE = _object(
    {BINARY_SIZE: _COUNT}, says="The tensor's bytes follow the JSON, and so many are its own."
)
_ID = {"type": ["string", "null"], "description": "Repeated in the answer."}

_REQUEST_PARAMETERS = {
    "type": ["object", "null"],
    "properties": {
        "binary_data_output": _FLAG
        | {"description": "Outputs come as raw bytes, unless one asks otherwise."},
        "timeout": {"type": ["integer", "null"], "minimum": 0, "description": "Microseconds; 0 means none."},
        PLAIN: _FLAG | {"description": "Tensors are converted and answered as plain values are."},
    },
}
_OUTPUT_PARAMETERS = {"type": ["object", "null"], "properties": {"binary_data": _FLAG}}
_WANTED = {
    "type": ["array", "null"],
    "items": {"anyOf": [_TEXT, _object({"name": _TEXT}, {"parameters": _OUTPUT_PARAMETERS})]},
    "description": "The outputs wanted, by name; all of them when it is absent or empty.",
}
_REQUEST_REST = {"id": _ID, "parameters": _REQUEST_PARAMETERS, "outputs": _WANTED}

_ANSWERED = {"model_name": _TEXT, "model_version": _TEXT}
_ANSWER_REST = {"id": _TEXT, "classes": _list_of(_TEXT) | {"description": "A classifier's, by index."}}

_TENSORS = {"inputs": _list_of(ref("TensorMetadata")), "outputs": _list_of(ref("TensorMetadata"))}
_CONFIGURED = _list_of(
    _object({"name": _TEXT, "data_type": _TEXT, "dims": _SHAPE}, {"optional": _FLAG}, "-1 is any size.")
)
_DURATION = _object({"count": _COUNT, "ns": _COUNT})
_TIMED = ("success", "fail", "compute_input", "compute_infer", "compute_output", "cache_hit")
_QUEUED = ("waiting", "computing", "refused", "expired", "abandoned")

SCHEMAS: JsonSchema = {
    "Error": _object(
        {"error": _TEXT | {"description": "What is wrong, which, and the next step."}},
        {
            "code": _TEXT | {"description": "The kind of error in a word, such as not-found."},
            "request_id": {"type": ["string", "null"]},
            "retry_after_s": {"type": "number", "minimum": 0, "description": "Try again after so long."},
        },
        "Refusals of the edge itself have only `error`, and for a rate limit `code` and `retry_after_s`.",
    ),
    "OpenApi": _object({"openapi": _TEXT, "info": {"type": "object"}, "paths": {"type": "object"}}),
    "Live": _object({"live": _FLAG}, {"ready": _FLAG}),
    "Health": _object({"live": _FLAG, "ready": _FLAG}),
    "ServerMetadata": _object({"name": _TEXT, "version": _TEXT, "extensions": _list_of(_TEXT)}),
    "RepositoryIndex": _list_of(
        _object(
            {
                "name": _TEXT,
                "version": _TEXT,
                "state": {"enum": ["READY", "LOADING", "UNAVAILABLE", "UNLOADING"]},
                "reason": _TEXT,
            }
        )
    ),
    "TensorMetadata": _object(
        {"name": _TEXT, "datatype": _DATATYPE, "shape": _SHAPE}, says="-1 in a shape is any size."
    ),
    "ModelMetadata": _object(
        {"name": _TEXT, "versions": _list_of(_TEXT), "platform": _TEXT, **_TENSORS},
        {"methods": {"type": "object", "additionalProperties": _object(_TENSORS)}},
    ),
    "ModelReady": _object({"name": _TEXT, "ready": _FLAG}),
    "ModelConfig": _object(
        {
            "name": _TEXT,
            "platform": _TEXT,
            "backend": _TEXT,
            "version_policy": _object({"specific": _object({"versions": _SIZES})}),
            "max_batch_size": {"const": 0},
            "input": _CONFIGURED,
            "output": _CONFIGURED,
        }
    ),
    "ModelStatistics": _object(
        {
            "model_stats": _list_of(
                _object(
                    {
                        "name": _TEXT,
                        "version": _TEXT,
                        "inference_count": _COUNT | {"description": "Rows."},
                        "execution_count": _COUNT | {"description": "Batches."},
                        "inference_stats": _object(dict.fromkeys(_TIMED, _DURATION), {"queue": _DURATION}),
                        "batch_stats": _list_of(_object({"batch_size": _COUNT, "compute_infer": _DURATION})),
                    },
                    {"queue_stats": _object(dict.fromkeys(_QUEUED, _COUNT))},
                )
            )
        }
    ),
    "InputTensor": _object(
        {"name": _TEXT, "shape": _SIZES, "datatype": _DATATYPE},
        {"data": _VALUES, "parameters": {"type": ["object", "null"], "properties": {BINARY_SIZE: _COUNT}}},
        f"Its elements are in `data`, or {BINARY_SIZE} bytes behind the JSON.",
    ),
    "OutputTensor": _object({"name": _TEXT, "shape": _SIZES, "datatype": _DATATYPE})
    | {"anyOf": [_object({"data": _VALUES}), _object({"parameters": _BINARY_SIZE})]},
    "PlainRequest": _object(
        {
            "inputs": {
                "anyOf": [_VALUES, {"type": "object", "additionalProperties": _VALUES}],
                "description": "The rows of each input by name, or those of the only one.",
            }
        },
        _REQUEST_REST,
    ),
    "TensorRequest": _object({"inputs": _list_of(ref("InputTensor")) | {"minItems": 1}}, _REQUEST_REST),
    "InferRequest": {"anyOf": [ref("PlainRequest"), ref("TensorRequest")]},
    "PlainAnswer": _object(
        {**_ANSWERED, "outputs": {"type": "object", "additionalProperties": _VALUES}}, _ANSWER_REST
    ),
    "TensorAnswer": _object({**_ANSWERED, "outputs": _list_of(ref("OutputTensor"))}, _ANSWER_REST),
    "InferAnswer": {"oneOf": [ref("PlainAnswer"), ref("TensorAnswer")]},
}
