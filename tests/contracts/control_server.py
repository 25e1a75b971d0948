"""What the tests over HTTP share: the control API on a real port, a registry in memory, and a tiny cluster.

`World` is the cluster: it carries jobs out when told to, says how deployments stand, and answers predictions
of deployed versions as an edge and its replicas would.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from raymaas.bundle.signature import check_inputs
from raymaas.data.cards import find_card
from raymaas.errors import InvalidInput, NotFound, RaymaasError
from raymaas.registry import moves
from raymaas.registry.drifts import Drifts
from raymaas.registry.feedback import FeedbackLog
from raymaas.registry.keys import Keys
from raymaas.registry.lineage import Lineages
from raymaas.registry.policies import Policies
from raymaas.registry.reports import Reports
from raymaas.registry.requests import Requests
from raymaas.registry.resolve import resolve
from raymaas.registry.resumption import Resumption
from raymaas.registry.rollout_plans import RolloutPlans
from raymaas.registry.rollouts import Rollouts
from raymaas.registry.runs import Runs
from raymaas.registry.samples import Samples
from raymaas.registry.sampling import SamplingRules
from raymaas.registry.states import States
from raymaas.registry.triggers import Triggers
from raymaas.registry.usage import Usages
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.serve.comparison import comparison_of
from raymaas.serve.control_api import ControlParts, build_app
from raymaas.serve.feedback_log import FeedbackWriter
from raymaas.serve.oip.answer import encode
from raymaas.serve.oip.request import Head, decode
from raymaas.serve.rollouts.conducting import Conductor
from raymaas.serve.rollouts.measuring import Measuring
from raymaas.specs.api import DeploymentStatus
from raymaas.specs.demand import EdgeDemand
from raymaas.specs.evaluation import Evaluation, Metric
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.names import Reference
from raymaas.specs.reports import EvaluationReport, Found
from raymaas.specs.runs import EpochMetrics, Failed, Running, RunSpec, Stopped, Succeeded
from raymaas.specs.serving import EdgeTable, Scaling
from raymaas.specs.tensors import LENGTH_HEADER
from raymaas.specs.versions import CodeVersion, Lineage, ModelVersion, Signature, TensorSpec
from raymaas.store import MemoryStore

SECRET = "edge-secret-of-the-tests"
JOB = {
    "model": "digits",
    "data": {"use": "digits"},
    "architecture": {"use": "mlp", "config": {"hidden": [8]}},
    "training": {"epochs": 2},
}
# Scores of the two classes: the sum of a row, and its negative.
WEIGHTS = np.array([[1.0, -1.0], [1.0, -1.0]], dtype=np.float32)


def utc_now() -> datetime:
    return datetime.now(UTC)


def draft(run_id: str, *, model: str = "digits") -> VersionDraft:
    return VersionDraft(
        model=model,
        run_id=run_id,
        architecture=Component(use="mlp", config={"hidden": [8]}),
        signature=Signature(
            inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1, 2)),),
            outputs=tuple(
                TensorSpec(name=n, dtype="FP32", shape=(-1, 2)) for n in ("logits", "probabilities")
            ),
            classes=("plus", "minus"),
        ),
        runtimes=("torch",),
        evaluation=Evaluation(
            dataset="digits",
            fingerprint="f",
            rows=360,
            runtime="torch",
            metrics={"accuracy": Metric(value=0.97, low=0.95, high=0.98, method="wilson")},
        ),
        lineage=Lineage(
            run_id=run_id,
            dataset="digits",
            data_fingerprint="f",
            job={"kind": "train"},
            job_sha256="0" * 64,
            code=CodeVersion(raymaas="0.1.0", source_sha256="0" * 64),
            libraries={},
            seed=0,
        ),
    )


Type = Callable[..., tuple[int, str, str]]
"""Types a command; gives its exit status, output and remarks."""


@dataclass
class World:
    """A registry and a cluster of one process.

    `starting` counts, by version, how often it still says `starting`; `failed` why one never runs.
    `outcome` is how a submitted job ends, `refusal` what submitting raises instead; an evaluate job `finds` that.
    """

    starting: dict[int, int] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    outcome: str = "succeeds"
    refusal: RaymaasError | None = None
    finds: Found | None = None
    pokes: int = 0
    demands: list[EdgeDemand] = field(default_factory=list)
    seen_request_ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryStore(utc_now)
        self.versions, self.policies, self.runs = Versions(self.store), Policies(self.store), Runs(self.store)
        self.reports = Reports(self.store)
        self.keys = Keys(self.store)
        self.states = States(self.store, compare=comparison_of(self.versions))
        self.table_now: EdgeTable | None = EdgeTable(revision="r1", proxies=("127.0.0.1:1",))

    def publish(self, model: str = "digits", *, run_id: str | None = None) -> ModelVersion:
        number = self.versions.newest(model).version + 1 if model in self.versions.models() else 1
        name = run_id or f"train-{model}-{number}"
        return self.versions.publish(draft(name, model=model), {"model.safetensors": b"weights"})

    @cached_property
    def conductor(self) -> Conductor:
        """Measures what edges told last; `round` is up to the test."""
        measuring = Measuring(Requests(self.store), lambda: self.demands[-1:])
        return Conductor(Rollouts(self.store), self.states, measuring)

    def deploy(self, version: int, model: str = "digits") -> None:
        self.states.move(model, partial(moves.deploy, version=version), who="ana")

    def app(self) -> Any:
        return Edge(build_app(self.parts()), self)

    def parts(self) -> ControlParts:
        return ControlParts(
            versions=self.versions,
            states=self.states,
            policies=self.policies,
            runs=self.runs,
            resumption=Resumption(self.store, self.runs, self.versions),
            lineages=Lineages(self.store, card_of=partial(find_card, self.store)),
            reports=self.reports,
            keys=self.keys,
            usages=Usages(self.store, self.keys),
            drifts=Drifts(self.store),
            submitter=self,
            deployments=self,
            cluster=self,
            edge_tables=self,
            hear_demand=self.demands.append,
            requests=Requests(self.store),
            sampling=SamplingRules(self.store),
            samples=Samples(self.store),
            feedback=FeedbackWriter(FeedbackLog(self.store), SamplingRules(self.store)),
            triggers=Triggers(self.store),
            rollouts=self.conductor.rollouts,
            rollout_plans=RolloutPlans(self.store),
            conductor=self.conductor,
            edge_secret=SECRET,
            poke=self._poke,
        )

    # The cluster's side of ControlParts.

    def submit(self, spec: RunSpec) -> None:
        if self.refusal is not None:
            raise self.refusal
        run_id = spec.run_id
        self.runs.set_status(run_id, Running(at=utc_now(), step="training", ray_job_id=run_id))
        self.runs.append_log(run_id, 1, "loading rows\n")
        if self.outcome == "never ends":
            return
        if self.finds is not None:
            self.reports.keep(EvaluationReport(run_id=run_id, at=utc_now(), found=self.finds))
            self.runs.set_status(run_id, Succeeded(at=utc_now(), version=None, seconds=1.5))
            return
        epochs = spec.job.training.epochs if isinstance(spec.job, TrainJob) else 0
        for epoch in range(1, epochs + 1):
            self.runs.add_epoch(EpochMetrics(run_id=run_id, epoch=epoch, metrics={"loss": 1.0 / epoch}))
        if self.outcome == "fails":
            self.runs.append_log(run_id, 2, "Traceback: no rows\n")
            self.runs.set_status(run_id, Failed(at=utc_now(), error="no rows"))
            return
        version = self.publish(spec.job.model, run_id=run_id).version
        self.runs.append_log(run_id, 2, f"published {spec.job.model}@{version}\n")
        self.runs.set_status(run_id, Succeeded(at=utc_now(), version=version, seconds=1.5))

    def stop(self, run_id: str, who: str) -> None:
        self.runs.set_status(run_id, Stopped(at=utc_now(), who=who))

    def statuses(self, model: str, wanted: Mapping[int, Scaling]) -> dict[int, DeploymentStatus]:
        state = self.states.current(model)
        return {version: self._status(version) for version in (state.scaling if state else {})}

    def describe(self) -> dict[str, Any]:
        return {"mode": "tests", "ready": True}

    async def table(self, after: str | None, wait_s: float) -> EdgeTable | None:
        table = self.table_now
        return None if table is None or table.revision == after else table

    def _status(self, version: int) -> DeploymentStatus:
        if version in self.failed:
            return DeploymentStatus(status="failed", message=self.failed[version])
        if self.starting.get(version, 0) > 0:
            self.starting[version] -= 1
            return DeploymentStatus(status="starting", message="placing replicas")
        return DeploymentStatus(status="ready")

    def _poke(self) -> None:
        self.pokes += 1

    def version_for(self, target: Reference) -> int:
        """The deployed version an edge would choose. Raises NotFound when there is none."""
        version = resolve(target, self.versions, self.states)
        state = self.states.current(target.model)
        if state is None or version not in state.scaling or version in self.failed:
            raise NotFound("nobody serves it")
        return version


class Edge:
    """The control API, with infer requests for deployed versions answered before it."""

    def __init__(self, control: FastAPI, world: World) -> None:
        self._control = control
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = _infer_target(scope)
        if target is not None:
            try:
                version = self._world.version_for(target)
            except NotFound:
                return await self._control(scope, receive, send)
            request = Request(scope, receive)
            self._world.seen_request_ids.append(request.headers["x-request-id"])
            response = infer(await request.body(), request.headers, target.model, version)
            response.headers["x-request-id"] = request.headers["x-request-id"]
            return await response(scope, receive, send)
        return await self._control(scope, receive, send)


class Switch:
    """One server for many worlds: starting uvicorn costs more than most tests."""

    def __init__(self) -> None:
        self.app: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def infer(body: bytes, headers: Mapping[str, str], model: str, version: int) -> Response:
    """An infer request of any form, answered by `x @ WEIGHTS`."""
    signature = draft("r").signature
    head = Head(headers.get("content-type", ""), headers.get(LENGTH_HEADER, ""))
    try:
        request = decode(body, signature, head)
        check_inputs(signature, request.inputs)
    except InvalidInput as error:
        return Response(orjson.dumps({"error": str(error), "code": error.code}), 400)
    logits = request.inputs["x"] @ WEIGHTS
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    outputs = {"logits": logits, "probabilities": shifted / shifted.sum(axis=1, keepdims=True)}
    answer = encode(request, outputs, model=model, version=str(version), signature=signature)
    told = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, headers=told)


def _infer_target(scope: Scope) -> Reference | None:
    if scope["type"] != "http":
        return None
    match scope["path"].strip("/").split("/"):
        case ["v2", "models", model, "infer"]:
            return Reference.parse(model)
        case ["v2", "models", model, "versions", slot, "infer"]:
            return Reference.parse(f"{model}@{slot}")
    return None


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """`app` on a free port of loopback; gives its URL and stops it at the end."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def scripted(*answers: bytes) -> Iterator[tuple[str, Callable[[], int]]]:
    """A server that reads one request per connection and writes the next of `answers` (b"" just hangs up).

    Gives its URL and a count of the requests it read.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    read = 0

    def serve() -> None:
        nonlocal read
        for answer in answers:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                read += 1 if _read_request(connection) else 0
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", lambda: read
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # Closing alone would leave the thread waiting in accept.
        thread.join()
        listener.close()


def http_answer(status: str, body: bytes, content_type: str = "text/html") -> bytes:
    fields = (f"content-type: {content_type}", f"content-length: {len(body)}", "connection: close")
    return "\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode() + body


def _read_request(connection: socket.socket) -> bytes:
    """One request, head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return data
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(65536)
    return data
