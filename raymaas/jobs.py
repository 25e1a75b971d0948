"""What each kind of job does, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from raymaas.bundle.format import BuiltBundle, build
from raymaas.bundle.runtimes.base import Runtime, check_probes
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.data.dataset import Dataset, prepare
from raymaas.data.split import Parts, split
from raymaas.evaluate.metrics import evaluate
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.registry.provenance import code_version, library_versions
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.specs.base import sha256_hex
from raymaas.specs.evaluation import Evaluation
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.versions import Lineage, ModelVersion, Signature
from raymaas.store import Store
from raymaas.train.checkpoint import Checkpoint
from raymaas.train.distributed import train_distributed

_PROBE_ROWS = 8
_LIBRARIES = ("ray", "torch", "numpy", "pyarrow", "scikit-learn", "onnx", "onnxruntime")


@dataclass(frozen=True)
class JobParts:
    """What a job uses: where things are kept, who it is, and whom it tells how far it got."""

    store: Store
    versions: Versions
    run_id: str
    say: Callable[[str], None]
    on_epoch: Callable[[int, dict[str, float]], None]
    now: Callable[[], datetime]


def carry_out_job(job: TrainJob, parts: JobParts) -> ModelVersion:
    """Carry out a job of any kind; returns the version it published. Ray must be initialised."""
    return train(job, parts)


def train(job: TrainJob, parts: JobParts) -> ModelVersion:
    """Data, split, model, fit, evaluate, bundle, publish. Repeated for the same run, it publishes nothing twice."""
    parts.say(f"preparing data set {job.data.use}")
    dataset = prepare(parts.store, job.data)
    rows = split(dataset, job.split)
    architecture = catalogue.resolve(job.architecture, data_input=dataset.input, classes=dataset.card.classes)
    parts.say(f"training {architecture.use} on {len(rows.train)} rows with {job.scaling.workers} workers")
    fitted = _fit(job, dataset, parts)
    parts.say("building the bundle")
    signature = classifier_signature(dataset.input, dataset.card.classes)
    bundle = _bundle(fitted, architecture, signature, rows)
    parts.say(f"evaluating on {len(rows.test)} test rows")
    evaluation, bundle = _evaluated(bundle, signature, dataset, rows)
    parts.say("publishing")
    draft = VersionDraft(
        model=job.model,
        run_id=parts.run_id,
        architecture=architecture,
        signature=signature,
        runtimes=bundle.runtimes,
        notes=bundle.notes,
        evaluation=evaluation,
        lineage=_lineage(job, dataset, parts),
        description=job.description,
    )
    return parts.versions.publish(draft, bundle.files)


def _fit(job: TrainJob, dataset: Dataset, parts: JobParts) -> Checkpoint:
    return train_distributed(
        job,
        store_url=parts.store.url,
        dataset_fingerprint=dataset.card.fingerprint,
        run_id=parts.run_id,
        on_epoch=lambda report: parts.on_epoch(report.epoch, report.metrics()),
    )


def _bundle(fitted: Checkpoint, architecture: Component, signature: Signature, rows: Parts) -> BuiltBundle:
    network = catalogue.build(architecture)
    network.load_state_dict(dict(fitted.best_weights))
    return build(network, architecture=architecture, signature=signature, probes=rows.test.x_ND[:_PROBE_ROWS])


def _evaluated(
    bundle: BuiltBundle, signature: Signature, dataset: Dataset, rows: Parts
) -> tuple[Evaluation, BuiltBundle]:
    """The evaluation of what will be served: the bundle's own files, in its first runtime."""
    runtime = load_runtime(bundle.runtimes[0], bundle.files, signature=signature)
    check_probes(runtime, bundle.files)
    metrics, correct_N = evaluate(
        _probabilities(runtime, signature), rows.test, classes=len(dataset.card.classes)
    )
    evaluation = Evaluation(
        dataset=dataset.card.name,
        fingerprint=rows.fingerprint,
        rows=len(rows.test),
        runtime=runtime.name,
        metrics=metrics,
    )
    return evaluation, bundle.with_evaluation(row_N=rows.test.id_N, correct_N=correct_N)


def _probabilities(runtime: Runtime, signature: Signature) -> Callable[[np.ndarray], np.ndarray]:
    name = signature.inputs[0].name
    return lambda x_BD: runtime.run({name: x_BD})["probabilities"]


def _lineage(job: TrainJob, dataset: Dataset, parts: JobParts) -> Lineage:
    return Lineage(
        run_id=parts.run_id,
        dataset=dataset.card.name,
        data_fingerprint=dataset.card.fingerprint,
        job=job.model_dump(mode="json"),
        job_sha256=sha256_hex(job.seal()),
        code=code_version(Path.cwd()),
        libraries=library_versions(_LIBRARIES),
        seed=job.training.seed,
    )
