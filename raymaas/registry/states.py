"""States: per model one log of its aliases, traffic and wanted deployments; each revision has one writer."""

from __future__ import annotations

from collections.abc import Callable

from raymaas.errors import AlreadyExists, InvalidInput, NotFound
from raymaas.registry.layout import MODELS, state_folder, state_key
from raymaas.registry.log import Log
from raymaas.registry.moves import Past, Stamp
from raymaas.registry.once import new_write_id
from raymaas.registry.policies import Policies
from raymaas.registry.promotion import Compare, Gate, not_compared
from raymaas.registry.tombstones import Tombstones
from raymaas.registry.versions import Versions
from raymaas.specs.serving import ModelState
from raymaas.store import Store

Step = Callable[[ModelState | None, Stamp], ModelState]
"""A move with its arguments bound, e.g. `partial(moves.deploy, version=3)`."""


class States:
    """The states in a store, of all models."""

    def __init__(self, store: Store, *, compare: Compare = not_compared) -> None:
        self._store = store
        self._tombstones = Tombstones(store)
        self._gate = Gate(Policies(store).in_force, Versions(store).get, compare)

    def current(self, model: str) -> ModelState | None:
        """What is wanted of `model` now; None before its first move."""
        return self._log(model).newest()

    def move(self, model: str, step: Step, *, who: str, why: str = "", attempts: int = 1) -> ModelState:
        """Apply `step` to the current state and append the result; returns the state that now holds.

        Of concurrent moves from one revision exactly one is kept. One that lost is decided anew on the
        winner's state, `attempts` times in all; then it raises AlreadyExists with what the winner did.
        Nothing is written when the step changes nothing. Raises what the step raises, NotFound when the new state
        names a version that does not exist or was deleted, Refused when an alias's policy forbids it (see
        `registry.promotion`), and OutcomeUnknown when the write may have been kept: look at the current state
        before repeating.
        """
        if "\n" in who or "\n" in why:
            raise InvalidInput("who and why must each be one line")
        log = self._log(model)
        for attempt in range(1, attempts + 1):
            now = log.newest()
            stamp = Stamp(model=model, who=who, why=why, at=self._store.now(), write_id=new_write_id())
            wanted = step(now, stamp)
            if wanted is now:
                return wanted
            self._require_kept(now, wanted)
            wanted = self._gate.admitted(now, wanted)
            try:
                log.append(wanted)
            except AlreadyExists:
                if attempt == attempts:
                    raise self._lost(model, wanted.revision) from None
            else:
                return wanted
        raise InvalidInput(f"attempts must be at least 1, got {attempts}")

    def require_allowed(self, now: ModelState | None, wanted: ModelState) -> None:
        """Raises as `move` would of a step that makes `wanted` of `now`; nothing is written."""
        self._require_kept(now, wanted)
        self._gate.admitted(now, wanted)

    def history(self, model: str, *, limit: int = 100, before: int | None = None) -> list[ModelState]:
        """Up to `limit` states, newest first, older than revision `before` when given."""
        return self._log(model).entries(limit=limit, before=before)

    def past(self, model: str) -> Past:
        """Looks up a state of `model` by its revision, for `moves.rollback`; each look reads one document."""
        log = self._log(model)

        def at(revision: int) -> ModelState:
            found = log.find(revision)
            if found is None:
                raise NotFound(
                    f"revision {revision} of {model!r} is not in the store;"
                    f" `raymaas models history {model}` shows those that are"
                )
            return found

        return at

    def models(self) -> list[str]:
        """Names of all models that were ever moved, ascending."""
        return [name for name in self._store.children(MODELS) if self._log(name).newest_sequence()]

    def _require_kept(self, now: ModelState | None, wanted: ModelState) -> None:
        # After the state was read: a deletion since then makes the append fail, an earlier one is seen here.
        deleted = now.deletion.version if now and now.deletion else None
        for version in sorted(_named(wanted) - (_named(now) if now else set())):
            if version == deleted:
                raise NotFound(f"version {version} of {wanted.model!r} was deleted; choose another")
            self._tombstones.require_alive(wanted.model, version)

    def _lost(self, model: str, revision: int) -> AlreadyExists:
        winner = self._log(model).find(revision)
        by = f"by {winner.change.who} ({winner.change.summary})" if winner else "by another"
        return AlreadyExists(
            f"{model!r} was moved first {by}, and nothing was changed; repeat yours if you still want it"
        )

    def _log(self, model: str) -> Log[ModelState]:
        return Log(self._store, state_folder(model), ModelState, lambda s: state_key(s.model, s.revision))


def _named(state: ModelState) -> set[int]:
    return set(state.scaling) | set(state.aliases.values())
