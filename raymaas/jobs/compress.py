"""Compressing: from a registered version to a smaller one that answers almost as well."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from raymaas.bundle.format import CODED, BuiltBundle, build_coded
from raymaas.bundle.transforming import network_signature, put_in_front
from raymaas.compress.recipe import notes_on, passes_of
from raymaas.data.split import Parts
from raymaas.errors import AlreadyExists, InvalidInput, RunFailed
from raymaas.evaluate.pareto import Candidate, front_csv, front_png
from raymaas.exchange.identity import identity
from raymaas.jobs.judging import judged, on_test_rows
from raymaas.jobs.origin import network_of, rows_of_version, trained_original, transforms_of
from raymaas.jobs.parts import PROBE_ROWS, JobParts, lineage_of
from raymaas.jobs.recipes import RecipeTrial, accuracy
from raymaas.registry.blobs import Blobs
from raymaas.registry.layout import front_key
from raymaas.registry.resolve import resolve
from raymaas.registry.states import States
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.specs.compression import OBJECTIVES, CompressJob, settled
from raymaas.specs.search import Finished, Trial, extremes
from raymaas.specs.versions import CompressionLineage, ModelVersion
from raymaas.sweep.search import Search, finished_trials, search


def compress(job: CompressJob, parts: JobParts) -> ModelVersion:
    """Parent, rows, sweep, choice, evaluation, publication. Repeated for the same run, it goes on where that was.

    Recipes are compared on validation rows only; the one chosen meets the test rows once. Raises RunFailed
    when no recipe keeps the accuracy.
    """
    parent = parts.versions.get(job.model, resolve(job.reference, parts.versions, States(parts.store)))
    original = trained_original(parts.versions, parent)
    rows = rows_of_version(parts.store, original)
    network = network_of(parts.versions, parent)
    parent_accuracy = accuracy(network, rows.validation)
    # Every recipe is checked before the first one trains.
    if parent.task != "classification":
        raise InvalidInput(
            f"{parent.model}@{parent.version} is for {parent.task}; so far only classifiers are compressed, "
            "whose accuracy says what a recipe costs"
        )
    for point in extremes(job.space()):
        passes_of(settled(job.recipe, point))
    parts.say(
        f"compressing {parent.model}@{parent.version}, validation accuracy {parent_accuracy:.4f}: "
        f"up to {job.search.trials} recipes, {job.search.concurrent} at a time"
    )
    trials = search(
        RecipeTrial(job, parent.version, original.version, parts.store.url),
        Search(job.space(), OBJECTIVES, job.search),
        run_id=parts.run_id,
        store=parts.store,
        book=parts.runs,
        on_trial=parts.on_trial,
    )
    _keep_front(trials, job, parts)
    chosen = smallest_within(
        trials, least_accuracy=parent_accuracy - job.max_accuracy_loss / 100, run_id=parts.run_id
    )
    assert isinstance(chosen.outcome, Finished)
    parts.say(
        f"evaluating {chosen.trial}, {chosen.metrics['bytes']:.0f} bytes, on {len(rows.test)} test rows"
    )
    coded = Blobs(parts.store).get(chosen.outcome.files[CODED], name=f"{CODED} of trial {chosen.trial}")
    bundle = coded_bundle(coded, parent, parts.versions, rows, notes=notes_on(network))
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
    )
    draft = VersionDraft(
        model=job.model,
        run_id=parts.run_id,
        architecture=parent.architecture,
        signature=parent.signature,
        weights_file=bundle.weights_file,
        runtimes=bundle.runtimes,
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


def coded_bundle(
    coded: bytes, parent: ModelVersion, versions: Versions, rows: Parts, *, notes: tuple[str, ...]
) -> BuiltBundle:
    """The files of the coded network, behind the transforms that its parent has."""
    signature, transforms = parent.signature, transforms_of(versions, parent)
    network = network_signature(signature, transforms) if transforms else signature
    bundle = build_coded(coded, signature=network, probes=rows.test.x_ND[:PROBE_ROWS], notes=notes)
    if transforms is None:
        return bundle
    probes = rows.test.inputs(signature.inputs, count=PROBE_ROWS)
    return put_in_front(transforms, bundle, signature=signature, probes=probes)


def smallest_within(trials: Sequence[Trial], *, least_accuracy: float, run_id: str) -> Trial:
    """The trial with the fewest bytes whose validation accuracy is at least that; of equals, the more accurate.

    Raises RunFailed, naming the nearest miss and the next step, when there is none.
    """
    finished = finished_trials(trials, run_id=run_id)
    # A hair below: accuracies are shares of rows, and the budget is subtracted in floating point.
    good = [t for t in finished if t.metrics["validation_accuracy"] >= least_accuracy - 1e-9]
    if not good:
        best = max(finished, key=lambda t: t.metrics["validation_accuracy"])
        settings = ", ".join(f"{field} {value}" for field, value in best.point.items())
        figures = best.metrics
        raise RunFailed(
            f"no recipe keeps a validation accuracy of {least_accuracy:.4f}; the best reached "
            f"{figures['validation_accuracy']:.4f} in {figures['bytes']:.0f} bytes with "
            f"{settings or 'the recipe'}. Search gentler settings, or raise max_accuracy_loss",
            run=run_id,
        )
    return min(good, key=lambda t: (t.metrics["bytes"], -t.metrics["validation_accuracy"]))


def _keep_front(trials: Sequence[Trial], job: CompressJob, parts: JobParts) -> None:
    candidates = [Candidate(t.trial, t.point, t.metrics) for t in trials if isinstance(t.outcome, Finished)]
    if not candidates:
        return
    files = {
        "csv": front_csv(candidates, OBJECTIVES),
        "png": front_png(candidates, OBJECTIVES, title=f"{job.model}: {parts.run_id}"),
    }
    for kind, data in files.items():
        key = front_key(parts.run_id, kind)
        with suppress(AlreadyExists):  # this run was carried out before, as far as here at least
            parts.store.create(key, data)
        parts.say(f"the Pareto front is at {parts.store.url}/{key}")
