"""Lineages: up from a version to its data, down to what was made of it, and where it was wanted. Only reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import islice

from raymaas.errors import InvalidInput, NotFound
from raymaas.registry.descent import Claim, Descent
from raymaas.registry.learned import CardOf, datasets_with
from raymaas.registry.requests import Requests
from raymaas.registry.runs import Runs
from raymaas.registry.standings import standings_of
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.specs.lineage import DataOrigin, DataTrace, Descendant, Generation, VersionTrace
from raymaas.specs.requests import RequestRecord
from raymaas.specs.runs import Run
from raymaas.specs.search import Trial
from raymaas.specs.serving import ModelState
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store

_CHILDREN = 100
_STATES_AT_ONCE = 200
_READ_AT_ONCE = 8
# A version is wanted only after it exists. The hour is for stores whose machines do not share a clock.
_SLACK = timedelta(hours=1)


class Lineages:
    """The lineage of everything in a store. Deleted versions are part of it, and shown as deleted."""

    def __init__(self, store: Store, *, card_of: CardOf) -> None:
        self._versions, self._states, self._runs = Versions(store), States(store), Runs(store)
        self._descent, self._requests = Descent(store), Requests(store)
        self._store, self._card_of = store, card_of

    def trace(
        self, model: str, version: int, *, request_id: str | None = None, before: datetime | None = None
    ) -> VersionTrace:
        """All that is known of one version; with `request_id`, of that answer of it too, see `Requests.find`.

        Reads the states since the version was made, so it takes longer for an old version of a model that was
        moved thousands of times. Raises NotFound for an unknown version or request, IntegrityError for damage.
        """
        manifest = self._versions.manifest(model, version)
        request = self._requests.find(model, version, request_id, before=before) if request_id else None
        children = islice(self._children(manifest), _CHILDREN)
        return VersionTrace(
            line=tuple(self._generation(made) for made in reversed(list(self._upward(manifest)))),
            standings=standings_of(self._states_since(model, manifest.created_at - _SLACK), version),
            children=self._descendants(children),
            request=request,
            learned=self._learned(request) if request else (),
        )

    def of_data(self, fingerprint: str, *, after: str | None = None, limit: int = 100) -> DataTrace:
        """One page of the versions that came from a data set; of its fingerprint the first 8 digits are enough.

        A version made from one of these, but on other data, stands below it, beyond the limit. A page may be
        shorter than `limit`; `next_after` says whether there is another. Raises NotFound when nothing came from
        it, InvalidInput when several fingerprints begin so.
        """
        whole = self._whole(fingerprint)
        page = self._descent.of_data(whole, after=after, limit=limit)
        direct = self._published(page.claims)
        found = [made for one in direct for made in (one, *self._made_on_other_data(one, whole))]
        names = sorted({made.lineage.dataset for made in direct})
        return DataTrace(
            fingerprint=whole,
            datasets=tuple(self._origin(name, whole) for name in names),
            versions=self._descendants(found),
            next_after=page.next_after,
        )

    def _learned(self, request: RequestRecord) -> tuple[Descendant, ...]:
        """The versions that were trained on rows of `request`."""
        found = []
        for fingerprint in datasets_with(self._store, request, card_of=self._card_of):
            found += self._published(self._descent.of_data(fingerprint, limit=_CHILDREN).claims)
        return self._descendants(found)

    def _whole(self, beginning: str) -> str:
        known = self._descent.fingerprints(beginning)
        if not known:
            raise NotFound(
                f"no version was made from data {beginning!r}; `raymaas models show MODEL@VERSION` shows a"
                " version's fingerprint, of which the first 8 digits are enough"
            )
        if len(known) > 1 and beginning not in known:
            raise InvalidInput(
                f"several data sets begin with {beginning}: {', '.join(known[:5])}; give more digits"
            )
        return beginning if beginning in known else known[0]

    def _published(self, claims: Iterable[Claim]) -> list[ModelVersion]:
        """The manifests of those claims that came true."""
        with ThreadPoolExecutor(max_workers=_READ_AT_ONCE) as pool:
            return [manifest for manifest in pool.map(self._of_claim, claims) if manifest]

    def _of_claim(self, claim: Claim) -> ModelVersion | None:
        try:
            manifest = self._versions.manifest(claim.model, claim.version)
        except NotFound:
            return None
        return manifest if manifest.run_id == claim.run_id else None

    def _made_on_other_data(self, parent: ModelVersion, fingerprint: str) -> Iterator[ModelVersion]:
        """Versions down from `parent` until one was made from the data itself: that one is found by it."""
        parents = [parent]
        while parents:
            for made in self._children(parents.pop()):
                if made.lineage.data_fingerprint != fingerprint:
                    yield made
                    parents.append(made)

    def _children(self, parent: ModelVersion) -> Iterator[ModelVersion]:
        after: str | None = None
        while True:
            page = self._descent.of_parent(parent.model, parent.version, after=after, limit=_CHILDREN)
            yield from self._published(page.claims)
            after = page.next_after
            if after is None:
                return

    def _upward(self, manifest: ModelVersion) -> Iterator[ModelVersion]:
        while True:
            yield manifest
            parent = manifest.lineage.parent
            if parent is None:
                return
            manifest = self._versions.manifest(manifest.model, parent)

    def _generation(self, manifest: ModelVersion) -> Generation:
        lineage = manifest.lineage
        return Generation(
            manifest=manifest,
            deletion=self._versions.tombstones.find(manifest.model, manifest.version),
            data=self._origin(lineage.dataset, lineage.data_fingerprint),
            run=self._run(lineage.run_id),
            trial=self._trial(manifest),
        )

    def _origin(self, dataset: str, fingerprint: str) -> DataOrigin:
        return DataOrigin(dataset=dataset, fingerprint=fingerprint, card=self._card_of(dataset, fingerprint))

    def _run(self, run_id: str) -> Run | None:
        try:
            return self._runs.get(run_id)
        except NotFound:
            return None

    def _trial(self, manifest: ModelVersion) -> Trial | None:
        compression = manifest.lineage.compression
        return self._runs.trial(manifest.lineage.run_id, compression.trial) if compression else None

    def _states_since(self, model: str, moment: datetime) -> list[ModelState]:
        """The states of `model`, oldest first, from the last one before `moment` on."""
        newest_first: list[ModelState] = []
        while not newest_first or newest_first[-1].change.at >= moment:
            before = newest_first[-1].revision if newest_first else None
            page = self._states.history(model, limit=_STATES_AT_ONCE, before=before)
            newest_first += page
            if len(page) < _STATES_AT_ONCE:
                break
        return newest_first[::-1]

    def _descendants(self, manifests: Iterable[ModelVersion]) -> tuple[Descendant, ...]:
        with ThreadPoolExecutor(max_workers=_READ_AT_ONCE) as pool:
            return tuple(pool.map(self._descendant, manifests))

    def _descendant(self, manifest: ModelVersion) -> Descendant:
        lineage = manifest.lineage
        return Descendant(
            model=manifest.model,
            version=manifest.version,
            created_at=manifest.created_at,
            run_id=manifest.run_id,
            dataset=lineage.dataset,
            data_fingerprint=lineage.data_fingerprint,
            parent=lineage.parent,
            recipe=lineage.compression.recipe if lineage.compression else (),
            architecture=manifest.architecture.use,
            weights_bytes=manifest.weights_bytes,
            metrics=manifest.evaluation.metrics,
            deletion=self._versions.tombstones.find(manifest.model, manifest.version),
        )
