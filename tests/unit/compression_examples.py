"""Trials and findings of compressions, as they are recorded, for tests of what is chosen and shown."""

from __future__ import annotations

from raymaas.jobs.choosing import Limits
from raymaas.specs.accounting import BATCH, Latency, RuntimeFinding
from raymaas.specs.compression import Gate
from raymaas.specs.runtimes import RuntimeName
from raymaas.specs.search import Finished, Trial
from raymaas.specs.selecting import Tried

RUN = "compress-digits-1"
GATE = Gate(metric="accuracy", max_loss=0.01)
LIMITS = Limits(GATE, reached=0.96)


def trial(name: str, size: float, accuracy: float, **settings: object) -> Trial:
    """A recipe that was carried out; the original takes 10,000 bytes."""
    metrics = {
        "bytes": size,
        "ratio": 10_000 / size,
        "sparsity": 0.5,
        "validation_accuracy": accuracy,
    }
    outcome = Finished(metrics=metrics, reports=1, seconds=1.0)
    point = {field.replace("__", "."): value for field, value in settings.items()} or {"quantize.bits": 3}
    return Trial(run_id=RUN, trial=name, point=point, outcome=outcome)


def found(
    runtime: RuntimeName,
    *,
    value: float = 0.96,
    p50_ms: float = 0.1,
    rows_per_s: float = 1e4,
    passed: bool = True,
) -> RuntimeFinding:
    """A finding as `jobs.computing` makes them."""
    return RuntimeFinding(
        runtime=runtime,
        passed=passed,
        value=value,
        latencies=(
            Latency(rows=1, p50_ms=p50_ms, p99_ms=2 * p50_ms, rows_per_s=1000 / p50_ms),
            Latency(rows=BATCH, p50_ms=1e3 * BATCH / rows_per_s, p99_ms=10.0, rows_per_s=rows_per_s),
        ),
    )


def tried(name: str, *findings: RuntimeFinding, refused: str = "") -> Tried:
    return Tried(trial=name, findings=findings, refused=refused)
