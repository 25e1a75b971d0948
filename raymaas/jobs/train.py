"""Training: from a data set to a registered version."""

from __future__ import annotations

from typing import Any

from raymaas.bundle.format import BuiltBundle, build
from raymaas.bundle.transforming import put_in_front, transformed_signature
from raymaas.exchange.identity import identity
from raymaas.jobs.adoption import adopt
from raymaas.jobs.judging import judged
from raymaas.jobs.parts import PROBE_ROWS, JobParts, lineage_of
from raymaas.jobs.preparing import Prepared, prepared
from raymaas.jobs.reporting import Trained, keep_report
from raymaas.models import own
from raymaas.models.base import signature_of
from raymaas.registry.versions import VersionDraft
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.jobs import TrainJob
from raymaas.specs.versions import Lineage, ModelVersion, Signature
from raymaas.train.checkpoint import Checkpoint
from raymaas.train.distributed import train_distributed
from raymaas.train.overfitting import overfitting
from raymaas.train.starting import version_named


def train(job: TrainJob, parts: JobParts) -> ModelVersion:
    """Data, split, model, fit, evaluate, bundle, publish. Repeated for the same run, it publishes nothing twice."""
    parts.say(f"preparing data set {job.data.use}")
    ready = prepared(job, parts.store, parts.files)
    if ready.start.origin:
        parts.say(ready.start.told())
    rows, architecture = ready.rows, ready.architecture
    source = "streamed rows" if ready.streamed else "rows"
    parts.say(f"training {architecture.use} on {len(rows.train)} {source} with {job.scaling.workers} workers")
    fitted = _fit(job, ready, parts)
    if warning := overfitting(fitted.history, job.training):
        parts.say(warning)
    parts.say("building the bundle")
    network = signature_of(ready.task, ready.facts)
    signature = transformed_signature(network, ready.transforms)
    bundle = put_in_front(
        ready.transforms,
        _bundle(fitted, ready, network),
        signature=signature,
        probes=ready.test.first(PROBE_ROWS).inputs(signature.inputs),
    )
    parts.say(f"evaluating on {len(rows.test)} test rows")
    evaluation, bundle = judged(bundle, signature, dataset=ready.card.name, rows=rows, test=ready.test)
    parts.say("publishing")
    draft = VersionDraft(
        model=job.model,
        run_id=parts.run_id,
        architecture=architecture,
        signature=signature,
        task=ready.task,
        methods=dict(bundle.methods),
        runtimes=bundle.runtimes,
        notes=bundle.notes,
        evaluation=evaluation,
        lineage=_lineage(job, ready.card, parts),
        description=job.description,
        card=job.card,
    )
    version = parts.versions.publish(draft, bundle.files, on_kept=parts.on_kept)
    keep_report(Trained(version, bundle, rows, ready.test, fitted, remark=warning), parts)
    return version


def _lineage(job: TrainJob, data: DatasetCard, parts: JobParts) -> Lineage:
    lineage = lineage_of(
        job, parts.run_id, dataset=data.name, fingerprint=data.fingerprint, seed=job.training.seed
    )
    if job.init_from is None:
        return lineage
    origin = version_named(job.init_from, parts.versions)
    descent: dict[str, Any] = {"init_from": f"{origin.model}@{origin.version}"}
    if origin.model == job.model:
        descent |= {"parent": origin.version, "parent_digest": identity(parts.versions, origin)}
    return lineage.model_copy(update=descent)


def _fit(job: TrainJob, ready: Prepared, parts: JobParts) -> Checkpoint:
    if parts.resumes is not None:
        adopt(parts.resumes, parts)
    allowance = parts.listener.called(job)
    try:
        return train_distributed(
            job,
            store_url=parts.store.url,
            dataset_fingerprint=ready.card.fingerprint,
            part_ids=ready.rows.ids,
            transforms=ready.transforms,
            run_id=parts.run_id,
            on_epoch=parts.listener.epoch,
            on_told=parts.listener.told,
            allowance=allowance,
        )
    finally:
        parts.listener.ended()


def _bundle(fitted: Checkpoint, ready: Prepared, signature: Signature) -> BuiltBundle:
    network = own.build(ready.architecture, target=ready.facts.target)
    network.load_state_dict(dict(fitted.best_weights))
    probes = ready.test.first(PROBE_ROWS).x_ND
    return build(network, architecture=ready.architecture, signature=signature, probes=probes)
