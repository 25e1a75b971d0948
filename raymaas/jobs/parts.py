"""What a job uses, whatever its kind, and the lineage it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from raymaas.data.sources.base import DataFiles
from raymaas.registry.blobs import OnKept
from raymaas.registry.provenance import code_version, library_versions
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.base import Document, sha256_hex
from raymaas.specs.kinds import job_fields
from raymaas.specs.runs import Resumes
from raymaas.specs.search import Trial
from raymaas.specs.versions import Lineage
from raymaas.store import Store
from raymaas.train.listening import Listener

PROBE_ROWS = 8
"""Test rows that become a version's probes."""

_LIBRARIES = ("ray", "torch", "numpy", "pyarrow", "scikit-learn", "onnx", "onnxruntime")


@dataclass(frozen=True)
class JobParts:
    """Where things are kept, which run it is, what it goes on from, and whom it tells how far it got."""

    store: Store
    versions: Versions
    runs: Runs
    run_id: str
    say: Callable[[str], None]
    on_trial: Callable[[Trial], None]
    on_kept: OnKept | None = None
    files: DataFiles = field(default_factory=DataFiles)
    resumes: Resumes | None = None
    listener: Listener = field(default_factory=Listener)


def lineage_of(job: Document, run_id: str, *, dataset: str, fingerprint: str, seed: int) -> Lineage:
    """What is known of every version alike: run, data, job, code and libraries."""
    return Lineage(
        run_id=run_id,
        dataset=dataset,
        data_fingerprint=fingerprint,
        job=job_fields(job),
        job_sha256=sha256_hex(job.seal()),
        code=code_version(Path.cwd()),
        libraries=library_versions(_LIBRARIES),
        seed=seed,
    )
