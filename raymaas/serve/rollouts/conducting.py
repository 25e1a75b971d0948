"""Conducting: carries rollouts on, a round every few seconds: measure, decide, and have the traffic be as decided.

Nothing is remembered from one round to the next: where a rollout stands is in its log, and whatever was killed in
between, the next round begins with what that says. First a decision is written, then the model is moved; a round that
finds the traffic otherwise than the newest decision wants it moves it then.

Where disagreement is a guard, the one of the two versions that has less of the traffic shadows the other: it gets
copies of a fifth of its requests, so that there are answers to compare, also when all traffic is the new version's.

Who else moves the traffic meanwhile is not fought: the rollout is paused, and says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain

from raymaas.errors import AlreadyExists, InvalidInput, NotFound, RaymaasError, Refused
from raymaas.registry import moves
from raymaas.registry.moves import Stamp
from raymaas.registry.rollouts import Rollouts, RolloutStep
from raymaas.registry.states import States, Step
from raymaas.rollout import decide
from raymaas.serve.rollouts.measuring import Measuring
from raymaas.specs.rollouts import RolloutPlan, RolloutState
from raymaas.specs.serving import ModelState, Shadow

log = logging.getLogger("raymaas.rollouts")

WHO = "rollout"
"""Who moves the traffic of a model that is rolled out."""
SAMPLE = 0.2
"""Of the requests that are copied where disagreement is a guard."""
_LOOKED_BACK = 50
_ROUTING = ("alias", "traffic", "promote", "rollback")


@dataclass(frozen=True)
class Conductor:
    """Begins rollouts, and carries on those that are under way."""

    rollouts: Rollouts
    states: States
    measuring: Measuring

    def begin(self, model: str, *, version: int, plan: RolloutPlan, who: str, why: str = "") -> RolloutState:
        """Begin to roll `version` out against the one that has the traffic now. Returns the rollout as written.

        Raises Refused when it is not deployed, has all the traffic already, when several versions share it, when
        another rollout is under way, or when the policy of `prod` would refuse it in the end.
        """
        state = self.states.current(model)
        stamp = self.rollouts.stamp(model, who=who, why=why)
        old = self.held_against(state, stamp, version=version, plan=plan)
        cursor = self.measuring.begin(model, at=stamp.at)
        first = partial(decide.begin, new=version, old=old, plan=plan, cursor=cursor)
        begun = self.rollouts.begin(model, first, who=who, why=why)
        return self._move(begun)

    def held_against(self, state: ModelState | None, stamp: Stamp, *, version: int, plan: RolloutPlan) -> int:
        """The version that `version` would be held against, if a rollout began in `state`. Raises as `begin`."""
        decide.require_none_under_way(self.rollouts.newest(stamp.model))
        old = _answering(state, stamp.model, version)
        if plan.guards.max_p99_ratio is not None:
            _require_times(state, new=version, old=old)
        self.states.require_allowed(state, moves.promote(state, stamp, version=version))
        return old

    def move(self, model: str, step: RolloutStep, *, who: str, why: str = "") -> RolloutState:
        """A person's move: pause, resume, abort or promote. The traffic follows before this returns.

        Raises as `Rollouts.move` does, and as promoting does.
        """
        return self._move(self.rollouts.move(model, step, who=who, why=why))

    def round(self) -> None:
        """One round over all models. What goes wrong with one is logged, and tried again in the next."""
        for model in self.rollouts.models():
            try:
                self.carry_on(model)
            except RaymaasError as error:
                log.warning("the rollout of %s waits: %s", model, error)

    def carry_on(self, model: str) -> RolloutState:
        """The rollout of `model` as it stands after this round."""
        now = self.rollouts.current(model)
        if now.under_way:
            if now.phase == "advancing" and (other := self._moved_by_another(now)):
                return self.rollouts.move(model, decide.pause, who=WHO, why=other)
            seen, cursor = self.measuring.since(now.cursor, model, new=now.new, old=now.old)
            measured_from = now.cursor

            def decided(state: RolloutState, stamp: Stamp) -> RolloutState:
                # What somebody else measured meanwhile must not be counted twice.
                if state.cursor != measured_from:
                    return state
                return decide.decide(state, stamp, seen=seen, cursor=cursor)

            try:
                now = self.rollouts.move(model, decided, who=WHO)
            except AlreadyExists:
                return now  # The next round has what was written between, and measures again.
        return self._move(now)

    def _move(self, rollout: RolloutState) -> RolloutState:
        """Have the traffic be as `rollout` wants it, unless somebody else moved it since; pause if refused."""
        if rollout.phase == "paused":
            return rollout
        state = self.states.current(rollout.model)
        if state is None or _as_wanted(state, rollout) or self._moved_by_another(rollout):
            return rollout
        try:
            while not _as_wanted(state, rollout):  # at most twice: promoted, and without a shadow
                state = self.states.move(
                    rollout.model, _step(state, rollout), who=WHO, why=rollout.decision.summary
                )
        except (Refused, NotFound, InvalidInput) as error:
            if not rollout.under_way:
                raise
            return self.rollouts.move(rollout.model, decide.pause, who=WHO, why=str(error).replace("\n", " "))
        return rollout

    def _moved_by_another(self, rollout: RolloutState) -> str:
        """Who moved traffic or aliases since this rollout last did, in words; empty when nobody did."""
        since = rollout.since if rollout.under_way else rollout.decision.at
        state = self.states.current(rollout.model)
        if state is None or state.change.at <= since:
            return ""
        for one in chain(
            [state], self.states.history(rollout.model, limit=_LOOKED_BACK, before=state.revision)
        ):
            change = one.change
            if change.at <= since:
                return ""
            if change.action in _ROUTING:
                return "" if change.who == WHO else f"{change.who} moved it meanwhile ({change.summary})"
        return ""


def _answering(state: ModelState | None, model: str, version: int) -> int:
    """The version that has all the traffic. Raises Refused when there is none, or when it is `version`."""
    traffic: Mapping[int, int] = state.traffic if state else {}
    carrying = [other for other, weight in traffic.items() if weight]
    if len(carrying) > 1:
        shares = ", ".join(f"{model}@{other} {traffic[other]} %" for other in carrying)
        raise Refused(
            f"several versions of {model!r} have traffic ({shares}); give all to the one to compare with:"
            f" `raymaas traffic {model} {carrying[0]}=100`"
        )
    if not carrying:
        raise Refused(
            f"no version of {model!r} has traffic to compare {model}@{version} with; `raymaas promote"
            f" {model}@{version}`"
        )
    if carrying == [version]:
        raise Refused(
            f"{model}@{version} has all the traffic of {model!r} already; there is nothing to roll out"
        )
    return carrying[0]


def _require_times(state: ModelState | None, *, new: int, old: int) -> None:
    """Raises Refused when the request log of one of the two would not say how long its requests took."""
    for version in (new, old):
        scaling = state.scaling.get(version) if state else None
        if state and scaling and scaling.request_log != "all":
            raise Refused(
                f"how long {state.model}@{version} takes is not recorded, its request log is {scaling.request_log!r}:"
                f" `raymaas deploy {state.model}@{version} --request-log all`, or roll out without max_p99_ratio"
            )


def _wanted(rollout: RolloutState) -> dict[int, int]:
    """The weights that differ from 0."""
    weights = {rollout.new: rollout.percent, rollout.old: 100 - rollout.percent}
    return {version: weight for version, weight in weights.items() if weight}


def _as_wanted(state: ModelState, rollout: RolloutState) -> bool:
    weights = {version: weight for version, weight in state.traffic.items() if weight}
    return (
        weights == _wanted(rollout)
        and state.fallback == _fallback(rollout)
        and not _must_promote(state, rollout)
        and _shadow(state, rollout) is None
    )


def _must_promote(state: ModelState, rollout: RolloutState) -> bool:
    return rollout.phase == "promoted" and state.aliases.get(moves.PROMOTED_ALIAS) != rollout.new


def _shadow(state: ModelState, rollout: RolloutState) -> Shadow | str | None:
    """What is to become of the model's shadow; None: what it is."""
    if rollout.plan.guards.max_disagreement is None:
        return None
    if not rollout.under_way:
        ours = state.shadow is not None and state.shadow.version in (rollout.new, rollout.old)
        return moves.OFF if ours else None
    wanted = Shadow(version=rollout.new if rollout.percent <= 50 else rollout.old, sample=SAMPLE)
    return None if state.shadow == wanted else wanted


def _fallback(rollout: RolloutState) -> int | None:
    """Who answers where the new version fails."""
    return rollout.old if rollout.under_way else None


def _step(state: ModelState, rollout: RolloutState) -> Step:
    if _must_promote(state, rollout):
        return partial(moves.promote, version=rollout.new)
    return partial(
        moves.set_traffic,
        weights=_wanted(rollout),
        shadow=_shadow(state, rollout),
        fallback=_fallback(rollout),
    )
