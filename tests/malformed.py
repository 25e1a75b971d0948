"""Malformed infer requests: valid ones of every form, each damaged in a few ways drawn from a seed."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from raymaas.specs.versions import Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="x", dtype="FP32", shape=(-1, 2)),
        TensorSpec(name="count", dtype="INT32", shape=(-1,), default=1),
        TensorSpec(name="flag", dtype="BOOL", shape=(-1,), default=0),
        TensorSpec(name="word", dtype="BYTES", shape=(-1,), nullable=True),
    ),
    outputs=(
        TensorSpec(name="double", dtype="FP32", shape=(-1, 2)),
        TensorSpec(name="next", dtype="INT64", shape=(-1,)),
        TensorSpec(name="not", dtype="BOOL", shape=(-1,)),
        TensorSpec(name="loud", dtype="BYTES", shape=(-1,)),
    ),
    classes=("no", "yes"),
)
ARROW = "application/vnd.apache.arrow.stream"
_X = np.array([[1, 2], [3, 4]], dtype=np.float32)
_NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 1e308, "", "x", "FP32", "BYTES", "BF16",
    "\ud7ff", [], [[]], {}, [2**62, 2**62], [0, 2**62], [1] * 70, "a" * 300, [[[1]]], {"binary_data_size": -1},
    {"binary_data_size": 2**62}, {"binary_data": 1}, {"binary_data_output": True}, {"raymaas_plain": True},
)  # fmt: skip
_HEADER_VALUES = ("", "0", "1", "-1", "7", "99999999999999999999", "1e3", "x", "gzip", "deflate", "br", ARROW)


@dataclass(frozen=True)
class Sent:
    """An HTTP request to `.../infer`."""

    headers: dict[str, str]
    body: bytes


async def compute(
    method: str, inputs: dict[str, np.ndarray], *, timeout_s: float | None = None
) -> dict[str, np.ndarray]:
    """A model that fails on nothing that fits SIGNATURE."""
    loud = np.array([f"{word}!" for word in inputs["word"]] + [None], dtype=object)[:-1]
    return {
        "double": inputs["x"] * np.float32(2),
        "next": inputs["count"].astype(np.int64) + 1,
        "not": ~inputs["flag"],
        "loud": loud,
    }


def valid() -> tuple[Sent, ...]:
    """A request of each form, all meaning two rows."""
    json = {"content-type": "application/json"}
    plain = {"inputs": {"x": _X.tolist(), "word": ["a", None]}, "id": "r", "outputs": ["double"]}
    tensors = {"inputs": [_tensor("x", "FP32", [2, 2]), _tensor("word", "BYTES", [2])], "id": "r"}
    raw = _X.tobytes() + b"\x01\0\0\0a\x02\0\0\0bc"
    binary = orjson.dumps(
        {
            "inputs": [_tensor("x", "FP32", [2, 2], size=16), _tensor("word", "BYTES", [2], size=11)],
            "outputs": [{"name": "loud", "parameters": {"binary_data": False}}, {"name": "double"}],
            "parameters": {"binary_data_output": True},
        }
    )
    length = {"inference-header-content-length": str(len(binary))}
    return (
        Sent(json, orjson.dumps(plain)),
        Sent(json, orjson.dumps(tensors)),
        Sent({"content-type": "application/octet-stream", **length}, binary + raw),
        Sent(json | {"content-encoding": "gzip"}, gzip.compress(orjson.dumps(plain), mtime=0)),
        Sent(json | {"content-encoding": "deflate"}, zlib.compress(orjson.dumps(tensors))),
        Sent({"content-type": ARROW}, _stream()),
    )


def malformed(seed: int) -> Iterator[Sent]:
    """Requests without end: some are still valid by chance."""
    random, sources = Random(seed), valid()
    while True:
        sent = random.choice(sources)
        body, headers = sent.body, dict(sent.headers)
        if random.random() < 0.5:
            body, headers = _with_other_json(sent, random)
        for _ in range(random.randrange(3)):
            body = _damaged(body, random)
        if random.random() < 0.3:
            name = random.choice(
                ("content-encoding", "content-type", "inference-header-content-length", "accept")
            )
            headers[name] = random.choice(_HEADER_VALUES)
        yield Sent(headers, body)


def _tensor(name: str, datatype: str, shape: list[int], *, size: int | None = None) -> dict[str, Any]:
    data = _X.ravel().tolist() if name == "x" else ["a", "bc"]
    held = {"data": data} if size is None else {"parameters": {"binary_data_size": size}}
    return {"name": name, "datatype": datatype, "shape": shape, **held}


def _stream() -> bytes:
    table = pa.table({"x": pa.array(_X.tolist(), pa.list_(pa.float32(), 2)), "word": pa.array(["a", None])})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _with_other_json(sent: Sent, random: Random) -> tuple[bytes, dict[str, str]]:
    """The request with one node of its JSON replaced or doubled; others as they are."""
    length = int(sent.headers.get("inference-header-content-length", len(sent.body)))
    try:
        message = orjson.loads(sent.body[:length])
    except orjson.JSONDecodeError:
        return sent.body, dict(sent.headers)
    at: Any = message
    while isinstance(at, dict | list) and at:
        key = random.choice(list(at)) if isinstance(at, dict) else random.randrange(len(at))
        if random.random() < 0.4 or not isinstance(at[key], dict | list) or not at[key]:
            at[key] = random.choice((*_NASTY, [at[key]] * 3))
            break
        at = at[key]
    header = orjson.dumps(message)
    headers = dict(sent.headers)
    if "inference-header-content-length" in headers:
        headers["inference-header-content-length"] = str(len(header))
    return header + sent.body[length:], headers


def _damaged(body: bytes, random: Random) -> bytes:
    at = random.randrange(len(body) + 1)
    match random.randrange(5):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + random.randbytes(random.randrange(1, 9)) + body[at:]
        case 2:
            return body[:at] + body[at + random.randrange(1, 9) :]
        case 3:
            return body + body[at:]
    return body[: at - 1] + bytes([random.randrange(256)]) + body[at:] if at else body
