"""Publishing: once per run, whatever crashes or races; and reading back only what was published."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Literal

import pytest
from registry_examples import FILES, START, Crash, CrashingStore, InterruptedStore, draft, memory_store

from raymaas.errors import IntegrityError, InvalidInput, NotFound, OutcomeUnknown
from raymaas.registry.layout import blob_key, version_key
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.specs.versions import ModelVersion
from raymaas.store import LocalStore, MemoryStore, Store

How = Literal["before", "after", "lost reply"]


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return memory_store() if request.param == "memory" else LocalStore(tmp_path)


def test_a_draft_says_all_but_what_publication_adds() -> None:
    added = {"version", "created_at", "write_id", "files"}
    assert set(VersionDraft.model_fields) == set(ModelVersion.model_fields) - added
    for name, field in VersionDraft.model_fields.items():
        assert field.annotation == ModelVersion.model_fields[name].annotation
        assert field.default == ModelVersion.model_fields[name].default


def test_a_published_version_is_read_back_whole(store: Store) -> None:
    versions = Versions(store)
    published = versions.publish(draft(), FILES)
    assert published.version == 1
    assert published.weights_bytes == len(b"weights")
    assert versions.get("digits", 1) == published
    assert versions.newest("digits") == published
    assert versions.read_files(published) == FILES
    assert versions.read_file(published, "model.onnx") == b"graph"


def test_versions_count_up_and_list_newest_first() -> None:
    versions = Versions(memory_store())
    for n in range(1, 6):
        assert versions.publish(draft(f"run-{n}"), FILES).version == n
    versions.publish(draft("run-1", model="other"), FILES)
    assert [v.version for v in versions.list("digits", limit=2)] == [5, 4]
    assert [v.version for v in versions.list("digits", limit=10, before=4)] == [3, 2, 1]
    assert versions.list("digits", before=1) == []
    assert versions.models() == ["digits", "other"]


def test_the_time_of_publication_is_the_stores() -> None:
    store = MemoryStore(lambda: START)
    assert Versions(store).publish(draft(), FILES).created_at == START


def test_a_run_publishes_once_however_often_it_is_repeated() -> None:
    store = memory_store()
    versions = Versions(store)
    first = versions.publish(draft("run-a"), FILES)
    versions.publish(draft("run-b"), FILES)
    kept = store.list("")
    assert versions.publish(draft("run-a"), {"model.safetensors": b"trained again"}) == first
    assert store.list("") == kept
    assert [v.version for v in versions.list("digits")] == [2, 1]


@pytest.mark.parametrize("how", ["before", "after", "lost reply"])
@pytest.mark.parametrize("crowded", [False, True])
def test_a_crash_at_any_step_and_a_retry_give_exactly_one_version(how: How, crowded: bool) -> None:
    crash_at, finished = 0, False
    while not finished:
        crash_at += 1
        inner = memory_store()
        versions = Versions(inner)
        if crowded:
            versions.publish(draft("run-before"), FILES)
        crashing = CrashingStore(inner, crash_at, how)
        with suppress(Crash, OutcomeUnknown):
            Versions(crashing).publish(draft("run-a"), FILES)
        finished = len(crashing.calls) < crash_at
        for seen in versions.list("digits") if versions.models() else []:
            assert versions.read_files(seen) == FILES
        if crowded:  # Another run takes the number that the crashed one may have reserved.
            versions.publish(draft("run-between"), FILES)
        published = versions.publish(draft("run-a"), FILES)
        listed = versions.list("digits")
        assert [v for v in listed if v.run_id == "run-a"] == [published]
        assert [v.version for v in listed] == list(range(len(listed), 0, -1))
        assert versions.read_files(published) == FILES
    assert crash_at > 8


@pytest.mark.parametrize("other", ["run-a", "run-b"])
def test_another_publisher_at_any_step_leaves_one_version_per_run(other: str) -> None:
    at, finished = 0, False
    while not finished:
        at += 1
        inner = memory_store()
        beside: list[ModelVersion] = []

        def publish_beside(into: Store = inner, published: list[ModelVersion] = beside) -> None:
            published.append(Versions(into).publish(draft(other), FILES))

        interrupted = InterruptedStore(inner, at, publish_beside)
        mine = Versions(interrupted).publish(draft("run-a"), FILES)
        finished = len(interrupted.calls) < at
        listed = {(v.version, v.run_id) for v in Versions(inner).list("digits")}
        assert listed == {(v.version, v.run_id) for v in (mine, *beside)}
        assert len(listed) == len({"run-a", *(v.run_id for v in beside)})
        assert mine.run_id == "run-a"
    assert at > 8


def test_a_crash_never_shows_half_a_version() -> None:
    inner = memory_store()
    crashing = CrashingStore(inner, 4, "after")
    with pytest.raises(Crash):
        Versions(crashing).publish(draft(), FILES)
    assert inner.list("blobs/") != []
    assert Versions(inner).models() == []
    with pytest.raises(NotFound, match="there is none yet"):
        Versions(inner).newest("digits")


def test_concurrent_runs_each_get_their_own_version(store: Store) -> None:
    start = Barrier(8, timeout=30)

    def publish(n: int) -> ModelVersion:
        start.wait()
        return Versions(store).publish(draft(f"run-{n}"), {"model.safetensors": f"weights {n}".encode()})

    with ThreadPoolExecutor(8) as executor:
        published = list(executor.map(publish, range(8)))
    assert sorted(v.version for v in published) == list(range(1, 9))
    for n, manifest in enumerate(published):
        assert manifest.run_id == f"run-{n}"
        assert Versions(store).read_file(manifest, "model.safetensors") == f"weights {n}".encode()


def test_concurrent_publishers_of_one_run_get_one_version_beside_other_runs(store: Store) -> None:
    start = Barrier(8, timeout=30)

    def publish(n: int) -> ModelVersion:
        start.wait()
        return Versions(store).publish(draft("same-run" if n % 2 else f"run-{n}"), FILES)

    with ThreadPoolExecutor(8) as executor:
        published = list(executor.map(publish, range(8)))
    same = [manifest for manifest in published if manifest.run_id == "same-run"]
    assert len(same) == 4
    assert all(manifest == same[0] for manifest in same)
    assert [v.version for v in Versions(store).list("digits")] == [5, 4, 3, 2, 1]


def test_an_absent_version_names_the_latest_and_an_absent_model_a_near_one() -> None:
    versions = Versions(memory_store())
    with pytest.raises(NotFound, match="model 'churn' does not exist; there is none yet"):
        versions.get("churn", 1)
    versions.publish(draft("r1", model="churn"), FILES)
    versions.publish(draft("r2", model="churn"), FILES)
    for absent in (7, 0):
        with pytest.raises(NotFound, match=f"version {absent} of 'churn' does not exist; latest is 2"):
            versions.get("churn", absent)
    with pytest.raises(NotFound, match="did you mean 'churn'"):
        versions.get("chrun", 1)
    with pytest.raises(NotFound, match="known are churn"):
        versions.list("zzz")
    with pytest.raises(NotFound, match="known are churn"):
        versions.newest("zzz")


def test_files_that_changed_since_publication_are_never_loaded() -> None:
    store = memory_store()
    versions = Versions(store)
    manifest = versions.publish(draft(), FILES)
    key = blob_key(manifest.files["model.onnx"])
    store.delete(key)
    with pytest.raises(IntegrityError, match=r"model\.onnx of digits@1 is missing"):
        versions.read_files(manifest)
    store.create(key, b"grapH")
    with pytest.raises(IntegrityError, match=r"model\.onnx of digits@1 is damaged"):
        versions.read_files(manifest)
    assert versions.read_file(manifest, "model.safetensors") == b"weights"


def test_a_manifest_under_another_name_or_number_is_refused() -> None:
    store = memory_store()
    versions = Versions(store)
    sealed = versions.publish(draft(), FILES).seal()
    store.create(version_key("digits", 2), sealed)
    store.create(version_key("other", 1), sealed)
    for model, version in (("digits", 2), ("other", 1)):
        with pytest.raises(IntegrityError, match="holds the document of models/digits/"):
            versions.get(model, version)


def test_a_file_that_is_not_there_is_refused_with_those_that_are() -> None:
    versions = Versions(memory_store())
    manifest = versions.publish(draft(), FILES)
    with pytest.raises(NotFound, match=r"no file 'probes'; it has model\.onnx, model\.safetensors"):
        versions.read_file(manifest, "probes")


def test_a_draft_without_its_weights_or_with_a_path_for_a_name_is_refused() -> None:
    store = memory_store()
    with pytest.raises(InvalidInput, match="weights_file"):
        Versions(store).publish(draft(), {"model.onnx": b"graph"})
    with pytest.raises(InvalidInput, match="not a key"):
        Versions(store).publish(draft(), FILES | {"../../etc/passwd": b"x"})
    assert store.list("") == []


@pytest.mark.parametrize("model", ["../x", "a/b", "", "Digits", ".x"])
def test_what_is_not_a_name_never_becomes_part_of_a_key(model: str) -> None:
    with pytest.raises(InvalidInput, match="is not a name"):
        Versions(memory_store()).get(model, 1)
