"""The drift of a version, from its own reference and what its replicas counted."""

from __future__ import annotations

from datetime import datetime

from raymaas.bundle.files import REFERENCE
from raymaas.errors import NotFound
from raymaas.monitor.counts import added
from raymaas.monitor.drift import judged
from raymaas.registry.drifts import Drifts
from raymaas.registry.versions import Versions
from raymaas.specs.drift import DriftReport, Reference
from raymaas.specs.versions import ModelVersion


def drift_of(
    manifest: ModelVersion, versions: Versions, drifts: Drifts, *, since: datetime, until: datetime
) -> DriftReport:
    """How far what the version was asked and answered from `since` on is from what it was evaluated on.

    Raises NotFound for a version without a reference, and InvalidInput as `Drifts.since`.
    """
    name = f"{manifest.model}@{manifest.version}"
    if REFERENCE not in manifest.files:
        raise NotFound(
            f"{name} has no {REFERENCE}, to tell drift from: it was published without, as all were before raymaas made"
            " them; train or compress again, and the new version has one"
        )
    raw = versions.read_file(manifest, REFERENCE)
    reference = Reference.unseal(raw, source=f"{REFERENCE} of {name}")
    found = [
        counts
        for counts in drifts.since(since, model=manifest.model, version=manifest.version)
        if counts.reference == manifest.files[REFERENCE].sha256
    ]
    none = tuple((0,) * len(feature.counts) for feature in reference.features)
    return judged(
        reference,
        sum(counts.rows for counts in found),
        added([none, *(counts.counts for counts in found)]),
        model=manifest.model,
        version=manifest.version,
        since=since,
        until=until,
    )
