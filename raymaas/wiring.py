"""The parts list: the only place that takes settings or a plan and builds what runs."""

from __future__ import annotations

import getpass
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from raymaas.cluster.lifecycle import read_plan, ready_checks
from raymaas.cluster.plan import ClusterPlan
from raymaas.data.cards import find_card
from raymaas.data.sources.base import DataFiles
from raymaas.errors import NotFound, Refused
from raymaas.registry.blobs import GRACE
from raymaas.registry.cache import BlobCache
from raymaas.registry.collector import Collector
from raymaas.registry.keys import Keys
from raymaas.registry.lineage import Lineages
from raymaas.registry.policies import Policies
from raymaas.registry.resumption import Resumption
from raymaas.registry.runs import Runs
from raymaas.registry.states import States
from raymaas.registry.usage import Usages
from raymaas.registry.versions import Versions
from raymaas.serve.comparison import comparison_of
from raymaas.settings import Settings
from raymaas.specs.base import sha256_hex
from raymaas.store import Store, open_store

log = logging.getLogger("raymaas")


@dataclass(frozen=True)
class Registry:
    """The store and what is kept in it."""

    store: Store
    versions: Versions
    states: States
    policies: Policies
    runs: Runs
    keys: Keys


def open_registry(storage: str) -> Registry:
    store = open_store(storage)
    versions = Versions(store)
    states = States(store, compare=comparison_of(versions))
    return Registry(store, versions, states, Policies(store), Runs(store), Keys(store))


def open_collector(store: Store, settings: Settings, *, grace: timedelta) -> Collector:
    """A collector for a user's own hands. Raises Refused for a `grace` that publishers do not know of."""
    if grace < GRACE:
        hours = GRACE / timedelta(hours=1)
        raise Refused(
            f"a grace of {grace / timedelta(hours=1):g} h could take files from under a version being published:"
            f" publishers rely on {hours:g} h. Give {hours:g} or more"
        )
    holder = f"{getpass.getuser()} on {socket.gethostname()}, process {os.getpid()}"
    return Collector(store, settings.retention, holder=holder, grace=grace)


def data_files(settings: Settings) -> DataFiles:
    """Where data sets known by name are looked for; what is downloaded is told on standard output."""
    return DataFiles(
        folder=settings.datasets.expanduser() if settings.datasets else None,
        cache=settings.datasets_cache,
        mnist_mirror=settings.mnist_mirror,
        say=partial(print, flush=True),
    )


def supervise(run_dir: Path, environment: Mapping[str, str]) -> None:
    """Run the supervisor of the plan in `run_dir` until SIGTERM."""
    from raymaas.cluster.supervisor import Supervisor

    plan = _plan(run_dir)
    supervisor = Supervisor(
        plan, environment=environment, ready=ready_checks(plan, token=_secret(plan.token_file))
    )
    supervisor.run(_stop_on_signals())


