"""The registry against its ledger: random histories with crashes, lost replies and late writes, on every store.

A Hypothesis state machine publishes, moves, rolls back, deletes, collects garbage and lets time pass. One call
of the store in each piece of work may go wrong, or others may work between two of its calls. After each step the
store must show exactly what the ledger says, and every file of every version that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledger import Ledger
from registry_examples import Crash, draft
from s3_server import S3Server
from unreliable_store import Call, Clock, Fault, How, Plan, UnreliableStore

from raymaas.errors import NotFound, OutcomeUnknown, RaymaasError, Refused, Unavailable
from raymaas.registry import blobs, collector, log, moves
from raymaas.registry.collection import IN_FLIGHT
from raymaas.registry.collector import LEASE_S, Collector
from raymaas.registry.deletion import delete_version
from raymaas.registry.layout import BLOBS, blob_key, time_of, versions_folder
from raymaas.registry.resolve import resolve
from raymaas.registry.states import States, Step
from raymaas.registry.tombstones import Tombstones
from raymaas.registry.versions import Versions
from raymaas.specs.names import Reference
from raymaas.specs.retention import Retention
from raymaas.specs.serving import ModelState, Scaling
from raymaas.store import LocalStore, MemoryStore, Store, open_store

LedgerStep = Callable[[Ledger], Any]

GRACE = timedelta(hours=10)
PAGE = 4


@dataclass(frozen=True)
class Happening:
    """Something that others do. `pick` says which version or run, by turns."""

    kind: Literal["publish", "the same run", "alias", "delete", "collect"]
    pick: int
    hours: float


@dataclass(frozen=True)
class Meanwhile:
    """What others do before the `at`-th call of a piece of work."""

    at: int
    happenings: tuple[Happening, ...]


Trouble = Fault | Meanwhile | None

MODELS = st.sampled_from(["digits", "digits", "digits", "letters"])
PICKS = st.integers(0, 11)
HOURS = st.sampled_from([0.1, 3, 6, 12])
MOVES = st.sampled_from(["deploy", "undeploy", "alias", "traffic", "promote", "rollback"])
HAPPENINGS = st.builds(
    Happening,
    kind=st.sampled_from(["publish", "the same run", "alias", "delete", "collect", "collect"]),
    pick=PICKS,
    hours=HOURS,
)


def faults(*, writes: int) -> st.SearchStrategy[Trouble]:
    """For work that writes about so often."""
    return st.one_of(st.none(), st.builds(Fault, at=st.integers(1, writes), how=st.sampled_from(How)))


def trouble(*, writes: int, calls: int) -> st.SearchStrategy[Trouble]:
    """For work that writes, and calls the store, about so often."""
    others = st.lists(HAPPENINGS, min_size=1, max_size=2).map(tuple)
    return st.one_of(faults(writes=writes), st.builds(Meanwhile, at=st.integers(1, calls), happenings=others))


def files_of(content: int) -> Mapping[str, bytes]:
    """One file that few share and one that many do."""
    return {"model.safetensors": b"weights %d" % (content % 6), "model.onnx": b"graph %d" % (content % 3)}


@dataclass(frozen=True)
class Work:
    """A piece of work: how to do it, and what it makes of the ledger, in one step or in several, of which
    a crash may leave the first ones done. `act` and the last step give the same result.
    """

    model: str
    act: Callable[[], Any]
    steps: tuple[LedgerStep, ...]


@dataclass(frozen=True)
class Done:
    """What one was told, and the ledger after that."""

    told: Any
    ledger: Ledger


def done(work: Work, ledger: Ledger) -> Done:
    """`work` done whole."""
    after = ledger.copy()
    told = [outcome(partial(step, after)) for step in work.steps]
    return Done(next((each for each in told if isinstance(each, type)), told[-1]), after)


class RegistryMachine(RuleBasedStateMachine):
    make_store: ClassVar[Callable[[], Store]]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = UnreliableStore(type(self).make_store(), self.clock)
        self.ledgers = {"digits": Ledger(), "letters": Ledger()}
        self.touched = set(self.ledgers)
        self.unfinished: list[Work] = []
        self.in_flight: list[Work] = []
        self.sent_at = self.clock.now
        self.numbers = count()
        self.lease_may_be_held_until = self.clock.now

    # What happens.

    @initialize(deployed=st.integers(0, 2))
    def begin(self, deployed: int) -> None:
        for n in range(4):
            self.carry_out(self.publishing("digits", f"first-{n}", n), Plan())
        for n in range(deployed):
            self.carry_out(self.moving("digits", "deploy", n, 0, 0), Plan())

    @rule(model=MODELS, pick=PICKS, trouble=trouble(writes=5, calls=12))
    def publish(self, model: str, pick: int, trouble: Trouble) -> None:
        run = self.run(model, pick)
        self.carry_out(self.publishing(model, run, pick), self.plan(trouble, model, run))

    @rule(
        model=MODELS,
        kind=MOVES,
        picks=st.tuples(PICKS, PICKS),
        share=st.integers(0, 100),
        trouble=trouble(writes=1, calls=6),
    )
    def move(self, model: str, kind: str, picks: tuple[int, int], share: int, trouble: Trouble) -> None:
        self.carry_out(self.moving(model, kind, *picks, share), self.plan(trouble, model))

    # Of what others see of half a deletion, tests/unit/test_registry_deletion.py tells.
    @rule(model=MODELS, pick=PICKS, trouble=faults(writes=3))
    def delete(self, model: str, pick: int, trouble: Trouble) -> None:
        self.carry_out(self.deleting(model, self.published(model, pick)), self.plan(trouble, model))

    @rule(model=MODELS, hours=HOURS, trouble=trouble(writes=5, calls=20))
    def collect(self, model: str, hours: float, trouble: Trouble) -> None:
        self.let_time_pass(hours)
        self.collect_with(self.plan(trouble, model))

    @precondition(lambda self: self.in_flight)
    @rule()
    def arrive(self) -> None:
        """Writes of which nobody was told take effect, each as long as nobody else took its place."""
        works, self.in_flight = self.in_flight, []
        self.store.arrive()
        for model in self.ledgers:
            self.adopt(model, [work for work in works if work.model == model])

    @precondition(lambda self: self.unfinished)
    @rule(hours=HOURS, trouble=trouble(writes=5, calls=12))
    def retry(self, hours: float, trouble: Trouble) -> None:
        """What was cut off is done again, later, by another process."""
        self.let_time_pass(hours)
        work = self.unfinished.pop()
        if len(work.steps) > 1 and isinstance(trouble, Meanwhile):
            trouble = None
        self.carry_out(work, self.plan(trouble, work.model))

    # What must hold.

    @invariant()
    def the_store_shows_what_the_ledger_says(self) -> None:
        for model in sorted(self.touched):
            assert self.shown(model) == expected(self.ledgers[model])
            self.check_references(model)
        self.touched.clear()

    def teardown(self) -> None:
        self.touched = set(self.ledgers)
        self.the_store_shows_what_the_ledger_says()

    # How.

    def let_time_pass(self, hours: float) -> None:
        if self.clock.now + timedelta(hours=hours) - self.sent_at > IN_FLIGHT:
            self.arrive()
        self.clock.now += timedelta(hours=hours)

    def run(self, model: str, pick: int) -> str:
        """A run that published, or a new one."""
        known = self.ledgers[model].versions
        return known[pick].run_id if pick < min(3, len(known)) else f"run-{next(self.numbers)}"

    def published(self, model: str, pick: int) -> int:
        """A version that was published, or the next one."""
        return pick % (len(self.ledgers[model].versions) + 1) + 1

    def deployed(self, model: str, pick: int) -> int:
        """A version that is deployed, or some other."""
        deployed = sorted(self.ledgers[model].now.scaling)
        return [*deployed, 1][pick % (len(deployed) + 1)]

    def plan(self, trouble: Trouble, model: str, run: str | None = None) -> Plan:
        """`model` is what others work on too, and `run` what another process publishes as well."""
        match trouble:
            case Fault(at, how):
                return Plan(at, how)
            case Meanwhile(at, happenings):
                return Plan(at, interruption=partial(self.happen, happenings, model, run))
        return Plan()

    def happen(self, happenings: tuple[Happening, ...], model: str, run: str | None, call: Call) -> None:
        for happening in happenings:
            pick = happening.pick
            match happening.kind:
                case "publish":
                    self.carry_out(self.publishing(model, self.run(model, pick), pick), Plan())
                case "the same run" if run is not None:
                    self.carry_out(self.publishing(model, run, pick), Plan())
                case "delete":
                    self.carry_out(self.deleting(model, self.published(model, pick)), Plan())
                case "collect":
                    self.collect_while(call, model, timedelta(hours=happening.hours))
                case _:
                    self.carry_out(self.moving(model, "alias", pick, 0, 0), Plan())

    def publishing(self, model: str, run: str, content: int) -> Work:
        said, files = draft(run, model=model), files_of(content)

        def act() -> int:
            return Versions(self.store, grace=GRACE).publish(said, files).version

        return Work(model, act, (lambda ledger: ledger.publish(run, files),))

    def moving(self, model: str, kind: str, pick: int, other: int, share: int) -> Work:
        step, of_ledger = self.move_of(model, kind, pick, other, share)

        def act() -> None:
            States(self.store).move(model, step, who="ana", attempts=3)

        return Work(model, act, (of_ledger,))

    def move_of(self, model: str, kind: str, pick: int, other: int, share: int) -> tuple[Step, LedgerStep]:
        """The move, as the registry is asked for it and as the ledger is."""
        published, deployed = self.published(model, pick), self.deployed(model, pick)
        match kind:
            case "deploy":
                replicas = other % 3 or None
                scaling = Scaling(max_replicas=replicas) if replicas else None
                return (
                    partial(moves.deploy, version=published, scaling=scaling),
                    lambda ledger: ledger.deploy(published, replicas),
                )
            case "undeploy":
                force = other % 2 == 0
                return (
                    partial(moves.undeploy, version=deployed, force=force),
                    lambda ledger: ledger.undeploy(deployed, force=force),
                )
            case "alias":
                alias = ("prod", "golden")[other % 2]
                return (
                    partial(moves.set_alias, alias=alias, version=published),
                    lambda ledger: ledger.alias(alias, published),
                )
            case "traffic":
                # The same version twice makes weights that do not sum to 100.
                weights = {deployed: share} | {self.deployed(model, other): 100 - share}
                return partial(moves.set_traffic, weights=weights), lambda ledger: ledger.traffic(weights)
            case "promote":
                return partial(moves.promote, version=deployed), lambda ledger: ledger.promote(deployed)
        to = other + 1 if pick % 2 else None
        return (
            partial(moves.rollback, past=States(self.store).past(model), to=to),
            lambda ledger: ledger.rollback(to),
        )

    def deleting(self, model: str, version: int) -> Work:
        at = self.clock.now

        def act() -> None:
            nonlocal at
            at = self.clock.now  # A retry is later than the first try.
            delete_version(States(self.store), Tombstones(self.store), model, version, who="ana")

        return Work(
            model, act, (Ledger.bury, lambda ledger: ledger.decide_deletion(version, at), Ledger.bury)
        )

    def collect_while(self, call: Call, model: str, time: timedelta) -> None:
        """Others collect when this call has been under way for that long."""
        self.arrive()
        # All that is asked of a publisher: that the one request which publishes is on its way for an hour at most.
        publishes = call.name == "create" and call.key.startswith(versions_folder(model))
        self.clock.now += min(time, IN_FLIGHT / 2) if publishes else time
        self.collect_with(Plan())

    def carry_out(self, work: Work, plan: Plan) -> None:
        self.touched.add(work.model)
        at_first = self.ledgers[work.model].copy()
        with self.store.going_wrong(plan):
            told = outcome(work.act)
        if told in (Crash, OutcomeUnknown, Unavailable):
            assert plan.happened
            self.unfinished.append(work)
            self.adopt(work.model, [work])
            if plan.how is How.ARRIVES_LATE:
                self.sent_at = self.sent_at if self.in_flight else self.clock.now
                self.in_flight.append(work)
            return
        # Others worked at one point within it. So it came before them, and changed nothing, or after them.
        now = self.ledgers[work.model]
        ways = [done(work, now)]
        before = done(work, at_first)
        if plan.interruption and expected(before.ledger) == expected(at_first):
            ways.append(Done(before.told, now))
        possible = [way.ledger for way in ways if way.told == told]
        assert possible, f"told {told}, and not one of {[way.told for way in ways]}"
        shown = self.shown(work.model) if len(possible) > 1 else None
        self.ledgers[work.model] = next((each for each in possible if expected(each) == shown), possible[0])

    def adopt(self, model: str, works: list[Work]) -> None:
        """Some of what these would have done was done: in order, and to the end of one of their steps."""
        possible = [self.ledgers[model]]
        for work in works:
            for before in list(possible):
                ledger = before.copy()
                for step in work.steps:
                    if outcome(partial(step, ledger)) is not None and len(work.steps) > 1:
                        break
                    possible.append(ledger.copy())
        shown = self.shown(model)
        found = [ledger for ledger in possible if expected(ledger) == shown]
        assert found, f"{shown} is none of {[expected(ledger) for ledger in possible]}"
        self.ledgers[model] = found[0]

    def collect_with(self, plan: Plan) -> None:
        began, may_be_held = self.clock.now, self.clock.now < self.lease_may_be_held_until
        if plan.at:
            self.lease_may_be_held_until = began + timedelta(seconds=LEASE_S)
        named = self.named(began) if plan.interruption else set()
        with self.store.going_wrong(plan):
            told = outcome(Collector(self.store, Retention(), holder="ana", grace=GRACE).collect)
        self.touched |= set(self.ledgers)
        if isinstance(told, type):
            assert told in (Refused, Crash, OutcomeUnknown, Unavailable)
            assert plan.happened or (told is Refused and may_be_held)
            return
        left = {key for key in self.store.inner.list(BLOBS) if began - time_of(key) > GRACE + IN_FLIGHT}
        if plan.how is None:
            assert left <= named | self.named(began)

    def named(self, now: datetime) -> set[str]:
        """Keys of the copies that versions name, deleted ones too while they were so for less than the grace period."""
        keys = set()
        for model, ledger in self.ledgers.items():
            for number in range(1, len(ledger.versions) + 1):
                deleted_at = ledger.tombstones.get(number)
                if deleted_at is None or now - deleted_at < GRACE:
                    manifest = Versions(self.store).manifest(model, number)
                    keys |= {blob_key(entry) for entry in manifest.files.values()}
        return keys

    def shown(self, model: str) -> dict[str, Any]:
        """All that the registry shows of the model, read page by page."""
        versions, states = Versions(self.store), States(self.store)
        kept = []
        if self.store.first(versions_folder(model)) is not None:
            before = None
            while page := versions.list(model, limit=PAGE, before=before):
                kept += page
                before = page[-1].version
        runs: list[str] = []
        with suppress(NotFound):
            while True:
                runs.append(versions.manifest(model, len(runs) + 1).run_id)
        history: list[ModelState] = []
        while page := states.history(model, limit=PAGE, before=history[-1].revision if history else None):
            history += page
        assert [state.revision for state in history] == list(range(len(history), 0, -1))
        assert states.current(model) == (history[0] if history else None)
        return {
            "runs": runs,
            "kept": [(found.version, found.run_id, versions.read_files(found)) for found in kept],
            "history": [revision_shown(state) for state in reversed(history)],
        }

    def check_references(self, model: str) -> None:
        ledger, versions, states = self.ledgers[model], Versions(self.store), States(self.store)
        for alias in (None, "prod", "golden"):
            reference = Reference.parse(f"{model}@{alias}" if alias else model)
            told = outcome(partial(resolve, reference, versions, states))
            assert told == outcome(partial(ledger.resolve, alias))
        for number in range(1, len(ledger.versions) + 1):
            gone = outcome(partial(versions.get, model, number)) is NotFound
            assert gone == (number in ledger.tombstones)
            if gone and self.clock.now - ledger.tombstones[number] < GRACE:
                assert (
                    versions.read_files(versions.manifest(model, number)) == ledger.versions[number - 1].files
                )


def outcome(act: Callable[[], Any]) -> Any:
    """What it gives, or the class of what it raises."""
    try:
        return act()
    except (RaymaasError, Crash) as error:
        return type(error)


def expected(ledger: Ledger) -> dict[str, Any]:
    versions = ledger.versions
    return {
        "runs": [published.run_id for published in versions],
        "kept": [(n, versions[n - 1].run_id, versions[n - 1].files) for n in ledger.kept],
        "history": [revision.shown for revision in ledger.history],
    }


def revision_shown(state: ModelState) -> tuple[object, ...]:
    return (
        state.change.action,
        state.aliases,
        state.traffic,
        {version: scaling.max_replicas for version, scaling in state.scaling.items()},
        state.change.undoes,
        state.deletion.version if state.deletion else None,
    )


def run_machine(make: Callable[[], Store], *, examples: int, steps: int, random: bool = False) -> None:
    """Run it on the stores that `make` makes, one for each example. Repeatable unless `random`."""

    class Machine(RegistryMachine):
        make_store = staticmethod(make)

    with pytest.MonkeyPatch.context() as patch:
        # In threads the calls of one piece of work would come in another order each time.
        for module, name in ((blobs, "_AT_ONCE"), (collector, "_AT_ONCE"), (log, "_READ_AT_ONCE")):
            patch.setattr(module, name, 1)
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                derandomize=not random,
                database=None,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_in_memory() -> None:
    run_machine(lambda: MemoryStore(lambda: datetime.now(UTC)), examples=30, steps=30)


def test_on_a_folder(tmp_path: Path) -> None:
    numbers = count()
    run_machine(lambda: LocalStore(tmp_path / str(next(numbers))), examples=6, steps=25)


def test_on_s3(s3: S3Server, s3_prefix: str) -> None:
    numbers = count()
    run_machine(lambda: open_store(s3.url(f"{s3_prefix}/{next(numbers)}")), examples=3, steps=15)
