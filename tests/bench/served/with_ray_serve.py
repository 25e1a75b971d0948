"""A Ray Serve deployment as its tutorial has it, on a head of its own. `with_ray_serve.py MODEL.onnx PORT`.

All is as Serve has it by default, but for one thing: a replica takes more than 5 requests at once. With 5, of 32
callers 27 wait in the proxy's router, which looks again after up to 0.5 s: 15 requests a second and time-outs, where
this gave 190 on the same busy machine.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(max_ongoing_requests=64)
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
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    # Ray's own handler, set by init, would print a stack and leave its processes to find out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Model.bind(sys.argv[1]), route_prefix="/v2/models/m/infer")
    signal.pause()
