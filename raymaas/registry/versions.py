"""Versions: immutable, numbered artifacts of models, published exactly once per run and read back verified.

A version exists when its manifest does. Files are written before it, so a crash leaves unused blobs at worst
and never half a version. Numbers count up by one and are never reused.

A run publishes a version at most once, without anyone scanning for it, by reserving: attempt k of a run names
the number it may claim, and attempt k + 1 is written only after number k was seen taken by another run.
Manifests never change, so at any moment only the run's last reservation can be, or become, its version;
whoever retries goes through the same one. A run of several versions gives each further one the name of a part,
which is in its manifest, and does all this for that part alone.

A deleted version has a tombstone (see `registry.deletion`). It is no longer listed or given, its number stays spent.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from pydantic import Field

from raymaas.errors import AlreadyExists, InvalidInput, NotFound, Unavailable
from raymaas.registry.blobs import GRACE, Blobs, OnKept
from raymaas.registry.cache import BlobCache
from raymaas.registry.descent import Claim, Descent
from raymaas.registry.layout import MODELS, reservation_key, reservations_folder, version_key, versions_folder
from raymaas.registry.log import Log
from raymaas.registry.once import new_write_id
from raymaas.registry.tombstones import Tombstones
from raymaas.specs.base import Document, Spec
from raymaas.specs.cards import Card
from raymaas.specs.evaluation import Evaluation
from raymaas.specs.jobs import Component
from raymaas.specs.names import Name
from raymaas.specs.tasks import Task
from raymaas.specs.versions import FileEntry, Lineage, ModelVersion, Signature
from raymaas.store import Store, check_key

_UPLOADS = 3


class VersionDraft(Spec):
    """What a publisher says about a version; number, time, write id and digests come with publication."""

    model: Name
    run_id: Name
    part: Name | None = None
    architecture: Component
    signature: Signature
    task: Task = "classification"
    methods: dict[Name, Signature] = Field(default_factory=dict)
    weights_file: str = "model.safetensors"
    runtimes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    evaluation: Evaluation
    lineage: Lineage
    description: str = ""
    card: Card | None = None


class Reservation(Document):
    """The number that one run, or one part of it, may claim in its `attempt`-th try."""

    kind = "version-reservation"

    model: Name
    run_id: Name
    part: Name | None = None
    attempt: int = Field(ge=1)
    version: int = Field(ge=1)
    write_id: str


class Versions:
    """The versions in a store, of all models."""

    def __init__(self, store: Store, *, grace: timedelta = GRACE, cache: BlobCache | None = None) -> None:
        self._store = store
        self._blobs = Blobs(store, grace=grace, cache=cache)
        self.tombstones = Tombstones(store)
        self._descent = Descent(store)

    def publish(
        self, draft: VersionDraft, files: Mapping[str, bytes], *, on_kept: OnKept | None = None
    ) -> ModelVersion:
        """Publish `files` as the next version of `draft.model`; returns its manifest.

        Once per run and part: repeated for the same, after a crash or beside it, it returns the version that it
        already has and keeps nothing else. Raises InvalidInput for bad file names, and Unavailable or
        OutcomeUnknown as the store does; then publish again.
        """
        if draft.weights_file not in files:
            raise InvalidInput(
                f"weights_file {draft.weights_file!r} is not among the files: {', '.join(sorted(files))}"
            )
        for name in files:
            check_key(name)
        published = self.of_run(draft.model, draft.run_id, draft.part)
        if published is not None:
            return published
        entries, until = self._blobs.put_all(files, on_kept=on_kept)
        uploads = 1
        while True:
            version = self._reserved(draft.model, draft.run_id, draft.part)
            self._descent.announce(Claim(draft.model, version, draft.run_id), draft.lineage)
            now = self._store.now()
            if now >= until:  # A copy may be collected before the manifest would name it.
                if uploads == _UPLOADS:
                    raise Unavailable(
                        f"uploading the files of run {draft.run_id!r} took longer than {self._blobs.grace / 2} each of"
                        f" {uploads} times, after which they may be collected; nothing was published"
                    )
                entries, until = self._blobs.put_all(files, on_kept=on_kept)
                uploads += 1
                continue
            manifest = self._manifest(draft, version, entries, now)
            try:
                self._log(draft.model).append(manifest)
            except AlreadyExists:
                held = self.manifest(draft.model, version)
                if _is_of(held, draft.run_id, draft.part):
                    return held
            else:
                return manifest

    def get(self, model: str, version: int) -> ModelVersion:
        """The manifest of a kept version, its digest checked. Raises NotFound with the latest or a near name."""
        found = self.manifest(model, version)
        self.tombstones.require_kept(model, version)
        return found

    def manifest(self, model: str, version: int) -> ModelVersion:
        """As `get`, of a deleted version too: one document is read."""
        found = self._log(model).find(version) if version >= 1 else None
        if found is not None:
            return found
        latest = self.newest(model)
        raise NotFound(f"version {version} of {model!r} does not exist; latest is {latest.version}")

    def sealed(self, model: str, version: int) -> bytes:
        """The document of a version that exists, byte for byte: a later raymaas might seal it otherwise."""
        return self._store.read(version_key(model, version))

    def of_run(self, model: str, run_id: str, part: str | None = None) -> ModelVersion | None:
        """The version that the run published, a deleted one too; `part` names one of its further ones."""
        last = self._reservations(model, run_id, part).newest()
        held = None if last is None else self._log(model).find(last.version)
        return held if held is not None and _is_of(held, run_id, part) else None

    def newest(self, model: str) -> ModelVersion:
        """The newest kept version. Raises NotFound when there is none."""
        found = self.list(model, limit=1)
        if not found:
            raise NotFound(f"every version of {model!r} was deleted; train one first")
        return found[0]

    def models(self) -> list[str]:
        """Names of all models that have a kept version, ascending."""
        return [
            name for name in self._store.children(MODELS) if next(self._kept(name, before=None, page=1), None)
        ]

    def read_file(self, manifest: ModelVersion, name: str) -> bytes:
        """One file of a version, verified. Raises NotFound with the names there are, and IntegrityError."""
        of = f"{manifest.model}@{manifest.version}"
        if name not in manifest.files:
            raise NotFound(f"{of} has no file {name!r}; it has {', '.join(sorted(manifest.files))}")
        return self._blobs.get(manifest.files[name], name=f"{name} of {of}")

    def read_files(self, manifest: ModelVersion) -> dict[str, bytes]:
        """All files of a version, verified. Raises IntegrityError naming a missing or damaged one."""
        return {name: self.read_file(manifest, name) for name in manifest.files}

    def list(self, model: str, *, limit: int = 100, before: int | None = None) -> list[ModelVersion]:
        """Up to `limit` kept versions, newest first, older than version `before` when given. Raises NotFound."""
        if limit < 1:
            raise InvalidInput(f"limit must be at least 1, got {limit}")
        numbers = list(islice(self._kept(model, before=before, page=limit), limit))
        if not numbers and not self._log(model).newest_sequence():
            raise self._unknown_model(model)
        return self._log(model).read(numbers)

    def _kept(self, model: str, *, before: int | None, page: int) -> Iterator[int]:
        """The kept versions, newest first. Numbers have no gaps, so only tombstones are looked up, `page` at first."""
        newest = self._log(model).newest_sequence()
        newest = newest if before is None else min(newest, before - 1)
        while newest >= 1:
            oldest = max(1, newest - page + 1)
            deleted = self.tombstones.versions(model, newest=newest, oldest=oldest)
            yield from (n for n in range(newest, oldest - 1, -1) if n not in deleted)
            newest, page = oldest - 1, 1000

    def _reserved(self, model: str, run_id: str, part: str | None) -> int:
        """The number it may claim: that of its last reservation, or a new one if another took it."""
        reservations = self._reservations(model, run_id, part)
        while True:
            last = reservations.newest()
            if last is not None:
                held = self._log(model).find(last.version)
                if held is None or _is_of(held, run_id, part):
                    return last.version
            reservation = Reservation(
                model=model,
                run_id=run_id,
                part=part,
                attempt=last.attempt + 1 if last else 1,
                version=self._log(model).newest_sequence() + 1,
                write_id=new_write_id(),
            )
            try:
                reservations.append(reservation)
            except AlreadyExists:
                continue  # Another publisher of the same reserved first; go through that one.
            return reservation.version

    def _manifest(
        self, draft: VersionDraft, version: int, files: dict[str, FileEntry], now: datetime
    ) -> ModelVersion:
        said: dict[str, Any] = {field: getattr(draft, field) for field in VersionDraft.model_fields}
        return ModelVersion(**said, version=version, files=files, created_at=now, write_id=new_write_id())

    def _unknown_model(self, model: str) -> NotFound:
        known = self.models()
        near = difflib.get_close_matches(model, known, n=1)
        if near:
            return NotFound(f"model {model!r} does not exist; did you mean {near[0]!r}?")
        hint = f"known are {', '.join(known[:20])}" if known else "there is none yet; train one first"
        return NotFound(f"model {model!r} does not exist; {hint}")

    def _log(self, model: str) -> Log[ModelVersion]:
        return Log(
            self._store, versions_folder(model), ModelVersion, lambda v: version_key(v.model, v.version)
        )

    def _reservations(self, model: str, run_id: str, part: str | None) -> Log[Reservation]:
        return Log(
            self._store,
            reservations_folder(model, run_id, part),
            Reservation,
            lambda r: reservation_key(r.model, r.run_id, r.attempt, r.part),
        )


def _is_of(version: ModelVersion, run_id: str, part: str | None) -> bool:
    return (version.run_id, version.part) == (run_id, part)
