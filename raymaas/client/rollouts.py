"""Rollouts from Python: `client.rollouts`, blocking and awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from raymaas.client import calls, waiting
from raymaas.client.link import AsyncLink, Link
from raymaas.errors import Unavailable
from raymaas.specs.names import Reference
from raymaas.specs.rollouts import RolloutPlan, RolloutPlanRevision, RolloutState

AWAY_S = 600.0
"""How long a control plane that does not answer is waited for."""
PlanSource = RolloutPlan | Mapping[str, Any]
OnAway = Callable[[Unavailable], None]


def read_plan(plan: PlanSource) -> RolloutPlan:
    """Raises InvalidInput naming the field that is wrong."""
    return plan if isinstance(plan, RolloutPlan) else RolloutPlan.parse(dict(plan), source="rollout")


class Rollouts:
    """New versions that take over the traffic step by step, and give it back when they do not keep their bounds."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def begin(self, reference: str, plan: PlanSource | None = None, *, why: str = "") -> RolloutState:
        """Roll a deployed version out against the one that has the traffic. `follow` shows how it goes on.

        Without a plan it is the model's own. Raises NotFound when it has none, and Refused when another rollout of
        the model is under way, when the version is not deployed or has traffic, or when the policy of `prod` would
        not let it be promoted.
        """
        target = Reference.parse(reference)
        given = None if plan is None else read_plan(plan)
        asked = calls.rollout_begin(target.model, waiting.pinned(target), plan=given, why=why)
        return self._link.call(asked)

    def get(self, model: str) -> RolloutState:
        """The one under way, or else the last. Raises NotFound when there never was one."""
        return self._link.call(calls.rollout(model))

    def follow(
        self,
        model: str,
        *,
        after: int | None = None,
        away_s: float | None = AWAY_S,
        on_away: OnAway | None = None,
    ) -> Iterator[RolloutState]:
        """How it stands, and again after each decision, until it has ended; `after` a revision, what came since.

        A control plane that does not answer is waited for, `away_s` at a time; None: for ever. `on_away` is called
        once each time. Then raises Unavailable; also at once when the first look, without `after`, is not answered.
        """
        if after is None:
            state = self.get(model)
            yield state
            if not state.under_way:
                return
            after = state.revision
        while True:
            patience = self._link.patience(away_s)
            decisions = waiting.decisions_after(
                model, after, patience=patience, url=self._link.url, on_away=on_away
            )
            for state in self._link.run(decisions):
                yield state
                if not state.under_way:
                    return
                after = state.revision

    def history(self, model: str, *, limit: int = 100, before: int | None = None) -> tuple[RolloutState, ...]:
        """Decisions of all its rollouts, newest first, older than revision `before` when given."""
        return self._link.call(calls.rollouts(model, limit=limit, before=before))

    def plan(self, model: str) -> RolloutPlanRevision:
        """How its versions are rolled out where nothing else is said. Raises NotFound when nothing is."""
        return self._link.call(calls.rollout_plan(model))

    def plan_set(self, model: str, plan: PlanSource, *, why: str = "") -> RolloutPlanRevision:
        """Roll them out by `plan` from now on; a rollout under way keeps its own."""
        return self._link.call(calls.rollout_plan_set(model, read_plan(plan), why=why))

    def plan_remove(self, model: str, *, why: str = "") -> RolloutPlanRevision:
        """Raises NotFound when there is none."""
        return self._link.call(calls.rollout_plan_remove(model, why=why))

    def pause(self, model: str, *, why: str = "") -> RolloutState:
        """Stay at this step. It still rolls back by itself."""
        return self._link.call(calls.rollout_move(model, "pause", why=why))

    def resume(self, model: str, *, why: str = "") -> RolloutState:
        """Go on; the step's time begins anew."""
        return self._link.call(calls.rollout_move(model, "resume", why=why))

    def abort(self, model: str, *, why: str = "") -> RolloutState:
        """Give the old version all traffic again."""
        return self._link.call(calls.rollout_move(model, "abort", why=why))

    def promote(self, model: str, *, why: str = "") -> RolloutState:
        """Give the new version all traffic now, whatever was seen."""
        return self._link.call(calls.rollout_move(model, "promote", why=why))


class AsyncRollouts:
    """`Rollouts` with `await`."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link

    async def begin(self, reference: str, plan: PlanSource | None = None, *, why: str = "") -> RolloutState:
        """Roll a deployed version out against the one that has the traffic. `follow` shows how it goes on.

        Without a plan it is the model's own. Raises NotFound when it has none, and Refused when another rollout of
        the model is under way, when the version is not deployed or has traffic, or when the policy of `prod` would
        not let it be promoted.
        """
        target = Reference.parse(reference)
        given = None if plan is None else read_plan(plan)
        asked = calls.rollout_begin(target.model, waiting.pinned(target), plan=given, why=why)
        return await self._link.call(asked)

    async def get(self, model: str) -> RolloutState:
        """The one under way, or else the last. Raises NotFound when there never was one."""
        return await self._link.call(calls.rollout(model))

    async def follow(
        self,
        model: str,
        *,
        after: int | None = None,
        away_s: float | None = AWAY_S,
        on_away: OnAway | None = None,
    ) -> AsyncIterator[RolloutState]:
        """How it stands, and again after each decision, until it has ended; `after` a revision, what came since.

        A control plane that does not answer is waited for, `away_s` at a time; None: for ever. `on_away` is called
        once each time. Then raises Unavailable; also at once when the first look, without `after`, is not answered.
        """
        if after is None:
            state = await self.get(model)
            yield state
            if not state.under_way:
                return
            after = state.revision
        while True:
            patience = self._link.patience(away_s)
            decisions = waiting.decisions_after(
                model, after, patience=patience, url=self._link.url, on_away=on_away
            )
            for state in await self._link.run(decisions):
                yield state
                if not state.under_way:
                    return
                after = state.revision

    async def history(
        self, model: str, *, limit: int = 100, before: int | None = None
    ) -> tuple[RolloutState, ...]:
        """Decisions of all its rollouts, newest first, older than revision `before` when given."""
        return await self._link.call(calls.rollouts(model, limit=limit, before=before))

    async def plan(self, model: str) -> RolloutPlanRevision:
        """How its versions are rolled out where nothing else is said. Raises NotFound when nothing is."""
        return await self._link.call(calls.rollout_plan(model))

    async def plan_set(self, model: str, plan: PlanSource, *, why: str = "") -> RolloutPlanRevision:
        """Roll them out by `plan` from now on; a rollout under way keeps its own."""
        return await self._link.call(calls.rollout_plan_set(model, read_plan(plan), why=why))

    async def plan_remove(self, model: str, *, why: str = "") -> RolloutPlanRevision:
        """Raises NotFound when there is none."""
        return await self._link.call(calls.rollout_plan_remove(model, why=why))

    async def pause(self, model: str, *, why: str = "") -> RolloutState:
        """Stay at this step. It still rolls back by itself."""
        return await self._link.call(calls.rollout_move(model, "pause", why=why))

    async def resume(self, model: str, *, why: str = "") -> RolloutState:
        """Go on; the step's time begins anew."""
        return await self._link.call(calls.rollout_move(model, "resume", why=why))

    async def abort(self, model: str, *, why: str = "") -> RolloutState:
        """Give the old version all traffic again."""
        return await self._link.call(calls.rollout_move(model, "abort", why=why))

    async def promote(self, model: str, *, why: str = "") -> RolloutState:
        """Give the new version all traffic now, whatever was seen."""
        return await self._link.call(calls.rollout_move(model, "promote", why=why))
