"""Compressing: from a registered version to a smaller one that answers almost as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from raymaas.bundle.format import CODED
from raymaas.bundle.rmz.container import read
from raymaas.bundle.runtimes.torch import load_network
from raymaas.compress.accounting import account
from raymaas.compress.recipe import passes_of
from raymaas.errors import AlreadyExists, InvalidInput, RunFailed
from raymaas.evaluate.pareto import Candidate, front_csv, front_png, hypervolume, knee
from raymaas.exchange.identity import identity
from raymaas.jobs.judging import Subject, judged, on_test_rows
from raymaas.jobs.origin import network_of, rows_of_version, trained_original
from raymaas.jobs.parts import JobParts, lineage_of
from raymaas.jobs.recipes import RecipeTrial, coded_bundle, on_validation_rows
from raymaas.registry.blobs import Blobs
from raymaas.registry.layout import front_key
from raymaas.registry.resolve import resolve
from raymaas.registry.states import States
from raymaas.registry.versions import VersionDraft
from raymaas.specs.compression import VALIDATION, CompressJob, Gate, settled
from raymaas.specs.search import Finished, Trial, extremes
from raymaas.specs.versions import CompressionLineage, ModelVersion
from raymaas.sweep.search import Search, finished_trials, search


def compress(job: CompressJob, parts: JobParts) -> ModelVersion:
    """Parent, rows, sweep, choice, evaluation, publication. Repeated for the same run, it goes on where that was.

    Recipes are compared on validation rows only; the one chosen meets the test rows once. Raises RunFailed
    when no recipe passes the gate.
    """
    parent = parts.versions.get(job.model, resolve(job.reference, parts.versions, States(parts.store)))
    original = trained_original(parts.versions, parent)
    rows = rows_of_version(parts.store, original)
    gate = job.gate(parent)
    network_of(parts.versions, parent)  # a network that cannot be built here is told before any trial
    # Every recipe is checked before the first one trains.
    for point in extremes(job.space()):
        passes_of(settled(job.recipe, point))
    reached = _reached(gate, on_validation_rows(Subject.of_version(parts.versions, parent), rows))
    parts.say(
        f"compressing {parent.model}@{parent.version}, validation {gate.metric} {reached:.4f}: "
        f"up to {job.search.trials} recipes, {job.search.concurrent} at a time"
    )
    trials = search(
        RecipeTrial(job, parent.version, original.version, parts.store.url),
        Search(job.space(), gate.objectives, job.search),
        run_id=parts.run_id,
        store=parts.store,
        book=parts.runs,
        on_trial=parts.on_trial,
    )
    _keep_front(trials, gate, parts, model=job.model)
    parts.say(_volume(trials, gate, parent=(parent.weights_bytes, reached)))
    good = within(trials, gate, parent=reached, run_id=parts.run_id)
    chosen = smallest(good, gate) if job.choose == "smallest" else at_the_knee(good, gate)
    assert isinstance(chosen.outcome, Finished)
    parts.say(
        f"evaluating {chosen.trial}, {chosen.metrics['bytes']:.0f} bytes, on {len(rows.test)} test rows"
    )
    coded = Blobs(parts.store).get(chosen.outcome.files[CODED], name=f"{CODED} of trial {chosen.trial}")
    bundle = coded_bundle(coded, parent, parts.versions, rows)
    dataset = original.lineage.dataset
    evaluation, bundle = judged(bundle, parent.signature, dataset=dataset, rows=rows)
    parent_evaluation, _ = on_test_rows(
        parts.versions.read_files(parent),
        parent.signature,
        runtime=evaluation.runtime,
        dataset=dataset,
        rows=rows,
    )
    parts.say("publishing")
    lineage = lineage_of(
        job, parts.run_id, dataset=dataset, fingerprint=original.lineage.data_fingerprint, seed=job.seed
    )
    compression = CompressionLineage(
        recipe=settled(job.recipe, chosen.point),
        trial=chosen.trial,
        original=original.version,
        original_bytes=original.weights_bytes,
        parent_evaluation=parent_evaluation,
        accounting=account(
            coded,
            network=load_network(bundle.files),
            row=rows.validation.x_ND[:1],
            original_bytes=original.weights_bytes,
        ),
    )
    draft = VersionDraft(
        model=job.model,
        run_id=parts.run_id,
        architecture=read(coded).architecture,
        signature=parent.signature,
        weights_file=bundle.weights_file,
        runtimes=bundle.runtimes,
        methods=dict(bundle.methods),
        notes=bundle.notes,
        evaluation=evaluation,
        lineage=lineage.model_copy(
            update={
                "parent": parent.version,
                "parent_digest": identity(parts.versions, parent),
                "compression": compression,
            }
        ),
        description=job.description,
        card=job.card or parent.card,
    )
    return parts.versions.publish(draft, bundle.files, on_kept=parts.on_kept)


def _reached(gate: Gate, found: Mapping[str, float]) -> float:
    """What the parent reached by the gate's metric, of all that is measured for every recipe."""
    if VALIDATION + gate.metric not in found:
        known = ", ".join(name.removeprefix(VALIDATION) for name in found)
        raise InvalidInput(f"metric {gate.metric!r} is not measured for every recipe; there are {known}")
    return found[VALIDATION + gate.metric]


