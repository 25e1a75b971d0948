"""Where a version came from: the one that was trained, its rows, and its network again."""

from __future__ import annotations

from raymaas.bundle.files import ARCHITECTURE
from raymaas.bundle.runtimes.torch import load_network
from raymaas.bundle.transforming import TRANSFORMS
from raymaas.data.dataset import open_card, open_dataset
from raymaas.data.split import Parts, split
from raymaas.data.streamed import is_streamed
from raymaas.data.transforms.fitted import Fitted, fit_transforms
from raymaas.errors import InvalidInput
from raymaas.models.networks import Network
from raymaas.registry.versions import Versions
from raymaas.specs.importing import WeightsImport
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import parse_job
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store


def trained_original(versions: Versions, version: ModelVersion) -> ModelVersion:
    """The version that was trained, not compressed, up the line of parents of `version`; maybe itself."""
    while version.lineage.compression is not None and version.lineage.parent is not None:
        version = versions.get(version.model, version.lineage.parent)
    return version


def rows_of_version(store: Store, trained: ModelVersion) -> Parts:
    """The rows of a trained version, divided and transformed as they were for it, all in memory.

    Raises NotFound when the data set is gone, and InvalidInput when its job would not have had all of them in memory.
    """
    lineage, job = trained.lineage, job_of(trained)
    if isinstance(job, TrainJob):
        card = open_card(store, lineage.dataset, lineage.data_fingerprint)
        if is_streamed(card, job.streaming):
            raise InvalidInput(
                f"{trained.model}@{trained.version} was trained on rows that were streamed, and compressing holds all "
                "of them in memory; fine-tune it on fewer rows with init_from, and compress that version"
            )
    dataset = open_dataset(store, lineage.dataset, lineage.data_fingerprint)
    division = split(dataset, job.split)
    transforms = transforms_of(Versions(store), trained) or fit_transforms((), division.train, dataset.card)
    return transforms.ready(division)


def transforms_of(versions: Versions, version: ModelVersion) -> Fitted | None:
    """What stands in front of the version's network, verified; None where nothing does."""
    if TRANSFORMS not in version.files:
        return None
    return Fitted.unseal(versions.read_file(version, TRANSFORMS), source=TRANSFORMS)


def job_of(version: ModelVersion) -> TrainJob | WeightsImport:
    """What the version was made by. Raises InvalidInput for one that was made by neither."""
    source, fields = f"the job of {version.model}@{version.version}", dict(version.lineage.job)
    if fields.get("kind") == WeightsImport.kind:
        del fields["kind"]
        return WeightsImport.parse(fields, source=source)
    job = parse_job(fields, source=source)
    if not isinstance(job, TrainJob):
        raise InvalidInput(f"{version.model}@{version.version} was not trained here; name one that was")
    return job


def network_of(versions: Versions, version: ModelVersion) -> Network:
    """The version's network in eval mode, its files verified."""
    names = (version.weights_file, ARCHITECTURE)
    return load_network({name: versions.read_file(version, name) for name in names}).eval()
