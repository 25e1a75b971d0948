"""Asked: one request of the Open Inference Protocol, as its bytes, for clients that send it over and over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import orjson


@dataclass(frozen=True)
class Asked:
    """A POST of `body` to `url`."""

    url: str
    body: bytes
    headers: dict[str, str]


def of_rows(url: str, rows: np.ndarray, *, binary: bool, key: str | None = None) -> Asked:
    """An inference of float32 `rows` [N, ...], the input `x`; its answer comes in the same form."""
    tensor = {"name": "x", "shape": rows.shape, "datatype": "FP32"}
    admission = {} if key is None else {"authorization": f"Bearer {key}"}
    if not binary:
        body = orjson.dumps({"inputs": [tensor | {"data": rows.ravel().tolist()}]})
        return Asked(url, body, {"content-type": "application/json"} | admission)
    tensor |= {"parameters": {"binary_data_size": rows.nbytes}}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    framing = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Asked(url, head + rows.tobytes(), framing | admission)
