"""The drift log: what a replica counts of its rows, how little of it it remembers, and what it leaves in the store."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from registry_examples import FILES, START, Clock, WatchedStore, draft, memory_store

from raymaas.bundle.files import REFERENCE
from raymaas.errors import IntegrityError, InvalidInput, OutcomeUnknown, Unavailable
from raymaas.monitor.counts import Counting, added
from raymaas.monitor.looking import Tensors
from raymaas.monitor.reference import reference_of
from raymaas.registry.collector import Collector
from raymaas.registry.drifts import Drifts
from raymaas.registry.versions import Versions
from raymaas.serve import drift_log
from raymaas.serve.drift_log import MOST_ROWS, Bins, DriftLog
from raymaas.serve.plan import Target
from raymaas.specs.drift import DriftCounts, Reference
from raymaas.specs.retention import Retention
from raymaas.specs.versions import Signature, TensorSpec
from raymaas.store import MemoryStore, Store

DIGITS_2 = Target("digits", 2)
SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1, 4)),),
    outputs=(TensorSpec(name="probabilities", dtype="FP32", shape=(-1, 2)),),
    classes=("no", "yes"),
)


def rows(count: int, *, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    draw = np.random.default_rng(seed)
    inputs = {"x": draw.normal(0, 1, (count, 4)).astype(np.float32)}
    return inputs, {"probabilities": draw.dirichlet([1, 1], count).astype(np.float32)}


def as_looked_at(asked: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], every: int = 1) -> Tensors:
    inputs, outputs = asked
    return {
        "input": {name: array[::every] for name, array in inputs.items()},
        "prediction": {name: array[::every] for name, array in outputs.items()},
    }


@pytest.fixture(scope="module")
def bins() -> Bins:
    reference = reference_of(as_looked_at(rows(500, seed=0)), SIGNATURE, output="probabilities")
    return Bins(reference, "a" * 64)


def log_to(store: Store, bins: Bins, *, replica: str = "r4x") -> DriftLog:
    return DriftLog(store, DIGITS_2, replica=replica, bins=bins)


def kept(store: Store) -> list[DriftCounts]:
    return list(Drifts(store).since(START, model="digits", version=2))


def test_what_was_asked_and_answered_is_counted_and_nothing_else_is_kept(bins: Bins) -> None:
    store = memory_store()
    log = log_to(store, bins)
    asked = [rows(1, seed=1), rows(7, seed=2), rows(1, seed=3)]
    for inputs, outputs in asked:
        log.hear(inputs, outputs)
    log.count()
    log.write()
    (counts,) = kept(store)
    assert counts.rows == 9
    assert (counts.model, counts.version, counts.replica, counts.reference) == ("digits", 2, "r4x", "a" * 64)
    counting = Counting(bins.reference.features)
    assert counts.counts == added(counting.of(as_looked_at(one)) for one in asked)
    assert counts.since < counts.until
    assert len(store.list("")) == 1


def test_counts_of_some_time_go_together_and_the_next_begin_anew(bins: Bins) -> None:
    store = memory_store()
    log = log_to(store, bins)
    for seed in (1, 2):
        log.hear(*rows(3, seed=seed))
        log.count()
    log.write()
    log.write()  # nothing was counted since
    log.hear(*rows(2, seed=3))
    log.count()
    log.write()
    newest, oldest = kept(store)
    assert (oldest.rows, newest.rows) == (6, 2)
    assert newest.since == oldest.until


def test_of_too_many_rows_evenly_spread_ones_are_counted_and_then_none_until_there_is_room(
    bins: Bins,
) -> None:
    store = memory_store()
    log = log_to(store, bins)
    large = rows(3 * MOST_ROWS, seed=1)
    log.hear(*large)
    log.hear(*rows(1, seed=2))
    log.count()
    log.hear(*rows(1, seed=3))
    log.count()
    log.write()
    (counts,) = kept(store)
    assert counts.rows == MOST_ROWS + 1
    counting = Counting(bins.reference.features)
    expected = added([counting.of(as_looked_at(large, 3)), counting.of(as_looked_at(rows(1, seed=3)))])
    assert counts.counts == expected


def test_what_is_remembered_until_it_is_counted_is_bounded(
    bins: Bins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_log, "_MOST_BYTES", 100)
    store = memory_store()
    log = log_to(store, bins)
    for seed in range(20):
        log.hear(*rows(1, seed=seed))
    log.count()
    log.write()
    assert kept(store)[0].rows == 100 // (4 * 4)


def test_requests_of_different_shapes_are_counted_each(bins: Bins) -> None:
    signature = Signature(
        inputs=(TensorSpec(name="tokens", dtype="INT64", shape=(-1, -1)),),
        outputs=(TensorSpec(name="prediction", dtype="FP32", shape=(-1,)),),
    )

    def texts(length: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        return {"tokens": np.arange(5 * length).reshape(5, length)}, {"prediction": np.arange(5.0)}

    reference = reference_of(as_looked_at(texts(6)), signature, output="prediction")
    store = memory_store()
    log = log_to(store, Bins(reference, "b" * 64))
    log.hear(*texts(3))
    log.hear(*texts(9))
    log.count()
    log.write()
    assert kept(store)[0].rows == 10


def test_a_watched_model_answers_the_same_and_only_its_inferences_are_heard(bins: Bins) -> None:
    store = memory_store()
    log = log_to(store, bins)
    inputs, outputs = rows(2, seed=1)

    async def compute(
        method: str, inputs: dict[str, np.ndarray], *, timeout_s: float | None = None
    ) -> dict[str, np.ndarray]:
        if timeout_s == 0:
            raise Unavailable("busy")
        return outputs

    async def asked() -> None:
        watched = log.watched(compute)
        assert await watched("infer", inputs, timeout_s=3) is outputs
        assert await watched("embed", inputs) is outputs
        with pytest.raises(Unavailable):
            await watched("infer", inputs, timeout_s=0)

    asyncio.run(asked())
    log.count()
    log.write()
    assert kept(store)[0].rows == 2


class FailingStore(WatchedStore):
    """Its creates fail, before or after they took effect, as often as `errors` says."""

    errors: list[Exception]

    def _call(self, number: int, name: str, act: object) -> object:
        if name == "create" and self.errors:
            error = self.errors.pop()
            if isinstance(error, OutcomeUnknown):
                act()  # type: ignore[operator]
            raise error
        return act()  # type: ignore[operator]


def test_a_store_that_fails_loses_and_doubles_no_count(bins: Bins) -> None:
    inner = memory_store()
    store = FailingStore(inner)
    store.errors = [OutcomeUnknown("reply lost"), Unavailable("busy")]
    log = log_to(store, bins)
    log.hear(*rows(2, seed=1))
    log.count()
    with pytest.raises(Unavailable):
        log.write()
    log.hear(*rows(3, seed=2))
    log.count()
    log.write()
    log.write()
    assert [counts.rows for counts in kept(inner)] == [3, 2]


def test_it_is_told_how_far_the_rows_of_the_last_hour_are_beyond_chance(bins: Bins) -> None:
    told: list[float] = []
    log = DriftLog(memory_store(), DIGITS_2, replica="r4x", bins=bins, tell=told.append)

    def answered(minutes: int, *, moved: float) -> None:
        for minute in range(minutes):
            inputs, outputs = rows(50, seed=minute + 10)
            log.hear({"x": inputs["x"] + moved}, outputs)
            log.count()
            log.write()

    answered(20, moved=0)
    assert told[-1] == 0
    answered(60, moved=2)
    assert told[-1] > 1
    answered(60, moved=0)
    assert told[-1] == 0
    log.write()
    assert len(told) == 140


def test_closing_counts_and_writes_what_is_left(bins: Bins) -> None:
    store = memory_store()
    log = log_to(store, bins)
    log.start()
    log.hear(*rows(2, seed=1))
    log.close()
    log.close()
    assert kept(store)[0].rows == 2


def test_a_version_without_a_reference_or_with_one_of_a_later_raymaas_is_served_uncounted(bins: Bins) -> None:
    versions = Versions(MemoryStore(Clock()))
    plain = versions.publish(draft("run-1"), FILES)
    whole = versions.publish(draft("run-2"), {**FILES, REFERENCE: bins.reference.seal()})

    class Later(Reference):
        format = Reference.format + 1

    later = Later.model_validate(bins.reference.model_dump())
    newer = versions.publish(draft("run-3"), {**FILES, REFERENCE: later.seal()})
    found = Bins.of_version(whole, lambda name: versions.read_file(whole, name))
    assert found == Bins(bins.reference, whole.files[REFERENCE].sha256)
    assert Bins.of_version(plain, lambda name: versions.read_file(plain, name)) is None
    assert Bins.of_version(newer, lambda name: versions.read_file(newer, name)) is None


def test_counts_are_kept_as_long_as_the_request_log(bins: Bins) -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for days in (0, 20):
        clock.now = START + timedelta(days=days)
        log = log_to(store, bins, replica=f"r{days}")
        log.hear(*rows(1, seed=1))
        log.count()
        log.write()
    clock.now = START + timedelta(days=31)
    plan = Collector(store, Retention(keep_requests_days=30), holder="ana").collect()
    assert len(plan.drift.delete) == 1
    assert [counts.replica for counts in kept(store)] == ["r20"]


def test_only_counts_since_then_are_read_and_not_endlessly_many(bins: Bins) -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for hour in range(4):
        clock.now = START + timedelta(hours=hour)
        log = log_to(store, bins)
        log.hear(*rows(hour + 1, seed=1))
        log.count()
        log.write()
    since = START + timedelta(hours=2)
    assert [counts.rows for counts in Drifts(store).since(since, model="digits", version=2)] == [4, 3]
    assert not list(Drifts(store).since(since, model="digits", version=1))
    with pytest.raises(InvalidInput, match="ask for a shorter time"):
        list(Drifts(store, chunks_per_sum=1).since(since, model="digits", version=2))


def test_a_flipped_count_is_damage(bins: Bins) -> None:
    store = memory_store()
    log = log_to(store, bins)
    log.hear(*rows(2, seed=1))
    log.count()
    log.write()
    (key,) = store.list("drift/")
    sealed = store.read(key)
    store.delete(key)
    store.create(key, sealed.replace(b'"rows":2', b'"rows":3'))
    with pytest.raises(IntegrityError):
        kept(store)


def test_ray_is_told_by_model_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, dict[str, str], float]] = []

    class Gauge:
        def __init__(self, name: str, *, description: str, tag_keys: tuple[str, ...]) -> None:
            self.name, self.keys = name, tag_keys

        def set_default_tags(self, tags: dict[str, str]) -> None:
            assert set(tags) == set(self.keys)
            self.tags = tags

        def set(self, value: float) -> None:
            told.append((self.name, self.tags, value))

    # The real one takes seconds to import, and tells nobody what it was told.
    monkeypatch.setitem(sys.modules, "ray.serve", SimpleNamespace(metrics=SimpleNamespace(Gauge=Gauge)))
    monkeypatch.delitem(sys.modules, "raymaas.serve.drift_gauge", raising=False)
    importlib.import_module("raymaas.serve.drift_gauge").drift_gauge(DIGITS_2)(0.3)
    monkeypatch.delitem(sys.modules, "raymaas.serve.drift_gauge")
    assert told == [("raymaas_drift_psi", {"model": "digits", "version": "2"}, 0.3)]
