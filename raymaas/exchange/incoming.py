"""Bringing in: from a parcel to a version of this registry that keeps all it knew and says where it came from."""

from __future__ import annotations

from raymaas.bundle.files import FILES_OF_RUNTIME
from raymaas.bundle.runtimes.opening import open_runtime
from raymaas.errors import IntegrityError, RaymaasError
from raymaas.exchange.identity import FirstPublication, find, publish_once
from raymaas.exchange.parcel import Parcel
from raymaas.registry.blobs import OnKept
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.specs.versions import ImportedFrom, Lineage, ModelVersion


def bring_in(
    versions: Versions, parcel: Parcel, *, model: str | None = None, on_kept: OnKept | None = None
) -> ModelVersion:
    """The parcel as a version of its model, or of `model`: the next one, unless it is here already.

    Before it is published it passes its probes in every runtime it names. Its number, time, run and write id
    are new, everything else is as it was published first. Raises IntegrityError when it does not prove to be what
    its manifest says; nothing was published then.
    """
    first = parcel.first()
    target = model or parcel.manifest.model
    here = find(versions, target, digest=first.digest, number=first.manifest.version)
    if here is not None:
        return here
    prove(parcel)
    lineage = _lineage(versions, target, first, origin=parcel.origin)
    kept = {field: getattr(first.manifest, field) for field in VersionDraft.model_fields}

    def draft(run_id: str) -> VersionDraft:
        # A part is one of the run that published it first; here it has a run of its own.
        return VersionDraft(**kept | {"model": target, "run_id": run_id, "part": None, "lineage": lineage})

    return publish_once(versions, draft, parcel.files, digest=first.digest, on_kept=on_kept)


def prove(parcel: Parcel) -> None:
    """Afterwards the parcel's files gave their own probes in every runtime that it names and is known here.

    Raises IntegrityError when one does not, and InvalidInput when none is known.
    """
    manifest = parcel.manifest
    known = [runtime for runtime in manifest.runtimes if runtime in FILES_OF_RUNTIME]
    for runtime in known or ["auto"]:
        try:
            open_runtime(manifest, parcel.files.__getitem__, runtime=runtime)
        except RaymaasError:
            raise
        except Exception as error:  # a digest says who wrote a file, not that a runtime can make sense of it
            raise IntegrityError(
                f"{manifest.model}@{manifest.version} from {parcel.origin} cannot be opened with {runtime}: "
                f"{type(error).__name__}: {error}; nothing was published"
            ) from error


def _lineage(versions: Versions, target: str, first: FirstPublication, *, origin: str) -> Lineage:
    """The lineage it had; numbers in it are those of this registry, or absent."""
    theirs = first.manifest.lineage
    parent = None
    if theirs.parent_digest is not None:
        parent = find(versions, target, digest=theirs.parent_digest, number=theirs.parent)
    original = None if parent is None else _trained(parent)
    compression = None
    if theirs.compression is not None and original is not None:
        compression = theirs.compression.model_copy(update={"original": original})
    return theirs.model_copy(
        update={
            "parent": None if parent is None else parent.version,
            "compression": compression,
            "imported": ImportedFrom(origin=origin, manifest=dict(first.document)),
        }
    )


def _trained(version: ModelVersion) -> int | None:
    """The number of the version that was trained, up the line from `version`; None when it is not here."""
    if version.lineage.compression is not None:
        return version.lineage.compression.original
    return version.version if version.lineage.parent_digest is None else None
