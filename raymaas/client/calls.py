"""Calls: one function per path of the API, giving the request and how its answer is read. No I/O."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from raymaas.client.flow import Call
from raymaas.client.predictions import Arrays, Prediction, Rows, holds_arrays, infer_request, read_prediction
from raymaas.client.wire import Answer, Request
from raymaas.errors import InvalidInput
from raymaas.specs.api import (
    AliasRequest,
    ClusterStatus,
    CreatedKey,
    Deployment,
    DeploymentList,
    DeployRequest,
    History,
    HistoryEntry,
    KeyList,
    KeyRequest,
    LogPart,
    ModelList,
    ModelSummary,
    PolicyList,
    PolicyRequest,
    PromoteRequest,
    ResumeRequest,
    RollbackRequest,
    RolloutHistory,
    RolloutMoveRequest,
    RolloutPlanRequest,
    RolloutRequest,
    RunFiles,
    RunList,
    RunMetrics,
    SamplingRequest,
    SubmitRequest,
    TrafficRequest,
    TriggerList,
    TriggerMoveRequest,
    TriggerRequest,
    VersionList,
)
from raymaas.specs.base import Spec, canonical_json
from raymaas.specs.drift import DriftReport
from raymaas.specs.feedback import Feedback, FeedbackBatch, FeedbackKept, FeedbackRequest
from raymaas.specs.jobs import TrainJob
from raymaas.specs.keys import Grant, KeyFacts, without_secret
from raymaas.specs.kinds import Job, job_fields
from raymaas.specs.lineage import DataTrace, VersionTrace
from raymaas.specs.names import Reference, check_name
from raymaas.specs.outcomes import OutcomeComparison, OutcomeMetric
from raymaas.specs.policies import Policy, PolicyRevision
from raymaas.specs.reports import EvaluationReport, RecordedComparison
from raymaas.specs.rollouts import RolloutPlan, RolloutPlanRevision, RolloutState
from raymaas.specs.runs import EpochMetrics, Run, RunFile, RunProgress, RunSpec
from raymaas.specs.sampling import SamplingRevision, SamplingRule
from raymaas.specs.search import Trial
from raymaas.specs.serving import ModelState, Scaling
from raymaas.specs.triggers import Trigger, TriggerRevision
from raymaas.specs.usage import Usage
from raymaas.specs.versions import ModelVersion

A = TypeVar("A")
B = TypeVar("B")
SpecT = TypeVar("SpecT", bound=Spec)

API = "/api/v1"

RolloutMove = Literal["pause", "resume", "abort", "promote"]
_LAST_EPOCH = 999_999_999  # asking for those after it, the server need not read any


def redirected(target: Reference, ref: int | str | None) -> Reference:
    """`target`, or the version or alias `ref` of the same model."""
    return target if ref is None else Reference.parse(f"{target.model}@{ref}")


def alias_in(reference: str) -> tuple[str, str]:
    """Model and alias of `digits@prod`. Raises InvalidInput for anything else."""
    target = Reference.parse(reference)
    if target.alias is None:
        raise InvalidInput(f"{reference!r} names no alias; write it as {target.model}@prod")
    return target.model, target.alias


def predict(target: Reference, rows: Rows | Arrays, method: str) -> Call[Prediction[Any]]:
    arrays = holds_arrays(rows)
    return Call(infer_request(target, rows, method), lambda answer: read_prediction(answer, arrays=arrays))


def status() -> Call[ClusterStatus]:
    return _get(f"{API}/status", ClusterStatus)


def models() -> Call[tuple[ModelSummary, ...]]:
    return _then(_get(f"{API}/models", ModelList), lambda page: page.models)


def model(name: str) -> Call[ModelSummary]:
    return _get(_model_path(name), ModelSummary)


def versions(name: str, *, limit: int, before: int | None) -> Call[VersionList]:
    return _get(f"{_model_path(name)}/versions", VersionList, _page(limit, before))


def version(name: str, slot: int | str) -> Call[ModelVersion]:
    return _get(f"{_model_path(name)}/versions/{_segment(slot)}", ModelVersion)


def card(name: str, slot: int | str) -> Call[str]:
    path = f"{_model_path(name)}/versions/{_segment(slot)}/card"
    return Call(Request("GET", path, repeatable=True), lambda answer: answer.body.decode())


def comparison(name: str, slot: int | str, *, other: str) -> Call[RecordedComparison]:
    path = f"{_model_path(name)}/versions/{_segment(slot)}/comparison"
    return _get(path, RecordedComparison, {"other": other})


def rollout_begin(name: str, slot: int | str, *, plan: RolloutPlan | None, why: str) -> Call[RolloutState]:
    body = RolloutRequest(version=slot, plan=plan, why=why)
    return _write("POST", f"{_model_path(name)}/rollouts", RolloutState, body)


def rollout_plan(name: str) -> Call[RolloutPlanRevision]:
    return _get(f"{_model_path(name)}/rollout-plan", RolloutPlanRevision)


def rollout_plan_set(name: str, plan: RolloutPlan, *, why: str) -> Call[RolloutPlanRevision]:
    body = RolloutPlanRequest(plan=plan, why=why)
    return _write("PUT", f"{_model_path(name)}/rollout-plan", RolloutPlanRevision, body)


def rollout_plan_remove(name: str, *, why: str) -> Call[RolloutPlanRevision]:
    request = Request("DELETE", f"{_model_path(name)}/rollout-plan", {"why": why} if why else {})
    return Call(request, _reader(RolloutPlanRevision))


def rollout(name: str) -> Call[RolloutState]:
    return _get(f"{_model_path(name)}/rollout", RolloutState)


def rollout_move(name: str, action: RolloutMove, *, why: str) -> Call[RolloutState]:
    path = f"{_model_path(name)}/rollout/{action}"
    return _write("POST", path, RolloutState, RolloutMoveRequest(why=why))


def rollouts(name: str, *, limit: int, before: int | None) -> Call[tuple[RolloutState, ...]]:
    found = _get(f"{_model_path(name)}/rollouts", RolloutHistory, _page(limit, before))
    return _then(found, lambda page: page.states)


def drift(name: str, slot: int | str, *, since: datetime | None) -> Call[DriftReport]:
    query = {"since": since.astimezone(UTC).isoformat()} if since else {}
    return _get(f"{_model_path(name)}/versions/{_segment(slot)}/drift", DriftReport, query)


def policies(name: str) -> Call[tuple[PolicyRevision, ...]]:
    return _then(_get(f"{_model_path(name)}/policies", PolicyList), lambda page: page.policies)


def policy(name: str, alias: str, *, revision: int | None) -> Call[PolicyRevision]:
    query = {} if revision is None else {"revision": str(revision)}
    return _get(_policy_path(name, alias), PolicyRevision, query)


def policy_set(name: str, alias: str, policy: Policy, *, why: str) -> Call[PolicyRevision]:
    body = PolicyRequest(policy=policy, why=why)
    return _write("PUT", _policy_path(name, alias), PolicyRevision, body)


def policy_remove(name: str, alias: str, *, why: str) -> Call[PolicyRevision]:
    query = {"why": why} if why else {}
    return Call(Request("DELETE", _policy_path(name, alias), query), _reader(PolicyRevision))


def lineage(
    name: str, slot: int | str, *, request_id: str | None, before: datetime | None
) -> Call[VersionTrace]:
    query = {"request_id": request_id, "before": before.astimezone(UTC).isoformat() if before else None}
    given = {key: value for key, value in query.items() if value is not None}
    return _get(f"{_model_path(name)}/versions/{_segment(slot)}/lineage", VersionTrace, given)


def from_data(fingerprint: str, *, limit: int, after: str | None) -> Call[DataTrace]:
    query = {"limit": str(limit)} | ({} if after is None else {"after": after})
    return _get(f"{API}/lineage/data/{_segment(fingerprint)}", DataTrace, query)


def history(name: str, *, limit: int, before: int | None) -> Call[tuple[HistoryEntry, ...]]:
    call = _get(f"{_model_path(name)}/history", History, _page(limit, before))
    return _then(call, lambda page: page.changes)


def state(name: str) -> Call[ModelState]:
    return _get(f"{_model_path(name)}/state", ModelState)


def deployments(name: str) -> Call[tuple[Deployment, ...]]:
    return _then(_get(f"{_model_path(name)}/deployments", DeploymentList), lambda page: page.deployments)


def deploy(name: str, slot: int | str, *, scaling: Scaling | None, why: str) -> Call[ModelState]:
    body = DeployRequest(version=slot, scaling=scaling, why=why)
    return _write("POST", f"{_model_path(name)}/deployments", ModelState, body)


def delete(name: str, slot: int | str, *, why: str) -> Call[ModelState]:
    path = f"{_model_path(name)}/versions/{_segment(slot)}"
    return Call(Request("DELETE", path, {"why": why}), _reader(ModelState))


def undeploy(name: str, slot: int | str, *, force: bool, why: str) -> Call[ModelState]:
    query = {"why": why} | ({"force": "true"} if force else {})
    path = f"{_model_path(name)}/deployments/{_segment(slot)}"
    return Call(Request("DELETE", path, query), _reader(ModelState))


def alias_set(name: str, alias: str, slot: int | str, *, why: str) -> Call[ModelState]:
    path = f"{_model_path(name)}/aliases/{_segment(alias)}"
    return _write("PUT", path, ModelState, AliasRequest(version=slot, why=why))


def traffic(
    name: str,
    weights: Mapping[int, int] | None,
    *,
    sticky: str | None,
    shadow: str | None,
    sample: float | None,
    why: str,
) -> Call[ModelState]:
    given = {
        "weights": None if weights is None else dict(weights),
        "sticky": sticky,
        "shadow": _shadow(name, shadow, sample),
        "why": why,
    }
    body = TrafficRequest.parse(given, source="traffic")
    return _write("PUT", f"{_model_path(name)}/traffic", ModelState, body)


def _shadow(name: str, shadow: str | None, sample: float | None) -> dict[str, Any] | str | None:
    if shadow is None or shadow == "off":
        if sample is not None:
            raise InvalidInput(f"a sample is of what is copied; say to which version, such as {name}@3")
        return shadow
    target = Reference.parse(shadow)
    pointer = target.alias if target.version is None else target.version
    if target.model != name or pointer is None:
        raise InvalidInput(f"{shadow!r} is no version of {name!r} to send copies to; write it as {name}@3")
    return {"version": pointer} | ({} if sample is None else {"sample": sample})


def promote(name: str, slot: int | str, *, why: str) -> Call[ModelState]:
    return _write("POST", f"{_model_path(name)}/promote", ModelState, PromoteRequest(version=slot, why=why))


def rollback(name: str, *, to: int | None, why: str) -> Call[ModelState]:
    body = RollbackRequest.parse({"to": to, "why": why}, source="rollback")
    return _write("POST", f"{_model_path(name)}/rollback", ModelState, body)


def submit(job: Job, *, code: bytes | None = None) -> Call[Run]:
    body = SubmitRequest(job=job_fields(job), code=b64encode(code) if code else None)
    return _write("POST", f"{API}/runs", Run, body)


def runs(*, model: str | None, limit: int) -> Call[tuple[Run, ...]]:
    query = {"limit": str(limit)} | ({} if model is None else {"model": model})
    return _then(_get(f"{API}/runs", RunList, query), lambda page: page.runs)


def run(run_id: str) -> Call[Run]:
    return _get(_run_path(run_id), Run)


def run_spec(run_id: str) -> Call[RunSpec]:
    return _get(f"{_run_path(run_id)}/spec", RunSpec)


def run_evaluation(run_id: str) -> Call[EvaluationReport]:
    return _get(f"{_run_path(run_id)}/evaluation", EvaluationReport)


def run_files(run_id: str) -> Call[tuple[RunFile, ...]]:
    return _then(_get(f"{_run_path(run_id)}/files", RunFiles), lambda page: page.files)


def run_file(run_id: str, name: str) -> Call[bytes]:
    path = f"{_run_path(run_id)}/files/{quote(name)}"
    return Call(Request("GET", path, repeatable=True), lambda answer: answer.body)


def run_measured(run_id: str, *, after: int = 0) -> Call[RunMetrics]:
    """What was measured, of the epochs only those after epoch `after`."""
    return _get(f"{_run_path(run_id)}/metrics", RunMetrics, {"after": str(after)} if after else None)


def run_progress(run_id: str) -> Call[RunProgress | None]:
    return _then(run_measured(run_id, after=_LAST_EPOCH), lambda page: page.progress)


def run_metrics(run_id: str) -> Call[tuple[EpochMetrics, ...]]:
    return _then(run_measured(run_id), lambda page: page.epochs)


def run_trials(run_id: str) -> Call[tuple[Trial, ...]]:
    return _then(run_measured(run_id), lambda page: page.trials)


def run_logs(run_id: str, *, after: int) -> Call[LogPart]:
    return _get(f"{_run_path(run_id)}/logs", LogPart, {"after": str(after)})


def run_stop(run_id: str) -> Call[Run]:
    return Call(Request("POST", f"{_run_path(run_id)}/stop"), _reader(Run))


def run_resume(run_id: str, *, from_epoch: int | None, settings: Sequence[str]) -> Call[Run]:
    body = ResumeRequest(from_epoch=from_epoch, settings=tuple(settings))
    return _write("POST", f"{_run_path(run_id)}/resume", Run, body)


def triggers() -> Call[tuple[TriggerRevision, ...]]:
    return _then(_get(f"{API}/triggers", TriggerList), lambda page: page.triggers)


def trigger(name: str) -> Call[Trigger]:
    return _get(f"{API}/triggers/{_name(name)}", Trigger)


def trigger_set(name: str, job: TrainJob, *, code: bytes | None, why: str) -> Call[TriggerRevision]:
    packed = None if code is None else b64encode(code)
    body = TriggerRequest(job=job_fields(job), code=packed, why=why)
    return _write("PUT", f"{API}/triggers/{_name(name)}", TriggerRevision, body)


def trigger_move(name: str, action: Literal["pause", "resume"], *, why: str) -> Call[TriggerRevision]:
    path = f"{API}/triggers/{_name(name)}/{action}"
    return _write("POST", path, TriggerRevision, TriggerMoveRequest(why=why))


def trigger_remove(name: str, *, why: str) -> Call[TriggerRevision]:
    request = Request("DELETE", f"{API}/triggers/{_name(name)}", {"why": why} if why else {})
    return Call(request, _reader(TriggerRevision))


def keys() -> Call[tuple[KeyFacts, ...]]:
    return _then(_get(f"{API}/keys", KeyList), lambda page: page.keys)


def key_create(grant: Grant, *, why: str) -> Call[CreatedKey]:
    return _write("POST", f"{API}/keys", CreatedKey, KeyRequest(grant=grant, why=why))


def key_revoke(which: str, *, why: str) -> Call[KeyFacts]:
    path = f"{API}/keys/{_segment(without_secret(which))}"
    return Call(Request("DELETE", path, {"why": why} if why else {}), _reader(KeyFacts))


def usage(*, since: datetime | None, model: str | None, key: str | None) -> Call[Usage]:
    query = {
        "since": since.astimezone(UTC).isoformat() if since else None,
        "model": model,
        "key": without_secret(key) if key else None,
    }
    return _get(f"{API}/usage", Usage, {name: value for name, value in query.items() if value is not None})


def feedback(item: FeedbackRequest) -> Call[FeedbackKept]:
    return _repeatable(_write("POST", f"{API}/feedback", FeedbackKept, item))


def feedback_on_many(name: str, items: Sequence[Feedback]) -> Call[FeedbackKept]:
    body = FeedbackBatch.parse({"items": tuple(items)}, source="feedback")
    return _repeatable(_write("POST", f"{_model_path(name)}/feedback", FeedbackKept, body))


def outcomes(
    name: str, first: int | str, second: int | str, *, metric: OutcomeMetric, since: datetime | None
) -> Call[OutcomeComparison]:
    query = {"first": str(first), "second": str(second), "metric": metric}
    if since is not None:
        query["since"] = since.astimezone(UTC).isoformat()
    return _get(f"{_model_path(name)}/outcomes", OutcomeComparison, query)


def sampling(name: str) -> Call[SamplingRevision]:
    return _get(f"{_model_path(name)}/sampling", SamplingRevision)


def sampling_set(name: str, rule: SamplingRule, *, why: str) -> Call[SamplingRevision]:
    return _write(
        "PUT", f"{_model_path(name)}/sampling", SamplingRevision, SamplingRequest(rule=rule, why=why)
    )


def sampling_remove(name: str, *, why: str) -> Call[SamplingRevision]:
    request = Request("DELETE", f"{_model_path(name)}/sampling", {"why": why} if why else {})
    return Call(request, _reader(SamplingRevision))


def _repeatable(call: Call[A]) -> Call[A]:
    """`call`, which may be sent again when a connection breaks: said twice it counts once."""
    return Call(replace(call.request, repeatable=True), call.read)


def _get(path: str, cls: type[SpecT], query: Mapping[str, str] | None = None) -> Call[SpecT]:
    return Call(Request("GET", path, query or {}, repeatable=True), _reader(cls))


def _write(method: Literal["POST", "PUT"], path: str, cls: type[SpecT], body: Spec) -> Call[SpecT]:
    return Call(Request(method, path, body=canonical_json(body.model_dump(mode="json"))), _reader(cls))


def _page(limit: int, before: int | None) -> dict[str, str]:
    return {"limit": str(limit)} | ({} if before is None else {"before": str(before)})


def _reader(cls: type[SpecT]) -> Callable[[Answer], SpecT]:
    def read(answer: Answer) -> SpecT:
        return cls.model_validate(answer.json())

    return read


def _then(call: Call[A], pick: Callable[[A], B]) -> Call[B]:
    return Call(call.request, lambda answer: pick(call.read(answer)))


def _model_path(name: str) -> str:
    return f"{API}/models/{_name(name)}"


def _policy_path(name: str, alias: str) -> str:
    return f"{_model_path(name)}/policies/{_segment(alias)}"


def _run_path(run_id: str) -> str:
    return f"{API}/runs/{_name(run_id)}"


def _name(text: str) -> str:
    try:
        return check_name(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from None


def _segment(slot: int | str) -> str:
    return quote(str(slot), safe="")
