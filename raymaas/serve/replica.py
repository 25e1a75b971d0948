"""A replica: one version loaded and verified, answering as a Ray Serve deployment."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import ray
from ray import serve

from raymaas.bundle.probes import PROBES, read_probes
from raymaas.bundle.runtimes.base import Runtime
from raymaas.bundle.runtimes.opening import open_runtime
from raymaas.priority import give_way
from raymaas.registry.cache import BlobCache
from raymaas.registry.versions import Versions
from raymaas.serve.announcing import Announcement, announce, announced_of, withdraw
from raymaas.serve.app import Compute, InferenceApp, Recorder, Served, all_of
from raymaas.serve.asgi import AsgiApp
from raymaas.serve.autoscaling import BUSY, Busy, ByLoad
from raymaas.serve.batching import keeps_rows_apart
from raymaas.serve.compute_queue import ComputeQueue, QueueLimits
from raymaas.serve.drift_gauge import drift_gauge
from raymaas.serve.drift_log import Bins, DriftLog
from raymaas.serve.falling_back import FallingBack
from raymaas.serve.fast_lane import FastLane
from raymaas.serve.oip.limits import MAX_BODY_BYTES
from raymaas.serve.oip.statistics import Statistics
from raymaas.serve.plan import Target
from raymaas.serve.ray_metrics import RayMetrics
from raymaas.serve.request_log import RequestLog
from raymaas.serve.result_cache import ResultCache
from raymaas.serve.sample_log import SampleLog
from raymaas.serve.shadowing import Shadowing, SinceLast
from raymaas.specs.requests import Compared
from raymaas.specs.serving import Scaling
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store, open_store

_MAX_ONGOING_REQUESTS = 256
_LONGEST_BATCH_S = 120.0
_QUIET_S = 1.5  # edges hear within that time that a replica is leaving: the controller looks once a second
_LEAVE_S = 15.0
_TELL_S = 2.0
_SWITCH_S = 0.0005


@dataclass(frozen=True)
class ReplicaSpec:
    """What a replica needs to come up anywhere in the cluster."""

    target: Target
    store_url: str
    scaling: Scaling
    secret_sha256: str
    cache: BlobCache | None = None


@serve.ingress()
class Replica:
    """Loads its version, which verifies every byte against the manifest and the probes, before it is ready."""

    _request_log: RequestLog | None = None
    _lane: FastLane | None = None
    _announcement: Announcement | None = None
    _metrics: RayMetrics | None = None
    _shadowing: Shadowing | None = None
    _drift_log: DriftLog | None = None
    _sample_log: SampleLog | None = None
    _falling_back: FallingBack | None = None

    def __init__(self, spec: ReplicaSpec) -> None:
        store = open_store(spec.store_url)
        versions = Versions(store, cache=spec.cache)
        manifest = versions.manifest(spec.target.model, spec.target.version)
        read = partial(versions.read_file, manifest)
        self._runtime, self._queue = _loaded(manifest, read, spec.scaling)
        self._compute: Compute = self._queue
        self._drift_log = _drift_log(spec, store, manifest, read)
        if self._drift_log:
            self._drift_log.start()
            self._compute = self._drift_log.watched(self._queue)
        self._busy = Busy(time.monotonic())
        self._shadowing = Shadowing(
            spec.target,
            classes=manifest.signature.classes,
            addresses=_announced,
            waiting=lambda: self._queue.figures().waiting,
        )
        self._shadowing.start()
        self._falling_back = FallingBack(spec.target, addresses=_announced)
        self._metrics = RayMetrics(spec.target, self._queue.figures, SinceLast(self._shadowing.totals))
        self._metrics.start()
        recorders: list[Recorder] = [self._metrics]
        self._request_log = _request_log(spec, store, SinceLast(self._shadowing.totals))
        if self._request_log:
            self._request_log.start()
            recorders.append(self._request_log)
        replica = serve.get_replica_context().replica_id.unique_id
        self._sample_log = SampleLog(store, spec.target, replica=replica)
        self._sample_log.start()
        served = Served(
            model=manifest.model,
            version=str(manifest.version),
            signature=manifest.signature,
            runtime=self._runtime.name,
            methods=manifest.methods,
        )
        app = partial(
            InferenceApp,
            served,
            secret_sha256=spec.secret_sha256,
            record=all_of(*recorders),
            statistics=Statistics(self._queue.figures),
            cache=ResultCache(spec.scaling.result_cache_mb << 20) if spec.scaling.result_cache_mb else None,
            shadow=self._shadowing,
            keeper=self._sample_log,
            fallback=self._falling_back,
        )
        host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self._lane = FastLane(
            app(compute=self._compute).answer,
            host=host,
            prefix=spec.target.route_prefix,
            max_body_bytes=MAX_BODY_BYTES,
        )
        self._slow_app = AsgiApp(app(compute=self._compute_on_the_lane).answer, max_body_bytes=MAX_BODY_BYTES)
        self._announcement = Announcement(spec.target.app_name, replica, self._lane.address)
        _spare_pauses()
        announce(self._announcement)

    def __del__(self) -> None:
        """Ray Serve calls it when the replica is to end in peace."""
        if self._announcement:
            withdraw([self._announcement])
        if self._lane:
            self._lane.leave(quiet_s=_QUIET_S, at_most_s=_LEAVE_S)
        if self._shadowing:
            self._shadowing.close()
        if self._falling_back:
            self._falling_back.close()
        if self._metrics:
            self._metrics.close()
        if self._request_log:
            self._request_log.close()
        if self._drift_log:
            self._drift_log.close()
        if self._sample_log:
            self._sample_log.close()

    def __serve_build_asgi_app__(self) -> AsgiApp:
        return self._slow_app

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Nothing to change in place: the digest in `user_config` is there for the controller to read back."""

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Ray Serve's autoscaler is told: how busy the busier of this replica's threads was since last time."""
        assert self._lane
        compute_s = self._queue.figures().compute_s
        busy = self._busy.since_last(time.monotonic(), self._lane.cpu_s(), compute_s)
        # Its health is looked after many times a second: only one that is not busy at all may go when nobody asks.
        return {BUSY: 0.0 if self._lane.quiet_s() > 2 * _TELL_S else busy}

    async def check_health(self) -> None:
        """Raises when the replica's own server does not answer, or a batch has kept the compute thread for too long.

        A long queue is no illness.
        """
        if self._queue.computing_for_s() > _LONGEST_BATCH_S:
            raise RuntimeError(f"a batch has been computing for more than {_LONGEST_BATCH_S:g} s")
        if self._lane:
            await self._lane.probe()

    async def _compute_on_the_lane(
        self, method: str, inputs: dict[str, np.ndarray], *, timeout_s: float | None = None
    ) -> dict[str, np.ndarray]:
        """The queue, for requests that came in through Ray Serve, which has an event loop of its own."""
        assert self._lane
        asked = self._compute(method, inputs, timeout_s=timeout_s)
        outputs: dict[str, np.ndarray] = await self._lane.run(asked)
        return outputs


def _announced(target: Target) -> list[str]:
    return [each.address for each in announced_of(target.app_name)]


def _spare_pauses() -> None:
    """Have no request wait for what has nothing to do with it."""
    # A full collection looks for a tenth of a second at objects of which none ends before the replica does.
    gc.collect()
    gc.freeze()
    # So long may a thread that writes the request log, or Ray's own, keep the interpreter from the one that answers.
    sys.setswitchinterval(_SWITCH_S)


def _loaded(
    manifest: ModelVersion, read: Callable[[str], bytes], scaling: Scaling
) -> tuple[Runtime, ComputeQueue]:
    """The runtime, proven by its probes, and the queue before it, which knows how long they take."""
    rows, _ = read_probes(read(PROBES))

    def load() -> tuple[Runtime, bool]:
        runtime = open_runtime(
            manifest,
            read,
            runtime=scaling.runtime,
            threads=scaling.threads,
            device="cuda" if scaling.num_gpus else "cpu",
            say=logging.getLogger("ray.serve").info,  # the replica's own log, among Ray's
        )
        return runtime, keeps_rows_apart(runtime, rows)

    if scaling.threads > 1:
        runtime, joins = load()  # a runtime's own threads are as slow for ever as the one that started them
    else:
        # Other replicas answer meanwhile, and a version may take a minute to load.
        with ThreadPoolExecutor(1, "loading", initializer=give_way) as loading:
            runtime, joins = loading.submit(load).result()
    queue = ComputeQueue(runtime, joins=joins, limits=QueueLimits(target_s=scaling.max_latency_ms / 1e3))
    queue.warm_up(rows)
    return runtime, queue


def _request_log(
    spec: ReplicaSpec, store: Store, compared: Callable[[], Mapping[int, Compared]]
) -> RequestLog | None:
    if spec.scaling.request_log == "off":
        return None
    replica = serve.get_replica_context().replica_id.unique_id
    least_status = 400 if spec.scaling.request_log == "errors" else 0
    return RequestLog(store, spec.target, replica=replica, least_status=least_status, compared=compared)


def _drift_log(
    spec: ReplicaSpec, store: Store, manifest: ModelVersion, read: Callable[[str], bytes]
) -> DriftLog | None:
    bins = None if spec.scaling.request_log == "off" else Bins.of_version(manifest, read)
    replica = serve.get_replica_context().replica_id.unique_id
    if bins is None:
        return None
    return DriftLog(store, spec.target, replica=replica, bins=bins, tell=drift_gauge(spec.target))


def _reserved(scaling: Scaling) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": scaling.num_cpus, "num_gpus": scaling.num_gpus}
    if scaling.memory_mb:
        options["memory"] = scaling.memory_mb << 20
    if scaling.pip:
        options["runtime_env"] = {"pip": list(scaling.pip)}
    return options


def _autoscaling(scaling: Scaling) -> dict[str, Any]:
    return {
        "min_replicas": scaling.min_replicas,
        # The first one shows that the version can be served at all.
        "initial_replicas": max(1, scaling.min_replicas),
        "max_replicas": scaling.max_replicas,
        "policy": {
            "policy_function": f"{ByLoad.__module__}:{ByLoad.__name__}",
            "policy_kwargs": {"target_busy": scaling.target_busy, "most_each": _MAX_ONGOING_REQUESTS},
        },
        "upscale_delay_s": scaling.upscale_delay_s,
        "downscale_delay_s": scaling.downscale_delay_s,
        # Ray Serve calls it deprecated, and its replicas heed nothing else; 10 s otherwise.
        "metrics_interval_s": _TELL_S,
        "look_back_period_s": 2 * _TELL_S,
    }


def application(spec: ReplicaSpec, *, digest: str) -> serve.Application:
    """The Ray Serve application of one version. `digest` is readable from Serve's REST API as its user_config."""
    scaling = spec.scaling
    options: dict[str, Any] = {
        "user_config": {"digest": digest},
        "max_ongoing_requests": _MAX_ONGOING_REQUESTS,
        "ray_actor_options": _reserved(scaling),
        # The default stops an old replica before its successor is ready.
        "max_surge_percent": 100,
        "health_check_period_s": 1,  # so long may a replica be dead before Ray Serve starts another
        "graceful_shutdown_timeout_s": _LEAVE_S + 5,
    }
    if scaling.max_replicas > scaling.min_replicas:
        options["autoscaling_config"] = _autoscaling(scaling)
    else:
        options["num_replicas"] = scaling.min_replicas
    deployment: Any = serve.deployment(name="replica", **options)(Replica)
    bound: serve.Application = deployment.bind(spec)
    return bound
