"""FastAPI with a pydantic body behind uvicorn, as its tutorial has it. `with_fastapi.py MODEL.onnx PORT`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Request(BaseModel):
    inputs: list[Tensor]


def build(path: str) -> FastAPI:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    app = FastAPI()

    @app.post("/v2/models/m/infer")
    async def infer(request: Request) -> dict[str, Any]:
        given = request.inputs[0]
        rows = np.array(given.data, np.float32).reshape(given.shape)
        found = zip(names, session.run(None, {given.name: rows}), strict=True)
        outputs = [
            {"name": name, "datatype": "FP32", "shape": array.shape, "data": array.ravel().tolist()}
            for name, array in found
        ]
        return {"model_name": "m", "model_version": "1", "outputs": outputs}

    return app


if __name__ == "__main__":
    uvicorn.run(build(sys.argv[1]), port=int(sys.argv[2]), access_log=False, log_level="warning")
