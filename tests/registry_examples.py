"""What the registry's tests share: a clock, documents to register, and a store that fails on purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Literal, TypeVar

from raymaas.errors import OutcomeUnknown
from raymaas.registry.layout import version_key
from raymaas.registry.moves import Stamp
from raymaas.registry.versions import VersionDraft
from raymaas.specs.accounting import Accounting, Calibration, Latency, PassFinding, RuntimeFinding
from raymaas.specs.evaluation import Evaluation, Metric
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.runs import RunSpec
from raymaas.specs.versions import CodeVersion, Lineage, Signature, TensorSpec
from raymaas.store import MemoryStore, Store

S = TypeVar("S", bound=Store)

START = datetime(2026, 3, 1, tzinfo=UTC)
FILES = {"model.safetensors": b"weights", "model.onnx": b"graph"}


def ticking_clock() -> Callable[[], datetime]:
    """A clock that moves by a second with each look."""
    seconds = count()
    return lambda: START + timedelta(seconds=next(seconds))


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def memory_store() -> MemoryStore:
    return MemoryStore(ticking_clock())


def with_versions(store: S, count: int, *, model: str = "digits") -> S:
    """`store`, where versions 1 to `count` of `model` exist, as far as a move looks at them."""
    for version in range(1, count + 1):
        store.create(version_key(model, version), b"")
    return store


def draft(run_id: str = "train-digits-1", *, model: str = "digits") -> VersionDraft:
    pixels = TensorSpec(name="pixels", dtype="FP32", shape=(-1, 64))
    scores = TensorSpec(name="scores", dtype="FP32", shape=(-1, 10))
    accuracy = Metric(value=0.97, low=0.95, high=0.98, method="wilson")
    return VersionDraft(
        model=model,
        run_id=run_id,
        architecture=Component(use="mlp", config={"hidden": [64]}),
        signature=Signature(inputs=(pixels,), outputs=(scores,), classes=tuple("0123456789")),
        runtimes=("onnx", "torch"),
        evaluation=Evaluation(
            dataset="digits", fingerprint="f", rows=360, runtime="onnx", metrics={"accuracy": accuracy}
        ),
        lineage=Lineage(
            run_id=run_id,
            dataset="digits",
            data_fingerprint="f",
            job={"kind": "train"},
            job_sha256="0" * 64,
            code=CodeVersion(raymaas="0.1.0", source_sha256="0" * 64),
            libraries={"torch": "2.13.0"},
            seed=0,
        ),
    )


def accounting() -> Accounting:
    """Of a compressed version that is six times as fast in integers as the original in torch."""

    def latencies(factor: float) -> tuple[Latency, ...]:
        return (
            Latency(rows=1, p50_ms=0.5 / factor, p99_ms=0.75 / factor, rows_per_s=2000 * factor),
            Latency(rows=64, p50_ms=6.4 / factor, p99_ms=9 / factor, rows_per_s=10_000 * factor),
        )

    return Accounting(
        parts={"header": 40, "digests": 30},
        original_bytes=700,
        entropy_bytes=50,
        zlib_bytes=60,
        lzma_bytes=61,
        parameters=100,
        nonzeros=20,
        macs=90,
        decode_s=0.001,
        runtimes=(
            RuntimeFinding(
                runtime="onnx-int8",
                passed=True,
                value=0.9711,
                latencies=latencies(6),
                resident_bytes=128 << 20,
            ),
            RuntimeFinding(runtime="torch-bf16", passed=False, value=0.9, reason="accuracy is 0.9 | there"),
        ),
        original_runtimes=(RuntimeFinding(runtime="torch", passed=True, latencies=latencies(1)),),
        passes=(
            PassFinding(
                after="prune", bytes=350, macs=90, latency=latencies(1)[1], flag="no speed in onnx-int8"
            ),
        ),
        calibration=Calibration(rows=512, method="minmax"),
    )


def run_spec(
    run_id: str, *, created_at: datetime = START, model: str = "digits", write_id: str = ""
) -> RunSpec:
    job = TrainJob(model=model, data=Component(use="digits"), architecture=Component(use="mlp"))
    return RunSpec(run_id=run_id, job=job, who="ana", created_at=created_at, write_id=write_id)


def stamp(*, model: str = "digits", who: str = "ana") -> Stamp:
    return Stamp(model=model, who=who, why="", at=START, write_id=f"write of {who}")


class Crash(Exception):
    """The process died here."""


@dataclass
class WatchedStore:
    """A store that notes the name of each call, and hands each to `_call`."""

    inner: Store
    calls: list[str] = field(default_factory=list, kw_only=True)
    _lock: threading.Lock = field(default_factory=threading.Lock, kw_only=True)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self.calls.append(name)
                number = len(self.calls)
            return self._call(number, name, lambda: attribute(*args, **kwargs))

        return call

    def _call(self, number: int, name: str, act: Callable[[], Any]) -> Any:
        return act()


@dataclass
class InterruptedStore(WatchedStore):
    """Before its `at`-th call (from 1), `interrupt` happens."""

    at: int
    interrupt: Callable[[], object]

    def _call(self, number: int, name: str, act: Callable[[], Any]) -> Any:
        if number == self.at:
            self.interrupt()
        return act()


@dataclass
class CrashingStore(WatchedStore):
    """Its `crash_at`-th call (from 1) dies, before or after it took effect, or loses its reply."""

    crash_at: int
    how: Literal["before", "after", "lost reply"]

    def _call(self, number: int, name: str, act: Callable[[], Any]) -> Any:
        if number != self.crash_at:
            return act()
        if self.how == "before":
            raise Crash
        result = act()
        if self.how == "after":
            raise Crash
        if name == "create":
            raise OutcomeUnknown("the reply was lost")
        return result
