"""The parts list: the only place that takes settings or a plan and builds what runs."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from raymaas.cluster.lifecycle import read_plan, ready_checks
from raymaas.cluster.plan import ClusterPlan
from raymaas.errors import NotFound
from raymaas.registry.runs import Runs
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.specs.base import sha256_hex
from raymaas.store import Store, open_store

log = logging.getLogger("raymaas")


@dataclass(frozen=True)
class Registry:
    """The store and what is kept in it."""

    store: Store
    versions: Versions
    states: States
    runs: Runs


def open_registry(storage: str) -> Registry:
    store = open_store(storage)
    return Registry(store, Versions(store), States(store), Runs(store))


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
    )
    if backend.start(host="127.0.0.1", port=plan.serve_port):
        Path(plan.run_dir, SERVE_STARTED_FILE).touch()
    # Whatever a replica was given besides its scaling: another one of these, and it is deployed again.
    release = sha256_hex(f"{source_sha256()} {secret_sha256} {plan.storage}".encode())
    controller = Controller(registry.states, backend, release=release)
    jobs = RayJobs(partial(JobSubmissionClient, plan.dashboard_url), registry.runs, now=registry.store.now)
    app = build_app(
        ControlParts(
            versions=registry.versions,
            states=registry.states,
            runs=registry.runs,
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
    for thread in (
        serving,
        threading.Thread(target=controller.run, args=(stop,), name="reconcile", daemon=True),
        threading.Thread(target=_every, args=(stop, 3.0, jobs.settle), name="settle", daemon=True),
    ):
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


def _plan(run_dir: Path) -> ClusterPlan:
    plan = read_plan(run_dir)
    if plan is None:
        raise NotFound(f"no cluster runs from {run_dir}; `raymaas up` starts one")
    return plan


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
