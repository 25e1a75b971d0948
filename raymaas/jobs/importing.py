"""Importing weights: from a state_dict that was trained elsewhere to a registered, evaluated version."""

from __future__ import annotations

from collections.abc import Callable

from raymaas.bundle.format import build
from raymaas.bundle.transforming import put_in_front, transformed_signature
from raymaas.data.dataset import prepare
from raymaas.data.sources.base import DataFiles
from raymaas.data.split import split
from raymaas.data.transforms.fitted import fit_transforms
from raymaas.exchange.identity import find, publish_once
from raymaas.exchange.weights import Weights, network_with
from raymaas.jobs.judging import judged
from raymaas.jobs.parts import PROBE_ROWS, lineage_of
from raymaas.models import catalogue
from raymaas.models.base import signature_of
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.specs.base import sha256_hex
from raymaas.specs.importing import WeightsImport
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store


def import_weights(
    job: WeightsImport,
    weights: Weights,
    *,
    store: Store,
    versions: Versions,
    say: Callable[[str], None],
    files: DataFiles | None = None,
) -> ModelVersion:
    """Data, split, network, bundle, evaluate, publish, all in this process.

    `weights` are those of the file that `job` names. The same job gives the same version, however often.
    Raises InvalidInput when the weights do not fit the architecture, or that not the data.
    """
    digest = sha256_hex(job.seal())
    here = find(versions, job.model, digest=digest)
    if here is not None:
        return here
    say(f"preparing data set {job.data.use}")
    dataset = prepare(store, job.data, files=files)
    division = split(dataset, job.split)
    transforms = fit_transforms(job.transforms, division.train, dataset.card)
    rows = transforms.ready(division)
    facts = transforms.facts(dataset.card)
    architecture = catalogue.resolve(job.architecture, facts)
    network, changes = network_with(architecture, weights)
    task = catalogue.task_of(architecture)
    of_network = signature_of(task, facts)
    signature = transformed_signature(of_network, transforms)
    say("building the bundle")
    bundle = put_in_front(
        transforms,
        build(network, architecture=architecture, signature=of_network, probes=rows.test.x_ND[:PROBE_ROWS]),
        signature=signature,
        probes=rows.test.inputs(signature.inputs, count=PROBE_ROWS),
    )
    say(f"evaluating on {len(rows.test)} test rows")
    evaluation, bundle = judged(bundle, signature, dataset=dataset.card.name, rows=rows)
    say("publishing")

    def draft(run_id: str) -> VersionDraft:
        return VersionDraft(
            model=job.model,
            run_id=run_id,
            architecture=architecture,
            signature=signature,
            task=task,
            methods=dict(bundle.methods),
            runtimes=bundle.runtimes,
            notes=(*bundle.notes, *weights.notes, *changes),
            evaluation=evaluation,
            lineage=lineage_of(
                job,
                run_id,
                dataset=dataset.card.name,
                fingerprint=dataset.card.fingerprint,
                seed=job.split.seed,
            ),
            description=job.description,
            card=job.card,
        )

    return publish_once(versions, draft, bundle.files, digest=digest)
