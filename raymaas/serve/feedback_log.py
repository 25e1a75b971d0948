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
    items: list[Feedback] = field(default_factory=list)
    done: bool = False
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
        revision = self._rules.in_force(model)
        masker = Masker.of_revision(revision)
        assert masker is not None
        kept = [
            item.model_copy(
                update={"request_id": masker.request_id(item.request_id), "label": masker.label(item.label)}
            )
            for item in items
            if is_sampled(item.request_id, masker.rule.rate)
        ]
        # What is left of a label that may not be kept says nothing.
        kept = [item for item in kept if item.label is not None or item.reward is not None]
        if kept:
            self._write(model, kept)
        return FeedbackKept(model=model, received=len(items), kept=len(kept))

    def _write(self, model: str, items: Sequence[Feedback]) -> None:
        with self._changing:
            batch = self._next.setdefault(model, _Batch())
            batch.items.extend(items)
        with self._writing:
            if not batch.done:
                with self._changing:
                    del self._next[model]
                try:
                    self.log.append(model, batch.items)
                except Exception as error:
                    batch.error = error
                batch.done = True
        if batch.error is not None:
            raise batch.error
