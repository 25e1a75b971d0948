"""What a cluster's own processes run, each built from the plan: `python -m raymaas.services NAME RUN_DIR`.

They live as long as the cluster, on a laptop too, so each imports what it runs and nothing else: neither the command
line nor the registry are in the supervisor and the edge agent. A test holds that.
"""

from __future__ import annotations

import _thread
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raymaas.cluster.lifecycle import read_plan
from raymaas.cluster.plan import ClusterPlan
from raymaas.errors import NotFound, RaymaasError

if TYPE_CHECKING:
    from raymaas.registry.cache import BlobCache
    from raymaas.serve.edge.config import EdgeSettings
    from raymaas.store import Store

log = logging.getLogger("raymaas")


def main(arguments: Sequence[str]) -> None:
    """Run the service until SIGTERM; an error is one line of its log, and exit status 1."""
    name, run_dir = arguments
    configure_logging()
    try:
        SERVICES[name](Path(run_dir))
    except RaymaasError as error:
        log.error("%s", error)
        sys.exit(1)


def supervise(run_dir: Path) -> None:
    """Run the supervisor of the plan in `run_dir` until SIGTERM."""
    from raymaas.cluster.readiness import ready_checks
    from raymaas.cluster.supervisor import Supervisor

    plan = _plan(run_dir)
    ready = ready_checks(plan, token=_secret(plan.token_file))
    supervisor = Supervisor(plan, environment=dict(os.environ), ready=ready)
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
    from raymaas.data.cards import find_card
    from raymaas.registry.drifts import Drifts
    from raymaas.registry.feedback import FeedbackLog
    from raymaas.registry.lineage import Lineages
    from raymaas.registry.provenance import source_sha256
    from raymaas.registry.reports import Reports
    from raymaas.registry.requests import Requests
    from raymaas.registry.resumption import Resumption
    from raymaas.registry.rollout_plans import RolloutPlans
    from raymaas.registry.rollouts import Rollouts
    from raymaas.registry.samples import Samples
    from raymaas.registry.sampling import SamplingRules
    from raymaas.registry.triggers import Triggers
    from raymaas.registry.usage import Usages
    from raymaas.serve.api.parts import utc_now
    from raymaas.serve.control_api import ControlParts, build_app
    from raymaas.serve.controller import Controller
    from raymaas.serve.demand import DemandBook
    from raymaas.serve.demand_board import publish_demand
    from raymaas.serve.feedback_log import FeedbackWriter
    from raymaas.serve.ray_serve import RayServe
    from raymaas.serve.rollouts.conducting import Conductor
    from raymaas.serve.rollouts.measuring import Measuring
    from raymaas.serve.triggers.starting import Starter
    from raymaas.specs.base import sha256_hex
    from raymaas.wiring import open_registry

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
    demand = DemandBook(publish_demand, now=utc_now)
    requests, sampling = Requests(registry.store), SamplingRules(registry.store)
    measuring = Measuring(requests, demand.heard)
    conductor = Conductor(Rollouts(registry.store), registry.states, measuring)
    starter = Starter(
        Triggers(registry.store),
        registry.runs,
        registry.versions,
        registry.states,
        Drifts(registry.store),
        FeedbackLog(registry.store),
        jobs.submit,
    )
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
            drifts=Drifts(registry.store),
            submitter=jobs,
            deployments=controller,
            cluster=PlanView(plan),
            edge_tables=controller,
            hear_demand=demand.hear,
            requests=requests,
            sampling=sampling,
            samples=Samples(registry.store),
            feedback=FeedbackWriter(FeedbackLog(registry.store), sampling),
            triggers=starter.triggers,
            rollouts=conductor.rollouts,
            rollout_plans=RolloutPlans(registry.store),
            conductor=conductor,
            edge_secret=secret,
            poke=controller.poke,
            now=registry.store.now,
        )
    )
    stop = _stop_on_signals()
    server = uvicorn.Server(
        uvicorn.Config(
            app, host=plan.control_host, port=plan.control_port, log_level="warning", access_log=False
        )
    )
    serving = threading.Thread(target=server.run, name="http")
    threads = [
        serving,
        threading.Thread(target=controller.run, args=(stop,), name="reconcile", daemon=True),
        threading.Thread(target=_every, args=(stop, 3.0, jobs.settle), name="settle", daemon=True),
        threading.Thread(target=_every, args=(stop, 3.0, conductor.round), name="rollouts", daemon=True),
        threading.Thread(
            target=_at_once_and_every,
            args=(stop, 10.0, lambda: starter.round(registry.store.now())),
            name="triggers",
            daemon=True,
        ),
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
    """Run the edge of the plan in `run_dir` until SIGTERM."""
    from pydantic import SecretStr

    from raymaas.serve.edge.config import EdgeSettings

    plan = _plan(run_dir)
    secret = SecretStr(_secret(plan.edge_secret_file) or "")
    settings = EdgeSettings(bind_host=plan.host, port=plan.port, control=plan.control_address, secret=secret)
    ingress(settings, plan.path("edge"))


def ingress(settings: EdgeSettings, run_dir: Path) -> None:
    """Run an edge, the agent and HAProxy beside it, of the controller that `settings` name, until SIGTERM."""
    from raymaas.serve.edge.rundir import RunDir
    from raymaas.serve.edge.running import run_edge
    from raymaas.serve.edge.source import HttpController

    controller = HttpController(f"http://{settings.control}", secret=settings.secret)
    # Hosts may have the same name; of two edges with one name the controller would count only one.
    name = f"{socket.gethostname()}:{settings.port} {RunDir.prepare(run_dir).identity()}"
    run_edge(settings, run_dir, controller, name=name, stop=_stop_on_signals())


def configure_logging(level: int = logging.INFO) -> None:
    """One line per record on stderr, which the supervisor sends to the service's log."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _collect_if_due(plan: ClusterPlan, store: Store) -> None:
    from raymaas.registry.collector import Collector

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
    from raymaas.registry.cache import BlobCache

    # What lies in a folder is on this disk already.
    if plan.cache_bytes == 0 or plan.storage.startswith("file:"):
        return None
    return BlobCache(Path(plan.cache_dir), limit_bytes=plan.cache_bytes)


def _secret(path: str | None) -> str | None:
    return Path(path).read_text().strip() if path else None


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def on_signal(number: int, frame: Any) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        # In a thread: `set` takes a lock that the interrupted thread may hold, being in `wait`.
        _thread.start_new_thread(stop.set, ())

    signals = (signal.SIGTERM, signal.SIGINT)
    for each in signals:
        signal.signal(each, on_signal)
    return stop


def _every(stop: threading.Event, seconds: float, act: Callable[[], None]) -> None:
    while not stop.wait(seconds):
        _tried(act)


def _at_once_and_every(stop: threading.Event, seconds: float, act: Callable[[], None]) -> None:
    # So that a run that was recorded and not submitted is, before `settle` calls it failed.
    _tried(act)
    _every(stop, seconds, act)


def _tried(act: Callable[[], None]) -> None:
    try:
        act()
    except Exception:
        # Nothing else can be done with it, and the next time may go well.
        log.exception("%s failed", threading.current_thread().name)


SERVICES = {"supervisor": supervise, "controller": control, "edge-agent": edge}

if __name__ == "__main__":
    main(sys.argv[1:])
