"""Feedback and sampling from Python: `client.feedback` and `client.sampling`, blocking and awaited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from raymaas.client import calls, waiting
from raymaas.client.flow import Call
from raymaas.client.link import AsyncLink, Link
from raymaas.client.predictions import Prediction
from raymaas.errors import InvalidInput
from raymaas.specs.feedback import Feedback, FeedbackKept, FeedbackRequest
from raymaas.specs.names import Reference
from raymaas.specs.outcomes import OutcomeComparison, OutcomeMetric
from raymaas.specs.sampling import SamplingRevision, SamplingRule

Answered = Prediction[Any] | str
"""An answer, or the id of its request, as x-request-id carries it."""
Label = str | int | float | bool
Item = Feedback | Mapping[str, Any]
RuleSource = SamplingRule | Mapping[str, Any]


def about(
    answer: Answered, *, label: Label | None, reward: float | None, row: int, model: str | None
) -> FeedbackRequest:
    """Raises InvalidInput naming what is wrong."""
    if isinstance(answer, Prediction):
        model, answer = model or answer.model_name, answer.request_id
    given = {"request_id": answer, "label": label, "reward": reward, "row": row, "model": model}
    return FeedbackRequest.parse(given, source="feedback")


def read_item(item: Item) -> Feedback:
    return item if isinstance(item, Feedback) else Feedback.parse(dict(item), source="feedback")


def read_rule(rule: RuleSource) -> SamplingRule:
    return rule if isinstance(rule, SamplingRule) else SamplingRule.parse(dict(rule), source="sampling rule")


def comparing(
    first: str, second: str, *, metric: OutcomeMetric, since: datetime | None
) -> Call[OutcomeComparison]:
    ours, theirs = Reference.parse(first), Reference.parse(second)
    if ours.model != theirs.model:
        raise InvalidInput(f"feedback compares versions of one model, got {first} and {second}")
    slots = waiting.pinned(ours), waiting.pinned(theirs)
    return calls.outcomes(ours.model, *slots, metric=metric, since=since)


class FeedbackOnAnswers:
    """What turned out to be true of answers, and which version did better by it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def give(
        self,
        answer: Answered,
        *,
        label: Label | None = None,
        reward: float | None = None,
        row: int = 0,
        model: str | None = None,
    ) -> FeedbackKept:
        """Say what was true of a row of an answer, a Prediction or a request id, or how good it was.

        It is in the store when this returns, if the model's sampling rule keeps that request; said again, it counts
        once, and later feedback takes the place of earlier. Raises NotFound while nothing is kept of the model.
        """
        item = about(answer, label=label, reward=reward, row=row, model=model)
        return self._link.call(calls.feedback(item))

    def give_many(self, model: str, items: Iterable[Item]) -> FeedbackKept:
        """Up to 5,000 at once: Feedback, or mappings with its fields."""
        return self._link.call(calls.feedback_on_many(model, [read_item(item) for item in items]))

    def compare(
        self, first: str, second: str, *, metric: OutcomeMetric = "accuracy", since: datetime | None = None
    ) -> OutcomeComparison:
        """Whether `second`, digits@3, did better than `first`, digits@2, by the feedback of the last seven days.

        Raises InvalidInput for a metric that these versions do not have, or whose fields are masked.
        """
        return self._link.call(comparing(first, second, metric=metric, since=since))


class AsyncFeedbackOnAnswers:
    """`FeedbackOnAnswers` with `await`."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link

    async def give(
        self,
        answer: Answered,
        *,
        label: Label | None = None,
        reward: float | None = None,
        row: int = 0,
        model: str | None = None,
    ) -> FeedbackKept:
        """Say what was true of a row of an answer, a Prediction or a request id, or how good it was.

        It is in the store when this returns, if the model's sampling rule keeps that request; said again, it counts
        once, and later feedback takes the place of earlier. Raises NotFound while nothing is kept of the model.
        """
        item = about(answer, label=label, reward=reward, row=row, model=model)
        return await self._link.call(calls.feedback(item))

    async def give_many(self, model: str, items: Iterable[Item]) -> FeedbackKept:
        """Up to 5,000 at once: Feedback, or mappings with its fields."""
        return await self._link.call(calls.feedback_on_many(model, [read_item(item) for item in items]))

    async def compare(
        self, first: str, second: str, *, metric: OutcomeMetric = "accuracy", since: datetime | None = None
    ) -> OutcomeComparison:
        """Whether `second`, digits@3, did better than `first`, digits@2, by the feedback of the last seven days.

        Raises InvalidInput for a metric that these versions do not have, or whose fields are masked.
        """
        return await self._link.call(comparing(first, second, metric=metric, since=since))


class Sampling:
    """Of which requests answers and feedback are kept, for how long, and with what hidden."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def get(self, model: str) -> SamplingRevision:
        """The rule in force. Raises NotFound while nothing is kept."""
        return self._link.call(calls.sampling(model))

    def set(self, model: str, rule: RuleSource, *, why: str = "") -> SamplingRevision:
        """Keep what `rule`, a SamplingRule or a mapping, says from now on; replicas follow within ten seconds."""
        return self._link.call(calls.sampling_set(model, read_rule(rule), why=why))

    def remove(self, model: str, *, why: str = "") -> SamplingRevision:
        """Keep nothing more. What was kept stays for its days."""
        return self._link.call(calls.sampling_remove(model, why=why))


class AsyncSampling:
    """`Sampling` with `await`."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link

    async def get(self, model: str) -> SamplingRevision:
        """The rule in force. Raises NotFound while nothing is kept."""
        return await self._link.call(calls.sampling(model))

    async def set(self, model: str, rule: RuleSource, *, why: str = "") -> SamplingRevision:
        """Keep what `rule`, a SamplingRule or a mapping, says from now on; replicas follow within ten seconds."""
        return await self._link.call(calls.sampling_set(model, read_rule(rule), why=why))

    async def remove(self, model: str, *, why: str = "") -> SamplingRevision:
        """Keep nothing more. What was kept stays for its days."""
        return await self._link.call(calls.sampling_remove(model, why=why))
