"""A bare ASGI application behind uvicorn: the least Python can do for such a request. `bare.py MODEL.onnx PORT`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import numpy as np
import onnxruntime
import orjson
import uvicorn

Message = MutableMapping[str, Any]


class Bare:
    """Answers the protocol's JSON, and its binary tensors; checks nothing."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        length = next((int(v) for k, v in scope["headers"] if k == b"inference-header-content-length"), None)
        given = orjson.loads(body if length is None else body[:length])["inputs"][0]
        if length is None:
            rows = np.array(given["data"], np.float32).reshape(given["shape"])
        else:
            rows = np.frombuffer(body, np.float32, offset=length).reshape(given["shape"])
        found = dict(zip(self._outputs, self._session.run(None, {given["name"]: rows}), strict=True))
        answer, raw = _answer(found, binary=length is not None)
        headers = [(b"content-length", str(len(raw)).encode()), *answer]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": raw})


def _answer(found: dict[str, np.ndarray], *, binary: bool) -> tuple[list[tuple[bytes, bytes]], bytes]:
    if not binary:
        outputs = [
            {"name": name, "datatype": "FP32", "shape": array.shape, "data": array.ravel()}
            for name, array in found.items()
        ]
        told = {"model_name": "m", "model_version": "1", "outputs": outputs}
        return [(b"content-type", b"application/json")], orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)
    outputs = [
        {
            "name": name,
            "datatype": "FP32",
            "shape": array.shape,
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in found.items()
    ]
    head = orjson.dumps({"model_name": "m", "model_version": "1", "outputs": outputs})
    raw = head + b"".join(array.tobytes() for array in found.values())
    return [(b"inference-header-content-length", str(len(head)).encode())], raw


if __name__ == "__main__":
    uvicorn.run(
        Bare(sys.argv[1]),
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
