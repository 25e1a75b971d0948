"""Marks: which copies of files the documents of a store name, and for which reason each is kept.

Every kind of document that names copies is read here; one that does not say so here loses its files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from raymaas.registry.layout import MODELS, blob_key, versions_folder
from raymaas.registry.log import sequence_of
from raymaas.registry.runs import Runs
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.specs.search import Finished
from raymaas.specs.versions import FileEntry, ModelVersion
from raymaas.store import Store

_PAGE = 1000

KEPT = "of versions"
IN_USE = "of deleted versions still in use"
JUST_DELETED = "of versions deleted a moment ago"
TRIALS = "of trials"


def marks(
    store: Store, *, trials_of: Iterable[str], deleted_since: datetime, alive: Callable[[], None]
) -> dict[str, str]:
    """Key of each copy that is named, to the first reason it is kept for. `alive` is called now and then.

    Named by: every version that is not deleted, was deleted after `deleted_since`, or is wanted by its
    model's newest state; and the trials of the runs `trials_of`. Raises IntegrityError, InvalidInput or NotFound
    when a document is damaged, newer than this raymaas, or missing: then nobody can tell what is in use.
    """
    found: dict[str, str] = {}

    def add(files: Mapping[str, FileEntry], why: str) -> None:
        for entry in files.values():
            found.setdefault(blob_key(entry), why)

    for model in store.children(MODELS):
        for version, why in _versions(store, model, deleted_since, alive):
            add(version.files, why)
    for run_id in trials_of:
        alive()
        for trial in Runs(store).trials(run_id):
            if isinstance(trial.outcome, Finished):
                add(trial.outcome.files, TRIALS)
    return found


def _versions(
    store: Store, model: str, deleted_since: datetime, alive: Callable[[], None]
) -> Iterator[tuple[ModelVersion, str]]:
    newest = store.first(versions_folder(model))
    if newest is None:
        return
    versions, before = Versions(store), None
    while True:
        alive()
        page = versions.list(model, limit=_PAGE, before=before)
        yield from ((version, KEPT) for version in page)
        if len(page) < _PAGE:
            break
        before = page[-1].version
    # After those that are kept: one that is deleted in between is then seen twice, and never missed.
    state = States(store).current(model)
    used = {*state.scaling, *state.aliases.values()} if state else set()
    for number in versions.tombstones.versions(model, newest=sequence_of(newest), oldest=1):
        deletion = versions.tombstones.find(model, number)
        if number in used:
            yield versions.manifest(model, number), IN_USE
        elif deletion is not None and deletion.at > deleted_since:
            yield versions.manifest(model, number), JUST_DELETED
