"""Sampling and feedback over HTTP: what is kept of requests, what turned out, and which version did better."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from raymaas.errors import Denied, InvalidInput
from raymaas.registry.resolve import resolve
from raymaas.serve.api.border import caller, may_ask
from raymaas.serve.api.parts import ControlParts
from raymaas.serve.outcomes import compared_outcomes
from raymaas.specs.api import SamplingRequest
from raymaas.specs.base import Moment
from raymaas.specs.feedback import Feedback, FeedbackBatch, FeedbackKept, FeedbackRequest
from raymaas.specs.names import Reference
from raymaas.specs.outcomes import OutcomeComparison, OutcomeMetric
from raymaas.specs.sampling import INPUT, OUTPUT, SamplingRevision, SamplingRule, masking_of
from raymaas.specs.versions import ModelVersion

Who = Annotated[str, Depends(caller)]

_VERSIONS_LOOKED_AT = 20
_USUAL_TIME = timedelta(days=7)


def feedback_router(parts: ControlParts) -> APIRouter:
    """Routes of sampling rules, of feedback, and of versions compared by it."""
    router = APIRouter(tags=["feedback"])

    @router.post("/feedback", status_code=201)
    def give_feedback(body: FeedbackRequest, request: Request) -> FeedbackKept:
        """On one row of one answer. It is in the store when this is answered; said again, it counts once."""
        model = body.model or parts.requests.model_of(body.request_id)
        _require_may_ask(request, model)
        item = Feedback(request_id=body.request_id, row=body.row, label=body.label, reward=body.reward)
        return parts.feedback.keep(model, [item])

    @router.post("/models/{model}/feedback", status_code=201)
    def give_feedback_on_many(model: str, body: FeedbackBatch, request: Request) -> FeedbackKept:
        """On up to 5,000 rows of answers of one model."""
        _require_may_ask(request, model)
        return parts.feedback.keep(model, body.items)

    @router.get("/models/{model}/sampling")
    def get_sampling(model: str) -> SamplingRevision:
        """The rule in force."""
        parts.versions.newest(model)
        return parts.sampling.in_force(model)

    @router.put("/models/{model}/sampling")
    def set_sampling(model: str, body: SamplingRequest, who: Who) -> SamplingRevision:
        """Keep some requests and feedback from now on. Replicas follow within ten seconds."""
        parts.versions.newest(model)
        versions = parts.versions.list(model, limit=_VERSIONS_LOOKED_AT)
        require_fields(body.rule, versions)
        return parts.sampling.set(model, body.rule, who=who, why=body.why)

    @router.delete("/models/{model}/sampling")
    def remove_sampling(model: str, who: Who, why: str = "") -> SamplingRevision:
        """Keep nothing more. What was kept stays for its days."""
        return parts.sampling.remove(model, who=who, why=why)

    @router.get("/models/{model}/outcomes")
    def compare_outcomes(
        model: str,
        first: Annotated[str, Query(description="A version or an alias.")],
        second: Annotated[str, Query(description="A version or an alias, held against the first.")],
        metric: OutcomeMetric = "accuracy",
        since: Moment | None = None,
    ) -> OutcomeComparison:
        """Which of two versions did better, by the feedback of the last seven days unless `since` says otherwise."""
        both = [
            parts.versions.get(
                model, resolve(Reference.parse(f"{model}@{slot}"), parts.versions, parts.states)
            )
            for slot in (first, second)
        ]
        if both[0].version == both[1].version:
            raise InvalidInput(
                f"{first} and {second} are both version {both[0].version}; compare two versions"
            )
        now = parts.now()
        since = since or now - _USUAL_TIME
        return compared_outcomes(
            *both,
            metric=metric,
            samples=parts.samples,
            feedback=parts.feedback.log,
            kept_under=parts.sampling.since(model, since),
            since=since,
            until=now,
        )

    return router


def require_fields(rule: SamplingRule, versions: list[ModelVersion]) -> None:
    """Raise InvalidInput for a mask of a field that none of `versions` has: a wrong name would hide nothing."""
    types = {
        f"{prefix}{spec.name}": spec.dtype
        for version in versions
        for prefix, specs in ((INPUT, version.signature.inputs), (OUTPUT, version.signature.outputs))
        for spec in specs
    }
    for field, mask in rule.masks.items():
        if not field.startswith((INPUT, OUTPUT)):
            continue
        if field not in types:
            raise InvalidInput(f"{field} is no field of this model; it has {', '.join(sorted(types))}")
        if masking_of(mask).how == "round" and types[field] == "BYTES":
            raise InvalidInput(f"{field} is text, which cannot be rounded; say hash or drop")


def _require_may_ask(request: Request, model: str) -> None:
    if not may_ask(request, model):
        raise Denied(f"this key is not for model {model!r}; use another key")
