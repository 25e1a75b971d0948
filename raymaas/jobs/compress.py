"""Compressing: from a registered version to smaller ones that answer almost as well."""

from __future__ import annotations

from collections.abc import Mapping

from raymaas.compress.recipe import passes_of
from raymaas.errors import InvalidInput
from raymaas.jobs.choosing import Limits, chosen_by, tried_out, within
from raymaas.jobs.front import MovingFront, Scale, won
from raymaas.jobs.ground import ground_of, with_shelf
from raymaas.jobs.judging import Subject
from raymaas.jobs.origin import network_of, rows_of_version, trained_original
from raymaas.jobs.parts import JobParts
from raymaas.jobs.publishing import Bench, Case, Decision, published
from raymaas.jobs.recipes import Patience, RecipeTrial, on_validation_rows
from raymaas.jobs.yardsticks import Yardsticks
from raymaas.registry.choices import Choices
from raymaas.registry.resolve import resolve
from raymaas.registry.states import States
from raymaas.specs.compression import VALIDATION, CompressJob, known_good, settled
from raymaas.specs.search import Trial, every_point, extremes
from raymaas.specs.selecting import Chosen
from raymaas.specs.versions import ModelVersion
from raymaas.sweep.search import Search, search


def compress(job: CompressJob, parts: JobParts) -> tuple[ModelVersion, ...]:
    """Parent, rows, sweep, choice; then for each recipe that was chosen evaluation and publication.

    Recipes are compared on validation rows only. What is chosen is recorded before a test row is looked at, and each
    chosen one meets those once. Repeated for the same run, it goes on where that was. Raises RunFailed when no recipe
    keeps to all limits.
    """
    case = _opened(job, parts)
    scale = Scale(f"{job.model}: {parts.run_id}", case.limits, case.original.weights_bytes)
    moving = MovingFront(
        scale,
        known=parts.runs.trials(parts.run_id),
        trials=_trials_at_most(job),
        fronts=parts.runs.artifacts(parts.run_id).front,
        say=parts.say,
    )
    bench, choices = Bench(case, parts), Choices(parts.store)
    chosen = choices.of_run(parts.run_id)
    if chosen is None:
        trials = _searched(case, moving, parts)
        parts.say(won(trials, scale))
        chosen = choices.keep(_chosen(case, trials, bench, parts))
    else:
        trials = parts.runs.trials(parts.run_id)
    moving.settle(trials, chosen)
    return published(Decision(case, trials, chosen), bench, parts)


def _opened(job: CompressJob, parts: JobParts) -> Case:
    """What is compressed, and what that may cost. Whatever is wrong with the job is told here."""
    parent = parts.versions.get(job.model, resolve(job.reference, parts.versions, States(parts.store)))
    original = trained_original(parts.versions, parent)
    rows = rows_of_version(parts.store, original)
    metric = job.gate_metric(parent)
    network_of(parts.versions, parent)  # a network that cannot be built here is told before any trial
    # Every recipe is checked before the first one trains.
    for point in (*extremes(job.space()), *job.seeds):
        passes_of(settled(job.recipe, point))
    yardsticks = Yardsticks.of(job, parent, parts.versions, parts.store)
    subject = Subject.of_version(parts.versions, parent)
    reached = _reached(metric, on_validation_rows(subject, rows, yardsticks))
    gate = job.gate(metric, reached=reached)
    return Case(job, parent, original, rows, yardsticks, Limits.of(job, gate, reached=reached))


def _reached(metric: str, found: Mapping[str, float]) -> float:
    """What the parent reached by the gate's metric, of all that is measured for every recipe."""
    if VALIDATION + metric not in found:
        known = ", ".join(name.removeprefix(VALIDATION) for name in found)
        raise InvalidInput(f"metric {metric!r} is not measured for every recipe; there are {known}")
    return found[VALIDATION + metric]


def _searched(case: Case, moving: MovingFront, parts: JobParts) -> tuple[Trial, ...]:
    job, parent, gate, space = case.job, case.parent, case.limits.gate, case.job.space()
    parts.say(
        f"compressing {parent.model}@{parent.version}, validation {gate.metric} {case.limits.reached:.4f}: "
        f"up to {_trials_at_most(job)} recipes, {job.search.concurrent} at a time"
    )
    ground = ground_of(job, parent, case.original, case.rows, parts)
    return search(
        RecipeTrial(job, Patience(gate, case.limits.reached, times=job.give_up)),
        Search(space, gate.objectives, job.search),
        run_id=parts.run_id,
        store=parts.store,
        book=parts.runs,
        shared=with_shelf(ground) if space else ground,
        seeds=job.seeds or known_good(space),
        on_trial=moving.hear,
    )


def _chosen(case: Case, trials: tuple[Trial, ...], bench: Bench, parts: JobParts) -> Chosen:
    job, limits = case.job, case.limits
    best = within(trials, limits, run_id=parts.run_id)
    by_name = {trial.trial: trial for trial in best}
    parts.say(f"{len(best)} recipes of the front pass the gate; trying up to {job.measure} in every runtime")
    tried = tried_out(best, limits, most=job.measure, rules=job.choose, attempt=bench.tried)
    chosen = chosen_by(job.choose, [(by_name[one.trial], one) for one in tried], limits, run_id=parts.run_id)
    return Chosen(run_id=parts.run_id, at=parts.store.now(), best=chosen, tried=tuple(tried))


def _trials_at_most(job: CompressJob) -> int:
    points = every_point(job.space(), at_most=job.search.trials)
    return job.search.trials if points is None else len(points)
