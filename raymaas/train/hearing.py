"""The way from the workers of a fit to its driver: a Ray queue, in its own process, that a thread here empties."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raymaas.specs.telling import Told, told_of
from raymaas.train.checkpoint import EpochReport


def send(queue: Queue, said: EpochReport | Told, *, wait: bool) -> None:
    """Send to the driver. What one worker sends arrives in order; with `wait` it is in the queue on return."""
    # As plain values: the queue's process would import torch to hold anything of ours.
    plain = said.model_dump()
    if wait:
        queue.put(plain)
    else:
        queue.actor.put_nowait.remote(plain)  # type: ignore[attr-defined]


@contextmanager
def heard_by(hear: Callable[[EpochReport | Told], None]) -> Iterator[Queue]:
    """A queue that a thread empties into `hear`. On leaving, all was said, or its error is raised."""
    # Beside the driver: on another node it could be lost, and the fit with it, where one worker's would be.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    raised: list[Exception] = []

    def listen() -> None:
        try:
            while (plain := queue.get()) is not None:
                hear(
                    told_of(plain)
                    if "told" in plain
                    else EpochReport.parse(plain, source="a worker's report")
                )
        except Exception as error:
            raised.append(error)

    listener = threading.Thread(target=listen, name="epoch-reports", daemon=True)
    listener.start()
    try:
        yield queue
    finally:
        queue.put(None)
        listener.join()
        queue.shutdown(force=True)
    if raised:
        raise raised[0]
