"""Asks a server with KServe's own client, and prints what came back as JSON. Run by a Python that has `kserve`.

KServe's package asks for older releases of what raymaas runs on, so it has an environment of its own, `.venv/kserve`.
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import (  # type: ignore[import-not-found]
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)

X = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
WORDS = np.array(["a", "ü", "long"], dtype=object)


def request(*, binary: bool) -> InferRequest:
    x, word = InferInput("x", [3, 2], "FP32"), InferInput("word", [3], "BYTES")
    x.set_data_from_numpy(X, binary_data=binary)
    word.set_data_from_numpy(WORDS, binary_data=binary)
    return InferRequest(model_name="m", request_id="r7", infer_inputs=[x, word])


async def asked(url: str) -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    found: dict[str, Any] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model_ready": await client.is_model_ready(url, "m"),
    }
    for name, binary in (("json", False), ("binary", True)):
        answer = await client.infer(url, request(binary=binary), model_name="m")
        words = [word.decode() if isinstance(word, bytes) else word for word in answer.outputs[-1].as_numpy()]
        doubled = next(output for output in answer.outputs if output.name == "double").as_numpy()
        found[name] = {"id": answer.id, "model": answer.model_name, "double": doubled.tolist(), "loud": words}
    try:
        await client.infer(
            url,
            InferRequest(model_name="m", infer_inputs=[InferInput("x", [1], "FP32", [1.0])]),
            model_name="m",
        )
    except Exception as error:
        found["refused"] = str(error)
    await client.close()
    return found


sys.stdout.write(json.dumps(asyncio.run(asked(sys.argv[1]))))
