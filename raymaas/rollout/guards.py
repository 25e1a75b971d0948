"""Guards: what each has to say of all that was seen so far, and how near it is to rolling back.

The plan's alpha is divided evenly over the guards in force (Bonferroni): then the chance that a version which keeps
all bounds is rolled back by any of them is at most their sum. The intervals are shown, not acted on; each holds by
itself, at all moments, with confidence 1 - alpha.
"""

from __future__ import annotations

import math

from raymaas.rollout.evidence import joined, log_evidence, mixed, share_interval
from raymaas.rollout.tails import LIMIT_SHARE, Tail, dense, p99_ratio, p99_ratio_interval
from raymaas.specs.rollouts import Finding, Guard, RolloutPlan, Seen, SeenBoth, TailRecord


def tail_after(plan: RolloutPlan, tail: TailRecord, before: SeenBoth, seen: SeenBoth) -> TailRecord:
    """The p99 guard's record after an interval in which `seen` came to `before`; as it was where that is no guard."""
    ratio = plan.guards.max_p99_ratio
    if ratio is None:
        return tail
    after = Tail.of(tail).after(
        dense(seen.new.latencies),
        dense(seen.old.latencies),
        old_before_B=dense(before.old.latencies),
        ratio=ratio,
        alpha=LIMIT_SHARE * _alpha(plan),
    )
    return after.record()


def findings(
    plan: RolloutPlan, whole: SeenBoth, this_step: SeenBoth, tail: TailRecord
) -> tuple[Finding, ...]:
    """One of each guard in force. Of errors and disagreement they depend on the sums alone."""
    return tuple(
        _of_tail(plan, bound, whole, this_step, tail)
        if guard == "p99"
        else _of_share(plan, guard, bound, whole.new, this_step.new)
        for guard, bound in plan.guards.bounds.items()
    )


def _alpha(plan: RolloutPlan) -> float:
    return plan.alpha / len(plan.guards.bounds)


def _of_share(plan: RolloutPlan, guard: Guard, bound: float, whole: Seen, this_step: Seen) -> Finding:
    (hits, trials), (step_hits, step_trials) = _counts(guard, whole), _counts(guard, this_step)
    low, high = share_interval(hits, trials, alpha=plan.alpha)
    evidence = joined(
        log_evidence(hits, trials, bound), log_evidence(step_hits, step_trials, bound), len(plan.steps)
    )
    return Finding(
        guard=guard,
        bound=bound,
        trials=trials,
        hits=hits,
        estimate=hits / trials if trials else None,
        low=low,
        high=high,
        confidence=1 - plan.alpha,
        this_step=step_hits / step_trials if step_trials else None,
        log_evidence=float(evidence),
        log_needed=math.log(1 / _alpha(plan)),
    )


def _counts(guard: Guard, seen: Seen) -> tuple[int, int]:
    return (seen.errors, seen.requests) if guard == "errors" else (seen.disagreed, seen.pairs)


def _of_tail(
    plan: RolloutPlan, bound: float, whole: SeenBoth, this_step: SeenBoth, record: TailRecord
) -> Finding:
    tail = Tail.of(record)
    low, high = p99_ratio_interval(whole.new.latencies, whole.old.latencies, alpha=plan.alpha)
    # Without requests of the old version in this step, those of the steps before are compared with.
    meanwhile = p99_ratio(this_step.new.latencies, this_step.old.latencies)
    if meanwhile is None:
        meanwhile = p99_ratio(this_step.new.latencies, whole.old.latencies)
    return Finding(
        guard="p99",
        bound=bound,
        trials=record.tested,
        hits=record.over_new,
        estimate=p99_ratio(whole.new.latencies, whole.old.latencies),
        low=low,
        high=high,
        confidence=1 - plan.alpha,
        this_step=meanwhile,
        log_evidence=float(joined(mixed(tail.whole_J), mixed(tail.this_step_J), len(plan.steps))),
        log_needed=math.log(1 / ((1 - LIMIT_SHARE) * _alpha(plan))),
    )
