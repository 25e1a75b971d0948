"""What sampling costs a request in the replica's application: without it, with a rule elsewhere, and at a rate of 1."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import statistics
import time
from datetime import UTC, datetime

import numpy as np
import orjson

from raymaas.serve.app import InferenceApp, Served
from raymaas.serve.http1 import Asked
from raymaas.serve.plan import Target
from raymaas.serve.sample_log import SampleLog
from raymaas.specs.versions import Signature, TensorSpec
from raymaas.store import MemoryStore

_REQUESTS = 2000
_SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1, 64)),),
    outputs=(TensorSpec(name="y", dtype="FP32", shape=(-1, 10)),),
)
_ANSWER = np.zeros((1, 10), np.float32)
_BODY = orjson.dumps({"inputs": [[0.5] * 64]})


def main(*, rounds: int = 60) -> None:
    """Microseconds of CPU of a JSON request with 64 numbers to a model that takes no time, medians."""
    log = SampleLog(MemoryStore(lambda: datetime.now(UTC)), Target("digits", 1), replica="r1")
    apps = {"no sampling": _app(None), "no rule": _app(log), "rate 1": _app(log)}
    taken: dict[str, list[float]] = {name: [] for name in apps}
    for turn in range(rounds):
        for name in sorted(apps, reverse=turn % 2 == 1):
            log.rate = float(name == "rate 1")
            log._room_bytes = 1 << 60
            gc.collect()  # What one way left behind is not to be found in another's time.
            taken[name].append(asyncio.run(_asked(apps[name])))
            log._waiting.clear()
    found = {name: statistics.median(each) for name, each in taken.items()}
    for name, microseconds in found.items():
        print(f"{name:<12} {microseconds:6.1f} us, {microseconds / found['no sampling']:.3f} of without")


def _app(log: SampleLog | None) -> InferenceApp:
    async def compute(method: str, inputs: dict[str, np.ndarray], **_: object) -> dict[str, np.ndarray]:
        return {"y": _ANSWER}

    return InferenceApp(
        Served(model="digits", version="1", signature=_SIGNATURE, runtime="none"),
        compute=compute,
        secret_sha256=hashlib.sha256(b"secret").hexdigest(),
        record=lambda **_: None,
        keeper=log,
    )


async def _asked(app: InferenceApp) -> float:
    began = time.process_time()
    for number in range(_REQUESTS):
        headers = {b"x-raymaas-edge": b"secret", b"x-request-id": b"0199a1b2c3d4-%08d" % number}
        await app.answer(Asked("POST", "/v2/models/digits/infer", headers, _BODY))
        if number % 50 == 0:
            await asyncio.sleep(0)  # For what is to be done after an answer.
    await asyncio.sleep(0)
    return (time.process_time() - began) / _REQUESTS * 1e6
