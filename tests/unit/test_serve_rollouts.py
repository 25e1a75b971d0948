"""Carrying rollouts on, over a real registry: what edges count and replicas log decides, and the traffic follows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from registry_examples import draft, memory_store, with_versions

from raymaas.errors import AlreadyExists, NotFound, RaymaasError, Refused, Unavailable
from raymaas.registry import moves
from raymaas.registry.policies import Policies
from raymaas.registry.requests import Requests
from raymaas.registry.rollout_plans import RolloutPlans
from raymaas.registry.rollouts import Rollouts
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.rollout import decide
from raymaas.serve.rollouts.beginning import begin_after_run
from raymaas.serve.rollouts.conducting import WHO, Conductor
from raymaas.serve.rollouts.measuring import Measuring
from raymaas.specs.demand import EdgeDemand, VersionOutcomes
from raymaas.specs.policies import Policy
from raymaas.specs.requests import Compared, RequestChunk
from raymaas.specs.rollouts import Guards, RolloutPlan, RolloutState, Seen
from raymaas.specs.serving import Scaling
from raymaas.store import MemoryStore

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = RolloutPlan(steps=(10, 50, 100), every_s=60, guards=Guards(max_error_rate=0.05), min_requests=50)


class Site:
    """A model of two deployed versions, and all that measures it. `restart` forgets what the controller knew."""

    def __init__(self) -> None:
        self.now = BEGUN
        self.store = MemoryStore(lambda: self.now)
        with_versions(self.store, 2)
        self.states = States(self.store)
        for version in (1, 2):
            self.move(partial(moves.deploy, version=version))
        self.count, self.counted = "c1", dict[int, tuple[int, int]]()
        self.restart()

    def restart(self) -> None:
        measuring = Measuring(Requests(self.store), lambda: [self.told()])
        self.conductor = Conductor(Rollouts(self.store), States(self.store), measuring)

    def told(self) -> EdgeDemand:
        outcomes = {
            f"digits@{version}": VersionOutcomes(answered=answered, failed=failed)
            for version, (answered, failed) in self.counted.items()
        }
        other = {"faces@2": VersionOutcomes(answered=9, failed=9)}
        return EdgeDemand(edge="a", versions={}, count=self.count, outcomes=outcomes | other)

    def move(self, step: Callable[..., object], *, who: str = "ana") -> None:
        self.states.move("digits", step, who=who)  # type: ignore[arg-type]

    def answer(self, version: int, answered: int, failed: int = 0) -> None:
        before = self.counted.get(version, (0, 0))
        self.counted[version] = before[0] + answered, before[1] + failed

    def log(
        self,
        version: int,
        *microseconds: int,
        replica: str = "r1",
        statuses: tuple[int, ...] = (),
        shadows: tuple[int, ...] = (),
        compared: dict[int, Compared] | None = None,
    ) -> None:
        n = len(microseconds)
        chunk = RequestChunk(
            model="digits",
            version=version,
            replica=replica,
            request_ids=("x",) * n,
            at_ms=(0,) * n,
            statuses=statuses or (200,) * n,
            microseconds=microseconds,
            rows=(1,) * n,
            key_ids=(),
            asked_with=(0,) * n,
            dropped=0,
            shadows=shadows,
            compared=compared or {},
        )
        Requests(self.store).append(chunk, at=self.now)

    def after(self, seconds: float) -> RolloutState:
        self.now += timedelta(seconds=seconds)
        return self.conductor.carry_on("digits")

    def begin(self, plan: RolloutPlan = PLAN) -> RolloutState:
        self.now += timedelta(seconds=1)
        return self.conductor.begin("digits", version=2, plan=plan, who="ana")

    @property
    def shadow(self) -> int | None:
        state = self.states.current("digits")
        assert state is not None
        return state.shadow.version if state.shadow else None

    @property
    def fallback(self) -> int | None:
        state = self.states.current("digits")
        assert state is not None
        return state.fallback

    @property
    def traffic(self) -> dict[int, int]:
        state = self.states.current("digits")
        assert state is not None
        return {version: weight for version, weight in state.traffic.items() if weight}


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_version_that_keeps_its_bounds_takes_over_step_by_step_and_is_promoted(site: Site) -> None:
    assert site.begin().phase == "advancing"
    shares, fallbacks = [site.traffic], [site.fallback]
    while site.conductor.rollouts.current("digits").under_way:
        site.answer(2, 60)
        site.restart()
        site.after(61)
        shares.append(site.traffic)
        fallbacks.append(site.fallback)
    assert fallbacks == [1, 1, 1, None]
    assert shares == [{1: 90, 2: 10}, {1: 50, 2: 50}, {2: 100}, {2: 100}]
    state = site.states.current("digits")
    assert state is not None
    assert state.aliases == {"prod": 2}
    assert (state.change.action, state.change.who) == ("promote", WHO)
    assert "kept its bounds" in state.change.why


def test_a_version_that_fails_gives_the_traffic_back_at_once(site: Site) -> None:
    site.begin()
    site.answer(2, 60, failed=30)
    ended = site.after(3)
    assert (ended.phase, site.traffic) == ("rolled_back", {1: 100})
    assert (ended.whole.new.requests, ended.whole.new.errors) == (60, 30)
    assert "30 of 60" in ended.decision.summary


def test_too_little_traffic_is_waited_for(site: Site) -> None:
    site.begin()
    site.answer(2, 5)
    assert "Waits for traffic" in site.after(61).decision.summary
    assert site.traffic == {1: 90, 2: 10}
    site.answer(2, 50)
    site.after(3)
    assert site.traffic == {1: 50, 2: 50}


def test_what_edges_counted_is_seen_once_whoever_is_restarted(site: Site) -> None:
    site.answer(2, 1_000, failed=1_000)  # before the rollout
    site.begin()
    site.answer(2, 10)
    site.after(3)
    site.restart()
    site.answer(2, 10, failed=1)
    site.after(3)
    site.count, site.counted = "c2", {2: (5, 0)}  # another agent, which counts from 0
    seen = site.after(3).whole.new
    assert (seen.requests, seen.errors) == (25, 1)


def test_latencies_come_from_each_replicas_log_once(site: Site) -> None:
    site.log(2, 10)
    site.begin()
    site.now += timedelta(seconds=1)
    site.log(2, 1_000, 2_000)
    site.log(1, 500)
    site.now += timedelta(seconds=1)
    site.log(2, 1_000, replica="r2")
    site.after(1)
    site.restart()
    site.log(2, 4_000, 9, statuses=(200, 503))
    both = site.after(1).whole
    assert both.new.latencies == Seen.model_validate({"latencies": both.new.latencies}).latencies
    assert (both.new.timed, both.old.timed) == (4, 1), "an error is no latency, and nothing is read twice"


def test_answers_are_compared_by_shadowing_at_every_step_and_no_longer(site: Site) -> None:
    site.begin(PLAN.model_copy(update={"guards": Guards(max_disagreement=0.05), "min_pairs": 20}))
    shadows = [site.shadow]
    while site.conductor.rollouts.current("digits").under_way:
        other = 1 if site.traffic == {2: 100} else 2
        site.now += timedelta(seconds=1)
        compared = Compared(rows=100, rows_disagreed=1, errors=0, dropped=0)
        site.log(3 - other, 500, compared={other: compared, 7: compared})
        site.log(other, 500, shadows=(0,))
        site.answer(2, 60)
        ended = site.after(61)
        shadows.append(site.shadow)
    assert shadows == [2, 2, 1, None]
    assert ended.phase == "promoted"
    assert (ended.whole.new.pairs, ended.whole.new.disagreed) == (300, 3)
    assert (ended.whole.new.timed, ended.whole.old.timed) == (1, 2), "copies made nobody wait"


def test_a_version_that_answers_otherwise_gives_the_traffic_back(site: Site) -> None:
    site.begin(PLAN.model_copy(update={"guards": Guards(max_disagreement=0.05)}))
    site.now += timedelta(seconds=1)
    site.log(1, 500, compared={2: Compared(rows=50, rows_disagreed=20, errors=0, dropped=0)})
    ended = site.after(1)
    assert (ended.phase, site.traffic, site.shadow) == ("rolled_back", {1: 100}, None)
    assert site.fallback is None
    assert "20 of 50" in ended.decision.summary


def test_a_decision_whose_move_was_lost_is_carried_out_by_the_next_round(site: Site) -> None:
    site.begin()
    site.now += timedelta(seconds=1)
    site.conductor.rollouts.move("digits", decide.abort, who="ana")  # and killed
    assert site.traffic == {1: 90, 2: 10}
    site.restart()
    site.after(3)
    assert site.traffic == {1: 100}


def test_who_moves_the_traffic_meanwhile_is_not_fought(site: Site) -> None:
    site.begin()
    site.now += timedelta(seconds=1)
    site.move(partial(moves.set_traffic, weights={1: 100}), who="ben")
    paused = site.after(3)
    assert paused.phase == "paused"
    assert "ben moved it meanwhile" in paused.decision.why
    assert site.after(3).phase == "paused"
    assert site.traffic == {1: 100}

    site.now += timedelta(seconds=1)
    site.conductor.move("digits", decide.resume, who="ana")
    assert site.traffic == {1: 90, 2: 10}
    assert site.after(3).phase == "advancing"


def test_an_ended_rollout_leaves_the_traffic_to_others(site: Site) -> None:
    site.begin()
    site.now += timedelta(seconds=1)
    site.conductor.move("digits", decide.abort, who="ana")
    site.now += timedelta(seconds=1)
    site.move(partial(moves.promote, version=2), who="ben")
    site.after(3)
    assert site.traffic == {2: 100}


def test_what_cannot_be_promoted_in_the_end_is_paused_with_the_reason(site: Site) -> None:
    site.begin()
    site.now += timedelta(seconds=1)
    # Version 1 is gone at a step that still needs it.
    site.move(partial(moves.promote, version=2), who=WHO)
    site.move(partial(moves.undeploy, version=1), who="ben")
    paused = site.after(3)
    assert paused.phase == "paused"
    assert "not deployed" in paused.decision.why


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (partial(moves.undeploy, version=2), "it is not deployed"),
        (partial(moves.set_traffic, weights={1: 60, 2: 40}), "several versions"),
        (partial(moves.promote, version=2), "has all the traffic"),
    ],
)
def test_what_cannot_be_rolled_out_is_refused_and_nothing_moves(
    site: Site, before: Callable[..., object], reason: str
) -> None:
    site.move(before)
    traffic = site.traffic
    with pytest.raises(Refused, match=reason):
        site.begin()
    assert site.traffic == traffic
    assert site.conductor.rollouts.models() == []


def test_a_bound_on_times_needs_them_recorded(site: Site) -> None:
    site.move(partial(moves.deploy, version=1, scaling=Scaling(request_log="errors")))
    timed = PLAN.model_copy(update={"guards": Guards(max_p99_ratio=1.2)})
    with pytest.raises(Refused, match=r"digits@1 takes is not recorded.*--request-log all"):
        site.begin(timed)
    assert site.begin().phase == "advancing", "errors are counted at the edge"


def test_of_two_at_once_only_one_writes(site: Site) -> None:
    site.begin()
    now = site.conductor.rollouts.current("digits")

    def beaten(state: RolloutState, stamp: moves.Stamp) -> RolloutState:
        site.conductor.rollouts.move("digits", decide.pause, who="ben")
        return decide.abort(state, stamp)

    with pytest.raises(AlreadyExists, match="went on meanwhile"):
        site.conductor.rollouts.move("digits", beaten, who="ana")
    assert site.conductor.rollouts.current("digits").revision == now.revision + 1


# --- what a run begins ---


def begun_by_run(site: Site, version: int = 2, *, waited: list[float] | None = None) -> str:
    """What the run says that made the version, a minute into the test."""
    site.now += timedelta(seconds=60)
    made = Versions(memory_store()).publish(draft("train-digits-7"), {"model.safetensors": b"weights"})
    made = made.model_copy(update={"version": version, "created_at": BEGUN + timedelta(seconds=30)})
    pause = (waited if waited is not None else []).append
    return begin_after_run(site.conductor, made, PLAN, who="ana", pause=pause)


def test_a_run_rolls_its_version_out_run_as_the_one_that_answers(site: Site) -> None:
    site.move(partial(moves.undeploy, version=2))
    site.move(partial(moves.deploy, version=1, scaling=Scaling(min_replicas=2, max_replicas=3)))
    assert "digits@2 begins at 10 % beside 1" in begun_by_run(site)
    state = site.states.current("digits")
    assert state is not None
    assert state.scaling[2] == Scaling(min_replicas=2, max_replicas=3)
    assert site.traffic == {1: 90, 2: 10}
    assert site.conductor.rollouts.current("digits").decision.why == "by train-digits-7"


def test_a_run_that_is_carried_out_again_begins_nothing_twice(site: Site) -> None:
    begun_by_run(site)
    site.conductor.move("digits", decide.abort, who="ana")
    assert "the rollout of digits@2 has begun: Aborted" in begun_by_run(site)
    assert site.traffic == {1: 100}


def test_a_run_carried_out_again_leaves_what_others_rolled_out_since(site: Site) -> None:
    Versions(site.store).publish(draft("train-digits-9"), {"model.safetensors": b"weights"})
    site.move(partial(moves.deploy, version=3))
    begun_by_run(site)
    site.conductor.move("digits", decide.abort, who="ana")
    site.now += timedelta(seconds=60)
    site.conductor.begin("digits", version=3, plan=PLAN, who="ben")
    site.conductor.move("digits", decide.abort, who="ben")
    assert "is not rolled out: digits@3 was rolled out since" in begun_by_run(site)
    assert site.traffic == {1: 100}


def test_a_run_cut_off_after_it_deployed_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.move(partial(moves.undeploy, version=2))
    with monkeypatch.context() as patch:
        patch.setattr(Conductor, "begin", _killed)
        with pytest.raises(KeyboardInterrupt):
            begun_by_run(site)
    state = site.states.current("digits")
    assert state is not None
    assert (site.traffic, set(state.scaling)) == ({1: 100}, {1, 2})
    assert "begins at 10 %" in begun_by_run(site)


def _killed(*_: object, **__: object) -> RolloutState:
    raise KeyboardInterrupt


@pytest.mark.parametrize("trouble", [Unavailable("the store is away"), AlreadyExists("ben was first")])
def test_what_passes_is_waited_for_and_what_does_not_is_said(
    site: Site, monkeypatch: pytest.MonkeyPatch, trouble: RaymaasError
) -> None:
    troubles, begin, waited = [trouble], Conductor.begin, list[float]()

    def troubled(conductor: Conductor, model: str, **asked: Any) -> RolloutState:
        if troubles:
            raise troubles.pop()
        return begin(conductor, model, **asked)

    monkeypatch.setattr(Conductor, "begin", troubled)
    troubles *= 4
    assert str(trouble) in begun_by_run(site, waited=waited)
    assert (len(waited), site.traffic) == (3, {1: 100})
    troubles += [trouble]
    assert "begins at 10 %" in begun_by_run(site, waited=waited)
    assert len(waited) == 4


def test_a_run_says_why_its_version_is_not_rolled_out() -> None:
    alone = Site()
    alone.move(partial(moves.undeploy, version=2))
    alone.move(partial(moves.undeploy, version=1, force=True))
    assert begun_by_run(alone) == (
        "digits@2 is not rolled out: nothing answers yet that it could be held against; `raymaas deploy digits@2`"
    )
    busy = Site()
    Versions(busy.store).publish(draft("train-digits-9"), {"model.safetensors": b"weights"})
    busy.begin()
    assert "digits@3 is not rolled out: 'digits' is being rolled out to version 2" in begun_by_run(busy, 3)
    state = busy.states.current("digits")
    assert state is not None
    assert 3 not in state.scaling, "what could not be rolled out is not deployed"


@pytest.mark.parametrize("deployed", [True, False])
def test_what_the_policy_of_prod_forbids_is_neither_rolled_out_nor_deployed(deployed: bool) -> None:
    site = Site()
    versions = Versions(site.store)
    versions.publish(draft("train-digits-8"), {"model.safetensors": b"weights"})
    if deployed:
        site.move(partial(moves.deploy, version=3))
    Policies(site.store).set("digits", "prod", Policy(card=("licence",)), who="ben")
    assert "digits@3 is not rolled out: " in (said := begun_by_run(site, 3))
    assert "licence" in said
    state = site.states.current("digits")
    assert state is not None
    assert (3 in state.scaling) == deployed
    assert site.conductor.rollouts.models() == []


def test_a_models_plan_is_kept_changed_and_removed() -> None:
    plans = RolloutPlans(memory_store())
    with pytest.raises(NotFound, match="raymaas rollouts plan set digits"):
        plans.in_force("digits")
    assert plans.set("digits", PLAN, who="ana").revision == 1
    assert plans.set("digits", PLAN, who="bo").who == "ana"
    other = PLAN.model_copy(update={"every_s": 5.0})
    assert plans.set("digits", other, who="bo").revision == 2
    assert plans.in_force("digits").plan == other
    plans.remove("digits", who="ana")
    with pytest.raises(NotFound):
        plans.remove("digits", who="ana")
