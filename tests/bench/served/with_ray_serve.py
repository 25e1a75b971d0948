"""A Ray Serve deployment with its defaults, as its tutorial has it. `with_ray_serve.py MODEL.onnx PORT`."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment
class Model:
    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    async def __call__(self, request: Request) -> dict[str, Any]:
        given = (await request.json())["inputs"][0]
        rows = np.array(given["data"], np.float32).reshape(given["shape"])
        found = zip(self._outputs, self._session.run(None, {given["name"]: rows}), strict=True)
        outputs = [
            {"name": name, "datatype": "FP32", "shape": array.shape, "data": array.ravel().tolist()}
            for name, array in found
        ]
        return {"model_name": "m", "model_version": "1", "outputs": outputs}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Model.bind(sys.argv[1]), route_prefix="/v2/models/m/infer")
    while True:
        time.sleep(3600)
