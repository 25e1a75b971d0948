"""Requests: the bytes of an infer request, in whichever form, as arrays by input name and the answer wanted.

A refusal names the input, what was expected and what came. Nothing but InvalidInput is raised for bytes a client
sent. Shapes are those sent; only names, types and counts are settled here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

from raymaas.errors import InvalidInput
from raymaas.serve.deadlines import timeout_of_parameter
from raymaas.serve.oip import limits, table
from raymaas.serve.oip.asked import flag, only_input, parameters_of, refuse_unknown, wanted_outputs
from raymaas.serve.oip.tensors import Described, describe, read_raw, read_tensors
from raymaas.serve.oip.values import Source, kind_of, read_values
from raymaas.specs.tensors import PLAIN, unframe
from raymaas.specs.versions import Signature

Form = Literal["plain", "tensors", "table"]


class Head(NamedTuple):
    """What the HTTP headers say: of the body, where its JSON ends in the binary form, and of the answer."""

    content_type: str = ""
    header_length: str = ""
    accept: str = ""


JSON = Head()
_NOTHING = memoryview(b"")
_KEPT_HEADS, _LONGEST_HEAD = 128, 2048


class InferRequest(NamedTuple):
    """A decoded request: arrays by input name, and how to answer.

    `outputs` holds each wanted output in the signature's order, and whether it is wanted in binary.
    """

    inputs: dict[str, np.ndarray]
    outputs: Mapping[str, bool]
    id: str | None
    form: Form
    timeout_s: float | None = None


class _Message(NamedTuple):
    """The JSON of a request, understood: its plain inputs are arrays already, its tensors described."""

    arrays: dict[str, np.ndarray] | None
    described: list[Described]
    outputs: Mapping[str, bool]
    id: str | None
    plain: bool
    timeout_s: float | None

    def holds_data(self) -> bool:
        return self.arrays is not None or any(each.size is None for each in self.described)


class Heads:
    """Heads of binary requests that were understood: callers send the same again and again, with other tensors.

    Those of one signature, on one thread.
    """

    def __init__(self) -> None:
        self._understood: dict[bytes, _Message] = {}

    def __len__(self) -> int:
        return len(self._understood)

    def get(self, json: bytes) -> _Message | None:
        return self._understood.get(json)

    def keep(self, json: bytes, message: _Message) -> None:
        if len(json) > _LONGEST_HEAD or message.holds_data():
            return
        if len(self._understood) >= _KEPT_HEADS:
            del self._understood[next(iter(self._understood))]
        self._understood[json] = message


def decode(body: bytes, signature: Signature, head: Head = JSON, heads: Heads | None = None) -> InferRequest:
    """Read an infer request: JSON of either form, JSON and binary tensors, one raw tensor, or an Arrow stream."""
    limits.refuse_large(len(body))
    if head is JSON:
        return _decode_message(body, _NOTHING, signature, None, None)
    form = _form_wanted(head)
    if table.is_table(head.content_type):
        inputs = table.read(body, signature)
        return InferRequest(inputs, wanted_outputs(None, signature, binary=False), None, form or "table")
    if not head.header_length:
        return _decode_message(body, _NOTHING, signature, form, None)
    json, tensors = unframe(body, head.header_length)
    if json:
        return _decode_message(json, tensors, signature, form, heads)
    inputs = read_raw(tensors, signature)
    return InferRequest(inputs, wanted_outputs(None, signature, binary=True), None, form or "tensors")


@lru_cache(256)
def _form_wanted(head: Head) -> Form | None:
    """The form that Accept names; None where it leaves that to the request."""
    if table.is_table(head.accept):
        return "table"
    asks_json = head.accept.startswith("application/json")
    return "plain" if asks_json and table.is_table(head.content_type) else None


def _decode_message(
    json: bytes, tensors: memoryview, signature: Signature, form: Form | None, heads: Heads | None
) -> InferRequest:
    message = heads.get(json) if heads is not None else None
    if message is None:
        message = _understood(json, signature)
        if heads is not None:
            heads.keep(json, message)
    arrays, left = message.arrays, len(tensors)
    if arrays is None:
        only_numbers = len(message.described) == 1 and _only_numbers(json, b'"data"')
        arrays, left = read_tensors(message.described, tensors, Source(json, only_numbers))
    if left:
        raise InvalidInput(f"{left} bytes follow the last tensor; the binary_data_size of each must add up")
    form = form or ("plain" if message.plain else "tensors")
    return InferRequest(arrays, message.outputs, message.id, form, message.timeout_s)


def _understood(json: bytes, signature: Signature) -> _Message:
    limits.refuse_many_values(json)
    try:
        message = orjson.loads(json)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from None
    if not isinstance(message, dict) or "inputs" not in message:
        raise InvalidInput('the body must be a JSON object with "inputs", e.g. {"inputs": [[...]]}')
    inputs, request_id = message["inputs"], message.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidInput(f'"id" must be a string, got {kind_of(request_id)}')
    parameters = parameters_of(message, "the request")
    arrays, described = None, []
    plain = not (isinstance(inputs, list) and inputs and isinstance(inputs[0], dict))
    if plain:
        arrays = _decode_plain(inputs, signature, json)
    else:
        plain = flag(parameters, PLAIN)
        described = describe(inputs, signature, converting=plain)
    outputs = wanted_outputs(message.get("outputs"), signature, binary=flag(parameters, "binary_data_output"))
    timeout_s = timeout_of_parameter(parameters.get("timeout"))
    return _Message(arrays, described, outputs, request_id, plain, timeout_s)


def _decode_plain(inputs: Any, signature: Signature, json: bytes) -> dict[str, np.ndarray]:
    key = b'"inputs"'
    if not isinstance(inputs, dict):
        inputs = {only_input(signature).name: inputs}
    elif len(inputs) == 1:
        key = orjson.dumps(next(iter(inputs)))
    specs = {spec.name: spec for spec in signature.inputs}
    refuse_unknown(inputs, specs)
    source = Source(json, only_numbers=len(inputs) == 1 and _only_numbers(json, key))
    return {name: read_values(value, specs[name], source) for name, value in inputs.items()}


def _only_numbers(json: bytes, key: bytes) -> bool:
    """Whether `key` is the last text in `json`, and nothing but numbers follows: `u` is in true and null, `s` in false.

    Single bytes are found at the speed of memory. False says nothing.
    """
    last = json.rfind(b'"') + 1
    return json.endswith(key, 0, last) and json.find(b"u", last) < 0 and json.find(b"s", last) < 0
