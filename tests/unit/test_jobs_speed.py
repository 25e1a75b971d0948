"""How runtimes are timed and ordered, and what is said of a pass that brought nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from registry_examples import accounting

from raymaas.bundle.runtimes.timing import repeated, seconds_of
from raymaas.jobs.computing import lacking
from raymaas.jobs.speed import fastest_first
from raymaas.specs.accounting import BATCH, Latency, RuntimeFinding
from raymaas.specs.runtimes import RuntimeName


class Clock:
    """Each call of what it times takes as long as that says."""

    def __init__(self) -> None:
        self.now, self.order = 0.0, ""

    def taking(self, name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            self.now += seconds
            self.order += name

        return call

    def __call__(self) -> float:
        return self.now


def test_calls_are_timed_in_turns_after_a_warm_up_and_as_often_as_there_is_time_for() -> None:
    clock = Clock()
    calls = {"fast": clock.taking("f", 1 / 64), "slow": clock.taking("s", 5.0)}

    found = seconds_of(calls, budget_s=0.25, clock=clock)

    assert clock.order == "fff" + "sss" + 8 * ("ff" + "s")
    assert found["fast"].tolist() == [1 / 64] * 16
    assert found["slow"].tolist() == [5.0] * 8


def test_a_batch_is_made_of_few_rows_over_and_over() -> None:
    batch = repeated({"x": np.arange(6).reshape(3, 2), "t": np.array(["a", None, "c"], dtype=object)}, 5)

    assert batch["x"].tolist() == [[0, 1], [2, 3], [4, 5], [0, 1], [2, 3]]
    assert batch["t"].tolist() == ["a", None, "c", "a", None]


def found(runtime: RuntimeName, rows_per_s: float) -> RuntimeFinding:
    latency = Latency(rows=BATCH, p50_ms=1, p99_ms=2, rows_per_s=rows_per_s)
    return RuntimeFinding(runtime=runtime, passed=True, latencies=(latency,))


def test_the_fastest_comes_first_and_of_equally_fast_ones_the_more_exact() -> None:
    findings = [
        found("onnx-int8-dynamic", 1000),
        found("onnx-int8", 980),
        found("torch-bf16", 500),
        found("torch", 495),
        found("onnx", 800),
    ]
    assert [each.runtime for each in fastest_first(findings)] == [
        *("onnx-int8", "onnx-int8-dynamic", "onnx", "torch", "torch-bf16")
    ]


def test_speedups_are_over_the_original_and_nothing_where_it_was_not_measured() -> None:
    known = accounting()
    assert known.speedup("onnx-int8", over="torch") == pytest.approx(6)
    assert known.speedup("onnx-int8", over="onnx") is None
    assert known.speedup("torch", over="torch") is None


@pytest.mark.parametrize(
    ("name", "smaller", "faster", "flag"),
    [
        ("channels", 0.5, 2.0, ""),
        ("prune", 0.2, 1.04, "no speed in onnx-int8: 1.04 times as fast, since it multiplies zeros as well"),
        ("prune", 1.0, 1.5, "no smaller file"),
        ("lowrank", 1.2, 0.7, "no smaller file; no speed in onnx-int8: 0.70 times as fast"),
        ("lowrank", 0.5, None, "not timed in onnx-int8"),
        ("entropy", 0.9, 1.0, ""),
        ("entropy", 1.0, 1.0, "no smaller file"),
        ("finetune", 1.0, 1.0, ""),
        ("compute", 1.0, 1.0, ""),
    ],
)
def test_a_pass_that_brought_less_than_it_is_there_for_is_flagged(
    name: str, smaller: float, faster: float | None, flag: str
) -> None:
    assert lacking(name, "onnx-int8", smaller=smaller, faster=faster) == flag
