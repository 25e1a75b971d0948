"""Triggers: when a registered job is due, and that each due moment starts one run, whatever is killed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_examples import START, Clock, InterruptedStore, draft

from raymaas.bundle.files import REFERENCE
from raymaas.errors import AlreadyExists, InvalidInput, NotFound, Unavailable
from raymaas.monitor.reference import reference_of
from raymaas.registry.drifts import Drifts
from raymaas.registry.feedback import FeedbackLog
from raymaas.registry.resolve import pinned
from raymaas.registry.runs import Runs
from raymaas.registry.states import States
from raymaas.registry.triggers import Triggers
from raymaas.registry.versions import Versions
from raymaas.serve.drift_log import Bins, DriftLog
from raymaas.serve.plan import Target
from raymaas.serve.triggers.due import Due, due
from raymaas.serve.triggers.starting import Starter
from raymaas.specs.drift import DriftReport, FeatureDrift
from raymaas.specs.feedback import Feedback
from raymaas.specs.jobs import TrainJob
from raymaas.specs.runs import Failed, Pending, Running, RunSpec, Succeeded
from raymaas.specs.starting import StartWhen
from raymaas.specs.versions import Signature, TensorSpec
from raymaas.store import MemoryStore, Store

HOUR = timedelta(hours=1)


def job(**start: Any) -> TrainJob:
    return TrainJob.parse(
        {
            "model": "digits",
            "data": {"use": "feedback", "config": {"of": "digits@1"}},
            "architecture": {"use": "mlp"},
            "init_from": "digits@1",
            "start": start,
        },
        source="job",
    )


def report(verdict: str = "drifted", *, name: str = "age") -> DriftReport:
    feature = FeatureDrift(
        name=name,
        source="input",
        psi=0.41,
        test="kolmogorov-smirnov",
        statistic=0.3,
        p=0.0,
        p_adjusted=0.0,
        missing=0,
        missing_before=0,
        verdict="drifted",
    )
    by_chance = feature.model_copy(update={"name": "pay", "psi": 0.5, "verdict": "steady"})
    return DriftReport.model_validate(
        {
            "model": "digits",
            "version": 3,
            "since": START,
            "until": START + HOUR,
            "reference_rows": 100,
            "rows": 700,
            "verdict": verdict,
            "psi": 0.5,
            "features": (by_chance, feature),
        }
    )


def never() -> Any:
    raise AssertionError("this decides nothing, and is not to be asked")


# --- when it is due ---


def at(
    hours: float, when: StartWhen, *, last: float | None = None, drift: Any = never, rows: Any = never
) -> Due | None:
    return due(
        when,
        since=START,
        now=START + hours * HOUR,
        last=None if last is None else START + last * HOUR,
        drift=drift,
        labelled=rows,
    )


def test_a_schedule_is_due_once_for_each_of_its_moments() -> None:
    daily = StartWhen(every_h=24)
    assert at(23.9, daily) is None
    assert at(24, daily) == Due(START + 24 * HOUR, "every 24 h")
    assert at(30, daily, last=24) is None
    assert at(48.5, daily, last=24) == Due(START + 48 * HOUR, "every 24 h")


def test_of_moments_that_passed_while_nobody_looked_only_the_newest_is_due() -> None:
    assert at(24 * 5 + 1, StartWhen(every_h=24), last=24) == Due(START + 120 * HOUR, "every 24 h")


@given(st.floats(0.1, 50), st.lists(st.floats(0, 500), min_size=1, max_size=30).map(sorted))
def test_no_moment_is_ever_due_twice(every: float, looks: list[float]) -> None:
    when, last, moments = StartWhen(every_h=every), None, []
    for hours in looks:
        found = due(when, since=START, now=START + hours * HOUR, last=last, drift=never, labelled=never)
        if found:
            last = found.moment
            moments.append(found.moment)
            assert found.moment <= START + hours * HOUR
    assert len(set(moments)) == len(moments)


def test_drift_is_due_when_it_is_beyond_chance_and_not_too_often() -> None:
    when = StartWhen(on_drift="digits@prod", at_most_every_h=48)
    found = at(1, when, drift=report)
    assert found == Due(START + HOUR, "drift of digits@3: input age PSI 0.41 in 700 rows")
    for verdict in ("steady", "shifting", "unknown"):
        assert at(1, when, drift=lambda verdict=verdict: report(verdict)) is None
    assert at(40, when, last=1, drift=never) is None
    assert at(49, when, last=1, drift=report) is not None


def test_a_column_with_a_line_break_in_its_name_is_told_in_one_line() -> None:
    found = at(1, StartWhen(on_drift="digits@prod"), drift=lambda: report(name="age\nin years"))
    assert found is not None
    assert "input age in years PSI" in found.why


def test_either_of_two_reasons_is_enough() -> None:
    both = StartWhen(every_h=24, on_drift="digits@prod")
    assert at(24, both, drift=never) == Due(START + 24 * HOUR, "every 24 h")
    found = at(3, both, drift=report)
    assert found is not None
    assert found.why.startswith("drift of")


def test_it_waits_for_labelled_rows() -> None:
    when = StartWhen(every_h=24, min_feedback=500)
    assert at(24, when, rows=lambda: 499) is None
    found = at(25, when, rows=lambda: 500)
    assert found == Due(START + 24 * HOUR, "every 24 h; 500 rows labelled since the run before")
    assert at(1, when, rows=never) is None


def test_a_start_that_says_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="say every_h, on_drift, or both"):
        job(min_feedback=3)
    with pytest.raises(InvalidInput):
        job(on_drift="two words")


@pytest.mark.parametrize("field", ["every_h", "drift_over_h", "at_most_every_h"])
@pytest.mark.parametrize("hours", [0, 1e-12, 1e12])
def test_hours_that_no_clock_has_are_refused(field: str, hours: float) -> None:
    if field == "every_h" or hours != 1e-12:
        with pytest.raises(InvalidInput, match=rf"start\.{field}: input should be"):
            job(**{"on_drift": "digits@prod", field: hours})


# --- what is started ---


class Site:
    """A store with a trigger, and a Ray that remembers what it was asked."""

    def __init__(self, **start: Any) -> None:
        self.clock = Clock()
        self.store: Store = MemoryStore(self.clock)
        Versions(self.store).publish(draft("train-digits-1"), {"model.safetensors": b"weights"})
        self.triggers = Triggers(self.store)
        self.submitted: list[str] = []
        self.away = False
        if start:
            self.triggers.set("nightly", job(**start), who="ana")

    def starter(self, store: Store | None = None, *, drifts: Drifts | None = None) -> Starter:
        store = store or self.store
        return Starter(
            Triggers(store),
            Runs(store),
            Versions(store),
            States(store),
            drifts or Drifts(store),
            FeedbackLog(store),
            self._submit,
        )

    def _submit(self, spec: RunSpec) -> None:
        if self.away or spec.run_id in self.submitted:
            raise Unavailable("Ray does not take it")
        self.submitted.append(spec.run_id)

    def round(self, hours: float) -> list[str]:
        """What was submitted by then."""
        self.clock.now = START + hours * HOUR
        self.starter().round(self.clock.now)
        return list(self.submitted)

    def end(self, run_id: str) -> None:
        runs = Runs(self.store)
        runs.set_status(run_id, Running(at=self.clock.now, step="training"))
        runs.set_status(run_id, Succeeded(at=self.clock.now, version=2, seconds=1))


def test_a_due_trigger_starts_a_run_that_says_why() -> None:
    site = Site(every_h=24)
    assert site.round(23) == []
    (run_id,) = site.round(24.5)
    spec = Runs(site.store).spec(run_id)
    assert (spec.who, spec.why) == ("trigger nightly, of ana", "every 24 h")
    assert isinstance(spec.job, TrainJob)
    assert spec.job.data.config["until"] == "2026-03-02T00:30:00.000000Z"
    (start,) = site.triggers.starts("nightly")
    assert (start.run_id, start.due, start.why) == (run_id, START + 24 * HOUR, "every 24 h")


def test_a_run_that_still_goes_keeps_the_next_one_from_starting() -> None:
    site = Site(every_h=24)
    (first,) = site.round(24)
    Runs(site.store).set_status(first, Running(at=site.clock.now, step="training"))
    assert site.round(49) == [first]
    site.end(first)
    assert len(site.round(50)) == 2
    assert [start.due for start in site.triggers.starts("nightly")] == [START + 48 * HOUR, START + 24 * HOUR]


def test_a_run_that_failed_is_not_repeated_before_the_next_moment() -> None:
    site = Site(every_h=24)
    (first,) = site.round(24)
    Runs(site.store).set_status(first, Failed(at=site.clock.now, error="no rows"))
    assert site.round(30) == [first]
    assert len(site.round(48)) == 2


def test_a_paused_trigger_starts_nothing_and_counts_anew_when_it_goes_on() -> None:
    site = Site(every_h=24)
    site.triggers.pause("nightly", paused=True, who="bo")
    assert site.round(30) == []
    site.triggers.pause("nightly", paused=False, who="bo")
    assert site.round(50) == []
    assert len(site.round(54)) == 1


def test_a_trigger_that_was_removed_starts_nothing_and_is_not_listed() -> None:
    site = Site(every_h=24)
    site.triggers.remove("nightly", who="bo")
    assert site.round(30) == []
    assert site.triggers.list() == []
    with pytest.raises(NotFound, match="'nightly' does not exist; known: there is none"):
        site.triggers.get("nightly")


def test_feedback_is_that_of_the_model_it_learns_from() -> None:
    site = Site()
    site.triggers.set(
        "nightly", job(every_h=1, min_feedback=1).model_copy(update={"model": "other"}), who="a"
    )
    FeedbackLog(site.store).append("digits", [Feedback(request_id="r-1", label="1")])
    assert len(site.round(1)) == 1


def test_labelled_rows_are_those_since_the_run_before() -> None:
    site = Site(every_h=24, min_feedback=2)
    log = FeedbackLog(site.store)
    log.append("digits", [Feedback(request_id="r-1", label="1"), Feedback(request_id="r-2", reward=1)])
    assert site.round(25) == []
    log.append("digits", [Feedback(request_id="r-3", label="1")])
    (first,) = site.round(26)
    site.end(first)
    assert site.round(49) == [first]


class BrokenDrifts(Drifts):
    def since(self, moment: datetime, *, model: str, version: int) -> Any:
        raise ZeroDivisionError


def test_one_bad_trigger_does_not_keep_the_others_from_starting() -> None:
    site = Site(every_h=24)
    with_reference(site)
    site.triggers.set("absent", job(on_drift="absent@prod"), who="ana")
    site.triggers.set("broken", job(on_drift="digits@2"), who="ana")
    site.clock.now = START + 24 * HOUR
    site.starter(drifts=BrokenDrifts(site.store)).round(site.clock.now)
    assert len(site.submitted) == 1


def test_nothing_is_written_while_what_the_job_names_is_not_there() -> None:
    site = Site()
    site.triggers.set("nightly", job(every_h=24).model_copy(update={"init_from": "digits@prod"}), who="ana")
    assert site.round(24) == []
    assert site.triggers.starts("nightly") == []


def with_reference(site: Site) -> Target:
    """A version that knows how its rows looked."""
    signature = Signature(
        inputs=(TensorSpec(name="age", dtype="FP32", shape=(-1,)),),
        outputs=(TensorSpec(name="prediction", dtype="FP32", shape=(-1,)),),
    )
    reference = reference_of(
        {name: dict.fromkeys([column], normal(2000)) for name, column in SEEN.items()},
        signature,
        output="prediction",
    )
    files = {"model.safetensors": b"weights", REFERENCE: reference.seal()}
    made = Versions(site.store).publish(draft("train-digits-2"), files)
    return Target(made.model, made.version)


SEEN = {"input": "age", "prediction": "prediction"}


def normal(rows: int, *, mean: float = 0) -> np.ndarray:
    return np.random.default_rng(rows).normal(mean, 1, rows).astype(np.float32)


def answered(site: Site, target: Target, *, mean: float) -> None:
    """What a replica leaves of 150 rows."""
    versions = Versions(site.store)
    manifest = versions.get(target.model, target.version)
    bins = Bins.of_version(manifest, lambda name: versions.read_file(manifest, name))
    assert bins
    log = DriftLog(site.store, target, replica="r1", bins=bins)
    log.hear({"age": normal(150, mean=mean)}, {"prediction": normal(150)})
    log.count()
    log.write()


def test_rows_that_drifted_start_a_run_and_rows_that_did_not_start_none() -> None:
    site = Site()
    target = with_reference(site)
    site.triggers.set("nightly", job(on_drift="digits@2", drift_over_h=2, at_most_every_h=6), who="ana")
    answered(site, target, mean=0)
    assert site.round(0.5) == []
    answered(site, target, mean=3)
    (run_id,) = site.round(1)
    assert Runs(site.store).spec(run_id).why.startswith("drift of digits@2: input age PSI ")
    site.end(run_id)
    assert site.round(1.5) == [run_id]
    assert site.round(7.5) == [run_id], "the rows that drifted are older than two hours"


def test_what_takes_reading_the_store_is_looked_at_every_five_minutes() -> None:
    site = Site()
    target = with_reference(site)
    site.triggers.set("nightly", job(on_drift="digits@2"), who="ana")
    starter = site.starter()
    starter.round(site.clock.now)
    answered(site, target, mean=3)
    for minutes in (1, 4.9):
        starter.round(START + timedelta(minutes=minutes))
    assert site.submitted == []
    starter.round(START + timedelta(minutes=5))
    assert len(site.submitted) == 1


def test_while_ray_is_away_the_same_run_is_submitted_again() -> None:
    site = Site(every_h=24)
    site.away = True
    assert site.round(24) == []
    site.away = False
    (run_id,) = site.round(24.01)
    assert site.triggers.last_start("nightly").run_id == run_id  # type: ignore[union-attr]
    assert site.round(24.02) == [run_id]


class Killed(BaseException):
    """The controller ends here."""


def _killed() -> None:
    raise Killed


@pytest.mark.parametrize("away_h", [0.01, 20])
@pytest.mark.parametrize("call", range(1, 40))
def test_a_controller_that_is_killed_anywhere_leaves_one_run_for_the_moment(call: int, away_h: float) -> None:
    site = Site(every_h=24)
    site.clock.now = START + 24 * HOUR
    with contextlib.suppress(Killed):
        site.starter(InterruptedStore(site.store, at=call, interrupt=_killed)).round(site.clock.now)
    (run_id,) = site.round(24 + away_h)
    assert site.round(24.01 + away_h) == [run_id]
    (start,) = site.triggers.starts("nightly")
    assert (start.run_id, start.due) == (run_id, START + 24 * HOUR)
    assert isinstance(Runs(site.store).status(run_id), Pending)


def test_what_was_begun_of_a_trigger_that_is_another_now_is_left() -> None:
    site = Site(every_h=24)
    site.clock.now = START + 24 * HOUR
    with contextlib.suppress(Killed):
        after_the_claim = _calls_until_claim(site) + 1
        site.starter(InterruptedStore(site.store, at=after_the_claim, interrupt=_killed)).round(
            site.clock.now
        )
    assert len(site.triggers.starts("nightly")) == 1
    site.clock.now += HOUR
    site.triggers.set("nightly", job(every_h=12), who="bo")
    assert site.round(26) == []
    assert len(site.round(37)) == 1


def test_of_two_controllers_one_starts_it() -> None:
    site = Site(every_h=24)
    site.clock.now = START + 24 * HOUR

    def other() -> None:
        site.starter().round(site.clock.now)

    before_the_claim = _calls_until_claim(site)
    site.starter(InterruptedStore(site.store, at=before_the_claim, interrupt=other)).round(site.clock.now)
    assert len(site.submitted) == 1
    assert len(site.triggers.starts("nightly")) == 1


def _calls_until_claim(site: Site) -> int:
    """Which call of a round creates the start."""
    probe = InterruptedStore(site.store, at=10**6, interrupt=never)
    trigger = Triggers(probe).list()[0]
    Triggers(probe).last_start(trigger.name)
    assert trigger.job is not None
    pinned(trigger.job, Versions(probe), States(probe), now=site.clock.now)
    return len(probe.calls) + 1


def test_of_two_changes_of_a_trigger_one_is_kept() -> None:
    site = Site(every_h=24)
    by_bo: Callable[[], object] = lambda: site.triggers.pause("nightly", paused=True, who="bo")  # noqa: E731
    slow = Triggers(InterruptedStore(site.store, at=3, interrupt=by_bo))
    with pytest.raises(AlreadyExists, match="the trigger nightly was changed first by bo"):
        slow.set("nightly", job(every_h=1), who="cy")
