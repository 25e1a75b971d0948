"""Rollouts: per model one log of how new versions were rolled out; each revision has one writer."""

from __future__ import annotations

from collections.abc import Callable

from raymaas.errors import AlreadyExists, InvalidInput, NotFound
from raymaas.registry.layout import MODELS, rollout_key, rollouts_folder
from raymaas.registry.log import Log
from raymaas.registry.moves import Stamp
from raymaas.registry.once import new_write_id
from raymaas.specs.rollouts import RolloutState
from raymaas.store import Store

RolloutStep = Callable[[RolloutState, Stamp], RolloutState]
"""A decision with its arguments bound, e.g. `rollout.decide.pause`."""


class Rollouts:
    """The rollouts in a store, of all models."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def models(self) -> list[str]:
        """Names of all models that ever had one, ascending."""
        return [name for name in self._store.children(MODELS) if self._log(name).newest_sequence()]

    def newest(self, model: str) -> RolloutState | None:
        """The one under way, or else the last; None before the first."""
        return self._log(model).newest()

    def current(self, model: str) -> RolloutState:
        """The same. Raises NotFound when there never was one."""
        found = self.newest(model)
        if found is None:
            raise NotFound(f"{model!r} was never rolled out; begin: `raymaas rollout {model}@VERSION`")
        return found

    def begin(
        self,
        model: str,
        first: Callable[[RolloutState | None, Stamp], RolloutState],
        *,
        who: str,
        why: str = "",
    ) -> RolloutState:
        """Append what `first` makes of the newest state. Raises as `move` does, and what `first` raises."""
        return self._append(model, first(self._log(model).newest(), self.stamp(model, who=who, why=why)))

    def move(self, model: str, step: RolloutStep, *, who: str, why: str = "") -> RolloutState:
        """Apply `step` to the current state and append the result; nothing is written when it changes nothing.

        Raises what the step raises, NotFound when there is no rollout, AlreadyExists when somebody else moved it
        first, Unavailable when nothing was written, and OutcomeUnknown when that cannot be told: look before
        repeating.
        """
        now = self.current(model)
        wanted = step(now, self.stamp(model, who=who, why=why))
        return now if wanted is now else self._append(model, wanted)

    def history(self, model: str, *, limit: int = 100, before: int | None = None) -> list[RolloutState]:
        """Up to `limit` states, newest first, older than revision `before` when given."""
        return self._log(model).entries(limit=limit, before=before)

    def stamp(self, model: str, *, who: str, why: str = "") -> Stamp:
        if "\n" in who or "\n" in why:
            raise InvalidInput("who and why must each be one line")
        return Stamp(model=model, who=who, why=why, at=self._store.now(), write_id=new_write_id())

    def _append(self, model: str, wanted: RolloutState) -> RolloutState:
        try:
            self._log(model).append(wanted)
        except AlreadyExists:
            raise AlreadyExists(
                f"the rollout of {model!r} went on meanwhile, and nothing was changed; see `raymaas rollouts show"
                f" {model}`, and repeat it if you still want it"
            ) from None
        return wanted

    def _log(self, model: str) -> Log[RolloutState]:
        return Log(
            self._store, rollouts_folder(model), RolloutState, lambda s: rollout_key(s.model, s.revision)
        )
