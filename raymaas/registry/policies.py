"""Policies: per model and alias one log of what a version must have before the alias may point at it."""

from __future__ import annotations

from raymaas.errors import NotFound
from raymaas.registry.layout import policies_folder, policy_folder, policy_key
from raymaas.registry.log import Log
from raymaas.registry.once import new_write_id
from raymaas.registry.revisions import append_next
from raymaas.specs.policies import Policy, PolicyRevision
from raymaas.store import Store


class Policies:
    """The policies in a store, of all models."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def in_force(self, model: str, alias: str) -> PolicyRevision | None:
        """The newest revision; None when the alias never had a policy or it was removed."""
        newest = self._log(model, alias).newest()
        return newest if newest and newest.policy else None

    def get(self, model: str, alias: str, *, revision: int | None = None) -> PolicyRevision:
        """The revision in force, or the one asked for, which may be a removal. Raises NotFound."""
        found = self.in_force(model, alias) if revision is None else self._log(model, alias).find(revision)
        if found is not None:
            return found
        if revision is not None:
            latest = self._log(model, alias).newest_sequence()
            raise NotFound(
                f"revision {revision} of the policy of {model}@{alias} does not exist; "
                + (f"latest is {latest}" if latest else "it never had one")
            )
        raise NotFound(
            f"alias {alias!r} of {model!r} has no policy; give it one with"
            f" `raymaas models policy set {model} {alias} FILE`"
        )

    def list(self, model: str) -> list[PolicyRevision]:
        """What is in force, by alias, ascending."""
        found = (self.in_force(model, alias) for alias in self._store.children(policies_folder(model)))
        return [revision for revision in found if revision is not None]

    def set(self, model: str, alias: str, policy: Policy, *, who: str, why: str = "") -> PolicyRevision:
        """Ask `policy` of every version that `alias` is pointed at from now on; where it points stays.

        Returns the revision in force. Nothing is written when it asks the same already. Of concurrent changes
        one is kept; the others raise AlreadyExists with who was first.
        """
        return self._next(model, alias, policy, who=who, why=why)

    def remove(self, model: str, alias: str, *, who: str, why: str = "") -> PolicyRevision:
        """Ask nothing any more. Raises NotFound when there is no policy, else as `set`."""
        self.get(model, alias)
        return self._next(model, alias, None, who=who, why=why)

    def _next(self, model: str, alias: str, policy: Policy | None, *, who: str, why: str) -> PolicyRevision:
        log, what = self._log(model, alias), f"the policy of {model}@{alias}"
        newest = log.newest()
        if newest is not None and newest.policy == policy:
            return newest

        def entry(revision: int) -> PolicyRevision:
            fields = {
                "model": model,
                "alias": alias,
                "revision": revision,
                "write_id": new_write_id(),
                "policy": policy,
                "who": who,
                "why": why,
                "at": self._store.now(),
            }
            return PolicyRevision.parse(fields, source=what)

        return append_next(log, newest, entry, what=what)

    def _log(self, model: str, alias: str) -> Log[PolicyRevision]:
        return Log(
            self._store,
            policy_folder(model, alias),
            PolicyRevision,
            lambda entry: policy_key(entry.model, entry.alias, entry.revision),
        )