def control(run_dir: Path) -> None:
    """Run the controller and its HTTP API until SIGTERM."""
    import ray
    import uvicorn
    from ray.job_submission import JobSubmissionClient

    from raymaas.cluster.card import ClusterCard, publish_card
    from raymaas.cluster.joining import SERVE_STARTED_FILE, connect
    from raymaas.cluster.status import PlanView
    from raymaas.cluster.submission import RayJobs
    from raymaas.registry.provenance import source_sha256
    from raymaas.registry.reports import Reports
    from raymaas.serve.control_api import ControlParts, build_app
    from raymaas.serve.controller import Controller
    from raymaas.serve.ray_serve import RayServe

    plan = _plan(run_dir)
    secret = _secret(plan.edge_secret_file) or ""
    secret_sha256 = sha256_hex(secret.encode())
    token = _secret(plan.token_file)
    registry = open_registry(plan.storage)
    connect(plan)
    publish_card(ClusterCard(storage=plan.storage, url=plan.url))
    backend = RayServe(
        dashboard_url=plan.dashboard_url,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        store_url=plan.storage,
        secret_sha256=secret_sha256,
        cache=_replica_cache(plan),
    )
    if backend.start(host="127.0.0.1", port=plan.serve_port):
        Path(plan.run_dir, SERVE_STARTED_FILE).touch()
    # Whatever a replica was given besides its scaling: another one of these, and it is deployed again.
    release = sha256_hex(f"{source_sha256()} {secret_sha256} {plan.storage}".encode())
    controller = Controller(registry.states, backend, release=release, ring=registry.keys.ring)
    jobs = RayJobs(partial(JobSubmissionClient, plan.dashboard_url), registry.runs, now=registry.store.now)
    app = build_app(
        ControlParts(
            versions=registry.versions,
            states=registry.states,
            policies=registry.policies,
            runs=registry.runs,
            resumption=Resumption(registry.store, registry.runs, registry.versions),
            lineages=Lineages(registry.store, card_of=partial(find_card, registry.store)),
            reports=Reports(registry.store),
            keys=registry.keys,
            usages=Usages(registry.store, registry.keys),
            submitter=jobs,
            deployments=controller,
            cluster=PlanView(plan),
            edge_tables=controller,
            edge_secret=secret,
            poke=controller.poke,
            now=registry.store.now,
        )
    )
    stop = _stop_on_signals()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=plan.control_port, log_level="warning", access_log=False)
    )
    serving = threading.Thread(target=server.run, name="http")
    threads = [
        serving,
        threading.Thread(target=controller.run, args=(stop,), name="reconcile", daemon=True),
        threading.Thread(target=_every, args=(stop, 3.0, jobs.settle), name="settle", daemon=True),
    ]
    if plan.gc_every_hours:
        collect = partial(_collect_if_due, plan, registry.store)
        threads.append(
            threading.Thread(target=_every, args=(stop, 600.0, collect), name="collect", daemon=True)
        )
    for thread in threads:
        thread.start()
    while serving.is_alive() and not stop.wait(0.5):
        pass
    stop.set()
    controller.close()
    server.should_exit = True
    serving.join()
    ray.shutdown()


def edge(run_dir: Path) -> None:
    """Run the edge agent, and HAProxy beside it, until SIGTERM."""
    from pydantic import SecretStr

    from raymaas.serve.edge.agent import EdgeAgent
    from raymaas.serve.edge.config import EdgeSettings
    from raymaas.serve.edge.source import HttpTableSource

    plan = _plan(run_dir)
    secret = SecretStr(_secret(plan.edge_secret_file) or "")
    settings = EdgeSettings(
        bind_host=plan.host, port=plan.port, control=f"127.0.0.1:{plan.control_port}", secret=secret
    )
    source = HttpTableSource(plan.control_url, secret=secret)
    EdgeAgent(settings, plan.path("edge"), source).run(_stop_on_signals())


def configure_logging(level: int = logging.INFO) -> None:
    """One line per record on stderr, which the supervisor sends to the service's log."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _collect_if_due(plan: ClusterPlan, store: Store) -> None:
    holder = f"the controller of cluster {plan.cluster_id}"
    collected = Collector(store, plan.retention, holder=holder).collect_if_due(
        timedelta(hours=plan.gc_every_hours)
    )
    if collected is not None:
        log.info("collected %s", collected)


def _plan(run_dir: Path) -> ClusterPlan:
    plan = read_plan(run_dir)
    if plan is None:
        raise NotFound(f"no cluster runs from {run_dir}; `raymaas up` starts one")
    return plan


def _replica_cache(plan: ClusterPlan) -> BlobCache | None:
    # What lies in a folder is on this disk already.
    if plan.cache_bytes == 0 or plan.storage.startswith("file:"):
        return None
    return BlobCache(Path(plan.cache_dir), limit_bytes=plan.cache_bytes)


def _secret(path: str | None) -> str | None:
    return Path(path).read_text().strip() if path else None


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def on_signal(number: int, frame: Any) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return stop


def _every(stop: threading.Event, seconds: float, act: Callable[[], None]) -> None:
    while not stop.wait(seconds):
        try:
            act()
        except Exception:
            # Nothing else can be done with it, and the next time may go well.
            log.exception("%s failed", threading.current_thread().name)
