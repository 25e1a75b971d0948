"""Which recipes keep to all limits, which are tried in every runtime, and which is chosen by each rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from compression_examples import LIMITS, RUN, found, trial, tried

from raymaas.errors import RunFailed
from raymaas.jobs.choosing import Limits, chosen_by, tried_out, within
from raymaas.specs.search import Broken, Trial
from raymaas.specs.selecting import Rule, Tried

FRONT = [trial(f"t{place}", 100 + place, 0.955 + 0.0005 * place) for place in range(10)]


def served(one: Trial) -> Tried:
    return tried(one.trial, found("torch", value=one.metrics["validation_accuracy"]))


def best_of(rules: Sequence[Rule], pairs: Sequence[tuple[Trial, Tried]], limits: Limits) -> dict[Rule, str]:
    return {one.rule: one.trial for one in chosen_by(rules, pairs, limits, run_id=RUN)}


def test_those_of_the_front_that_pass_the_gate_are_left_the_smallest_first() -> None:
    trials = [trial("a", 100, 0.90), trial("b", 300, 0.97), trial("c", 200, 0.96), trial("d", 200, 0.95)]

    assert [one.trial for one in within(trials, LIMITS, run_id=RUN)] == ["c", "b"]


def test_what_loses_exactly_what_may_be_lost_passes() -> None:
    exact = trial("a", 100, 0.96 - 0.01)

    assert within([exact], LIMITS, run_id=RUN) == [exact]


def test_what_is_too_large_is_left_out() -> None:
    trials = [trial("b", 300, 0.97), trial("c", 200, 0.96)]

    small = replace(LIMITS, max_bytes=200)

    assert [one.trial for one in within(trials, small, run_id=RUN)] == ["c"]


def test_when_nothing_keeps_the_accuracy_the_best_and_the_next_step_are_named() -> None:
    with pytest.raises(
        RunFailed, match=r"0\.9000 in 100 bytes with quantize\.bits 3\. Search gentler"
    ) as error:
        within([trial("a", 100, 0.9), trial("b", 50, 0.8)], LIMITS, run_id=RUN)

    assert error.value.run == RUN
    failed = Trial(run_id=RUN, trial="t", point={}, outcome=Broken(error="out of memory"))
    with pytest.raises(RunFailed, match="out of memory"):
        within([failed], LIMITS, run_id=RUN)


def test_when_nothing_good_is_small_enough_the_smallest_good_one_is_named() -> None:
    trials = [trial("good", 100, 0.96), trial("larger", 120, 0.97), trial("bad", 10, 0.5)]

    with pytest.raises(RunFailed, match=r"fits 99 bytes; the smallest takes 100 with quantize\.bits 3"):
        within(trials, replace(LIMITS, max_bytes=99), run_id=RUN)


def test_the_smallest_the_knee_and_the_other_end_are_tried() -> None:
    bent = [*FRONT[:3], *(trial(f"s{n}", 200 + 100 * n, 0.9575 + 0.0001 * n) for n in range(5))]
    asked: list[str] = []

    tried_out(bent, LIMITS, most=3, rules=["smallest"], attempt=lambda one: note(one, asked))

    assert asked == ["t0", "s0", "s4"]


@pytest.mark.parametrize(("rule", "expected"), [("smallest", ["t0"]), ("knee", ["t0", "s0"])])
def test_of_one_only_the_smallest_is_tried_unless_the_knee_is_asked_for(
    rule: Rule, expected: list[str]
) -> None:
    bent = [*FRONT[:3], *(trial(f"s{n}", 200 + 100 * n, 0.9575 + 0.0001 * n) for n in range(5))]
    asked: list[str] = []

    tried_out(bent, LIMITS, most=1, rules=[rule], attempt=lambda one: note(one, asked))

    assert asked == expected


def note(one: Trial, asked: list[str]) -> Tried:
    asked.append(one.trial)
    return served(one)


def test_where_the_smallest_cannot_be_served_the_next_are_tried_from_the_small_end() -> None:
    asked: list[str] = []

    def attempt(one: Trial) -> Tried:
        asked.append(one.trial)
        return tried(one.trial, refused="too coarse") if one.trial in ("t0", "t1") else served(one)

    results = tried_out(FRONT, LIMITS, most=2, rules=["smallest"], attempt=attempt)
    pairs = [(next(t for t in FRONT if t.trial == one.trial), one) for one in results]

    assert asked[2:] == ["t1", "t2"]
    assert best_of(["smallest"], pairs, LIMITS) == {"smallest": "t2"}


def test_for_the_fastest_nothing_more_is_tried_once_something_can_be_served() -> None:
    asked: list[str] = []

    def attempt(one: Trial) -> Tried:
        asked.append(one.trial)
        return tried(one.trial, refused="too coarse") if one.trial == "t0" else served(one)

    tried_out(FRONT, LIMITS, most=2, rules=["fastest"], attempt=attempt)

    assert len(asked) == 2


RULES: list[Rule] = ["smallest", "fastest", "knee"]


def test_each_rule_chooses_what_it_says() -> None:
    pairs = [
        (trial("small", 100, 0.951), tried("small", found("torch", value=0.951, rows_per_s=1e4))),
        (trial("bent", 120, 0.959), tried("bent", found("onnx", value=0.959, rows_per_s=2e4))),
        (trial("quick", 400, 0.96), tried("quick", found("onnx-int8", value=0.96, rows_per_s=9e4))),
    ]

    assert best_of(RULES, pairs, LIMITS) == {
        "smallest": "small",
        "fastest": "quick",
        "knee": "bent",
    }


def test_of_those_as_fast_as_can_be_told_the_smallest_is_the_fastest() -> None:
    pairs = [
        (trial("small", 100, 0.951), tried("small", found("onnx", rows_per_s=9.8e4))),
        (trial("large", 400, 0.96), tried("large", found("onnx", rows_per_s=1e5))),
    ]

    assert best_of(["fastest"], pairs, LIMITS) == {"fastest": "small"}


def test_the_gate_counts_in_the_runtime_that_serves() -> None:
    """By what the trial measured, b would be the knee; in its runtime it is beaten."""
    pairs = [
        (trial("a", 100, 0.952), tried("a", found("onnx-int8", value=0.952))),
        (trial("b", 110, 0.960), tried("b", found("onnx-int8", value=0.951))),
        (trial("c", 300, 0.961), tried("c", found("onnx", value=0.961))),
    ]

    assert best_of(["knee"], pairs, LIMITS) == {"knee": "a"}


def test_what_answers_too_late_is_not_chosen_and_the_nearest_miss_is_told() -> None:
    pairs = [
        (trial("slow", 100, 0.951), tried("slow", found("torch", p50_ms=0.5))),
        (trial("quick", 120, 0.959), tried("quick", found("onnx", p50_ms=0.1))),
    ]

    within_time = replace(LIMITS, max_latency_ms=0.2)

    assert best_of(["smallest"], pairs, within_time) == {"smallest": "quick"}
    with pytest.raises(
        RunFailed, match=r"within 0\.05 ms; the fastest takes 0\.100 ms in onnx with quantize"
    ):
        chosen_by(["smallest"], pairs, replace(LIMITS, max_latency_ms=0.05), run_id=RUN)


def test_when_no_runtime_passes_it_is_told_why() -> None:
    pairs = [(trial("a", 100, 0.951), tried("a", refused="int8 loses 3 points"))]

    with pytest.raises(RunFailed, match=r"none of the 1 recipes .* because int8 loses 3 points"):
        chosen_by(["smallest"], pairs, LIMITS, run_id=RUN)
