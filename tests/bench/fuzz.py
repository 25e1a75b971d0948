"""A fuzz of 20,000 malformed requests: how many were answered 5xx, and how much memory the server kept.

The server is a process of its own. Memory is what it holds after a first thousand requests, and at the end.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from itertools import islice
from multiprocessing.connection import Connection

import httpx
import malformed
import psutil

from raymaas.serve.app import InferenceApp, Served
from raymaas.serve.fast_lane import FastLane
from raymaas.serve.oip.limits import MAX_BODY_BYTES

REQUESTS, WARM_UP, SEED = 20_000, 1_000, 1
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def serve(told: Connection) -> None:
    app = InferenceApp(
        Served(model="m", version="1", signature=malformed.SIGNATURE, runtime="test"),
        compute=malformed.compute,
        secret_sha256=EMPTY_SHA256,
        record=lambda **told: None,
    )
    lane = FastLane(app.answer, host="127.0.0.1", prefix="", max_body_bytes=MAX_BODY_BYTES)
    told.send(lane.address)
    told.recv()


def main() -> None:
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=serve, args=(there,))
    server.start()
    try:
        report(f"http://{here.recv()}", psutil.Process(server.pid))
    finally:
        server.terminate()
        server.join()


def report(url: str, server: psutil.Process) -> None:
    statuses: Counter[int] = Counter()
    began, held = time.perf_counter(), 0
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
        for number, sent in enumerate(islice(malformed.malformed(SEED), REQUESTS)):
            if number == WARM_UP:
                held = server.memory_info().rss
            statuses[
                http.post("/v2/models/m/infer", content=sent.body, headers=sent.headers).status_code
            ] += 1
    seconds, grown = time.perf_counter() - began, server.memory_info().rss - held
    faults = sum(count for status, count in statuses.items() if status >= 500)
    print(f"{REQUESTS} malformed requests in {seconds:.0f} s, by status {dict(sorted(statuses.items()))}")
    print(f"answered 5xx: {faults}; the server's memory grew by {grown / 2**20:.1f} MB")
