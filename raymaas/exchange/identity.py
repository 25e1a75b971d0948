"""Identity: the digest of a version's first manifest, by which it is known in every registry it came to.

Numbers, write ids and times are of one registry; what was published first is the same document everywhere. A
version that is brought in carries that document along, however many registries lie between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import orjson
from pydantic import JsonValue

from raymaas.errors import IntegrityError, NotFound
from raymaas.registry.blobs import OnKept
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.specs.base import canonical_json
from raymaas.specs.versions import ModelVersion

# 128 of the digest's 256 bits: a run id that still fits a line, and that nobody can aim at.
_DIGITS = 32


@dataclass(frozen=True)
class FirstPublication:
    """A version as it was published first: the document, and the sealed mapping it was read from."""

    manifest: ModelVersion
    document: Mapping[str, JsonValue]

    @property
    def digest(self) -> str:
        return str(self.document["digest"])


def digest_of(sealed: bytes) -> str:
    """The digest that a sealed document ends in; `unseal` is what checks it."""
    return str(orjson.loads(sealed)["digest"])


def first_publication(sealed: bytes, *, source: str) -> FirstPublication:
    """Where the version in `sealed`, a manifest's bytes, was published first: there, or where it came in from.

    Raises as `unseal` does, and IntegrityError when the two documents do not name the same files.
    """
    manifest = ModelVersion.unseal(sealed, source=source)
    imported = manifest.lineage.imported
    if imported is None:
        return FirstPublication(manifest, orjson.loads(sealed))
    within = f"the first manifest within {source}"
    first = ModelVersion.unseal(canonical_json(imported.manifest), source=within)
    if _contents(first) != _contents(manifest):
        raise IntegrityError(f"{source} does not name the same files as {within}; get the version again")
    return FirstPublication(first, imported.manifest)


def identity(versions: Versions, manifest: ModelVersion) -> str:
    """The identity of a version in the registry of `versions`: 64 hexadecimal digits."""
    of = f"{manifest.model}@{manifest.version}"
    return first_publication(versions.sealed(manifest.model, manifest.version), source=of).digest


def find(versions: Versions, model: str, *, digest: str, number: int | None = None) -> ModelVersion | None:
    """The kept version of `model` with that identity, if it was brought in, or is the one of that `number`."""
    if number is not None:
        with suppress(NotFound):
            held = versions.get(model, number)
            if identity(versions, held) == digest:
                return held
    attempt = 1
    while (found := versions.of_run(model, _run_id(digest, attempt))) is not None:
        with suppress(NotFound):
            return versions.get(model, found.version)
        attempt += 1
    return None


def publish_once(
    versions: Versions,
    draft_of: Callable[[str], VersionDraft],
    files: Mapping[str, bytes],
    *,
    digest: str,
    on_kept: OnKept | None = None,
) -> ModelVersion:
    """Publish what `digest` identifies, unless it is here; once it was deleted, it becomes a new version.

    `draft_of` is given the run id, which follows from the digest: whoever repeats it, or does it at the same
    time, gets the same version. Raises as `Versions.publish` does.
    """
    attempt = 1
    while True:
        published = versions.publish(draft_of(_run_id(digest, attempt)), files, on_kept=on_kept)
        with suppress(NotFound):
            return versions.get(published.model, published.version)
        attempt += 1


def _run_id(digest: str, attempt: int) -> str:
    return f"import-{digest[:_DIGITS]}" + (f"-{attempt}" if attempt > 1 else "")


def _contents(manifest: ModelVersion) -> dict[str, tuple[str, int]]:
    return {name: (entry.sha256, entry.bytes) for name, entry in manifest.files.items()}
