"""A run of several versions: each part is published once, whatever crashes between them."""

from __future__ import annotations

import pytest
from registry_examples import FILES, Crash, CrashingStore, draft, memory_store

from raymaas.registry.versions import VersionDraft, Versions


def part(name: str | None, run_id: str = "run-a") -> VersionDraft:
    return draft(run_id).model_copy(update={"part": name})


def test_each_part_of_a_run_is_a_version_of_its_own() -> None:
    versions = Versions(memory_store())

    first, second = versions.publish(part(None), FILES), versions.publish(part("t-2"), FILES)

    assert (first.version, first.part, second.version, second.part) == (1, None, 2, "t-2")
    assert versions.of_run("digits", "run-a") == first
    assert versions.of_run("digits", "run-a", "t-2") == second
    assert versions.of_run("digits", "run-a", "t-3") is None


def test_a_part_is_published_once_however_often_it_is_repeated() -> None:
    store = memory_store()
    versions = Versions(store)
    made = [versions.publish(part(name), FILES) for name in (None, "t-2")]
    versions.publish(part(None, "run-b"), FILES)
    kept = store.list("")

    assert [versions.publish(part(name), FILES) for name in (None, "t-2")] == made
    assert store.list("") == kept


@pytest.mark.parametrize("crowded", [False, True])
def test_a_crash_at_any_step_of_either_part_leaves_each_of_them_exactly_once(crowded: bool) -> None:
    crash_at, finished = 0, False
    while not finished:
        crash_at += 1
        inner = memory_store()
        try:
            crashing = Versions(CrashingStore(inner, crash_at, how="before"))
            for name in (None, "t-2"):
                crashing.publish(part(name), FILES)
        except Crash:
            pass
        else:
            finished = True
        versions = Versions(inner)
        if crowded:  # Another run takes the number that the crashed one may have reserved.
            versions.publish(part(None, "run-b"), FILES)
        made = [versions.publish(part(name), FILES) for name in (None, "t-2")]

        of_run = [v for v in versions.list("digits") if v.run_id == "run-a"]
        assert sorted(v.version for v in of_run) == sorted(v.version for v in made)
        assert [v.part for v in made] == [None, "t-2"]
