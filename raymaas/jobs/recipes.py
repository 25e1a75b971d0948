"""One trial of a compression: carry out a recipe on the parent, code it, and measure what will be served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raymaas.bundle.format import CODED, BuiltBundle, build_coded
from raymaas.bundle.rmz.container import write
from raymaas.bundle.transforming import network_signature, put_in_front
from raymaas.compress.recipe import carry_out
from raymaas.compress.subject import Parent, Subject
from raymaas.data.split import Parts
from raymaas.jobs import judging
from raymaas.jobs.origin import network_of, rows_of_version, transforms_of
from raymaas.jobs.parts import PROBE_ROWS
from raymaas.registry.versions import Versions
from raymaas.specs.compression import VALIDATION, CompressJob, settled
from raymaas.specs.facts import Facts
from raymaas.specs.search import Point
from raymaas.specs.tasks import TARGETS
from raymaas.specs.versions import ModelVersion
from raymaas.store import open_store
from raymaas.sweep.search import Report


@dataclass(frozen=True)
class RecipeTrial:
    """What every trial of one compression shares; travels to the trials' processes and opens the store there."""

    job: CompressJob
    parent: int
    original: int
    store_url: str

    def __call__(self, point: Point, tell: Callable[[Report], None]) -> None:
        """Reports `bytes` of the coded file, `ratio` to the original's weights, `sparsity`, and metrics of the
        decoded version on validation rows, as `validation_<metric>`; the file is kept as `model.rmz`."""
        store = open_store(self.store_url)
        versions = Versions(store)
        parent, original = (versions.get(self.job.model, n) for n in (self.parent, self.original))
        rows = rows_of_version(store, original)
        subject = Subject.of(
            parent_of(versions, parent), rows.train, self.job.fine_tuning, seed=self.job.seed
        )
        compressed = carry_out(settled(self.job.recipe, point), subject)
        coded = write(subject.architecture, compressed.tensors)
        served = coded_bundle(coded, parent, versions, rows)
        opened = judging.Subject.of_files(served.files, parent.signature, runtime=served.runtimes[0])
        metrics = {
            "bytes": float(len(coded)),
            "ratio": original.weights_bytes / len(coded),
            "sparsity": compressed.sparsity,
            **on_validation_rows(opened, rows),
        }
        tell(Report(metrics, files={CODED: coded}))


def parent_of(versions: Versions, version: ModelVersion) -> Parent:
    """The network that is compressed, and what it knows of its rows. Raises as `network_of`."""
    transforms = transforms_of(versions, version)
    signature = network_signature(version.signature, transforms) if transforms else version.signature
    vocabulary = version.architecture.config.get("vocabulary")
    facts = Facts(
        input=signature.inputs[0],
        classes=signature.classes,
        target=TARGETS.get(version.task, "none"),
        vocabulary=vocabulary if isinstance(vocabulary, int) else None,
    )
    return Parent(network_of(versions, version), version.architecture, facts)


def on_validation_rows(opened: judging.Subject, rows: Parts) -> dict[str, float]:
    """Its metrics there, by name with `validation_` before it."""
    found = opened.brief(opened.answers([rows.validation]), rows.validation.y_N)
    return {VALIDATION + name: metric.value for name, metric in found.items()}


def coded_bundle(coded: bytes, parent: ModelVersion, versions: Versions, rows: Parts) -> BuiltBundle:
    """The files of the coded network, behind the transforms that its parent has."""
    signature, transforms = parent.signature, transforms_of(versions, parent)
    network = network_signature(signature, transforms) if transforms else signature
    bundle = build_coded(coded, signature=network, probes=rows.validation.x_ND[:PROBE_ROWS])
    if transforms is None:
        return bundle
    probes = rows.validation.inputs(signature.inputs, count=PROBE_ROWS)
    return put_in_front(transforms, bundle, signature=signature, probes=probes)
