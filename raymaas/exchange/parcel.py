"""Parcel: a version on its way between registries, its manifest as it was sealed and all its files verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raymaas.exchange.identity import FirstPublication, first_publication
from raymaas.registry.versions import Versions
from raymaas.specs.versions import ModelVersion

OnRead = Callable[[str, int], None]
"""Told the name and bytes of each file when it was read."""


@dataclass(frozen=True, eq=False)
class Parcel:
    """`origin` is the URL it was read from, `manifest` what `sealed` says there."""

    sealed: bytes
    manifest: ModelVersion
    files: Mapping[str, bytes]
    origin: str

    def first(self) -> FirstPublication:
        """Where it was published first. Raises IntegrityError when the manifest contradicts itself."""
        return first_publication(self.sealed, source=f"{self.manifest.model}@{self.manifest.version}")


def pack(versions: Versions, manifest: ModelVersion, *, origin: str, on_read: OnRead | None = None) -> Parcel:
    """The parcel of a registered version. Raises IntegrityError naming a missing or damaged file."""
    files = {}
    for name in manifest.files:
        files[name] = versions.read_file(manifest, name)
        if on_read is not None:
            on_read(name, len(files[name]))
    return Parcel(versions.sealed(manifest.model, manifest.version), manifest, files, origin)
