"""The registry against its ledger: random histories with crashes, lost replies and late writes, on every store.

A Hypothesis state machine publishes, moves, rolls back, deletes, collects garbage and lets time pass. One call
of the store in each piece of work may go wrong, or others may work between two of its calls. After each step the
store must show exactly what the ledger says, and every file of every version that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledger import Ledger
from registry_examples import Crash, draft
from s3_server import S3Server
from unreliable_store import Call, Clock, Fault, How, Interruption, Plan, UnreliableStore

from raymaas.errors import NotFound, OutcomeUnknown, RaymaasError, Refused, Unavailable
from raymaas.registry import moves
from raymaas.registry.collection import IN_FLIGHT
from raymaas.registry.collector import LEASE_S, Collector
from raymaas.registry.deletion import delete_version
from raymaas.registry.layout import BLOBS, blob_key, time_of, versions_folder
from raymaas.registry.resolve import resolve
from raymaas.registry.states import States
from raymaas.registry.tombstones import Tombstones
from raymaas.registry.versions import Versions
from raymaas.specs.names import Reference
from raymaas.specs.retention import Retention
from raymaas.specs.serving import ModelState, Scaling
from raymaas.store import LocalStore, MemoryStore, Store, open_store

GRACE = timedelta(hours=10)
PAGE = 3

MODELS = st.sampled_from(["digits", "letters"])
RUNS = st.sampled_from([f"run-{n}" for n in range(8)])
CONTENTS = st.integers(0, 2)
VERSIONS = st.integers(1, 6)
ALIASES = st.sampled_from(["prod", "golden"])
WEIGHTS = st.one_of(
    st.builds(lambda a: {a: 100}, VERSIONS),
    st.builds(lambda a, b, share: {a: share, b: 100 - share} if a != b else {a: 99}, VERSIONS, VERSIONS,
              st.integers(0, 100)),
)  # fmt: skip
FAULTS = st.one_of(st.none(), st.builds(Fault, at=st.integers(1, 24), how=st.sampled_from(How)))
HOURS = st.sampled_from([0.1, 1, 4, 6, 12, 30])


def files_of(content: int) -> Mapping[str, bytes]:
    """One file that few share and one that all do."""
    return {"model.safetensors": b"weights %d" % content, "model.onnx": b"graph"}


@dataclass(frozen=True)
class Work:
    """A piece of work: how to do it, and what it makes of the ledger, in one step or in several, of which
    a crash may leave the first ones done. `act` and the last step give the same result.
    """

    model: str
    act: Callable[[], Any]
    steps: tuple[Callable[[Ledger], Any], ...]


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
        self.lease_may_be_held_until = self.clock.now

    # What is done.

    @rule(model=MODELS, run=RUNS, content=CONTENTS, fault=FAULTS)
    def publish(self, model: str, run: str, content: int, fault: Fault | None) -> None:
        self.carry_out(self.publishing(model, run, content), fault)

    @rule(model=MODELS, version=VERSIONS, replicas=st.sampled_from([None, 1, 2]), fault=FAULTS)
    def deploy(self, model: str, version: int, replicas: int | None, fault: Fault | None) -> None:
        scaling = Scaling(max_replicas=replicas) if replicas else None
        step = partial(moves.deploy, version=version, scaling=scaling)
        self.carry_out(self.moving(model, step, lambda ledger: ledger.deploy(version, replicas)), fault)

    @rule(model=MODELS, version=VERSIONS, force=st.booleans(), fault=FAULTS)
    def undeploy(self, model: str, version: int, force: bool, fault: Fault | None) -> None:
        step = partial(moves.undeploy, version=version, force=force)
        self.carry_out(self.moving(model, step, lambda ledger: ledger.undeploy(version, force=force)), fault)

    @rule(model=MODELS, alias=ALIASES, version=VERSIONS, fault=FAULTS)
    def set_alias(self, model: str, alias: str, version: int, fault: Fault | None) -> None:
        self.carry_out(self.pointing(model, alias, version), fault)

    @rule(model=MODELS, weights=WEIGHTS, fault=FAULTS)
    def set_traffic(self, model: str, weights: dict[int, int], fault: Fault | None) -> None:
        step = partial(moves.set_traffic, weights=weights)
        self.carry_out(self.moving(model, step, lambda ledger: ledger.traffic(weights)), fault)

    @rule(model=MODELS, version=VERSIONS, fault=FAULTS)
    def promote(self, model: str, version: int, fault: Fault | None) -> None:
        step = partial(moves.promote, version=version)
        self.carry_out(self.moving(model, step, lambda ledger: ledger.promote(version)), fault)

    @rule(model=MODELS, to=st.one_of(st.none(), st.integers(1, 12)), fault=FAULTS)
    def roll_back(self, model: str, to: int | None, fault: Fault | None) -> None:
        step = partial(moves.rollback, past=States(self.store).past(model), to=to)
        self.carry_out(self.moving(model, step, lambda ledger: ledger.rollback(to)), fault)

    @rule(model=MODELS, version=VERSIONS, fault=FAULTS)
    def delete(self, model: str, version: int, fault: Fault | None) -> None:
        self.carry_out(self.deleting(model, version), fault)

    @rule(fault=FAULTS)
    def collect(self, fault: Fault | None) -> None:
        self.collect_with(Plan(at=fault.at, how=fault.how) if fault else Plan(at=0))

    # What happens meanwhile.

    @rule(model=MODELS, run=RUNS, content=CONTENTS, at=st.integers(1, 20), data=st.data())
    def publish_among_others(self, model: str, run: str, content: int, at: int, data: st.DataObject) -> None:
        others = self.others(data, model)
        self.carry_out(self.publishing(model, run, content), None, Plan(at=at, interruption=others))

    @rule(model=MODELS, alias=ALIASES, version=VERSIONS, at=st.integers(1, 8), data=st.data())
    def point_among_others(self, model: str, alias: str, version: int, at: int, data: st.DataObject) -> None:
        others = self.others(data, model)
        self.carry_out(self.pointing(model, alias, version), None, Plan(at=at, interruption=others))

    @rule(model=MODELS, at=st.integers(1, 24), data=st.data())
    def collect_among_others(self, model: str, at: int, data: st.DataObject) -> None:
        self.collect_with(Plan(at=at, interruption=self.others(data, model)))

    @rule(hours=HOURS)
    def let_time_pass(self, hours: float) -> None:
        if self.clock.now + timedelta(hours=hours) - self.sent_at > IN_FLIGHT:
            self.arrive()
        self.clock.now += timedelta(hours=hours)

    @precondition(lambda self: self.in_flight)
    @rule()
    def arrive(self) -> None:
        """Writes of which nobody was told take effect, each as long as nobody else took its place."""
        works, self.in_flight = self.in_flight, []
        self.store.arrive()
        for model in self.ledgers:
            self.adopt(model, [work for work in works if work.model == model])

    @precondition(lambda self: self.unfinished)
    @rule()
    def retry(self) -> None:
        """What was cut off is done again, by another process."""
        self.carry_out(self.unfinished.pop(), None)

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

    def publishing(self, model: str, run: str, content: int) -> Work:
        said, files = draft(f"{model}-{run}", model=model), files_of(content)
        return Work(
            model,
            lambda: Versions(self.store, grace=GRACE).publish(said, files).version,
            (lambda ledger: ledger.publish(said.run_id, files),),
        )

    def moving(
        self, model: str, step: Callable[..., ModelState], of_ledger: Callable[[Ledger], None]
    ) -> Work:
        def act() -> None:
            States(self.store).move(model, step, who="ana", attempts=3)

        return Work(model, act, (of_ledger,))

    def pointing(self, model: str, alias: str, version: int) -> Work:
        step = partial(moves.set_alias, alias=alias, version=version)
        return self.moving(model, step, lambda ledger: ledger.alias(alias, version))

    def deleting(self, model: str, version: int) -> Work:
        at = self.clock.now

        def act() -> None:
            delete_version(States(self.store), Tombstones(self.store), model, version, who="ana")

        return Work(
            model,
            act,
            (
                lambda ledger: ledger.bury(),
                lambda ledger: ledger.decide_deletion(version, at),
                lambda ledger: ledger.bury(),
            ),
        )

    def others(self, data: st.DataObject, model: str) -> Interruption:
        """What others do between two calls: publish, move, delete, or let time pass and collect."""
        run, content = data.draw(RUNS), data.draw(CONTENTS)
        version, hours = data.draw(VERSIONS), timedelta(hours=data.draw(HOURS))
        kind = data.draw(st.sampled_from(["publish", "alias", "delete", "collect"]))

        def interrupt(call: Call) -> None:
            match kind:
                case "publish":
                    self.carry_out(self.publishing(model, run, content), None)
                case "alias":
                    self.carry_out(self.pointing(model, "golden", version), None)
                case "delete":
                    self.carry_out(self.deleting(model, version), None)
                case "collect":
                    self.arrive()
                    # All that is asked of a publisher: that the request which publishes is not on its way for longer.
                    publishes = call.name == "create" and call.key.startswith(versions_folder(model))
                    self.clock.now += min(hours, IN_FLIGHT) if publishes else hours
                    self.collect_with(Plan(at=0))

        return interrupt

    def carry_out(self, work: Work, fault: Fault | None, plan: Plan | None = None) -> None:
        plan = plan or (Plan(at=fault.at, how=fault.how) if fault else Plan(at=0))
        self.touched.add(work.model)
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
        ledger = self.ledgers[work.model].copy()
        results = [outcome(partial(step, ledger)) for step in work.steps]
        wanted = next((each for each in results if isinstance(each, type)), results[-1])
        assert told == wanted
        self.ledgers[work.model] = ledger

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
        collector = Collector(self.store, Retention(), holder="ana", grace=GRACE)
        with self.store.going_wrong(plan):
            told = outcome(collector.collect)
        self.touched |= set(self.ledgers)
        if isinstance(told, type):
            assert plan.happened or (told is Refused and may_be_held)
            return
        left = {key for key in self.store.inner.list(BLOBS) if began - time_of(key) > GRACE + IN_FLIGHT}
        if plan.how is None:
            assert left <= self.named(began)

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
        numbers = set()
        while outcome(partial(versions.manifest, model, len(numbers) + 1)) is not NotFound:
            numbers.add(len(numbers) + 1)
        history: list[ModelState] = []
        while page := states.history(model, limit=PAGE, before=history[-1].revision if history else None):
            history += page
        assert [state.revision for state in history] == list(range(len(history), 0, -1))
        assert states.current(model) == (history[0] if history else None)
        return {
            "runs": [versions.manifest(model, number).run_id for number in sorted(numbers)],
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
    run_machine(lambda: MemoryStore(lambda: datetime.now(UTC)), examples=60, steps=30)


def test_on_a_folder(tmp_path: Path) -> None:
    numbers = count()
    run_machine(lambda: LocalStore(tmp_path / str(next(numbers))), examples=15, steps=25)


def test_on_s3(s3: S3Server, s3_prefix: str) -> None:
    numbers = count()
    run_machine(lambda: open_store(s3.url(f"{s3_prefix}/{next(numbers)}")), examples=5, steps=20)
