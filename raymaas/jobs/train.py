"""Training: from a data set to a registered version."""

from __future__ import annotations

from raymaas.bundle.format import BuiltBundle, build
from raymaas.bundle.transforming import put_in_front, transformed_signature
from raymaas.data.dataset import Dataset, prepare
from raymaas.data.split import Parts, split
from raymaas.data.transforms.fitted import Fitted, fit_transforms
from raymaas.jobs.adoption import adopt
from raymaas.jobs.judging import judged
from raymaas.jobs.parts import PROBE_ROWS, JobParts, lineage_of
from raymaas.jobs.reporting import Trained, keep_report
from raymaas.models import catalogue
from raymaas.models.base import signature_of
from raymaas.registry.versions import VersionDraft
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.versions import ModelVersion, Signature
from raymaas.train.checkpoint import Checkpoint
from raymaas.train.distributed import train_distributed
from raymaas.train.overfitting import overfitting


def train(job: TrainJob, parts: JobParts) -> ModelVersion:
    """Data, split, model, fit, evaluate, bundle, publish. Repeated for the same run, it publishes nothing twice."""
    parts.say(f"preparing data set {job.data.use}")
    dataset = prepare(parts.store, job.data, files=parts.files)
    division = split(dataset, job.split)
    transforms = fit_transforms(job.transforms, division.train, dataset.card)
    rows = transforms.ready(division)
    architecture = catalogue.resolve(
        job.architecture,
        data_input=transforms.input,
        classes=dataset.card.classes,
        target=dataset.card.target,
    )
    task = catalogue.task_of(architecture)
    parts.say(f"training {architecture.use} on {len(rows.train)} rows with {job.scaling.workers} workers")
    fitted = _fit(job, dataset, transforms, parts)
    if warning := overfitting(fitted.history, job.training):
        parts.say(warning)
    parts.say("building the bundle")
    network = signature_of(task, transforms.input, dataset.card.classes)
    signature = transformed_signature(network, transforms)
    bundle = put_in_front(
        transforms,
        _bundle(fitted, architecture, network, rows),
        signature=signature,
        probes=rows.test.inputs(signature.inputs, count=PROBE_ROWS),
    )
    parts.say(f"evaluating on {len(rows.test)} test rows")
    evaluation, bundle = judged(bundle, signature, dataset=dataset.card.name, rows=rows)
    parts.say("publishing")
    draft = VersionDraft(
        model=job.model,
        run_id=parts.run_id,
        architecture=architecture,
        signature=signature,
        task=task,
        methods=dict(bundle.methods),
        runtimes=bundle.runtimes,
        notes=bundle.notes,
        evaluation=evaluation,
        lineage=lineage_of(
            job,
            parts.run_id,
            dataset=dataset.card.name,
            fingerprint=dataset.card.fingerprint,
            seed=job.training.seed,
        ),
        description=job.description,
        card=job.card,
    )
    version = parts.versions.publish(draft, bundle.files, on_kept=parts.on_kept)
    keep_report(Trained(version, bundle, rows, fitted, remark=warning), parts)
    return version


def _fit(job: TrainJob, dataset: Dataset, transforms: Fitted, parts: JobParts) -> Checkpoint:
    if parts.resumes is not None:
        adopt(parts.resumes, parts)
    allowance = parts.listener.called(job)
    try:
        return train_distributed(
            job,
            store_url=parts.store.url,
            dataset_fingerprint=dataset.card.fingerprint,
            transforms=transforms,
            run_id=parts.run_id,
            on_epoch=parts.listener.epoch,
            on_told=parts.listener.told,
            allowance=allowance,
        )
    finally:
        parts.listener.ended()


def _bundle(fitted: Checkpoint, architecture: Component, signature: Signature, rows: Parts) -> BuiltBundle:
    network = catalogue.build(architecture)
    network.load_state_dict(dict(fitted.best_weights))
    return build(network, architecture=architecture, signature=signature, probes=rows.test.x_ND[:PROBE_ROWS])
