"""The feedback writer: what is said of answers, masked as the model's rule says, written before it is acknowledged.

Those who come while a write is under way share the next one: a store takes as long for a thousand rows as for one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from raymaas.monitor.masking import Masker
from raymaas.registry.feedback import FeedbackLog
from raymaas.registry.sampling import SamplingRules
from raymaas.serve.sample_log import is_sampled
from raymaas.specs.feedback import Feedback, FeedbackKept


@dataclass
class _Batch:
    given: list[Sequence[Feedback]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    """Of each that was given, how many pieces are in the store."""
    error: Exception | None = None


class FeedbackWriter:
    """Of the feedback on answers of all models. May be called from any thread."""

    def __init__(self, log: FeedbackLog, rules: SamplingRules) -> None:
        self.log = log
        self._rules = rules
        self._changing = threading.Lock()
        self._writing = threading.Lock()
        self._next: dict[str, _Batch] = {}

    def keep(self, model: str, items: Sequence[Feedback]) -> FeedbackKept:
        """What the model's rule keeps of `items` is in the store afterwards.

        Raises NotFound while nothing is kept of the model, Unavailable when nothing was written, and OutcomeUnknown
        when that cannot be told: said again, it counts once.
        """
        with self._changing:
            batch = self._next.setdefault(model, _Batch())
            place = len(batch.given)
            batch.given.append(items)
        with self._writing:
            if not batch.kept and batch.error is None:
                with self._changing:
                    del self._next[model]
                try:
                    batch.kept = self._written(model, batch.given)
                except Exception as error:
                    batch.error = error
        if batch.error is not None:
            raise batch.error
        return FeedbackKept(model=model, received=len(items), kept=batch.kept[place])

    def _written(self, model: str, given: Sequence[Sequence[Feedback]]) -> list[int]:
        # The rule is read here, not when they came: waiting for a slow store they would outlive it.
        masker = Masker.of_revision(self._rules.in_force(model))
        assert masker is not None
        kept = [_kept(masker, items) for items in given]
        if any(kept):
            self.log.append(model, [item for items in kept for item in items])
        return [len(items) for items in kept]


def _kept(masker: Masker, items: Sequence[Feedback]) -> list[Feedback]:
    masked = [
        item.model_copy(
            update={"request_id": masker.request_id(item.request_id), "label": masker.label(item.label)}
        )
        for item in items
        if is_sampled(item.request_id, masker.rule.rate)
    ]
    # What is left of a label that may not be kept says nothing.
    return [item for item in masked if item.label is not None or item.reward is not None]
