"""Where a version came from: the one that was trained, its rows, and its network again."""

from __future__ import annotations

from torch import nn

from raymaas.bundle.format import ARCHITECTURE
from raymaas.bundle.runtimes.opening import verified_files
from raymaas.bundle.runtimes.torch import load_network
from raymaas.data.dataset import open_dataset
from raymaas.data.split import Parts, split
from raymaas.errors import InvalidInput
from raymaas.registry.blobs import blob_key
from raymaas.registry.versions import Versions
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import parse_job
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store


def trained_original(versions: Versions, version: ModelVersion) -> ModelVersion:
    """The version that was trained, not compressed, up the line of parents of `version`; maybe itself."""
    while version.lineage.parent is not None:
        version = versions.get(version.model, version.lineage.parent)
    return version


def rows_of_version(store: Store, trained: ModelVersion) -> Parts:
    """The rows of a trained version, divided as they were for it. Raises NotFound when the data set is gone."""
    lineage = trained.lineage
    job = parse_job(lineage.job, source=f"the job of {trained.model}@{trained.version}")
    if not isinstance(job, TrainJob):
        raise InvalidInput(f"{trained.model}@{trained.version} was not trained here; compress one that was")
    return split(open_dataset(store, lineage.dataset, lineage.data_fingerprint), job.split)


def network_of(store: Store, version: ModelVersion) -> nn.Module:
    """The version's network in eval mode, its files verified."""
    files = verified_files(
        version,
        lambda sha256: store.read(blob_key(sha256)),
        names=(version.weights_file, ARCHITECTURE),
    )
    return load_network(files).eval()
