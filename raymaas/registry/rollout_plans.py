"""Rollout plans: per model one log of how new versions are rolled out where nothing else is said."""

from __future__ import annotations

from raymaas.errors import NotFound
from raymaas.registry.layout import rollout_plan_key, rollout_plans_folder
from raymaas.registry.log import Log
from raymaas.registry.once import new_write_id
from raymaas.registry.revisions import append_next
from raymaas.specs.rollouts import RolloutPlan, RolloutPlanRevision
from raymaas.store import Store


class RolloutPlans:
    """The plans in a store, of all models."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def in_force(self, model: str) -> RolloutPlanRevision:
        """Raises NotFound while the model has none."""
        newest = self._log(model).newest()
        if newest is None or newest.plan is None:
            raise NotFound(
                f"{model!r} has no rollout plan; give it one with `raymaas rollouts plan set {model}"
                f" --max-error-rate 0.5%`, or say it in the rollout itself: `raymaas rollout {model}@VERSION"
                " --max-error-rate 0.5%`"
            )
        return newest

    def set(self, model: str, plan: RolloutPlan, *, who: str, why: str = "") -> RolloutPlanRevision:
        """Roll versions of `model` out by `plan` from now on; a rollout under way keeps its own.

        Nothing is written when it says the same already. Of concurrent changes one is kept; the others raise
        AlreadyExists with who was first.
        """
        return self._next(model, plan, who=who, why=why)

    def remove(self, model: str, *, who: str, why: str = "") -> RolloutPlanRevision:
        """Raises NotFound when there is none, else as `set`."""
        self.in_force(model)
        return self._next(model, None, who=who, why=why)

    def _next(self, model: str, plan: RolloutPlan | None, *, who: str, why: str) -> RolloutPlanRevision:
        log, what = self._log(model), f"the rollout plan of {model}"
        newest = log.newest()
        if newest is not None and newest.plan == plan:
            return newest

        def entry(revision: int) -> RolloutPlanRevision:
            fields = {
                "model": model,
                "revision": revision,
                "write_id": new_write_id(),
                "plan": plan,
                "who": who,
                "why": why,
                "at": self._store.now(),
            }
            return RolloutPlanRevision.parse(fields, source=what)

        return append_next(log, newest, entry, what=what)

    def _log(self, model: str) -> Log[RolloutPlanRevision]:
        return Log(
            self._store,
            rollout_plans_folder(model),
            RolloutPlanRevision,
            lambda entry: rollout_plan_key(entry.model, entry.revision),
        )
