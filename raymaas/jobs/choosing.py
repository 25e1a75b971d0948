"""Choosing among recipes: which keep to all limits, which are tried in every runtime, and which is best by a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raymaas.errors import RunFailed
from raymaas.evaluate.pareto import Candidate, front, knee, spread
from raymaas.jobs.speed import as_fast
from raymaas.specs.compression import VALIDATION, CompressJob, Gate
from raymaas.specs.search import Trial
from raymaas.specs.selecting import Best, Rule, Tried
from raymaas.sweep.search import finished_trials


@dataclass(frozen=True)
class Limits:
    """What a recipe has to keep to, beside what the parent reached on validation rows."""

    gate: Gate
    reached: float
    max_bytes: int | None = None
    max_latency_ms: float | None = None

    @classmethod
    def of(cls, job: CompressJob, gate: Gate, *, reached: float) -> Limits:
        return cls(gate, reached, max_bytes=job.max_bytes, max_latency_ms=job.max_latency_ms)

    @property
    def column(self) -> str:
        """The gate's metric among those of a trial."""
        return VALIDATION + self.gate.metric

    def loss(self, trial: Trial) -> float:
        """How much worse it is than the parent; below 0 it is better."""
        return self.gate.loss(trial.metrics[self.column], parent=self.reached)

    def passes(self, trial: Trial) -> bool:
        """Whether the gate lets the recipe through."""
        return self.gate.passes(trial.metrics[self.column], parent=self.reached)

    def fits(self, trial: Trial) -> bool:
        """Whether its coded file is small enough."""
        return self.max_bytes is None or trial.metrics["bytes"] <= self.max_bytes

    def serves(self, tried: Tried) -> bool:
        """Whether it has a runtime that passes the gate and answers in time."""
        served = tried.served
        latency = served.latency(1) if served else None
        if served is None or self.max_latency_ms is None:
            return served is not None
        return latency is not None and latency.p50_ms <= self.max_latency_ms

    def candidate(self, trial: Trial, tried: Tried | None = None) -> Candidate:
        """As the front sees it: by what it is in the runtime that serves it, where that is known."""
        served = tried.served if tried else None
        value = trial.metrics[self.column] if served is None or served.value is None else served.value
        return Candidate(trial.trial, trial.point, {**trial.metrics, self.column: value})


def within(trials: Sequence[Trial], limits: Limits, *, run_id: str) -> list[Trial]:
    """The recipes of the front that pass the gate and are small enough, the smallest first.

    Raises RunFailed, naming the nearest miss and the next step, when there is none.
    """
    finished, gate = finished_trials(trials, run_id=run_id), limits.gate
    good = [trial for trial in finished if limits.passes(trial)]
    if not good:
        best = min(finished, key=limits.loss)
        raise RunFailed(
            f"no recipe keeps validation {gate.metric} within {gate.max_loss:g} of {limits.reached:.4f}; the best "
            f"reached {best.metrics[limits.column]:.4f} in {best.metrics['bytes']:.0f} bytes with {settings_of(best)}. "
            "Search gentler settings, or raise max_loss",
            run=run_id,
        )
    small = [trial for trial in good if limits.fits(trial)]
    if not small:
        least = min(good, key=lambda trial: trial.metrics["bytes"])
        raise RunFailed(
            f"no recipe that keeps validation {gate.metric} within {gate.max_loss:g} of {limits.reached:.4f} fits "
            f"{limits.max_bytes} bytes; the smallest takes {least.metrics['bytes']:.0f} with {settings_of(least)}. "
            "Search stronger settings, or raise max_bytes or max_loss",
            run=run_id,
        )
    names = {one.name for one in front([limits.candidate(trial) for trial in small], gate.objectives)}
    best_first = sorted(small, key=lambda trial: (trial.metrics["bytes"], limits.loss(trial)))
    return [trial for trial in best_first if trial.trial in names]


def tried_out(
    best: Sequence[Trial],
    limits: Limits,
    *,
    most: int,
    rules: Sequence[Rule],
    attempt: Callable[[Trial], Tried],
) -> list[Tried]:
    """What becomes of some of `best`, which is as `within` gives it, when they are tried in every runtime.

    The smallest, the knee and others between, `most` of them. Where the smallest cannot be served within all limits
    and it matters, because the rules ask for it or nothing else can be served, as many again are tried, from
    the small end.
    """
    at_knee = knee([limits.candidate(trial) for trial in best], limits.gate.objectives).name
    places = [0, next(place for place, trial in enumerate(best) if trial.trial == at_knee)]
    always = places if "knee" in rules else places[:most]
    found = {place: attempt(best[place]) for place in spread(len(best), always=always, most=most)}
    further = [place for place in range(len(best)) if place not in found][:most]
    for place in further:
        able = [other for other, tried in found.items() if limits.serves(tried)]
        if able and (min(able) < place or "smallest" not in rules):
            break
        found[place] = attempt(best[place])
    return [found[place] for place in sorted(found)]


def chosen_by(
    rules: Sequence[Rule],
    found: Sequence[tuple[Trial, Tried]],
    limits: Limits,
    *,
    run_id: str,
) -> tuple[Best, ...]:
    """For each rule the trial that is the best by it, of those that can be served within all limits.

    Raises RunFailed, naming the nearest miss and the next step, when none can.
    """
    able = [(trial, tried) for trial, tried in found if limits.serves(tried)]
    if not able:
        raise RunFailed(_no_one_serves(found, limits), run=run_id)
    return tuple(Best(rule=rule, trial=_best(rule, able, limits).trial) for rule in rules)


def settings_of(trial: Trial) -> str:
    """What was chosen for it, in a line."""
    return ", ".join(f"{field} {value}" for field, value in trial.point.items()) or "the recipe"


def _best(rule: Rule, able: Sequence[tuple[Trial, Tried]], limits: Limits) -> Trial:
    by_size = sorted(able, key=lambda one: (one[0].metrics["bytes"], limits.loss(one[0])))
    match rule:
        case "smallest":
            return by_size[0][0]
        case "fastest":
            rates = {trial.trial: tried.served.rows_per_s for trial, tried in able if tried.served}
            fastest = max(rates.values())
            return next(trial for trial, _ in by_size if as_fast(rates[trial.trial], fastest))
        case "knee":
            name = knee([limits.candidate(*one) for one in by_size], limits.gate.objectives).name
            return next(trial for trial, _ in by_size if trial.trial == name)


def _no_one_serves(found: Sequence[tuple[Trial, Tried]], limits: Limits) -> str:
    timed = [
        (latency.p50_ms, served.runtime, trial)
        for trial, tried in found
        if (served := tried.served) and (latency := served.latency(1))
    ]
    if not timed:
        trial, tried = found[0]
        return (
            f"none of the {len(found)} recipes that were tried passes the gate in a runtime; {trial.trial} does not "
            f"because {tried.refused}. Search gentler settings, or raise max_loss"
        )
    p50_ms, runtime, trial = min(timed, key=lambda one: one[0])
    return (
        f"none of the {len(found)} recipes that were tried answers a row within {limits.max_latency_ms:g} ms; the "
        f"fastest takes {p50_ms:.3f} ms in {runtime} with {settings_of(trial)}. Search settings that leave less to "
        "compute, such as channels, or raise max_latency_ms"
    )