def within(trials: Sequence[Trial], gate: Gate, *, parent: float, run_id: str) -> list[Trial]:
    """The trials that pass the gate; `parent` is what the parent reached on validation rows.

    Raises RunFailed, naming the nearest miss and the next step, when none does.
    """
    finished = finished_trials(trials, run_id=run_id)

    def loss(trial: Trial) -> float:
        return gate.loss(trial.metrics[VALIDATION + gate.metric], parent=parent)

    # A hair above: metrics are means over rows, and the budget is subtracted in floating point.
    good = [trial for trial in finished if loss(trial) <= gate.max_loss + 1e-9]
    if not good:
        best = min(finished, key=loss)
        settings = ", ".join(f"{field} {value}" for field, value in best.point.items())
        raise RunFailed(
            f"no recipe keeps validation {gate.metric} within {gate.max_loss:g} of {parent:.4f}; the best reached "
            f"{best.metrics[VALIDATION + gate.metric]:.4f} in {best.metrics['bytes']:.0f} bytes with "
            f"{settings or 'the recipe'}. Search gentler settings, or raise max_loss",
            run=run_id,
        )
    return good


def smallest(trials: Sequence[Trial], gate: Gate) -> Trial:
    """The one with the fewest bytes; of equals, the better one by the gate's metric."""
    return min(
        trials, key=lambda t: (t.metrics["bytes"], gate.loss(t.metrics[VALIDATION + gate.metric], parent=0))
    )


def at_the_knee(trials: Sequence[Trial], gate: Gate) -> Trial:
    """The one at the knee of their front of bytes and the gate's metric."""
    name = knee([_candidate(trial) for trial in trials], gate.objectives).name
    return next(trial for trial in trials if trial.trial == name)


def _volume(trials: Sequence[Trial], gate: Gate, *, parent: tuple[float, float]) -> str:
    """How much of what could be won was: bytes of the parent times the metric that may be lost."""
    weights_bytes, reached = parent
    worst = reached + gate.max_loss if gate.mode == "min" else reached - gate.max_loss
    candidates = [_candidate(trial) for trial in trials if isinstance(trial.outcome, Finished)]
    area = hypervolume(candidates, gate.objectives, reference=(weights_bytes, worst))
    whole = weights_bytes * gate.max_loss
    share = f"{area / whole:.3f} of the rectangle" if whole else "no area, since nothing may be lost,"
    return f"hypervolume {share} between the parent and the gate"


def _candidate(trial: Trial) -> Candidate:
    return Candidate(trial.trial, trial.point, trial.metrics)


def _keep_front(trials: Sequence[Trial], gate: Gate, parts: JobParts, *, model: str) -> None:
    candidates = [_candidate(trial) for trial in trials if isinstance(trial.outcome, Finished)]
    if not candidates:
        return
    files = {
        "csv": front_csv(candidates, gate.objectives),
        "png": front_png(candidates, gate.objectives, title=f"{model}: {parts.run_id}"),
    }
    for kind, data in files.items():
        key = front_key(parts.run_id, kind)
        with suppress(AlreadyExists):  # this run was carried out before, as far as here at least
            parts.store.create(key, data)
        parts.say(f"the Pareto front is at {parts.store.url}/{key}")
