"""Sampling rules: per model one log of what is kept of its requests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import datetime

from raymaas.errors import NotFound
from raymaas.registry.layout import MODELS, sampling_folder, sampling_key
from raymaas.registry.log import Log
from raymaas.registry.once import new_write_id
from raymaas.registry.revisions import append_next
from raymaas.specs.sampling import KeptUnder, SamplingRevision, SamplingRule
from raymaas.store import Store

_PAGE = 16


class SamplingRules:
    """The sampling rules in a store, of all models."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def newest(self, model: str) -> SamplingRevision | None:
        """What holds now, which may be that nothing is kept; None of a model that never had a rule."""
        return self._log(model).newest()

    def in_force(self, model: str) -> SamplingRevision:
        """Raises NotFound while nothing is kept."""
        newest = self.newest(model)
        if newest is None or newest.rule is None:
            raise NotFound(
                f"nothing is kept of what {model!r} is asked and answers; to keep some of it say"
                f" `raymaas sampling set {model} --rate 10% --keep-days 30`"
            )
        return newest

    def since(self, model: str, moment: datetime, *, until: datetime | None = None) -> KeptUnder:
        """Those that were in force at `moment` or came after it, but not after `until`; none of a model without any."""
        found = []
        for revision in self._newest_first(model):
            if until is None or revision.at <= until:
                found.append(revision)
            if revision.at <= moment:
                break
        return KeptUnder(tuple(found))

    def _newest_first(self, model: str) -> Iterator[SamplingRevision]:
        log, before = self._log(model), None
        while page := log.entries(limit=_PAGE, before=before):
            yield from page
            before = page[-1].revision

    def ever(self) -> list[SamplingRevision]:
        """The newest revision of each model that ever had a rule, by model, ascending."""
        found = (self.newest(model) for model in self._store.children(MODELS))
        return [revision for revision in found if revision is not None]

    def set(self, model: str, rule: SamplingRule, *, who: str, why: str = "") -> SamplingRevision:
        """Keep what `rule` says from now on. What was kept before stays as it is, for the days of this rule.

        Returns the revision in force. Nothing is written when it says the same already. Of concurrent changes
        one is kept; the others raise AlreadyExists with who was first.
        """
        return self._next(model, rule, who=who, why=why)

    def remove(self, model: str, *, who: str, why: str = "") -> SamplingRevision:
        """Keep nothing more. What was kept stays for its days. Raises NotFound when there is no rule, else as `set`."""
        self.in_force(model)
        return self._next(model, None, who=who, why=why)

    def _next(self, model: str, rule: SamplingRule | None, *, who: str, why: str) -> SamplingRevision:
        log, what = self._log(model), f"the sampling rule of {model}"
        newest = log.newest()
        if newest is not None and newest.rule == rule:
            return newest

        def entry(revision: int) -> SamplingRevision:
            fields = {
                "model": model,
                "revision": revision,
                "write_id": new_write_id(),
                "rule": rule,
                "keep_days": rule.keep_days if rule else newest.keep_days if newest else 1,
                # Of one model a value has one hash, or what was kept before could not be joined with what comes.
                "salt": newest.salt if newest else secrets.token_hex(32),
                "who": who,
                "why": why,
                "at": self._store.now(),
            }
            return SamplingRevision.parse(fields, source=what)

        return append_next(log, newest, entry, what=what)

    def _log(self, model: str) -> Log[SamplingRevision]:
        return Log(
            self._store,
            sampling_folder(model),
            SamplingRevision,
            lambda entry: sampling_key(entry.model, entry.revision),
        )
